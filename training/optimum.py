"""How near a trained policy is to the optimum of its objective, by replies of the reference and of its own.

The optimum of E[r] - beta KL(pi || pi_ref) is pi*(y|x) = pi_ref(y|x) exp(r(x, y) / beta) / Z(x). Its log-ratio
log pi*/pi_ref is r / beta - log Z(x), and its objective beta log Z(x), which no policy exceeds. So of a policy are told

- the share R^2 of its log-ratio's variance within prompts that the reward explains, and the beta that the slope implies,
- its objective against beta E[log Z], which differ by beta KL(pi || pi*).
"""

import dataclasses

import numpy as np
import torch

from . import pool
from .fidelity import estimate

R2, SLOPE, GAP = 0.85, 0.15, 0.05  # what is asked for: R^2 at least, implied beta and objective off by this share at most


@dataclasses.dataclass
class Measures:
    """Estimates with intervals. Of the optimum: reward and KL; of the policy: reward, KL and objective."""

    beta: float
    optimum_reward: estimate.Estimate
    optimum_kl: estimate.Estimate
    reward: estimate.Estimate
    kl: estimate.Estimate
    objective: estimate.Estimate
    bound: estimate.Estimate  # beta log Z
    gap: estimate.Estimate  # objective less bound
    slope: estimate.Estimate | None  # of the log-ratio on the reward, over the reference's replies
    r2: estimate.Estimate | None
    own_slope: estimate.Estimate | None
    own_r2: estimate.Estimate | None

    @property
    def implied(self):
        return 1 / self.slope.value if self.slope and self.slope.value > 0 else None

    @property
    def reached(self):
        return bool(self.r2 and self.implied and self.r2.value >= R2 and abs(self.implied / self.beta - 1) <= SLOPE
                    and -self.gap.value <= GAP * abs(self.bound.value))

    def __str__(self):
        n = lambda e: "-" if e is None else f"{e.value:.3f}"
        share = self.gap.value / abs(self.bound.value) if self.bound.value else float("nan")
        return (f"R2 {n(self.r2)} (own {n(self.own_r2)}), implied beta {self.implied or float('nan'):.3f}, reward {n(self.reward)} of {n(self.optimum_reward)}, "
                f"KL {n(self.kl)} of {n(self.optimum_kl)}, objective {n(self.objective)} of {n(self.bound)} ({share:+.1%})")


def weights(reference, own, beta):
    """log of the importance weights for pi*, and log Z by prompt, from both kinds of replies at once.

    reference, own: (reward, log-ratio of the policy) of the replies of pi_ref and of pi, each (prompts, replies). The
    replies are a sample from the mixture of both (the balance heuristic; Veach and Guibas, 1995), against which no
    reply weighs much: those of the reference that the policy likes are drawn by the policy, too.
    """
    n, m = reference[0].shape[1], own[0].shape[1]
    reward, ratio = (np.concatenate([a, b], 1) for a, b in zip(reference, own))
    log_w = reward / beta - np.logaddexp(np.log(n), np.log(m) + ratio if m else -np.inf)
    top = log_w.max(1, keepdims=True)
    log_z = (top + np.log(np.exp(log_w - top).sum(1, keepdims=True)))[:, 0]
    return log_w - log_z[:, None], log_z


def summarise(reference, own, beta, repeats=400):
    """Measures from (rewards, log-ratios) as of `weights`."""
    b = estimate.Bootstrap(len(own[0]), repeats)
    log_w, log_z = weights(reference, own, beta)
    w, reward = np.exp(log_w), np.concatenate([reference[0], own[0]], 1)
    best = (w * reward).sum(1)
    objective = own[0] - beta * own[1]
    slope, r2 = b.slope(*reference)
    own_slope, own_r2 = b.slope(*own)
    return Measures(beta, b.mean(best), b.mean(best / beta - log_z), b.mean(own[0]), b.mean(own[1]), b.mean(objective), b.mean(beta * log_z),
                    b.mean(objective.mean(1) - beta * log_z), slope, r2, own_slope, own_r2)


@torch.no_grad()
def measure(m, frozen, tok, held, reward, beta, copies, end, seed):
    """Measures of m over held-out groups of the reference's replies; `copies` replies of its own to each prompt."""
    reference, own = [], []
    for i, g in enumerate(held):
        reference.append((g.rewards(), pool.log_ratios(m, g, end)))
        mine = pool.answers(m, frozen, tok, g.x, copies, end, seed * 1009 + i).score(reward)
        own.append((mine.rewards(), pool.log_ratios(m, mine, end)))
    reference, own = (tuple(torch.cat(x).double().numpy() for x in zip(*some)) for some in (reference, own))
    return summarise(reference, own, beta)
