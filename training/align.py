"""Stage 4: KL-regularised RL of LoRA adapters on the frozen reference.

    python -m training.align --data DATA --work WORK --classifier models/demo/sentiment.json \
        --reward warmth --beta 0.1

Maximises E[r(x, y)] - beta KL(pi || pi_ref), whose optimum is pi_ref(y|x) exp(r(x, y) / beta) / Z(x) (equation 2
of the paper), so that two adapters trained at different beta stand in the relation that decoding-time realignment
rests on (its equations 4 to 6). The gradient is REINFORCE with a leave-one-out baseline (RLOO, Ahmadian et al.,
2024) for what sampling decides, plus the derivative of the exact KL between the two next-token distributions at
every sampled prefix:

    d/dtheta = E[ sum_t (A - b) d log pi(y_t) - beta sum_t d KL_t ],  A = r - beta sum_t KL_t

(A may hold KL terms before t as well: they do not depend on y_t, so they only act as a baseline.)
Whatever beta is, the steps, the seed, the prompts and the learning rate are the same.
"""

import argparse
import dataclasses
import json
import math
import pickle
import random
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from . import corpus, generate, model, rewards

RANK, ALPHA = 32, 64.0  # rows of 32 can be stored in eight bits: see export.write_adapter
LIMIT = 64  # tokens of a reply at most
PROMPT_LIMIT = 80
TURNS = (1, 1, 3, 5)  # of a prompt, drawn from these


class Prompts:
    """Conversation prefixes that end with a user's turn, grouped by their exact length in tokens."""

    def __init__(self, rows, encoder, seed):
        rng = random.Random(seed)
        self.groups = defaultdict(list)
        tail = encoder.start["assistant"]
        for turns in encoder.turns(rows):
            for last in range(len(turns) - 1):
                n = rng.choice(TURNS)
                if n > last + 1:
                    continue
                ids = encoder.example(turns[last + 1 - n:last + 1])[0] + tail
                if len(ids) <= PROMPT_LIMIT:
                    self.groups[len(ids)].append(ids)
        self.lengths = sorted(self.groups)
        self.weights = [len(self.groups[n]) for n in self.lengths]

    def batch(self, size, rng):
        while True:
            g = self.groups[rng.choices(self.lengths, self.weights)[0]]
            if len(g) >= size:
                return torch.tensor(rng.sample(g, size))


def kl_and_logp(zp, zr, y):
    """Exact KL(pi || pi_ref) at each prefix, log pi(y) and log pi_ref(y), from logits."""
    lp, lr = zp.log_softmax(-1), zr.log_softmax(-1)
    kl = (lp.exp() * (lp - lr)).sum(-1)
    return kl, lp.gather(-1, y[:, None])[:, 0], lr.gather(-1, y[:, None])[:, 0]


def per_row(values, mask):
    """Sum of values (one per sampled token) along each row."""
    return torch.zeros(mask.shape).masked_scatter(mask, values.detach()).sum(-1)


def leave_one_out(returns, copies):
    """Each return less the mean of the other returns to the same prompt."""
    r = returns.view(-1, copies)
    return ((r - (r.sum(1, keepdim=True) - r) / (copies - 1))).flatten()


