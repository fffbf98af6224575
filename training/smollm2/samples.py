"""Stages a and b: prompts, and the reference's own replies to them.

    python -m training.smollm2.samples --data DATA --work WORK

Prompts are those of a task (see `tasks`). Replies are at most `--limit` tokens long, and each is kept with its log-probability under the
reference, so that DPO never runs the reference again. They are sampled at temperature 0.7, where the model makes
sense: DPO's loss has its optimum at the same policy whatever its pairs were sampled from. Batches hold prompts of
equal length in tokens, so that none is padded; where prompts have a long context, of which hardly two are as long, one.
Stopped and started again, the stage goes on after the last whole batch of WORK/smollm2-samples.jsonl, or
WORK/smollm2-TASK-samples.jsonl.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from pathlib import Path

import torch

from .. import generate
from . import base, tasks

GROUP = 8  # prompts of equal length, decoded together, where prompts are short


def groups(b, rows, count, size, seed, longest):
    """Groups of `size` prompts of equal length in tokens, `longest` at most, `count` prompts in all, as lists of (row, ids)."""
    by_length, out = defaultdict(list), []
    for row in random.Random(seed).sample(rows, len(rows)):
        ids = b.prompt(row["prompt"])
        if len(ids) > longest:
            continue
        mine = by_length[len(ids)]
        mine.append((row, ids))
        if len(mine) == size:
            out.append(by_length.pop(len(ids)))
            if len(out) * size >= count:
                break
    return out


def sample(b, group, copies, limit, temperature, seed):
    """Rows to write: one per prompt, with its replies."""
    logps = []
    replies, ended = generate.sample(b.model, torch.tensor([ids for _, ids in group]), copies, limit, b.end,
                                     torch.Generator().manual_seed(seed), temperature, logps=logps)
    made = [{"ids": r, "ended": e, "text": b.text(r), "logp": p} for r, e, p in zip(replies, ended, logps)]
    return [{**row, "ids": ids, "replies": made[i * copies:(i + 1) * copies]} for i, (row, ids) in enumerate(group)]


def read(path):
    """Whole batches of a samples file: (the settings they were made with, rows)."""
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    size = lines[0]["group"]
    return lines[0], lines[1:1 + (len(lines) - 1) // size * size]


def file(work, task):
    return work / ("smollm2-samples.jsonl" if task == "dialogue" else f"smollm2-{task}-samples.jsonl")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--base", type=Path, default=base.FILE)
    p.add_argument("--task", choices=tasks.REWARDS, default="dialogue")
    p.add_argument("--prompts", type=int, default=400)
    p.add_argument("--copies", type=int, default=4)
    p.add_argument("--longest", type=int, default=1024, help="tokens of a prompt at most: longer ones are left out")
    p.add_argument("--limit", type=int, default=40, help="tokens of a reply at most")
    p.add_argument("--temperature", type=float, default=0.7)
    p.add_argument("--seed", type=int, default=7)
    a = p.parse_args()
    out, size = file(a.work, a.task), GROUP if a.task == "dialogue" else 1
    settings = {"task": a.task, "group": size, "prompts": a.prompts, "copies": a.copies, "longest": a.longest, "limit": a.limit, "temperature": a.temperature, "seed": a.seed}
    there, rows = read(out) if out.exists() else (settings, [])
    if {**there, "prompts": a.prompts} != settings:
        raise SystemExit(f"{out} was made with {there}")
    b = base.Base(a.base)
    every = groups(b, tasks.rows(a.task, a.data), a.prompts, size, a.seed, a.longest)
    with open(out.with_suffix(".tmp"), "w", encoding="utf-8") as f:  # without a half-written batch
        f.writelines(json.dumps(r) + "\n" for r in (settings, *rows))
    out.with_suffix(".tmp").replace(out)
    t0, tokens = time.time(), 0
    with open(out, "a", encoding="utf-8") as f:
        for i in range(len(rows) // size, len(every)):
            made = sample(b, every[i], a.copies, a.limit, a.temperature, a.seed * 100003 + i)
            f.writelines(json.dumps(r) + "\n" for r in made)
            f.flush()
            tokens += sum(len(r["ids"]) for row in made for r in row["replies"])
            print(f"{(i + 1) * size} prompts, {tokens} tokens, {time.time() - t0:.0f}s", flush=True)


if __name__ == "__main__":
    main()
