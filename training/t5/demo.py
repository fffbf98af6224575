"""Trains the pair demo-t5: a small T5 that answers a context, and LoRA adapters for a reward on its reply's length at four β.

    python -m training.t5.demo pretrain --data DATA --work WORK --minutes 20
    python -m training.t5.demo align --data DATA --work WORK --steps 100
    python -m training.t5.demo export --data DATA --work WORK --out models/demo-t5

pretrain can be stopped (SIGTERM) and started again. align makes the adapter of β = 0.1 first and its neighbours from it: the optimum π_ref exp(r/β)/Z has
log π/π_ref proportional to 1/β, so half or twice the adapter is near the next one. Its loss is the variance, over replies to one context, of β log π/π_ref − r: that is
constant exactly at the optimum (VarGrad: Richter et al. 2020). Of the replies some are the model's own, some its own at half strength, some the
reference's; they serve several steps.

An adapter that is trained --further wants a low rate. With --further 0.1 --steps 420 --rate 1.5e-3, from the adapter that ships, the variance over new replies rose
from 0.19 to between 0.23 and 0.30 within 120 steps, while over those met before it fell to 0.01: they were learned by heart.
"""

import argparse
import collections
import copy
import json
import math
import random
import signal
import time
from pathlib import Path

import numpy as np
import sentencepiece
import torch

from training import corpus, manifest, optimum
from training.muon import Muon
from training.rewards import length_reward
from training.t5 import card, dialogue, export, model

SEED = 1
BETAS = {0.1: (None, 1.0, 1.0), 0.2: (0.1, 0.5, 0.4), 0.4: (0.2, 0.5, 0.4), 0.05: (0.1, 2.0, 0.4)}  # β: whose adapter, times what, share of the steps
OWN, HALF, REFERENCE = 6, 3, 6  # replies to a context in a step: the model's own, its own at half strength, the reference's
POOL = 16  # replies of the reference to each context, of which a step takes some
REUSE = 3  # steps for which replies are made once
RATES = (0.012, 0.003)  # of Muon and AdamW
DECAY = 0.4  # share of the time in which the rates fall to 0


def reward(reply):
    return length_reward(len(reply) - (reply[-1] == dialogue.END))


def load_data(args, heldout=False):
    spm = args.work / "demo-t5.spm"
    sp = sentencepiece.SentencePieceProcessor(model_file=str(spm)) if spm.exists() else dialogue.vocabulary(args.data, spm)
    encoder = dialogue.Encoder(sp)
    rows = corpus.load(args.data, heldout=heldout)
    turns = encoder.turns(rows)
    if not heldout:
        rows, turns = corpus.mixture(rows, turns)
    return sp, encoder, turns


def optimisers(m):
    def matrix(name, p):
        return p.ndim == 2 and not any(word in name for word in ("shared", "embed", "lm_head", "relative"))

    named = list(m.named_parameters())
    query = [p for n, p in named if matrix(n, p) and n.endswith(".q.weight")]
    others = [p for n, p in named if matrix(n, p) and not n.endswith(".q.weight")]
    rest = [p for n, p in named if not matrix(n, p)]
    return [(Muon(others, lr=RATES[0], weight_decay=0.01), RATES[0]), (Muon(query, lr=RATES[0] / 4, weight_decay=0.01), RATES[0] / 4),
            (torch.optim.AdamW(rest, lr=RATES[1], betas=(0.9, 0.95), weight_decay=0.0, eps=1e-10), RATES[1])]


@torch.no_grad()
def heldout_loss(m, pairs):
    total = n = 0
    for batch in dialogue.batches(pairs, 4096, SEED):
        t, k = model.loss(m, [s for s, _ in batch], [r for _, r in batch])
        total, n = total + float(t), n + k
    return total / n