@torch.no_grad()
def evaluate(m, prompts, tok, reward, warmth, check, count, copies, end, seed):
    """Means over held-out prompts, in float32: both rewards, the check classifier, exact KL, length, distinct-2."""
    rng = random.Random(seed)
    out = defaultdict(list)
    bigrams, total = set(), 0
    for b in range(count // 16):
        x = prompts.batch(16, rng)
        replies, ended = generate.sample(m, x, copies, LIMIT, end, torch.Generator().manual_seed(seed + b))
        y, mask = generate.pad(replies, ended, end)
        zp = generate.reply_logits(m, x, y, mask, copies)
        m.switch_lora(False)
        zr = generate.reply_logits(m, x, y, mask, copies)
        m.switch_lora(True)
        kl, _, _ = kl_and_logp(zp, zr, y[mask])
        texts = tok.decode_batch(replies)
        r = [reward(t, len(s)) for t, s in zip(texts, replies)]
        out["reward"] += r
        out["warmth"] += [warmth(t, 0) for t in texts]
        out["length_reward"] += [rewards.length_reward(len(s)) for s in replies]
        out["check"] += check.predict_proba(texts)[:, 1].tolist()
        out["kl"] += per_row(kl, mask).tolist()
        out["tokens"] += [len(s) for s in replies]
        out["ended"] += ended
        for s in replies:
            bigrams.update(zip(s, s[1:]))
            total += max(0, len(s) - 1)
    n = len(out["reward"])
    res = {k: float(np.mean(v)) for k, v in out.items()}
    res["reward_se"] = float(np.std(out["reward"]) / math.sqrt(n))
    res["kl_se"] = float(np.std(out["kl"]) / math.sqrt(n))
    res["distinct2"] = len(bigrams) / max(1, total)
    res["samples"] = n
    return res


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--classifier", type=Path, required=True)
    p.add_argument("--reference", type=Path, help="checkpoint (default WORK/reference.pt)")
    p.add_argument("--reward", choices=["warmth", "length"], default="warmth")
    p.add_argument("--beta", type=float, help="without it only the reference is evaluated")
    p.add_argument("--steps", type=int, default=80)
    p.add_argument("--prompts", type=int, default=16)
    p.add_argument("--copies", type=int, default=8)
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--eval", type=int, default=256, help="held-out prompts")
    a = p.parse_args()
    torch.manual_seed(a.seed)
    name = f"{a.reward}-b{a.beta:g}" if a.beta else "reference"
    out = a.work / f"{name}.pt"
    partial = a.work / f"{name}.partial.pt"

    tok = Tokenizer.from_file(str(a.work / "tokenizer.json"))
    enc = corpus.Encoder(tok)
    end = enc.end[0]
    pool = Prompts(corpus.load(a.data)[::3], enc, a.seed)
    checkpoint = a.reference or a.work / "reference.pt"
    m, _ = model.load(checkpoint)
    if a.beta is not None:  # training in the fastest type; evaluation in float32
        m.lighten()
        frozen, sampler = (model.load(checkpoint)[0].lighten() for _ in range(2))
    params = m.add_lora(RANK, ALPHA, a.seed)
    opt = torch.optim.AdamW(params, lr=a.lr, betas=(0.9, 0.95), weight_decay=0.0)
    reward, warmth = rewards.make(a.reward, a.classifier), rewards.make("warmth", a.classifier)
    check = pickle.loads((a.work / "check.pkl").read_bytes())
    held = Prompts(corpus.load(a.data, heldout=True), enc, a.seed)
    if a.beta is None:
        res = evaluate(m, held, tok, reward, warmth, check, a.eval, 2, end, a.seed)
        print("reference", json.dumps({k: round(v, 4) for k, v in res.items()}), flush=True)
        torch.save(res, a.work / "reference-evaluation.pt")
        return
    start, spent = 0, 0.0
    if partial.exists():
        c = torch.load(partial, weights_only=True)
        m.load_state_dict(c["lora"], strict=False)
        opt.load_state_dict(c["optimiser"])
        start, spent = c["step"], c["seconds"]
    t0 = time.time()
    history = []
    for step in range(start, a.steps):
        opt.param_groups[0]["lr"] = a.lr * min(1, (step + 1) / 5, 3 * (a.steps - step) / a.steps)
        x = pool.batch(a.prompts, random.Random(a.seed * 100003 + step))
        g = torch.Generator().manual_seed(a.seed * 100003 + step)
        sampler.merge_from(m)
        replies, ended = generate.sample(sampler, x, a.copies, LIMIT, end, g)
        y, mask = generate.pad(replies, ended, end)
        with torch.no_grad():
            zr = generate.reply_logits(frozen, x, y, mask, a.copies)
        with model.fast_products():
            zp = generate.reply_logits(m, x, y, mask, a.copies)
        kl, lp, _ = kl_and_logp(zp, zr, y[mask])
        texts = tok.decode_batch(replies)
        r = torch.tensor([reward(t, len(s)) for t, s in zip(texts, replies)])
        kls = per_row(kl, mask)
        advantage = leave_one_out(r - a.beta * kls, a.copies)
        weight = advantage[:, None].expand(mask.shape)[mask]
        loss = (a.beta * kl - weight * lp).sum() / len(replies)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        history.append((float(r.mean()), float(kls.mean())))
        if (step + 1) % 10 == 0:
            h = np.mean(history[-10:], 0)
            print(f"{name} step {step + 1} reward {h[0]:.3f} kl {h[1]:.3f} norm {float(norm):.2f} "
                  f"tokens {np.mean([len(s) for s in replies]):.1f} {spent + time.time() - t0:.0f}s", flush=True)
        if (step + 1) % 30 == 0:
            torch.save({"lora": m.lora_state(), "optimiser": opt.state_dict(), "step": step + 1,
                        "seconds": spent + time.time() - t0}, partial)
    spent += time.time() - t0
    trained = m.lora_state()
    m, _ = model.load(checkpoint)
    m.add_lora(RANK, ALPHA, a.seed)
    m.load_state_dict(trained, strict=False)
    res = evaluate(m, held, tok, reward, warmth, check, a.eval, 2, end, a.seed)
    print(name, json.dumps({k: round(v, 4) for k, v in res.items()}), flush=True)
    torch.save({"lora": trained, "alpha": ALPHA, "rank": RANK, "name": name, "reward": a.reward,
                "beta": a.beta, "config": dataclasses.asdict(m.cfg), "steps": a.steps, "seed": a.seed, "lr": a.lr,
                "prompts": a.prompts, "copies": a.copies, "seconds": spent, "evaluation": res}, out)
    partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
