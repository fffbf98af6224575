"""Stage c: LoRA adapters by direct preference optimisation (DPO; Rafailov et al., 2023).

    python -m training.smollm2.dpo --work WORK --classifier models/demo/sentiment.json --reward warmth --beta 0.1

Of the reference's replies to a prompt the best and the worst by a reward make a pair, and with --ranks 2 the second best
and the last but one, too, which costs little where a prompt is long. The loss is DPO's (its equation 7), with the
Bradley-Terry probability sigma(r(y_w) - r(y_l)) of the label in place of a label drawn by it:

    d = log pi(y_w) / pi_ref(y_w) - log pi(y_l) / pi_ref(y_l),  p = sigma(r(y_w) - r(y_l))
    L = -p log sigma(beta d) - (1 - p) log sigma(-beta d)

It is least where beta d = r(y_w) - r(y_l), that is at pi_ref(y|x) exp(r(x, y) / beta) / Z(x), so that two adapters
trained at different beta stand in the relation that decoding-time realignment rests on. (With labels that are always
1, beta d would grow without bound, whatever beta is.) Whatever beta is, the pairs, their order, the steps, the seed
and the learning rate are the same. Stopped and started again, it goes on from its last checkpoint.

Take several hundred prompts and one pass over them. On 72 pairs at beta 0.1 and a learning rate of 5e-4, one pass
brought beta d to 0.20 of the rewards' gap on 16 held-out pairs (1 is the optimum), and three passes brought it back
to 0.00: from the second pass on the pairs were learned by heart, with margins of 20 nats where 7 were asked for.
"""

import argparse
import dataclasses
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .. import generate
from . import base, samples, tasks

RANK, ALPHA = 32, 64.0  # rows of 32 can be stored in eight bits: see export.write_adapter
FIRST = 20  # of 30 blocks: those before it have no adapter, and no gradient goes through them
STEP = 4  # prompts a step


def pairs(rows, score, ranks):
    """For each prompt its best and its worst reply, its second best and the last but one, and so on, with the gaps of their rewards."""
    out = []
    for row in rows:
        ranked = sorted(((score(row, r), i, r) for i, r in enumerate(row["replies"])), reverse=True)
        both = [(ranked[k], ranked[-1 - k]) for k in range(ranks)]
        out.append({"ids": row["ids"], "replies": [r for pair in both for _, _, r in pair], "gaps": [better - worse for (better, *_), (worse, *_) in both]})
    return out


def gaps(items):
    return torch.tensor([gap for item in items for gap in item["gaps"]])


def batches(items, group=samples.GROUP):
    """Lists of prompts that are equally long, as they are within a group of samples: STEP at most."""
    step = min(STEP, group)
    return [items[i:i + step] for i in range(0, len(items), step)]


