"""Stage 4b: LoRA adapters on the frozen reference, trained to the optimum of a KL-regularised reward.

    python -m training.align --work WORK --reward warmth --beta 0.1
    python -m training.align --work WORK --reward warmth --beta 0.2 --start 0.1 --steps 400 --lr 5e-4

The optimum of E[r(x, y)] - beta KL(pi || pi_ref) is pi_ref(y|x) exp(r(x, y) / beta) / Z(x) (equation 2 of the paper), so
that two adapters trained at different beta stand in the relation that decoding-time realignment rests on (its equations
4 to 6). There, and only there,

    f(y) = log pi(y|x)/pi_ref(y|x) - r(x, y) / beta

is the same, -log Z(x), for every reply to a prompt. The loss is half the variance of f over replies to a prompt, averaged
over prompts (VarGrad; Richter et al., 2020): its gradient, E[(f - mean f) d log pi(y)], is that of KL(pi || pi*) on the
policy's own replies, vanishes with its noise at the optimum, and may be taken over any replies. A step takes 16 prompts and
16 replies to each: 8 of the policy, 4 of the policy at half its strength (B x 1/2), 4 of the reference (stage 4a), whose
rewards vary most. Replies serve REUSE steps; the policy that said them has moved on by then, which this loss allows.

`--start` takes up the adapter trained at another beta, its B scaled by the ratio of the two, which scales log pi/pi_ref
nearly so; of the same beta, it is trained further. `--toward` trains toward the optimum of a smaller beta than the adapter is named
by: least squares leaves log pi/pi_ref short of what it is fitted to (`calibrate.py`, which does the same by scaling B where that is enough). Weights are averaged with a weight that grows as the square of the step (about the last third counts). Every
--every steps the average is measured on held-out prompts (`optimum.measure`); training ends where the measures of `optimum`
are reached, or after --steps. Stopped (SIGTERM) and started again, it goes on from its last checkpoint.
"""

import argparse
import dataclasses
import random
import time
from collections import deque
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import corpus, generate, model, optimum, pool, rewards

RANK, ALPHA = 32, 64.0  # rows of 32 can be stored in eight bits: see export.write_adapter
PROMPTS = 16
OWN, HALF, REFERENCE = 8, 4, 4  # replies to each prompt of a step
REUSE = 4
KEPT = 8  # rounds of replies to draw from


def centred(f, owner, prompts):
    """f less its mean over the rows of the same prompt."""
    total, count = (f.new_zeros(prompts).index_add(0, owner, x) for x in (f, torch.ones_like(f)))
    return f - (total / count)[owner]


def loss(each, reference, mask, owner, reward, beta, prompts):
    """Half the mean variance of log pi/pi_ref - r / beta within prompts; each: log pi of every token, reference: pi_ref's."""
    f = generate.row_sums(each - reference, mask) - reward / beta
    return (centred(f, owner, prompts) ** 2).sum() / (2 * len(f))


class Average:
    """Weights averaged with a weight that grows as the square of the step (polynomial decay; Shamir and Zhang, 2013)."""

    def __init__(self, params, steps=0):
        self.steps, self.values = steps, [p.detach().clone() for p in params]

    def add(self, params):
        self.steps += 1
        for mine, p in zip(self.values, params):
            mine.lerp_(p.detach(), 3 / (self.steps + 2))


