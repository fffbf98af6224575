"""Stage 4d: what the cards tell of the adapters, by replies to held-out prompts.

    python -m training.evaluate --data DATA --work WORK --classifier models/demo/sentiment.json

Writes WORK/reference-evaluation.pt, and into every adapter's checkpoint its "evaluation" (in float32: both rewards, the
check classifier, exact KL, length, distinct-2) and its "measures" against the optimum.
"""

import argparse
import dataclasses
import json
import math
import pickle
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from . import corpus, generate, model, optimum, pool, prefixes, rewards


def exact_kl(zp, zr):
    """KL(pi || pi_ref) of the next token at each prefix, from logits."""
    lp, lr = zp.log_softmax(-1), zr.log_softmax(-1)
    return (lp.exp() * (lp - lr)).sum(-1)


@torch.no_grad()
def evaluate(m, prompts, tok, warmth, check, count, copies, end, seed):
    """Means over held-out prompts."""
    rng = random.Random(seed)
    out = defaultdict(list)
    bigrams, total = set(), 0
    for b in range(count // 16):
        x = prompts.batch(16, rng)
        replies, ended = generate.sample(m, x, copies, prefixes.LIMIT, end, torch.Generator().manual_seed(seed + b))
        y, mask = generate.pad(replies, ended, end)
        zp = generate.reply_logits(m, x, y, mask, copies)
        m.switch_lora(False)
        zr = generate.reply_logits(m, x, y, mask, copies)
        m.switch_lora(True)
        texts = tok.decode_batch(replies)
        out["warmth"] += [warmth(t, 0) for t in texts]
        out["length"] += [rewards.length_reward(len(s)) for s in replies]
        out["check"] += check.predict_proba(texts)[:, 1].tolist()
        out["kl"] += generate.row_sums(exact_kl(zp, zr), mask).tolist()
        out["tokens"] += [len(s) for s in replies]
        out["ended"] += ended
        for s in replies:
            bigrams.update(zip(s, s[1:]))
            total += max(0, len(s) - 1)
    n = len(out["kl"])
    res = {k: float(np.mean(v)) for k, v in out.items()}
    res |= {f"{k}_se": float(np.std(out[k]) / math.sqrt(n)) for k in ("warmth", "length", "kl")}
    return res | {"distinct2": len(bigrams) / max(1, total), "samples": n}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--classifier", type=Path, default=Path("models/demo/sentiment.json"))
    p.add_argument("--prompts", type=int, default=256)
    p.add_argument("--copies", type=int, default=2)
    p.add_argument("--own", type=int, default=8, help="replies of an adapter to each prompt of the pool, for its measures")
    p.add_argument("--only", help="evaluate only this adapter, such as length-b0.05; the reference must have been")
    p.add_argument("--seed", type=int, default=7)
    a = p.parse_args()
    tok = Tokenizer.from_file(str(a.work / "tokenizer.json"))
    enc = corpus.Encoder(tok)
    end = enc.end[0]
    warmth, check = rewards.make("warmth", a.classifier), pickle.loads((a.work / "check.pkl").read_bytes())
    held = prefixes.Prompts(corpus.load(a.data, heldout=True), enc, a.seed)
    frozen = model.load(a.work / "reference.pt")[0].requires_grad_(False)
    if not a.only:
        res = evaluate(frozen, held, tok, warmth, check, a.prompts, a.copies, end, a.seed)
        torch.save(res, a.work / "reference-evaluation.pt")
        print("reference", json.dumps({k: round(v, 4) for k, v in res.items()}), flush=True)
    paths = [a.work / f"{a.only}.pt"] if a.only else sorted(a.work.glob("*-b*.pt"))
    for path in paths:
        if path.name.endswith(".partial.pt"):
            continue
        c = torch.load(path, weights_only=True)
        m, _ = model.load(a.work / "reference.pt")
        m.add_lora(c["rank"], c["alpha"], 0)
        m.load_state_dict(c["lora"], strict=False)
        c["evaluation"] = evaluate(m, held, tok, warmth, check, a.prompts, a.copies, end, a.seed)
        print(c["name"], json.dumps({k: round(v, 4) for k, v in c["evaluation"].items()}), flush=True)
        groups = pool.load(a.work / "pool-heldout.pt", rewards.make(c["reward"], a.classifier))
        found = optimum.measure(m, frozen, tok, groups, rewards.make(c["reward"], a.classifier), c["beta"], a.own, end, a.seed)
        print(c["name"], found, flush=True)
        torch.save(c | {"measures": dataclasses.asdict(found)}, path)


if __name__ == "__main__":
    main()
