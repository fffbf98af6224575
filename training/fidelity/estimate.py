"""Estimates with 95% bootstrap intervals. Prompts are resampled, each with all its samples; every estimate sees the
same resamples, so that the interval of a difference is that of paired replies."""

import dataclasses

import numpy as np

GROUP = 10  # prompts whose replies are put together for distinct-n, which depends on how much text there is


@dataclasses.dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float

    def within(self, bound):
        """True or False where the interval says so, None where it does not."""
        if -bound <= self.low and self.high <= bound:
            return True
        if self.low > bound or self.high < -bound:
            return False
        return None


class Bootstrap:
    def __init__(self, prompts, repeats=2000, seed=1):
        rng = np.random.default_rng(seed)
        self.counts = self._draw(rng, prompts, repeats)
        self.groups = self._draw(rng, prompts // GROUP, repeats)

    @staticmethod
    def _draw(rng, n, repeats):
        """How often each of n is in each resample; the first row is the sample itself."""
        return np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), repeats)])

    def replicates(self, values):
        """Means of values by prompt, (prompts, …) with further axes averaged, under every resample."""
        v = values.reshape(len(values), -1).mean(1)
        counts = self.counts if len(v) == self.counts.shape[1] else self.groups
        return counts @ v / counts.sum(1)

    def mean(self, values):
        return summary(self.replicates(values))

    def slope(self, x, y):
        """Least squares slope of y on x (prompts, samples) within prompts, and its R^2; None where x or y does not vary."""
        x, y = (v - v.mean(1, keepdims=True) for v in (x, y))
        xx, xy, yy = (self.counts @ v.sum(1) for v in (x * x, x * y, y * y))
        with np.errstate(invalid="ignore", divide="ignore"):
            return summary(xy / xx), summary(xy**2 / (xx * yy))


def summary(replicates):
    """Value and interval; None where the value, or some of its resamples, cannot be had."""
    if np.isnan(replicates).any():
        return None
    low, high = np.quantile(replicates[1:], [0.025, 0.975])
    return Estimate(float(replicates[0]), float(low), float(high))


def distinct(tokens, n):
    """Share of distinct n-grams in the replies (one a prompt) to GROUP prompts: (groups, samples)."""
    groups, samples = len(tokens) // GROUP, len(tokens[0])
    out = np.zeros((groups, samples))
    for g in range(groups):
        for s in range(samples):
            grams = [t for p in range(g * GROUP, (g + 1) * GROUP) for t in zip(*(tokens[p][s][i:] for i in range(n)))]
            out[g, s] = len(set(grams)) / max(1, len(grams))
    return out


def sequence_level(values, log_z):
    """Means by prompt under pi_ref(y)^(1-lambda) pi_al(y)^lambda / Z, from samples (prompts, samples) of token-wise decoding.

    Token-wise decoding divides by a normaliser at every token where the whole reply should be divided by one; the
    product of those normalisers, exp(log_z), is therefore each reply's importance weight. Normalised by prompt, and
    jackknifed over its samples, since a ratio of few samples is biased. Also returns the mean effective sample
    size as a share of the samples.
    """
    w = np.exp(log_z - log_z.max(1, keepdims=True))
    total, weighted = w.sum(1, keepdims=True), (w * values).sum(1, keepdims=True)
    n = w.shape[1]
    with np.errstate(invalid="ignore"):
        others = (weighted - w * values) / (total - w)
    # A reply with all the weight leaves nothing to compare it with: then the others count alike.
    lone = (total - w) <= 1e-12 * total
    plain = (values.sum(1, keepdims=True) - values) / (n - 1)
    others = np.where(lone, plain, others)
    ratio = (weighted / total)[:, 0]
    return n * ratio - (n - 1) * others.mean(1), float((total[:, 0] ** 2 / (w**2).sum(1)).mean() / n)


def log_mean_exp(values):
    """log E[exp(value)] by prompt, from samples (prompts, samples): a little too small where few samples carry the mean."""
    top = values.max(1, keepdims=True)
    return (top + np.log(np.exp(values - top).mean(1, keepdims=True)))[:, 0]


def frontier(kls, rewards, kl):
    """Reward of a curve through (KL, reward) points at other KLs, the reference's point among them; replicates throughout.

    Straight between the points over the root of the KL, as a small step away from the reference gains in proportion
    to that root. Not a number where a KL lies beyond the last point.
    """
    kls, rewards = np.sqrt(kls), np.array(rewards)
    out = np.full(len(kl), np.nan)
    for i, x in enumerate(np.sqrt(kl)):
        order = np.argsort(kls[:, i])
        if x <= kls[order[-1], i]:
            out[i] = np.interp(x, kls[order, i], rewards[order, i])
    return out
