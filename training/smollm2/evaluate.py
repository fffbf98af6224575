"""Stage e: what the adapters do, on prompts that no training file holds.

    python -m training.smollm2.evaluate --data DATA --work WORK --lambdas 0,1/3,1,2 warmth-b0.1
    python -m training.smollm2.evaluate --data DATA --work WORK --lambdas 1 warmth-b0.3

Realign itself decodes the files that ship, at each λ, by default at temperature 1 without truncation; lanes of a
prompt share their noise. Measured are both rewards, the check classifier (WORK/check.pkl, of `training.classifier`),
the exact KL divergence from the reference at every token, summed along the reply, lengths, distinct word pairs. The
results are added to WORK/smollm2-evaluation.json.
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

from . import samples, tasks


def mean(values):
    """A mean and its standard error."""
    return [float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))]


def distinct2(texts):
    """Different pairs of neighbouring words over all of them."""
    found = [pair for t in texts for w in [re.findall(r"[a-z']+", t.lower())] for pair in zip(w, w[1:])]
    return len(set(found)) / max(1, len(found))


def summary(replies, classifier, check, limit):
    """Means over replies {"text", "ids", "ended", "kl"}."""
    out = {name: mean([tasks.reward(name, classifier, limit)({}, r) for r in replies]) for name in ("warmth", "brevity")}
    texts = [r["text"] for r in replies]
    out["check"] = mean(check.predict_proba(texts)[:, 1])
    out["kl"] = mean([r["kl"] for r in replies])
    out["tokens"] = mean([len(r["ids"]) for r in replies])
    return {**out, "ended": float(np.mean([r["ended"] for r in replies])), "distinct2": distinct2(texts), "samples": len(replies)}


def load_adapter(m, checkpoint):
    """Lays a checkpoint of `dpo` over the base; returns what else the checkpoint holds."""
    c = torch.load(checkpoint, map_location="cpu", weights_only=True)
    m.add_lora(c["rank"], c["alpha"], 0, c["first"])
    m.load_state_dict(c["lora"], strict=False)
    return c


def gather(lines, lanes):
    """Replies of `realign decode --json`, one a lane. The end marker is not counted among a reply's tokens."""
    out = [{"ids": [], "text": "", "ended": False, "kl": 0.0} for _ in range(lanes)]
    for event in map(json.loads, lines):
        if event["type"] == "token":
            r = out[event["lane"]]
            r["ids"].append(event["id"])
            r["text"] += event["text"]
            r["kl"] += event["kl_reference"]
        elif event["type"] == "end":
            out[event["lane"]]["ended"] = event["reason"] == "stop"
    for r in out:
        r["text"] = r["text"].strip()
        if r["ended"]:
            del r["ids"][-1]
    return out


def decode(realign, pair, adapter, prompt, lambdas, limit, temperature, seed):
    command = [realign, "decode", "--pair", pair, "--aligned", adapter, "--lambda", lambdas, "--prompt", "-",
               "--max-tokens", str(limit), "--temperature", str(temperature), "--top-p", "1", "--top-k", "0", "--min-p", "0",
               "--seed", str(seed), "--json"]
    done = subprocess.run(command, input=prompt, stdout=subprocess.PIPE, text=True, check=True)
    return gather(done.stdout.splitlines(), lambdas.count(",") + 1)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("adapters", nargs="+")
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--classifier", type=Path, default=Path("models/demo/sentiment.json"))
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--pair", default="smollm2")
    p.add_argument("--lambdas", default="0,1/3,1,2")
    p.add_argument("--prompts", type=int, default=100)
    p.add_argument("--temperature", type=float, default=1.0)
    p.add_argument("--seed", type=int, default=11)
    a = p.parse_args()
    path = a.work / "smollm2-evaluation.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    limit = samples.read(a.work / "smollm2-samples.jsonl")[0]["limit"]
    check = pickle.loads((a.work / "check.pkl").read_bytes())
    prompts = tasks.first_turns(a.data, heldout=True)[:a.prompts]
    for adapter in a.adapters:
        replies = defaultdict(list)
        for i, prompt in enumerate(prompts):
            for value, r in zip(a.lambdas.split(","), decode(a.realign, a.pair, adapter, prompt, a.lambdas, limit, a.temperature, a.seed + i)):
                replies[value].append(r)
        for value, r in replies.items():
            found = results[f"{adapter} λ={value}"] = {**summary(r, a.classifier, check, limit), "temperature": a.temperature}
            print(adapter, f"λ={value}", json.dumps(found), flush=True)
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
