"""What adapters are trained on: conversation prefixes, and how long replies may be."""

import random
from collections import defaultdict

import torch

LIMIT = 64  # tokens of a reply at most
PROMPT_LIMIT = 80
TURNS = (1, 1, 3, 5)  # of a prompt, drawn from these


class Prompts:
    """Conversation prefixes that end with a user's turn, grouped by their exact length in tokens."""

    def __init__(self, rows, encoder, seed):
        rng = random.Random(seed)
        self.groups = defaultdict(list)
        for turns in encoder.turns(rows):
            for last in range(len(turns) - 1):
                n = rng.choice(TURNS)
                if n > last + 1:
                    continue
                ids = encoder.prompt(turns[last + 1 - n:last + 1])
                if len(ids) <= PROMPT_LIMIT:
                    self.groups[len(ids)].append(ids)
        self.lengths = sorted(self.groups)
        self.weights = [len(self.groups[n]) for n in self.lengths]

    def batch(self, size, rng):
        while True:
            g = self.groups[rng.choices(self.lengths, self.weights)[0]]
            if len(g) >= size:
                return torch.tensor(rng.sample(g, size))
