"""What the replies amount to: every number of docs/fidelity.md."""

import dataclasses

import numpy as np

from . import estimate

METRICS = ("reward", "check", "kl", "length", "distinct1", "distinct2")
AGREE = 0.1  # of the reward's range


@dataclasses.dataclass
class Comparison:
    """Decoding the model trained at beta0 with lambda = beta0 / beta, against the model trained at beta."""

    beta0: float
    beta: float
    reward: estimate.Estimate  # differences: decoded less trained
    kl: estimate.Estimate
    check: estimate.Estimate
    objective: estimate.Estimate  # of E[reward] - beta KL, which the model trained at beta should maximise
    decoding: estimate.Estimate  # of the reward: token-wise less sequence-level
    training: estimate.Estimate  # of the reward: sequence-level less trained
    weighted: estimate.Estimate  # the sequence-level reward itself: decoded replies weighted by the sum of their log Z
    effective: float  # sample size of the sequence-level estimate, as a share
    frontier: estimate.Estimate | None  # of the reward: decoded less the curve of the trained models at the same KL
    interpolated: estimate.Estimate | None  # of the reward: interpolated weights less trained
    interpolated_frontier: estimate.Estimate | None

    @property
    def factor(self):
        return self.beta0 / self.beta


@dataclasses.dataclass
class Implied:
    """The beta that a trained model's own log-ratios state, since log pi/pi_ref = r / beta - log Z at the optimum."""

    beta: float
    reference: tuple  # (slope, R^2) on replies of the reference
    own: tuple  # the same on its own replies


@dataclasses.dataclass
class Whole:
    """Decoding the model trained at beta0 with lambda = beta0 / beta, whole replies and token by token, against the exact optimum for beta."""

    beta0: float
    beta: float
    token: estimate.Estimate  # differences of the reward: token-wise less the optimum
    exact: estimate.Estimate  # with particles less the optimum
    exact_trained: estimate.Estimate  # with particles less the model trained at beta
    changed: estimate.Estimate  # share of replies that are not those of token-wise decoding
    size: estimate.Estimate  # effective sample size in the end, of the particles

    @property
    def factor(self):
        return self.beta0 / self.beta


@dataclasses.dataclass
class Optimum:
    """The exact optimum for beta, by weighting the reference's replies, and the trained model against it."""

    beta: float
    reward: estimate.Estimate
    kl: estimate.Estimate
    bound: estimate.Estimate  # beta log Z, its objective
    trained: estimate.Estimate  # reward of the trained model less its own
    objective: estimate.Estimate  # of the trained model
    gap: estimate.Estimate  # that less the bound
    effective: float  # share of the reference's replies that carry the weight


class Results:
    """Of one reward. many: rewards of many replies of the reference, (prompts, replies), which weighted are the optimum's. cells: {(method, beta0 or None, beta or None): Cell}, the methods being "reference" (None, None),
    "trained" (None, beta), "decoded", "exact" and "interpolated" (beta0, beta); on_reference: {beta: Cell} with the
    log-ratios of each trained model on the reference's replies."""

    def __init__(self, reward, betas, cells, on_reference, many, bootstrap):
        self.reward, self.betas, self.cells, self.bootstrap = reward, sorted(betas), cells, bootstrap
        self.table = {key: self.measure(c) for key, c in cells.items()}
        low = self.betas[0]
        gain = cells["trained", None, low].reward.mean(1) - cells["reference", None, None].reward.mean(1)
        self.span = bootstrap.mean(gain)
        self.comparisons = [self.compare(b0, b) for b0 in self.betas for b in self.betas if b0 != b]
        self.implied = []
        for b in self.betas:
            own, ref = cells["trained", None, b], on_reference[b]
            self.implied.append(Implied(b, bootstrap.slope(ref.reward, ref.log_ratio), bootstrap.slope(own.reward, own.log_ratio)))

        self.replies = many.shape[1]  # of the reference to a prompt
        self.optima = {b: self.optimum(b, many) for b in self.betas}
        self.whole = [self.compare_whole(b0, b, many) for kind, b0, b in cells if kind == "exact"]

    @property
    def bound(self):
        """The largest difference that counts as agreement."""
        return AGREE * self.span.value

    def measure(self, c):
        mean = self.bootstrap.mean
        return {"reward": mean(c.reward), "check": mean(c.check), "kl": mean(c.kl), "length": mean(c.length),
                "distinct1": mean(estimate.distinct(c.tokens, 1)), "distinct2": mean(estimate.distinct(c.tokens, 2))}

    def compare(self, beta0, beta):
        mean, rep = self.bootstrap.mean, self.bootstrap.replicates
        d, t = self.cells["decoded", beta0, beta], self.cells["trained", None, beta]
        exact, effective = estimate.sequence_level(d.reward, d.log_z)
        own = [self.cells["reference", None, None]] + [self.cells["trained", None, b] for b in self.betas]
        curve = [rep(c.kl) for c in own], [rep(c.reward) for c in own]

        def off(c):
            return estimate.summary(rep(c.reward) - estimate.frontier(*curve, rep(c.kl)))

        w = self.cells.get(("interpolated", beta0, beta))
        return Comparison(
            beta0, beta, mean(d.reward - t.reward), mean(d.kl - t.kl), mean(d.check - t.check), mean(d.reward - t.reward - beta * (d.kl - t.kl)),
            mean(d.reward.mean(1) - exact), mean(exact - t.reward.mean(1)), mean(exact), effective, off(d),
            mean(w.reward - t.reward) if w else None, off(w) if w else None)

    def optimum(self, beta, many):
        mean, t = self.bootstrap.mean, self.cells["trained", None, beta]
        best, effective = estimate.sequence_level(many, many / beta)
        bound = beta * estimate.log_mean_exp(many / beta)
        objective = t.reward - beta * t.kl
        return Optimum(beta, mean(best), mean((best - bound) / beta), mean(bound), mean(t.reward.mean(1) - best), mean(objective),
                       mean(objective.mean(1) - bound), effective)

    def compare_whole(self, beta0, beta, many):
        mean, best = self.bootstrap.mean, estimate.sequence_level(many, many / beta)[0]
        token, exact, trained = self.cells["decoded", beta0, beta], self.cells["exact", beta0, beta], self.cells["trained", None, beta]
        return Whole(beta0, beta, mean(token.reward.mean(1) - best), mean(exact.reward.mean(1) - best), mean(exact.reward - trained.reward),
                     mean(exact.changed), mean(exact.size))

    def rows(self):
        """(method, beta0, beta, measures) in a fixed order."""
        order = {"reference": 0, "trained": 1, "decoded": 2, "exact": 3, "interpolated": 4}
        keys = sorted(self.table, key=lambda k: (order[k[0]], k[1] or 0, k[2] or 0))
        return [(*k, self.table[k]) for k in keys]