def pretrain(args):
    sp, encoder, turns = load_data(args)
    held = dialogue.examples(load_data(args, heldout=True)[2][::3], encoder, SEED)[:1500]
    path = args.work / "demo-t5.pt"
    m = model.new(sp.get_piece_size(), SEED)
    opts = optimisers(m)
    state = {"step": 0, "epoch": 0, "batch": 0, "tokens": 0, "seconds": 0.0}
    if path.exists():
        c = torch.load(path, weights_only=True)
        m.load_state_dict(c["weights"])
        for (o, _), s in zip(opts, c["optimisers"]):
            o.load_state_dict(s)
        state = c["state"]
    print(f"{sum(p.numel() for p in m.parameters()) / 1e6:.2f}M parameters, from step {state['step']}", flush=True)

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    began, saved, before = time.time(), time.time(), state["seconds"]

    def save():
        tmp = path.with_suffix(".tmp")
        torch.save({"weights": m.state_dict(), "optimisers": [o.state_dict() for o, _ in opts], "state": state}, tmp)
        tmp.replace(path)

    window = count = 0.0
    total = 60 * args.minutes
    while state["seconds"] < total and not stop:
        examples = dialogue.examples(turns, encoder, SEED + 1000 * state["epoch"])
        for i, batch in enumerate(dialogue.batches(examples, args.tokens, SEED + state["epoch"])):
            if i < state["batch"]:
                continue
            share = state["seconds"] / total
            if share >= 1 or stop:
                break
            for o, lr in opts:
                o.param_groups[0]["lr"] = lr * min(1, (state["step"] + 1) / 100, (1 - share) / DECAY)
            t, k = model.loss(m, [s for s, _ in batch], [r for _, r in batch])
            (t / k).backward()
            torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            for o, _ in opts:
                o.step()
                o.zero_grad(set_to_none=True)
            window, count = window + float(t.detach()), count + k
            state.update(step=state["step"] + 1, batch=i + 1, tokens=state["tokens"] + k, seconds=before + time.time() - began)
            if state["step"] % 50 == 0:
                print(f"step {state['step']} epoch {state['epoch']} loss {window / count:.4f} reply tokens {state['tokens'] / 1e6:.2f}M {state['seconds']:.0f}s", flush=True)
                window = count = 0.0
            if time.time() - saved > 180:
                saved = time.time()
                save()
        else:
            state.update(epoch=state["epoch"] + 1, batch=0)
    state["heldout"] = heldout_loss(m, held)
    save()
    print(f"held-out loss {state['heldout']:.4f} perplexity {math.exp(state['heldout']):.2f}", flush=True)


def load(args):
    sp = sentencepiece.SentencePieceProcessor(model_file=str(args.work / "demo-t5.spm"))
    m = model.new(sp.get_piece_size(), SEED)
    c = torch.load(args.work / "demo-t5.pt", weights_only=True)
    m.load_state_dict(c["weights"])
    return sp, m.eval(), c["state"]


def contexts(turns, encoder, n, seed):
    """Sources, one a conversation."""
    rng = random.Random(seed)
    out = []
    for conversation in rng.sample(turns, len(turns)):
        pairs = dialogue.examples([conversation], encoder, rng.randrange(1 << 30))
        if pairs:
            out.append(pairs[0][0])
        if len(out) == n:
            break
    return out


class Replies:
    """Replies to contexts: of the reference, and of the policy at some strength. base has their log-probabilities under the reference."""

    def __init__(self, m, branches, sources, strength, copies):
        model.strength(branches, strength)
        self.replies, base = [], []
        with torch.no_grad():
            for i in range(0, len(sources), 32):
                some = sources[i:i + 32]
                model.strength(branches, strength)
                said = model.sample(m, some, copies, dialogue.REPLY)
                model.strength(branches, 0.0)
                base.append(model.log_probability(m, some, said, copies).view(-1, copies))
                self.replies += [said[j:j + copies] for j in range(0, len(said), copies)]
        model.strength(branches, 1.0)
        self.base = torch.cat(base)
        self.rewards = torch.tensor([[reward(r) for r in group] for group in self.replies])

    def some(self, chosen, which=slice(None)):
        """Those to some of the contexts, by place, and of these which there are."""
        chosen, part = list(chosen), copy.copy(self)
        part.replies, part.base, part.rewards = [self.replies[i][which] for i in chosen], self.base[chosen][:, which], self.rewards[chosen][:, which]
        return part


