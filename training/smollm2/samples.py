"""Stages a and b: prompts, and the reference's own replies to them.

    python -m training.smollm2.samples --data DATA --work WORK

Prompts are people's first messages in the dialogues that the demo was trained on. Replies are at most `--limit` tokens long, and each is kept with its log-probability under the
reference, so that DPO never runs the reference again. They are sampled at temperature 0.7, where the model makes
sense: DPO's loss has its optimum at the same policy whatever its pairs were sampled from. Batches hold prompts of
equal length in tokens, so that none is padded. Stopped and started again, the stage goes on after the last whole
batch of WORK/smollm2-samples.jsonl.
"""

import argparse
import json
import random
import re
import time
from collections import defaultdict
from pathlib import Path

import torch

from .. import corpus, generate
from . import base

GROUP = 8  # prompts of equal length, decoded together


def first_turns(data, heldout=False):
    """First messages of 3 to 25 words, each once, in the corpora's order."""
    out, seen = [], set()
    for row in corpus.load(data, heldout):
        text = row["turns"][0]
        key = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
        if key not in seen and 3 <= len(text.split()) <= 25:
            seen.add(key)
            out.append(text)
    return out


def groups(b, texts, count, seed):
    """Groups of GROUP prompts of equal length in tokens, `count` prompts in all, as lists of (text, ids)."""
    by_length, out = defaultdict(list), []
    for text in random.Random(seed).sample(texts, len(texts)):
        ids = b.prompt(text)
        mine = by_length[len(ids)]
        mine.append((text, ids))
        if len(mine) == GROUP:
            out.append(by_length.pop(len(ids)))
            if len(out) * GROUP >= count:
                break
    return out


def sample(b, group, copies, limit, temperature, seed):
    """Rows to write: one per prompt, with its replies."""
    logps = []
    replies, ended = generate.sample(b.model, torch.tensor([ids for _, ids in group]), copies, limit, b.end,
                                     torch.Generator().manual_seed(seed), temperature, logps=logps)
    made = [{"ids": r, "ended": e, "text": b.text(r), "logp": p} for r, e, p in zip(replies, ended, logps)]
    return [{"prompt": text, "ids": ids, "replies": made[i * copies:(i + 1) * copies]}
            for i, (text, ids) in enumerate(group)]


def read(path):
    """Whole batches of a samples file: (the settings they were made with, rows)."""
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return lines[0], lines[1:1 + (len(lines) - 1) // GROUP * GROUP]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--base", type=Path, default=base.FILE)
    p.add_argument("--prompts", type=int, default=400)
    p.add_argument("--copies", type=int, default=4)
    p.add_argument("--limit", type=int, default=40, help="tokens of a reply at most")
    p.add_argument("--temperature", type=float, default=0.7)
    p.add_argument("--seed", type=int, default=7)
    a = p.parse_args()
    out = a.work / "smollm2-samples.jsonl"
    settings = {"prompts": a.prompts, "copies": a.copies, "limit": a.limit, "temperature": a.temperature, "seed": a.seed}
    there, rows = read(out) if out.exists() else (settings, [])
    if {**there, "prompts": a.prompts} != settings:
        raise SystemExit(f"{out} was made with {there}")
    b = base.Base(a.base)
    every = groups(b, first_turns(a.data), a.prompts, a.seed)
    with open(out.with_suffix(".tmp"), "w", encoding="utf-8") as f:  # without a half-written batch
        f.writelines(json.dumps(r) + "\n" for r in (settings, *rows))
    out.with_suffix(".tmp").replace(out)
    t0, tokens = time.time(), 0
    with open(out, "a", encoding="utf-8") as f:
        for i in range(len(rows) // GROUP, len(every)):
            made = sample(b, every[i], a.copies, a.limit, a.temperature, a.seed * 100003 + i)
            f.writelines(json.dumps(r) + "\n" for r in made)
            f.flush()
            tokens += sum(len(r["ids"]) for row in made for r in row["replies"])
            print(f"{(i + 1) * GROUP} prompts, {tokens} tokens, {time.time() - t0:.0f}s", flush=True)


if __name__ == "__main__":
    main()
