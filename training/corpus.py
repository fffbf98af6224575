"""The three dialogue corpora: reading, deduplication, and the examples that a model is trained on.

Every example starts at position 0 with a system or user turn, as it does when the model is used, so examples are
batched by length rather than packed end to end: no attention across conversations, and little padding.
"""

import json
import lzma
import random
import re
from pathlib import Path

import numpy as np

from . import chat

SOURCES = ("self-dialogue", "synthetic-persona-chat", "taskmaster4")
# Share of Taskmaster-4 that is kept: 2,826 coffee orders in nearly the same words would teach little else.
TASKMASTER_SHARE = 0.25
CARE = 0.9  # share of a self-dialogue's turns that must look like sentences
EASY_SHARE = 0.7  # of those self-dialogues
PERSONA_REPEATS = 2
SYSTEM_SHARE = 0.15  # of the conversations with a known topic that get a system turn naming it
RANDOM_START_SHARE = 0.5  # of the examples that begin in the middle of their conversation
SYSTEM_FORMS = ("Talk about {}.", "You are chatting about {}.", "The topic is {}.", "Chat about {} with the user.")


def read(path):
    with lzma.open(path, "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def load(data, heldout=False):
    """Conversations of all sources, deduplicated by their first four turns, in a fixed order."""
    rows, seen = [], set()
    for source in SOURCES:
        for i, row in enumerate(read(Path(data) / f"dialogue-{source}{'-heldout' if heldout else ''}.jsonl.xz")):
            if source == "taskmaster4" and not heldout and i % round(1 / TASKMASTER_SHARE):
                continue
            key = re.sub(r"[^a-z0-9]+", " ", " ".join(row["turns"][:4]).lower())
            if key not in seen:
                seen.add(key)
                rows.append(row)
    return rows


def written_with_care(turns):
    """Whether at least nine turns of ten begin like a sentence, and as many end like one."""
    capital = sum(t[0].isupper() or t[0] in '"0123456789' for t in turns)
    full_stop = sum(t[-1] in '.!?"' for t in turns)
    return min(capital, full_stop) >= CARE * len(turns)


def mixture(rows, turns):
    """Rows and turns to pretrain on: what a model of a few million parameters can learn to say well.

    Of the self-dialogues those written with care are kept, and of these the `EASY_SHARE` whose tokens are least
    surprising on average under unigram frequencies: surprise is high where names and titles crowd.
    Synthetic-Persona-Chat, the most regular of the sources, comes `PERSONA_REPEATS` times (with other starting turns
    each time).
    """
    count = np.bincount([x for t in turns for u in t for x in u], minlength=1) + 1.0
    surprise = np.log(count.sum()) - np.log(count)
    score = {i: np.mean(surprise[[x for u in t for x in u]]) for i, t in enumerate(turns)
             if rows[i]["source"] == "self-dialogue" and written_with_care(rows[i]["turns"])}
    kept = set(sorted(score, key=score.get)[:round(EASY_SHARE * len(score))])
    out = []
    for i, r in enumerate(rows):
        n = {"self-dialogue": int(i in kept), "synthetic-persona-chat": PERSONA_REPEATS}.get(r["source"], 1)
        out += [i] * n
    return [rows[i] for i in out], [turns[i] for i in out]


class Encoder:
    """Turns conversations into token ids, remembering each turn's ids: rendering is concatenation."""

    def __init__(self, tokenizer):
        self.tok = tokenizer
        self.ids = lambda s: tokenizer.encode(s, add_special_tokens=False).ids
        self.start = {r: self.ids(f"{chat.IM_START}{r}\n") for r in (*chat.ROLES, "system")}
        self.end = self.ids(f"{chat.IM_END}\n")

    def turns(self, rows):
        flat = [t for r in rows for t in r["turns"]]
        enc = iter(self.tok.encode_batch(flat, add_special_tokens=False))
        return [[next(enc).ids for _ in r["turns"]] for r in rows]

    def example(self, turns, system=None, limit=None):
        """Token ids and the mask of the tokens that a loss counts (turn contents and their end)."""
        ids, mask = [], []

        def add(tokens, counted):
            ids.extend(tokens)
            mask.extend([counted] * len(tokens))

        if system:
            add(self.start["system"] + self.ids(system) + self.end, 0)
        for i, t in enumerate(turns):
            piece = self.start[chat.ROLES[i % 2]]
            if limit and len(ids) + len(piece) + len(t) + len(self.end) > limit:
                break
            add(piece, 0)
            add(t + self.end[:1], 1)
            add(self.end[1:], 0)
        return ids, mask

    def prompt(self, turns):
        """A conversation that ends with the user's turn, up to where the reply begins."""
        return self.example(turns)[0] + self.start["assistant"]


def epoch(rows, turns, encoder, seed, limit, augment=True):
    """One pass over the corpus as (ids, mask) pairs in a seeded order.

    Half of the examples start at a random turn: a person's first message is more often like the middle of a
    conversation than like these corpora's openings, and either speaker so gets to be the assistant.
    What does not fit into `limit` tokens becomes further examples.
    """
    rng = random.Random(seed)
    out = []
    for i in rng.sample(range(len(rows)), len(rows)) if augment else range(len(rows)):
        t, first = turns[i], 0
        if augment and rng.random() < RANDOM_START_SHARE:
            first = rng.randrange(max(1, len(t) - 3))
        system = None
        topic = rows[i].get("topic")
        if augment and topic and rng.random() < SYSTEM_SHARE:
            system = rng.choice(SYSTEM_FORMS).format(topic)
        while first < len(t) - 1:
            ids, mask = encoder.example(t[first:], system, limit)
            used = sum(1 for x in ids if x == encoder.end[0]) - (1 if system else 0)
            if used < 2:
                break
            out.append((ids, mask))
            if first + used >= len(t):
                break
            first += used - 2  # two turns of context for the next example
    return out


def batches(examples, tokens, seed, pad):
    """Batches of about `tokens` tokens, of examples of like length, in a seeded order."""
    rng = random.Random(seed)
    pools = [examples[i:i + 4096] for i in range(0, len(examples), 4096)]
    out = []
    for pool in pools:
        pool = sorted(pool, key=lambda e: len(e[0]))
        batch = []
        for e in pool:
            if batch and (len(batch) + 1) * len(e[0]) > tokens:
                out.append(batch)
                batch = []
            batch.append(e)
        if batch:
            out.append(batch)
    rng.shuffle(out)
    for batch in out:
        width = max(len(e[0]) for e in batch)
        width += -width % 16 + 1
        ids = np.full((len(batch), width), pad, dtype=np.int64)
        mask = np.zeros((len(batch), width), dtype=bool)
        for j, (a, m) in enumerate(batch):
            ids[j, :len(a)] = a
            mask[j, :len(m)] = m
        yield ids, mask
