"""Stage 4c: the strength of an adapter at which its log-ratios imply the beta that it is named by.

    python -m training.calibrate --work WORK --reward warmth --beta 0.1

Where the reward explains a share R^2 of the log-ratios within prompts, least squares (stage 4b) leaves their slope on the reward near
R^2 / beta instead of 1 / beta, as for any regressor that is known with an error (regression dilution; Fuller, Measurement Error Models,
1987, section 1.1): the adapter stands for a larger beta than it was trained for, and so does every beta / lambda that is told of it. B is
multiplied by the smallest factor at which slope x beta is ENOUGH, over the reference's replies to prompts that the adapter was trained on;
where no factor reaches that, by the one at which it is largest (there `training.align --toward` a smaller beta does better). KL grows with the factor, and the objective falls where what the reward
does not explain grows with it: both are told on held-out prompts, before and after.
"""

import argparse
import dataclasses
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import corpus, model, optimum, pool, rewards
from .fidelity import estimate

ENOUGH = 0.95
FACTORS = [1 + i / 20 for i in range(7)]  # 1 to 1.3: beyond, KL grows faster than the slope


def chosen(slopes):
    """The factor whose slope x beta is the first to be ENOUGH, or else the largest. slopes: (factor, slope x beta), factors rising."""
    for factor, slope in slopes:
        if slope >= ENOUGH:
            return factor
    return max(slopes, key=lambda s: s[1])[0]


class Adapter:
    """A checkpoint of stage 4b on its reference."""

    def __init__(self, work, name):
        self.path = work / f"{name}.pt"
        self.kept = torch.load(self.path, weights_only=True)
        self.m = model.load(work / "reference.pt")[0]
        self.m.add_lora(self.kept["rank"], self.kept["alpha"], seed=0)

    def at(self, factor):
        """The model with B times the factor, merged."""
        with torch.no_grad():
            self.m.load_state_dict(model.scaled(self.kept["lora"], factor), strict=False)
            self.m.merge(1.0, model.fast_dtype())
        return self.m

    def slope(self, factor, groups, end):
        """Slope of the log-ratio on the reward within prompts, over the reference's replies."""
        m = self.at(factor)
        reward, ratio = (torch.cat(x).double().numpy() for x in zip(*((g.rewards(), pool.log_ratios(m, g, end)) for g in groups)))
        found, _ = estimate.Bootstrap(len(reward), 1).slope(reward, ratio)
        if found is None:
            raise SystemExit(f"{self.path.stem}: its log-ratios, or the rewards of the pool's replies, are all the same")
        return found.value

    def save(self, factor, measures, command):
        self.kept.update(lora=model.scaled(self.kept["lora"], factor), factor=self.kept.get("factor", 1.0) * factor, measures=dataclasses.asdict(measures),
                         commands=self.kept.get("commands", []) + [command])
        tmp = self.path.with_suffix(".tmp")
        torch.save(self.kept, tmp)
        tmp.replace(self.path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--classifier", type=Path, default=Path("models/demo/sentiment.json"))
    p.add_argument("--reward", choices=["warmth", "length"], default="warmth")
    p.add_argument("--beta", type=float, required=True)
    p.add_argument("--prompts", type=int, default=512, help="of the pool, to choose the factor by")
    p.add_argument("--seed", type=int, default=7)
    a = p.parse_args()
    if a.beta <= 0 or a.prompts < pool.GROUP:
        p.error(f"--beta must be above 0, --prompts {pool.GROUP} at least")
    model.quick()
    tok = Tokenizer.from_file(str(a.work / "tokenizer.json"))
    end = corpus.Encoder(tok).end[0]
    reward = rewards.make(a.reward, a.classifier)
    adapter = Adapter(a.work, f"{a.reward}-b{a.beta:g}")
    frozen = model.load(a.work / "reference.pt")[0].requires_grad_(False).lighten()
    held = pool.load(a.work / "pool-heldout.pt", reward)
    some = pool.load(a.work / "pool.pt", reward)[:a.prompts // pool.GROUP]
    slopes = []
    for factor in FACTORS:
        slopes.append((factor, adapter.slope(factor, some, end) * a.beta))
        print(f"{adapter.path.stem} x {factor:.2f}: slope x beta {slopes[-1][1]:.3f}", flush=True)
        if slopes[-1][1] >= ENOUGH:
            break
    factor = chosen(slopes)
    for x in dict.fromkeys((1.0, factor)):
        found = optimum.measure(adapter.at(x), frozen, tok, held, reward, a.beta, 4, end, a.seed)
        print(f"{adapter.path.stem} x {x:.2f}, held out: {found}", flush=True)
    adapter.save(factor, found, f"python -m training.calibrate --work WORK --reward {a.reward} --beta {a.beta:g}")


if __name__ == "__main__":
    main()