class Explorer:
    """Prompts of the pool with the policy's replies to them, made anew from time to time."""

    def __init__(self, groups, frozen, tok, reward, end, seed):
        self.groups, self.frozen, self.tok, self.reward, self.end, self.seed = groups, frozen, tok, reward, end, seed
        self.kept = deque(maxlen=KEPT)

    def explore(self, m, step):
        """A round: a group of prompts, its replies of the policy and of the policy at half its strength."""
        rng = random.Random(self.seed * 100003 + step)
        group = rng.choice(self.groups)
        made = []
        with torch.no_grad():
            for i, (factor, copies) in enumerate(((1.0, OWN), (0.5, HALF))):
                m.merge(factor, model.fast_dtype())
                made.append(pool.answers(m, self.frozen, self.tok, group.x, copies, self.end, (self.seed * 100003 + step) * 2 + i).score(self.reward))
        own = [[r for g in made for r in g.replies[i]] for i in range(len(group))]
        self.kept.append((group, own, rng.sample(range(len(group)), len(group))))

    def batch(self, m, step):
        """A group of PROMPTS prompts: first both halves of a fresh round, then of those kept."""
        rng = random.Random(self.seed * 100019 + step)
        turn = step % REUSE
        if turn == 0 or not self.kept:
            self.explore(m, step)
        group, own, order = self.kept[-1] if turn < 2 else rng.choice(self.kept)
        chosen = order[PROMPTS * (turn % 2):][:PROMPTS]
        return pool.Group(group.x[chosen], [own[i] + rng.sample(group.replies[i], REFERENCE) for i in chosen])


