"""Realign's decoder against decoding-time realignment in Hugging Face transformers, on the same weights.

    python -m training.bench_hf --realign bin/realign --pairs 20

The other side is the method as its authors publish it: two models in transformers, each with its cache, and a logits
processor that mixes them (Liu et al., 2024, section 3), in float32, on as many threads as there are processors. Both
sides continue the same prompts greedily for the same number of tokens, in turns; a ratio is that of tokens a second.
"Equal" is the share of tokens before two texts first part: llama.cpp rounds activations to eight bits.
K values of λ are K runs in transformers, as published, and one batch of K rows, which is kinder; in Realign they are
the lanes of one run. Loading is not counted. Peak memory is that of each process.

Needs the pair smollm2 (`make smollm2`).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import time
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from . import parity
from .smollm2 import base

PROMPTS = ["What did you think of the film?", "Tell me about your weekend.", "How do I get better at cooking?",
           "Do you like football?", "Who should I invite to the party?"]


def merged(b, adapter):
    """The base's state dict with a LoRA file added into its weights: W + (alpha/r) B A."""
    reader = gguf.GGUFReader(adapter)
    alpha = reader.fields["adapter.lora.alpha"].contents()
    halves = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    heads = {"attn_q": b.model.cfg.num_attention_heads, "attn_k": b.model.cfg.num_key_value_heads}
    state = b.model.merged_state()
    for name, low in halves.items():
        if not name.endswith(".lora_a"):
            continue
        whole = name.removesuffix(".lora_a")
        high, module = halves[f"{whole}.lora_b"], whole.split(".")[2]
        if module in heads:
            high = base.unpermute(high, heads[module])
        state[base.parameter_name(whole)] += alpha / low.shape[0] * high @ low
    return state


class Mixture(LogitsProcessor):
    """(1−λ)·reference + λ·aligned, for each row of a batch."""

    def __init__(self, aligned, lambdas):
        self.aligned, self.lambdas, self.cache = aligned, torch.tensor(lambdas)[:, None], None

    def __call__(self, ids, scores):
        new = ids if self.cache is None else ids[:, -1:]
        with torch.no_grad():
            out = self.aligned(new, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.cache = out.past_key_values
        return (1 - self.lambdas) * scores + self.lambdas * out.logits[:, -1]


def transformers_run(reference, aligned, ids, lambdas, tokens):
    """Seconds that a batch of one row for each λ takes, and what it says."""
    began = time.perf_counter()
    out = reference.generate(
        torch.tensor([ids] * len(lambdas)), attention_mask=torch.ones(len(lambdas), len(ids), dtype=torch.long),
        logits_processor=LogitsProcessorList([Mixture(aligned, lambdas)]), do_sample=False,
        max_new_tokens=tokens, pad_token_id=0)
    seconds, said = time.perf_counter() - began, out[:, len(ids):].tolist()
    assert all(len(row) == tokens for row in said)
    return seconds, said


def one_by_one(reference, aligned, ids, lambdas, tokens):
    """As many runs, one after another."""
    runs = [transformers_run(reference, aligned, ids, [x], tokens) for x in lambdas]
    return sum(seconds for seconds, _ in runs), [said for _, rows in runs for said in rows]


def realign_command(program, prompt, lambdas, tokens):
    return [program, "decode", "--pair", "smollm2", "--lambda", ",".join(map(str, lambdas)), "--prompt", prompt,
            "--temperature", "0", "--max-tokens", str(tokens), "--ignore-end", "--json"]


def realign_peak(program, prompt, lambdas, tokens):
    """The most MiB that a run has in memory. A child's resource usage begins with its parent's, so it is not that."""
    run, peak = subprocess.Popen(realign_command(program, prompt, lambdas, tokens), stdout=subprocess.DEVNULL), 0
    while run.poll() is None:
        try:
            line = next(x for x in Path(f"/proc/{run.pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
            peak = max(peak, int(line.split()[1]) / 1024)
        except (OSError, StopIteration):
            pass  # it has just ended
        time.sleep(0.02)
    return peak


def realign_run(program, prompt, lambdas, tokens):
    """Seconds that a run takes, without loading, and what its lanes say."""
    done = subprocess.run(realign_command(program, prompt, lambdas, tokens), stdout=subprocess.PIPE, text=True, check=True)
    said, seconds = [[] for _ in lambdas], None
    for event in map(json.loads, done.stdout.splitlines()):
        if event["type"] == "token":
            said[event["lane"]].append(event["id"])
        elif event["type"] == "stats":
            seconds = event["seconds"]
    return seconds, said


def interval(ratios, rng):
    """The median and its 95% bootstrap interval."""
    medians = [np.median(rng.choice(ratios, len(ratios))) for _ in range(2000)]
    return statistics.median(ratios), *np.quantile(medians, [0.025, 0.975])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--adapter", type=Path, default=Path("models/smollm2/warmth-b0.1.lora.gguf"))
    p.add_argument("--pairs", type=int, default=20)
    p.add_argument("--tokens", type=int, default=40)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    b = base.Base()
    reference = parity.hugging_face(b.model.merged_state(), b.model.cfg)
    # An end is a token like others. With min_new_tokens its logit would be −∞ before the mixture, and +∞ after it where λ > 1.
    reference.generation_config.eos_token_id = None
    aligned = parity.hugging_face(merged(b, a.adapter), b.model.cfg)
    eight = [round(2 * k / 7, 3) for k in range(8)]
    cases = [
        ("K = 1, λ = 0.5", [0.5], lambda ids: transformers_run(reference, aligned, ids, [0.5], a.tokens)),
        ("K = 8, eight runs", eight, lambda ids: one_by_one(reference, aligned, ids, eight, a.tokens)),
        ("K = 8, one batch of eight", eight, lambda ids: transformers_run(reference, aligned, ids, eight, a.tokens)),
    ]
    rng = np.random.default_rng(1)
    print(f"{a.pairs} pairs, {a.tokens} tokens a lane, {a.threads} threads.\n")
    print("| Realign ÷ transformers, tokens a second | ratio | 95% interval | Realign | transformers | equal |\n|---|--:|--:|--:|--:|--:|")
    for name, lambdas, other in cases:
        ratios, ours, theirs, same, every = [], [], [], 0, 0
        for i in range(a.pairs + 1):
            prompt = PROMPTS[i % len(PROMPTS)]
            ids = b.prompt(prompt)
            runs = [lambda: realign_run(a.realign, prompt, lambdas, a.tokens), lambda: other(ids)]
            results = [None, None]
            for k in ((0, 1) if i % 2 else (1, 0)):
                results[k] = runs[k]()
            if i == 0:
                continue  # warming up
            (mine, said), (his, his_said) = results
            ratios.append(his / mine)
            ours.append(mine)
            theirs.append(his)
            for x, y in zip(said, his_said):
                same += next((n for n, (s, t) in enumerate(zip(x, y)) if s != t), len(x))
                every += len(x)
        median, low, high = interval(ratios, rng)
        rate = lambda seconds: len(lambdas) * a.tokens / statistics.median(seconds)
        print(f"| {name} | {median:.2f} | {low:.2f}–{high:.2f} | {rate(ours):.1f} | {rate(theirs):.1f} | {same / every:.0%} |", flush=True)
    ours = realign_peak(a.realign, PROMPTS[0], eight, a.tokens)
    theirs = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory at K = 8: Realign {ours:.0f} MiB, transformers {theirs:.0f} MiB.")


if __name__ == "__main__":
    main()
