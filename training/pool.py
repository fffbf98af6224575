"""Stage 4a: replies of the reference with their log-probabilities, which are data for every adapter.

    python -m training.pool --data DATA --work WORK

WORK/pool.pt holds replies to prompts from the dialogues that the reference was trained on, WORK/pool-heldout.pt
replies to prompts from held-out conversations, by which training is measured. Prompts come in groups of equal length.
"""

import argparse
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import corpus, generate, model, prefixes

GROUP = 32  # prompts of equal length, answered together


class Group:
    """Prompts x (n, length), and of each a list of its replies.

    A reply is {"ids": tokens, with the end marker where it has one; "text"; "tokens": how many without the marker;
    "each": the reference's log-probability of each token}.
    """

    def __init__(self, x, replies):
        self.x, self.replies = x, replies

    def __len__(self):
        return len(self.x)

    def score(self, reward):
        """Sets "reward" of every reply."""
        for mine in self.replies:
            for r in mine:
                r["reward"] = reward(r["text"], r["tokens"])
        return self

    def rows(self, end):
        """Every reply as a row: tokens and mask as of generate.pad, and the prompt that each row continues."""
        flat = [r["ids"] for mine in self.replies for r in mine]
        y, mask = generate.pad(flat, [False] * len(flat), end)
        return y, mask, torch.tensor([i for i, mine in enumerate(self.replies) for _ in mine])

    def rewards(self):
        """One number a reply, (prompts, replies)."""
        return torch.tensor([[r["reward"] for r in mine] for mine in self.replies])

    def each(self):
        """The reference's log-probability of every token, in the order of y[mask]."""
        return torch.tensor([p for mine in self.replies for r in mine for p in r["each"]])


@torch.no_grad()
def logps(m, group, end):
    """log pi of every token, in the order of y[mask], and the mask."""
    y, mask, owner = group.rows(end)
    return generate.reply_logps(m, group.x, y, mask, owner)[0], mask


def log_ratios(m, group, end):
    """log pi/pi_ref of every reply, (prompts, replies)."""
    each, mask = logps(m, group, end)
    return generate.row_sums(each - group.each(), mask).view(len(group), -1)


def answers(m, frozen, tok, x, copies, end, seed):
    """Replies of m to prompts of equal length, at temperature 1, with the log-probability that `frozen` gives them."""
    made, ended = generate.sample(m, x, copies, prefixes.LIMIT, end, torch.Generator().manual_seed(seed))
    texts = tok.decode_batch(made)
    flat = [{"ids": ids + [end] * e, "text": t, "tokens": len(ids)} for ids, e, t in zip(made, ended, texts)]
    group = Group(x, [flat[i * copies:(i + 1) * copies] for i in range(len(x))])
    each = iter(logps(frozen, group, end)[0].tolist())
    for r in flat:
        r["each"] = [next(each) for _ in r["ids"]]
    return group


def make(m, tok, source, count, copies, end, seed):
    out, t0 = [], time.time()
    for i in range(count // GROUP):
        x = source.batch(GROUP, random.Random(seed * 100003 + i))
        out.append(answers(m, m, tok, x, copies, end, seed * 100003 + i))
        if i % 10 == 9:
            print(f"{(i + 1) * GROUP} prompts, {time.time() - t0:.0f}s", flush=True)
    return out


def save(path, groups):
    torch.save([{"x": g.x, "replies": g.replies} for g in groups], path)


def load(path, reward):
    """Groups, with the reward of every reply."""
    return [Group(g["x"], g["replies"]).score(reward) for g in torch.load(path, weights_only=True)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--prompts", type=int, default=4096)
    p.add_argument("--copies", type=int, default=8)
    p.add_argument("--held", type=int, default=256, help="held-out prompts")
    p.add_argument("--held-copies", type=int, default=32)
    p.add_argument("--seed", type=int, default=7)
    a = p.parse_args()
    model.quick()
    tok = Tokenizer.from_file(str(a.work / "tokenizer.json"))
    enc = corpus.Encoder(tok)
    m = model.load(a.work / "reference.pt")[0].requires_grad_(False).lighten()
    for name, rows, count, copies in (("pool-heldout", corpus.load(a.data, heldout=True), a.held, a.held_copies),
                                      ("pool", corpus.load(a.data)[::3], a.prompts, a.copies)):
        source = prefixes.Prompts(rows, enc, a.seed)
        save(a.work / f"{name}.pt", make(m, tok, source, count, copies, enc.end[0], a.seed))
        print(name, count, "prompts", flush=True)


if __name__ == "__main__":
    main()
