"""Stage e: what the adapters do, on prompts that no training file holds.

    python -m training.smollm2.evaluate models --data DATA --work WORK warmth-b0.1
    python -m training.smollm2.evaluate lambdas --data DATA --work WORK warmth-b0.1

`models` samples the reference and then each adapter named, at temperature 1 without truncation, and measures in
float32: both rewards, the check classifier (WORK/check.pkl, of `training.classifier`), the exact KL divergence from
the reference along the samples, lengths, distinct word pairs. `lambdas` lets Realign itself decode the files that
ship, at several λ, and measures the same but KL. Both add to WORK/smollm2-evaluation.json.
"""

import argparse
import json
import pickle
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from .. import align, generate
from . import base, dpo, samples

LAMBDAS = ("0", "1/3", "1", "2")


def mean(values):
    """A mean and its standard error."""
    return [float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))]


def distinct2(texts):
    """Different pairs of neighbouring words over all of them."""
    found = [pair for t in texts for w in [re.findall(r"[a-z']+", t.lower())] for pair in zip(w, w[1:])]
    return len(set(found)) / max(1, len(found))


def summary(replies, classifier, check, limit):
    """Means over replies {"text", "ids", "ended"}."""
    out = {name: mean([dpo.reward(name, classifier, limit)(r) for r in replies]) for name in ("warmth", "brevity")}
    texts = [r["text"] for r in replies]
    out["check"] = mean(check.predict_proba(texts)[:, 1])
    out["tokens"] = mean([len(r["ids"]) for r in replies])
    out["ended"] = float(np.mean([r["ended"] for r in replies]))
    return {**out, "distinct2": distinct2(texts), "samples": len(replies)}


def load_adapter(m, checkpoint):
    c = torch.load(checkpoint, map_location="cpu", weights_only=True)
    m.add_lora(c["rank"], c["alpha"], 0, c["first"])
    m.load_state_dict(c["lora"], strict=False)
    return c


@torch.no_grad()
def measure(b, prompts, copies, limit, seed, has_adapter):
    replies, kls = [], []
    for i, group in enumerate(prompts):
        x = torch.tensor([ids for _, ids in group])
        said, ended = generate.sample(b.model, x, copies, limit, b.end, torch.Generator().manual_seed(seed + i))
        replies += [{"ids": r, "ended": e, "text": b.text(r)} for r, e in zip(said, ended)]
        if has_adapter:
            y, mask = generate.pad(said, ended, b.end)
            z = generate.reply_logits(b.model, x, y, mask, copies)
            b.model.switch_lora(False)
            zr = generate.reply_logits(b.model, x, y, mask, copies)
            b.model.switch_lora(True)
            kls += align.per_row(align.kl_and_logp(z, zr, y[mask])[0], mask).tolist()
    return replies, kls or [0.0] * len(replies)


def decode(realign, pair, adapter, prompt, lambdas, limit, temperature, seed):
    """Replies of Realign to one prompt at each λ."""
    command = [realign, "decode", "--pair", pair, "--aligned", adapter, "--lambda", ",".join(lambdas), "--prompt", "-",
               "--max-tokens", str(limit), "--temperature", str(temperature), "--top-p", "1", "--top-k", "0", "--min-p", "0",
               "--seed", str(seed), "--no-trace", "--json"]
    lines = subprocess.run(command, input=prompt, capture_output=True, text=True, check=True).stdout.splitlines()
    out = [{"ids": [], "text": "", "ended": False} for _ in lambdas]
    for event in map(json.loads, lines):
        if event["type"] == "token":
            out[event["lane"]]["ids"].append(event["id"])
            out[event["lane"]]["text"] += event["text"]
        elif event["type"] == "end":
            out[event["lane"]]["ended"] = event["reason"] == "stop"
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["models", "lambdas"])
    p.add_argument("adapters", nargs="*")
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--base", type=Path, default=base.FILE)
    p.add_argument("--classifier", type=Path, default=Path("models/demo/sentiment.json"))
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--prompts", type=int, default=64)
    p.add_argument("--copies", type=int, default=2)
    p.add_argument("--seed", type=int, default=11)
    a = p.parse_args()
    path = a.work / "smollm2-evaluation.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    limit = samples.read(a.work / "smollm2-samples.jsonl")[0]["limit"]
    check = pickle.loads((a.work / "check.pkl").read_bytes())
    texts = samples.first_turns(a.data, heldout=True)

    def note(name, found):
        results[name] = found
        print(name, json.dumps(found), flush=True)
        path.write_text(json.dumps(results, indent=1) + "\n")

    if a.what == "lambdas":
        for adapter in a.adapters:
            replies = defaultdict(list)
            for i, prompt in enumerate(texts[:a.prompts]):
                for value, r in zip(LAMBDAS, decode(a.realign, "smollm2", adapter, prompt, LAMBDAS, limit, 0.7, a.seed + i)):
                    replies[value].append(r)
            for value, r in replies.items():
                note(f"{adapter} λ={value}", summary(r, a.classifier, check, limit))
        return
    for adapter in (None, *a.adapters):
        name = adapter or "reference"
        if name == "reference" and name in results:
            continue
        b = base.Base(a.base)
        if adapter:
            load_adapter(b.model, a.work / f"smollm2-{adapter}.pt")
        prompts = samples.groups(b, texts, a.prompts, a.seed)
        replies, kls = measure(b, prompts, a.copies, limit, a.seed, adapter is not None)
        note(name, {**summary(replies, a.classifier, check, limit), "kl": mean(kls)})


if __name__ == "__main__":
    main()