def joined(parts):
    """Replies of several kinds to the same contexts."""
    out = copy.copy(parts[0])
    out.replies = [sum(groups, []) for groups in zip(*(p.replies for p in parts))]
    out.base, out.rewards = torch.cat([p.base for p in parts], 1), torch.cat([p.rewards for p in parts], 1)
    return out


def log_ratios(m, sources, replies):
    """log π/π_ref of each reply."""
    copies = len(replies.replies[0])
    return model.log_probability(m, sources, [r for group in replies.replies for r in group], copies).view(-1, copies) - replies.base


@torch.no_grad()
def evaluate(m, branches, sources, reference, beta, seed):
    """How near the policy is to the optimum of its β (optimum.Measures), by replies to held-out contexts at temperature 1."""
    torch.manual_seed(seed)
    own = Replies(m, branches, sources, 1.0, 8)

    def pair(replies):
        ratios = [log_ratios(m, sources[i:i + 32], replies.some(range(i, min(i + 32, len(sources))))) for i in range(0, len(sources), 32)]
        return replies.rewards.numpy(), torch.cat(ratios).numpy()

    return optimum.summarise(pair(reference), pair(own), beta)


def align(args):
    sp, m, _ = load(args)
    encoder = dialogue.Encoder(sp)
    sources = contexts(load_data(args)[2], encoder, args.contexts, SEED)
    held = contexts(load_data(args, heldout=True)[2], encoder, args.held, SEED)
    branches = model.add_lora(m, SEED)
    parameters = [p for b in branches.values() for p in (b.a, b.b)]
    torch.manual_seed(SEED)
    pool, heldout = (Replies(m, branches, x, 0.0, POOL) for x in (sources, held))
    print(f"reference: reward {float(pool.rewards.mean()):.3f}", flush=True)
    start = model.factors(branches)
    done = {}
    for beta, (whose, scale, share) in BETAS.items():
        out = args.work / f"length-b{beta:g}.pt"
        before = torch.load(out, weights_only=True) if out.exists() else {"factors": done[whose]["factors"] if whose else start, "steps": 0}
        if before["steps"] and beta != args.further:
            done[beta] = before
            continue
        model.set_factors(branches, before["factors"], 1.0 if before["steps"] else scale)
        steps, rng = round(share * args.steps), random.Random(SEED + before["steps"])
        opt = torch.optim.AdamW(parameters, lr=args.rate, betas=(0.9, 0.95), weight_decay=0.0)
        mean, began, kept = None, time.time(), collections.deque(maxlen=8)
        for step in range(steps):
            opt.param_groups[0]["lr"] = args.rate * share * min((step + 1) / 10, 1 - 0.9 * step / steps)
            if step % REUSE == 0:
                torch.manual_seed(SEED * 100003 + before["steps"] + step)
                chosen = rng.sample(range(len(sources)), args.batch)
                some = [sources[i] for i in chosen]
                first = rng.randrange(POOL - REFERENCE + 1)
                kept.append((some, joined([pool.some(chosen, slice(first, first + REFERENCE)), Replies(m, branches, some, 1.0, OWN), Replies(m, branches, some, 0.5, HALF)])))
            some, replies = rng.choice(kept) if step % REUSE else kept[-1]
            each = beta * log_ratios(m, some, replies) - replies.rewards
            loss = each.var(1).mean()
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            opt.step()
            n = step - 2 * steps // 3
            if n >= 0:  # the mean of the last third
                state = model.factors(branches)
                mean = state if mean is None else {k: tuple(x + (y - x) / (n + 1) for x, y in zip(mean[k], state[k])) for k in state}
            if step % (4 * REUSE) == 0:  # replies that it was not trained on yet: on those that it was the variance says nothing
                print(f"β {beta:g} step {step} variance {float(loss.detach()):.4f} of {float(replies.rewards.var(1).mean()):.4f} {time.time() - began:.0f}s", flush=True)
        model.set_factors(branches, mean)
        measures = evaluate(m, branches, held, heldout, beta, SEED)
        done[beta] = {"factors": model.factors(branches), "measures": str(measures), "steps": before["steps"] + steps}
        torch.save(done[beta], out)
        print(f"β {beta:g}: {measures}", flush=True)