def steps(items, group, epochs, seed):
    """What each step trains on: batches, one after another, of STEP prompts in all where so many are left."""
    out, every, n = [], batches(items, group), max(1, STEP // group)
    for e in range(epochs):
        shuffled = random.Random(seed + e).sample(every, len(every))
        out += [shuffled[i:i + n] for i in range(0, len(shuffled), n)]
    return out


def log_ratios(m, batch, end):
    """log pi(y) / pi_ref(y) as (pairs, 2): of the best reply and of the worst."""
    replies = [r for item in batch for r in item["replies"]]
    x = torch.tensor([item["ids"] for item in batch])
    y, mask = generate.pad([r["ids"] for r in replies], [r["ended"] for r in replies], end)
    z = generate.reply_logits(m, x, y, mask, len(batch[0]["replies"]))
    logps = generate.row_sums(-F.cross_entropy(z, y[mask], reduction="none"), mask)
    return (logps - torch.tensor([r["logp"] for r in replies])).view(-1, 2)


def loss(ratios, gap, beta):
    """Mean loss over its least value, the entropy of the labels, which no policy can get below."""
    p = torch.sigmoid(gap)
    floor = F.binary_cross_entropy(p, p)
    return F.binary_cross_entropy_with_logits(beta * (ratios[:, 0] - ratios[:, 1]), p) - floor


@torch.no_grad()
def measure(m, items, beta, end, group=samples.GROUP):
    """Over pairs: the loss, how often the policy has come to prefer the better reply, beta d over the gap."""
    ratios = torch.cat([log_ratios(m, b, end) for b in batches(items, group)])
    d, gap = ratios[:, 0] - ratios[:, 1], gaps(items)
    return {"loss": float(loss(ratios, gap, beta)), "preferred": float((d > 0).float().mean()),
            "slope": float((beta * d * gap).sum() / (gap * gap).sum()), "pairs": len(d)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--base", type=Path, default=base.FILE)
    p.add_argument("--classifier", type=Path, default=Path("models/demo/sentiment.json"))
    p.add_argument("--reward", choices=[r for names in tasks.REWARDS.values() for r in names], default="warmth")
    p.add_argument("--beta", type=float, required=True)
    p.add_argument("--ranks", type=int, default=1, help="pairs of a prompt's replies")
    p.add_argument("--epochs", type=int, default=1)
    p.add_argument("--steps", type=int, help="stop after so many, as if there were no more pairs")
    p.add_argument("--lr", type=float, default=3e-4)
    p.add_argument("--held", type=int, default=16, help="prompts to measure the loss on and not to train on")
    p.add_argument("--seed", type=int, default=7)
    a = p.parse_args()
    name = f"{a.reward}-b{a.beta:g}"
    out, partial = a.work / f"smollm2-{name}.pt", a.work / f"smollm2-{name}.partial.pt"
    settings, rows = samples.read(samples.file(a.work, tasks.of(a.reward)))
    group = settings["group"]
    if not 1 <= a.ranks <= settings["copies"] // 2:
        p.error(f"--ranks {a.ranks}: of {settings['copies']} replies to a prompt 1 to {settings['copies'] // 2} pairs can be made")
    items = pairs(rows, tasks.reward(a.reward, a.classifier, settings["limit"]), a.ranks)
    held, items = items[:a.held], items[a.held:]
    order = steps(items, group, a.epochs, a.seed)[:a.steps]

    b = base.Base(a.base)
    m = b.model
    params = m.add_lora(RANK, ALPHA, a.seed, FIRST)
    opt = torch.optim.AdamW(params, lr=a.lr, betas=(0.9, 0.95), weight_decay=0.0)
    start, spent, history = 0, 0.0, []
    if partial.exists():
        c = torch.load(partial, weights_only=True)
        m.load_state_dict(c["lora"], strict=False)
        opt.load_state_dict(c["optimiser"])
        start, spent, history, before = c["step"], c["seconds"], c["history"], c["before"]
    else:
        before = {"loss": float(loss(torch.zeros(len(held) * a.ranks, 2), gaps(held), a.beta))}  # of the reference itself
    t0 = time.time()
    for step in range(start, len(order)):
        opt.param_groups[0]["lr"] = a.lr * min(1, (step + 1) / 5, 3 * (len(order) - step) / len(order))
        count, total, d = sum(map(len, order[step])), 0.0, []
        for batch in order[step]:
            ratios = log_ratios(m, batch, b.end)
            cost = loss(ratios, gaps(batch), a.beta) * len(batch) / count
            cost.backward()
            total += float(cost.detach())
            d.append((ratios[:, 0] - ratios[:, 1]).detach())
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        d = torch.cat(d)
        history.append([total, float((d > 0).float().mean()), float(d.mean())])
        if (step + 1) % 8 == 0 or step + 1 == len(order):
            h = np.mean(history[-8:], 0)
            print(f"{name} step {step + 1}/{len(order)} loss {h[0]:.4f} preferred {h[1]:.2f} margin {h[2]:.2f} "
                  f"norm {float(norm):.3f} {spent + time.time() - t0:.0f}s", flush=True)
            torch.save({"lora": m.lora_state(), "optimiser": opt.state_dict(), "step": step + 1, "history": history,
                        "before": before, "seconds": spent + time.time() - t0}, partial.with_suffix(".tmp"))
            partial.with_suffix(".tmp").replace(partial)
    spent += time.time() - t0
    after = measure(m, held, a.beta, b.end, group)
    print(name, "after", after, flush=True)
    assert all(math.isfinite(h[0]) for h in history)
    torch.save({"lora": m.lora_state(), "alpha": ALPHA, "rank": RANK, "first": FIRST, "name": name,
                "title": f"Realign smollm2 {name}", "licence": "apache-2.0",
                "about": f"LoRA adapter for SmolLM2-135M-Instruct: DPO, reward {a.reward}, beta {a.beta:g}.",
                "reward": a.reward, "beta": a.beta, "config": dataclasses.asdict(m.cfg), "seed": a.seed, "lr": a.lr,
                "steps": len(order), "epochs": a.epochs, "pairs": len(items) * a.ranks, "ranks": a.ranks, "samples": settings,
                "gap": float(gaps(items).mean()),
                "history": history, "before": before, "after": after, "seconds": spent}, out)
    partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