class Run:
    """One adapter in training: the model, its optimiser, the averaged weights, and how far it has got."""

    def __init__(self, a, m, name):
        self.a, self.m, self.name = a, m, name
        self.partial = a.work / f"{name}.partial.pt"
        self.params = m.add_lora(RANK, ALPHA, a.seed)
        self.opt = torch.optim.AdamW(self.params, lr=a.lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.step, self.spent, self.norm = 0, 0.0, None
        start = torch.load(a.work / f"{a.reward}-b{a.start:g}.pt", weights_only=True) if a.start is not None else None
        self.earlier = start if a.start == a.beta else {}  # the checkpoint that is trained further
        if self.partial.exists():
            c = torch.load(self.partial, weights_only=True)
            m.load_state_dict(c["lora"], strict=False)
            self.opt.load_state_dict(c["optimiser"])
            self.step, self.spent, self.norm = c["step"], c["seconds"], c["norm"]
            self.average = Average(self.params, c["averaged"])
            self.average.values = c["average"]
            return
        if start:
            m.load_state_dict(model.scaled(start["lora"], a.start / a.beta), strict=False)
        self.average = Average(self.params)

    def rate(self):
        """Up in ten steps, then down in a straight line to a tenth."""
        return self.a.lr * min((self.step + 1) / 10, 1 - 0.9 * self.step / self.a.steps)

    def learn(self, group, end):
        """One step; returns the loss, which at the optimum is 0."""
        y, mask, owner = group.rows(end)
        self.m.merge(1.0, model.fast_dtype())
        each, _ = generate.reply_logps(self.m, group.x, y, mask, owner)
        cost = loss(each, group.each(), mask, owner, group.rewards().flatten(), self.a.toward or self.a.beta, len(group))
        cost.backward()
        # Twice the usual norm at most: what is usual depends on beta and on how far training has got.
        norm = float(torch.nn.utils.clip_grad_norm_(self.params, 2 * self.norm if self.norm else 1e9))
        self.norm = norm if self.norm is None else 0.95 * self.norm + 0.05 * min(norm, 2 * self.norm)
        self.opt.param_groups[0]["lr"] = self.rate()
        self.opt.step()
        self.opt.zero_grad(set_to_none=True)
        self.average.add(self.params)
        self.step += 1
        return float(cost.detach())

    def save(self, seconds):
        torch.save({"lora": self.m.lora_state(), "optimiser": self.opt.state_dict(), "average": self.average.values, "averaged": self.average.steps,
                    "step": self.step, "seconds": seconds, "norm": self.norm}, self.partial.with_suffix(".tmp"))
        self.partial.with_suffix(".tmp").replace(self.partial)

    def averaged(self):
        """Context: the model with the averaged weights."""
        return Swapped(self.m, self.params, self.average.values)


class Swapped:
    """The model merged with other weights than those in training, while the context lasts."""

    def __init__(self, m, params, values):
        self.m, self.params, self.values = m, params, values

    def __enter__(self):
        self.held = [p.detach().clone() for p in self.params]
        self.put(self.values)
        with torch.no_grad():
            self.m.merge(1.0, model.fast_dtype())
        return self.m

    def __exit__(self, *_):
        self.put(self.held)

    def put(self, values):
        with torch.no_grad():
            for p, v in zip(self.params, values):
                p.copy_(v)


def command(a):
    """What the card says that made the adapter."""
    more = "".join(f" --{name} {value:g}" for name in ("start", "toward") if (value := getattr(a, name)) is not None)
    return f"python -m training.align --work WORK --reward {a.reward} --beta {a.beta:g}{more} --steps {a.steps} --lr {a.lr:g}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True, help="folder with reference.pt, tokenizer.json and the files of stage 4a")
    p.add_argument("--classifier", type=Path, default=Path("models/demo/sentiment.json"))
    p.add_argument("--reward", choices=["warmth", "length"], default="warmth")
    p.add_argument("--beta", type=float, required=True)
    p.add_argument("--start", type=float, help="take up the adapter trained at this beta")
    p.add_argument("--toward", type=float, help="train toward the optimum of this beta; the adapter is named and measured by --beta")
    p.add_argument("--steps", type=int, default=1000, help="at most")
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--every", type=int, default=100, help="steps from one measure to the next")
    p.add_argument("--held", type=int, default=128, help="held-out prompts to measure by while training; all of them afterwards")
    p.add_argument("--seed", type=int, default=7)
    a = p.parse_args()
    if a.beta <= 0 or a.steps < 1 or a.every < 1 or a.held < pool.GROUP or (a.toward is not None and a.toward <= 0):
        p.error(f"--beta and --toward must be above 0, --steps and --every 1 at least, --held {pool.GROUP}")
    model.quick()
    torch.manual_seed(a.seed)
    name = f"{a.reward}-b{a.beta:g}"
    tok = Tokenizer.from_file(str(a.work / "tokenizer.json"))
    end = corpus.Encoder(tok).end[0]
    reward = rewards.make(a.reward, a.classifier)
    held = pool.load(a.work / "pool-heldout.pt", reward)
    frozen = model.load(a.work / "reference.pt")[0].requires_grad_(False).lighten()
    run = Run(a, model.load(a.work / "reference.pt")[0], name)
    explorer = Explorer(pool.load(a.work / "pool.pt", reward), frozen, tok, reward, end, a.seed)

    def measures(groups):
        with run.averaged() as m:
            return optimum.measure(m, frozen, tok, groups, reward, a.beta, 4, end, a.seed)

    t0 = time.time() - run.spent
    costs = deque(maxlen=20)
    while run.step < a.steps:
        costs.append(run.learn(explorer.batch(run.m, run.step), end))
        if run.step % 20 == 0:
            print(f"{name} step {run.step} loss {sum(costs) / len(costs):.3f} norm {run.norm:.2f} {time.time() - t0:.0f}s", flush=True)
            run.save(time.time() - t0)
        if run.step % a.every == 0 and run.step < a.steps:
            found = measures(held[:a.held // pool.GROUP])
            print(f"{name} step {run.step}: {found}", flush=True)
            if found.reached:
                break
    found = measures(held)
    print(f"{name} after {run.step} steps: {found}", flush=True)
    with run.averaged() as m:
        lora = m.lora_state()
    earlier = run.earlier
    torch.save({"lora": lora, "alpha": ALPHA, "rank": RANK, "name": name, "reward": a.reward, "beta": a.beta, "start": earlier.get("start", a.start),
                "config": dataclasses.asdict(run.m.cfg), "seed": a.seed, "commands": earlier.get("commands", []) + [command(a)],
                "factor": earlier.get("factor", 1.0), "toward": a.toward, "steps": earlier.get("steps", 0) + run.step,
                "seconds": earlier.get("seconds", 0.0) + time.time() - t0, "measures": dataclasses.asdict(found)}, a.work / f"{name}.pt")
    run.partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