def export_pair(args):
    sp, m, state = load(args)
    args.out.mkdir(parents=True, exist_ok=True)
    about = dict(license="cc-by-4.0")
    reference = args.out / "reference-q8_0.gguf"
    export.write(reference, m, args.work / "demo-t5.spm", "q8_0", "Realign demo-t5 reference", context=512, template=dialogue.TEMPLATE,
                 description="A small T5 trained from scratch on public dialogue corpora to answer a context.", **about)
    aligned, told = [], []
    for beta in sorted(BETAS):
        path = args.work / f"length-b{beta:g}.pt"
        if not path.exists():
            continue
        c = torch.load(path, weights_only=True)
        file = args.out / f"length-b{beta:g}.lora.gguf"
        export.write_adapter(file, c["factors"], model.ALPHA, "q8_0", f"Realign demo-t5 length-b{beta:g}",
                             description=f"LoRA adapter: the optimum for a reward on length and beta {beta:g}, as far as training went.", **about)
        told.append((file, beta, c["steps"], c["measures"]))
        aligned.append({"name": f"length-b{beta:g}", "title": f"Length, β = {beta:g}", "description": f"Rewarded for replies of 24 to 32 tokens. KL strength β = {beta:g} in training.",
                        "adapter": file.name, "sha256": manifest.sha256(file), "beta": beta, "reward": "length", "default": beta == 0.1})
    made = {"reference": {k: state[k] for k in ("step", "tokens", "seconds", "heldout")}, **{f"length-b{beta:g}": {"steps": steps, "measures": measures} for _, beta, steps, measures in told}}
    (args.out / "training.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    aligned.sort(key=lambda a: not a["default"])
    pair = {
        "name": "demo-t5", "title": "Demo T5: a small encoder–decoder", "licence": "CC-BY-4.0",
        "description": "A T5 of seven million parameters trained from scratch on public dialogues to answer a context, and LoRA adapters that realign its replies' length.",
        "sampling": manifest.SAMPLING,
        "reference": {"name": "reference", "title": "Reference", "file": reference.name, "sha256": manifest.sha256(reference)}, "aligned": aligned,
    }
    (args.out / "pair.json").write_text(json.dumps(pair, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    held = contexts(load_data(args, heldout=True)[2], dialogue.Encoder(sp), args.held, SEED)
    branches = model.add_lora(m, SEED)
    card.write(args.out, reference, state, told, card.samples(sp, m, branches, torch.load(args.work / "length-b0.1.pt", weights_only=True)["factors"], held))
    print(sum(f.stat().st_size for f in args.out.iterdir()), "bytes")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("stage", choices=["pretrain", "align", "export"])
    p.add_argument("--data", type=Path)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--out", type=Path)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--minutes", type=float, default=20, help="pretrain: how long, over all starts")
    p.add_argument("--tokens", type=int, default=6144, help="pretrain: tokens of a batch")
    p.add_argument("--steps", type=int, default=100, help="align: of the first β")
    p.add_argument("--further", type=float, choices=BETAS, help="align: the β whose adapter in WORK is trained for more steps, as many as a new one would have; the others' stay")
    p.add_argument("--rate", type=float, default=2e-3, help="align: learning rate")
    p.add_argument("--batch", type=int, default=12, help="align: contexts of a step")
    p.add_argument("--contexts", type=int, default=768, help="align: contexts in all")
    p.add_argument("--held", type=int, default=128, help="align: held-out contexts for the evaluation")
    args = p.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    {"pretrain": pretrain, "align": align, "export": export_pair}[args.stage](args)


if __name__ == "__main__":
    main()
