"""docs/fidelity.md with its pictures and docs/fidelity.csv. Every sentence that has a number in it, or depends on one,
is made from the numbers."""

import csv

from . import estimate, plot
from .results import AGREE, METRICS

NAMES = {"trained": "trained", "decoded": "decoded", "exact": "decoded, exact λ", "interpolated": "interpolated weights", "reference": "reference"}
BAND = (0.25, 1)
FEW = 8  # of the reference's replies: an effective sample below it tells the optimum too low
SHORT = 1.05  # an implied β surely this many times the stated one is a training that stopped short


def show(e, digits=2, sign=False):
    """A value and its interval; "–" where there is none."""
    if e is None:
        return "–"
    s = "+" if sign else ""
    return f"{e.value:{s}.{digits}f} [{e.low:{s}.{digits}f}, {e.high:{s}.{digits}f}]".replace("-", "−")


def number(x, digits=2, sign=False):
    return f"{x:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def table(head, rows):
    align = ["---" if i == 0 else "--:" for i in range(len(head))]
    return "".join("| " + " | ".join(map(str, r)) + " |\n" for r in (head, align, *rows))


def measures(m):
    return [show(m["reward"]), show(m["check"]), show(m["kl"]), show(m["length"], 1), show(m["distinct1"]), show(m["distinct2"])]


HEAD = ["reward", "check classifier", "KL, nats", "tokens", "distinct-1", "distinct-2"]


def trained_table(r):
    rows = [["reference", *measures(r.table["reference", None, None])]]
    rows += [[f"β = {b:g}", *measures(r.table["trained", None, b])] for b in reversed(r.betas)]
    return table(["", *HEAD], rows)


def held_table(r, b0):
    rows = []
    for b in sorted(r.betas, reverse=True):
        if b == b0:
            rows.append([f"λ = 1, β = {b:g}", "trained = decoded", *measures(r.table["trained", None, b])])
            continue
        for method in ("trained", "decoded", "exact", "interpolated"):
            m = r.table.get((method, None if method == "trained" else b0, b))
            if m:
                rows.append([f"λ = {b0 / b:g}, β = {b:g}" if method == "trained" else "", NAMES[method], *measures(m)])
    return table(["", "model", *HEAD], rows)


VERDICT = {True: "yes", False: "**no**", None: "open"}


def comparison_table(r):
    rows = []
    for c in ordered(r):
        rows.append([f"{c.factor:g}", f"{c.beta0:g} → {c.beta:g}", show(c.reward, sign=True), VERDICT[c.reward.within(r.bound)],
                     show(c.interpolated, sign=True), show(c.kl, sign=True), show(c.objective, sign=True), show(c.frontier, sign=True)])
    return table(["λ", "β₀ → β", "reward, decoded − trained", f"within ±{r.bound:.3f}", "reward, interpolated − trained",
                  "KL, decoded − trained", "E[r] − β KL, decoded − trained", "reward, decoded − trained at its KL"], rows)


def cause_table(r):
    rows = [[f"{c.factor:g}", f"{c.beta0:g} → {c.beta:g}", number(c.reward.value, sign=True), show(c.decoding, sign=True),
             show(c.training, sign=True), show(c.weighted), f"{c.effective:.0%}"] for c in ordered(r)]
    return table(["λ", "β₀ → β", "reward, decoded − trained", "of which decoding", "of which training", "reward, weighted", "effective samples"], rows)


def whole_table(r):
    rows = []
    for w in sorted(r.whole, key=lambda w: (w.factor, w.beta0)):
        rows.append([f"{w.factor:g}", f"{w.beta0:g} → {w.beta:g}", show(w.token, sign=True), VERDICT[w.token.within(r.bound)], show(w.exact, sign=True),
                     VERDICT[w.exact.within(r.bound)], show(w.exact_trained, sign=True), VERDICT[w.exact_trained.within(r.bound)], show(w.changed), show(w.size, 1)])
    within = f"within ±{r.bound:.3f}"
    return table(["λ", "β₀ → β", "token by token − optimum", within, "exact λ − optimum", within, "exact λ − trained", within, "changed", "effective size"], rows)


def gap_share(o):
    """How far E[r] − β KL is from β log Z, as a share of it; "–" where that is 0."""
    return f"{number(100 * o.gap.value / abs(o.bound.value), 0, sign=True)}%" if abs(o.bound.value) > 1e-9 else "–"


def optimum_table(r):
    rows = [[f"{o.beta:g}", show(o.reward), show(r.table["trained", None, o.beta]["reward"]), show(o.trained, sign=True), show(o.kl),
             show(r.table["trained", None, o.beta]["kl"]), show(o.bound, 3), show(o.objective, 3), gap_share(o),
             f"{o.effective:.0%}"] for o in r.optima.values()]
    return table(["β", "reward, optimum", "trained", "trained − optimum", "KL, optimum", "trained", "β log Z", "E[r] − β KL, trained", "of β log Z", "effective samples"], rows)


def ordered(r):
    return sorted(r.comparisons, key=lambda c: (c.factor, c.beta0))


def implied_table(r):
    rows = []
    for i in r.implied:
        rows.append([f"{i.beta:g}", *(cell for slope, fit in (i.reference, i.own) for cell in (show(beta_of(slope), 3), show(fit)))])
    return table(["trained at β", "implied β, the reference's replies", "R²", "implied β, own replies", "R²"], rows)


def beta_of(slope):
    """1/slope; None unless the slope is surely positive."""
    return estimate.Estimate(1 / slope.value, 1 / slope.high, 1 / slope.low) if slope and slope.low > 0 else None


# Reading: sentences from numbers.


def listed(items):
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def of(n, things):
    return f"{n} of {len(things)}"


def where(c):
    return f"λ = {c.factor:g} from β₀ = {c.beta0:g}"


def mean_size(estimates):
    return sum(abs(e.value) for e in estimates) / len(estimates)


def clear(estimates):
    """How many intervals leave out zero."""
    return sum(e.low > 0 or e.high < 0 for e in estimates)


def bands(r):
    """Comparisons by name of their range of λ: those expected to agree, those farther in, those beyond 1."""
    out = {f"{BAND[0]:g} ≤ λ < 1": [c for c in r.comparisons if BAND[0] <= c.factor < BAND[1]],
           f"λ < {BAND[0]:g}": [c for c in r.comparisons if c.factor < BAND[0]],
           "λ > 1": [c for c in r.comparisons if c.factor > 1]}
    return {name: cs for name, cs in out.items() if cs}


def kl_ratios(r, cs):
    return [r.table["decoded", c.beta0, c.beta]["kl"].value / r.table["trained", None, c.beta]["kl"].value for c in cs]


def span_of(xs):
    low, high = f"{min(xs):.2f}", f"{max(xs):.2f}"
    return low if low == high else f"{low} to {high}"


def band_table(r):
    rows = []
    for name, cs in bands(r).items():
        worst = max(cs, key=lambda c: abs(c.reward.value))
        verdicts = [c.reward.within(r.bound) for c in cs]
        both = [c for c in cs if c.interpolated]
        rows.append([name, len(cs), sum(abs(c.reward.value) <= r.bound for c in cs), verdicts.count(True), verdicts.count(False),
                     f"{mean_size([c.reward for c in cs]):.3f}", f"{show(worst.reward, sign=True)} at {where(worst)}", f"{span_of(kl_ratios(r, cs))}",
                     f"{mean_size([c.interpolated for c in both]):.3f} against {mean_size([c.reward for c in both]):.3f}" if both else "–"])
    return table(["", "comparisons", "within by the estimate", "surely within", "surely outside", "mean size of the difference", "largest difference",
                  "KL, decoded ÷ trained", "mean size: interpolated against decoded, where both ran"], rows)


def agreement_sentence(r):
    name, cs = next(iter(bands(r).items()))
    inside = [abs(c.reward.value) <= r.bound for c in cs]
    surely_not = [c for c in cs if c.reward.within(r.bound) is False]
    if all(inside):
        out = f"With {name} decoding agrees with training to within {AGREE:.0%} of the range in every comparison, by the estimate"
        sure = sum(c.reward.within(r.bound) is True for c in cs)
        return out + (", and surely so." if sure == len(cs) else f"; surely so in {of(sure, cs)}.")
    off = [f"{where(c)} ({number(c.reward.value, sign=True)}: {number(c.decoding.value, sign=True)} of it decoding, {number(c.training.value, sign=True)} training)"
           for c, ok in zip(cs, inside) if not ok]
    return (f"With {name} decoding does not agree with training to within {AGREE:.0%} of the range everywhere: not at {listed(off)}"
            + (", surely so there." if len(surely_not) == len(off) else f"; surely so in {of(len(surely_not), off)}." if surely_not
               else ", though the intervals reach inside."))


def kl_sentence(r):
    below, above = [c for c in r.comparisons if c.factor < 1], [c for c in r.comparisons if c.factor > 1]
    less, more = [c for c in below if c.kl.high < 0], [c for c in above if c.kl.low > 0]
    out = (f"The decoded KL is surely smaller than the trained model's in {of(len(less), below)} comparisons below λ = 1, and surely larger in "
           f"{of(len(more), above)} above it")
    if len(less) + len(more) > len(r.comparisons) / 2:
        return out + ": λ = β₀/β takes a longer step, either way, than training at β did."
    return out + "."


def cause_sentence(r):
    parts = []
    for name, cs in bands(r).items():
        d, t = [c.decoding for c in cs], [c.training for c in cs]
        part = (f"With {name}, decoding token by token rather than by whole replies accounts for {mean_size(d):.3f} on average (clear of zero in "
                f"{of(clear(d), cs)}), training for {mean_size(t):.3f} (in {of(clear(t), cs)})")
        least = min(cs, key=lambda c: c.effective)
        if least.effective < 0.5:
            part += f"; where few replies carry the weight, down to {least.effective:.0%} at {where(least)}, that split says little"
        parts.append(part + ".")
    return " ".join(parts)


def objective_sentence(r):
    below, above = [c for c in r.comparisons if c.factor < 1], [c for c in r.comparisons if c.factor > 1]

    def tally(cs):
        return f"surely larger in {sum(c.objective.low > 0 for c in cs)} and surely smaller in {sum(c.objective.high < 0 for c in cs)} of {len(cs)}"

    out = f"E[r] − β KL, which the model trained at β should make largest, is {tally(below)} comparisons when decoded below λ = 1, and {tally(above)} above it."
    better = [c for c in r.comparisons if c.objective.low > 0]
    if better:
        best = max(better, key=lambda c: c.objective.value)
        out += f" Where it is larger (most at {where(best)}, {show(best.objective, sign=True)}), the trained model is not at its optimum."
    return out


def whole_sentence(r):
    """What whole replies change, for λ in BAND."""
    if not r.whole:
        return ""

    def tally(estimates):
        verdicts = [e.within(r.bound) for e in estimates]
        return f"in {of(sum(abs(e.value) <= r.bound for e in estimates), estimates)} comparisons (surely in {verdicts.count(True)}, surely not in {verdicts.count(False)})"

    token, exact, trained = ([getattr(w, k) for w in r.whole] for k in ("token", "exact", "exact_trained"))
    out = (f"Against the exact optimum for β₀/λ, decoding token by token with {BAND[0]:g} ≤ λ < {BAND[1]:g} is within {AGREE:.0%} of the range {tally(token)}, off by "
           f"{mean_size(token):.3f} on average; exact λ is {tally(exact)}, off by {mean_size(exact):.3f}. Against the retrained models exact λ is within it {tally(trained)}, "
           f"off by {mean_size(trained):.3f}.")
    worst = min(r.whole, key=lambda w: w.token.value)
    if worst.token.high < 0:
        out += (f" What token by token misses is largest at {where(worst)}: {show(worst.token, sign=True)}, of which exact λ leaves {show(worst.exact, sign=True)}.")
    return out


def optimum_sentence(r):
    parts = [f"{gap_share(o)} at β = {o.beta:g}" for o in r.optima.values()]
    out = (f"E[r] − β KL of the trained models differs from β log Z, which the optimum has and nothing exceeds, by {listed(parts)}; their reward from the optimum's by "
           f"{listed([f'{number(o.trained.value, sign=True)} at {o.beta:g}' for o in r.optima.values()])}.")
    few = [o for o in r.optima.values() if o.effective * r.replies < FEW]
    if few:
        out += (f" At β = {listed([f'{o.beta:g}' for o in few])} the weights leave an effective sample of {listed([number(o.effective * r.replies, 1) for o in few])} of the "
                f"{r.replies} replies to a prompt: so few tell too small a reward and β log Z of the optimum.")
    return out


def betas_said(estimates):
    return listed([number(e.value, 3) if e else "–" for e in estimates])


def implied_sentence(r):
    stated = r.betas[-1] / r.betas[0]
    implied, own = [beta_of(i.reference[0]) for i in r.implied], [beta_of(i.own[0]) for i in r.implied]
    if implied[0] is None or implied[-1] is None:
        return "The log-ratios of the trained models are too loosely tied to the reward to say which β they stand for."
    got = implied[-1].value / implied[0].value
    short = [b for b, e in zip(r.betas, implied) if e and e.low > SHORT * b]
    out = (f"Over the reference's replies the trained models' log-ratios imply β of {betas_said(implied)} where the stated ones are "
           f"{listed([f'{b:g}' for b in r.betas])}: {got:.1f} times from end to end, by their names {stated:g}. ")
    if got < 0.8 * stated:
        out += "The models lie closer together than their β say. "
    elif got > 1.25 * stated:
        out += "The models lie further apart than their β say. "
    else:
        out += "The models lie about as far apart as their β say. "
    if short:
        out += f"At β = {listed([f'{b:g}' for b in short])} training stopped short of the optimum. "
    fits, own_fits = ([f.value for f in found if f] for found in ([i.reference[1] for i in r.implied], [i.own[1] for i in r.implied]))
    out += f"The reward explains {span_of(fits)} of their variance; over the models' own replies, whose rewards differ less, {span_of(own_fits)}, with implied β of {betas_said(own)}"
    if min(fits + own_fits) < 0.7:
        out += ". The rest is change that the reward did not ask for, and λ scales it all the same"
    return out + "."


def check_sentence(r):
    reference, best = r.table["reference", None, None], r.table["trained", None, r.betas[0]]
    off = [c for c in r.comparisons if clear([c.check])]
    out = f"The check classifier goes from {show(reference['check'])} (reference) to {show(best['check'])} (trained at β = {r.betas[0]:g})"
    if not off:
        return out + "; between decoded and trained models it shows no difference clear of zero."
    worst = max(off, key=lambda c: abs(c.check.value))
    return out + f"; between decoded and trained models its difference is clear of zero in {of(len(off), r.comparisons)} comparisons, at most {show(worst.check, sign=True)}, at {where(worst)}."


def frontier_sentence(r):
    cs = [c for c in r.comparisons if c.frontier]
    if not cs:
        return ""
    out = (f"At equal KL, the decoded reward is surely above the curve of the trained models in {sum(c.frontier.low > 0 for c in cs)} of {len(cs)} comparisons "
           f"and surely below it in {sum(c.frontier.high < 0 for c in cs)}")
    beyond = len(r.comparisons) - len(cs)
    return out + (f"; in the other {beyond} the decoded KL is, or may be, larger than any trained model's." if beyond else ".")


def reading(r):
    return f"""\
### {r.reward.capitalize()}

The range of the reward is {show(r.span)}, and {AGREE:.0%} of it {r.bound:.3f}.

{band_table(r)}
**Agreement.** {agreement_sentence(r)} {kl_sentence(r)} {frontier_sentence(r)}

**Why.** {cause_sentence(r)} {objective_sentence(r)} {implied_sentence(r)}

**Whole replies.** {whole_sentence(r)}

**The optimum.** {optimum_sentence(r)}

**Check.** {check_sentence(r)}
"""


def of_other_pairs(out):
    """A sentence with links to the pages of other pairs beside this one."""
    pages = sorted({p.name for p in out.parent.glob("fidelity*.md")} - {out.name})
    return f"The same of other pairs: {listed([f'[{name}]({name})' for name in pages])}. " if pages else ""


def text(results, a, default):
    command = f"python -m training.fidelity --data DATA --work WORK --realign bin/realign --pair-folder models/{a.pair_folder.name} --out docs/{a.out.name}"
    out = f"""\
# Fidelity of `{a.pair_folder.name}`: does decoding at λ predict the model trained at β₀/λ?

For each reward of the `{a.pair_folder.name}` pair one aligned model, trained at β₀, is decoded by Realign at λ = β₀/β and compared with the model that was
trained at β. {a.prompts} held-out prompts × {a.samples} samples, temperature 1, no truncation, replies of at most {a.how.limit} tokens; prompts are one or several turns
of at most {a.how.prompt_limit} tokens, one a conversation, as in training. All models see the same noise, so comparisons are paired; intervals are 95%, by resampling
prompts. {of_other_pairs(a.out)}This page, its pictures and [{a.out.stem}.csv]({a.out.stem}.csv), which has every number, are made by

```
{command}
```

| word | meaning |
|---|---|
| trained | the model trained at β, decoded at λ = 1 |
| decoded | the model trained at β₀ and the reference, mixed at λ = β₀/β |
| exact optimum | π_ref·exp(r/β)/Z itself: {a.reference} replies of the reference to each prompt, weighted by exp(r/β) |
| exact λ | decoded at λ = β₀/β with {a.particles} particles, which tends to whole replies: [exact.md](exact.md) |
| weighted | the decoded replies, weighted within their prompt by exp(Σ log Z): roughly what whole replies would give |
| interpolated weights | the reference's weights plus λ times what training at β₀ added (the adapter with its alpha times λ): one model |
| check classifier | mean probability of "positive" by a classifier on characters, trained on other sentences than the reward's, that took part in no training |
| KL | exact KL divergence from the reference at every prefix, summed along the reply |
| distinct-n | share of distinct n-grams among those of {estimate.GROUP} replies to different prompts |
| range | mean reward of the trained model with the smallest β, less that of the reference |

## Reading

{chr(10).join(reading(r) for r in results)}
What can be the reason for a difference is told apart in three ways. *Decoding*: mixing token by token leaves out a normaliser, whose logarithm the trace
records; with it as a weight the same replies estimate, roughly with so few to a prompt, what mixing whole replies would give, and the rest of the difference is *training*: the models are
not the optima for their β, which is all that the theory asks of them. The optimum for β has log π/π_ref = r/β − log Z, so the slope of a model's log-ratio
on the reward, over replies to one prompt, says which β it stands for. And no model can have a larger E[r] − β KL than the optimum for β. For exact optima and
whole replies the theory is an identity: it leaves nothing to be the reason. Sweeps draw the curve of whole replies beside their own
([Whole replies](sweeps.md#what-a-sweep-says-about-itself)): "of which decoding" below is the difference of the two, and the picture has the weighted curve beside exact λ, which needs no weights.

## Reward against λ

![Reward against λ, by aligned model]({a.out.stem}-lambda.svg)

## Reward against KL

![Reward against KL to the reference]({a.out.stem}-kl.svg)
"""
    for r in results:
        b0 = default(r)
        out += f"""
## {r.reward.capitalize()}

The trained models:

{trained_table(r)}
The model trained at β₀ = {b0:g}, held; the others as in {a.out.stem}.csv:

{held_table(r, b0)}
All comparisons. "Within" asks whether the interval of the difference lies inside ±{AGREE:.0%} of the range ("open": across its border):

{comparison_table(r)}
The difference in reward split into decoding and training:

{cause_table(r)}
Whole replies (exact λ with {a.particles} particles), token by token, the retrained models and the exact optimum; differences of the reward:

{whole_table(r)}
The trained models and the exact optimum for their β:

{optimum_table(r)}
The β that a model's log-ratios imply, and the share of their variance (within prompts) that the reward explains, which is 1 at the optimum:

{implied_table(r)}"""
    return out + f"""
## Files

The models that these numbers are of:

{table(["file", "sha256"], [[f, f"`{sha}`"] for f, sha in a.models.items()]).replace("--:", "---")}"""


def write_csv(out, results):
    with open(out, "w", newline="", encoding="utf-8") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(["reward", "what", "beta0", "beta", "lambda", "measure", "value", "low", "high"])
        for r in results:
            def row(what, beta0, beta, factor, measure, e):
                if e is not None:
                    w.writerow([r.reward, what, *("" if x is None else f"{x:g}" for x in (beta0, beta, factor)), measure,
                                *(f"{x:.5f}" for x in (e.value, e.low, e.high))])

            for method, b0, b, m in r.rows():
                for measure in METRICS:
                    row(method, b0, b, 0 if b is None else b0 / b if b0 else 1, measure, m[measure])
            for c in ordered(r):
                for measure in ("reward", "kl", "check", "objective", "decoding", "training", "frontier"):
                    row("decoded - trained", c.beta0, c.beta, c.factor, measure, getattr(c, measure))
                row("interpolated - trained", c.beta0, c.beta, c.factor, "reward", c.interpolated)
                row("interpolated - trained", c.beta0, c.beta, c.factor, "frontier", c.interpolated_frontier)
            for x in r.whole:
                for what, measure in (("decoded - optimum", "token"), ("exact - optimum", "exact"), ("exact - trained", "exact_trained")):
                    row(what, x.beta0, x.beta, x.factor, "reward", getattr(x, measure))
                for measure in ("changed", "size"):
                    row("exact", x.beta0, x.beta, x.factor, measure, getattr(x, measure))
            for o in r.optima.values():
                for what, measure, e in (("optimum", "reward", o.reward), ("optimum", "kl", o.kl), ("optimum", "objective", o.bound),
                                         ("trained", "objective", o.objective), ("trained - optimum", "reward", o.trained), ("trained - optimum", "objective", o.gap)):
                    row(what, None, o.beta, None, measure, e)
            for i in r.implied:
                for on, (slope, fit) in (("own replies", i.own), ("reference's replies", i.reference)):
                    row(f"log-ratio on reward, {on}", None, i.beta, None, "slope", slope)
                    row(f"log-ratio on reward, {on}", None, i.beta, None, "r2", fit)


def write(out, results, a, held=0.1):
    """held: the β₀ whose table stands on the page, where a reward has it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    plot.against_lambda(out.parent / f"{out.stem}-lambda.svg", results)
    plot.against_kl(out.parent / f"{out.stem}-kl.svg", results)
    write_csv(out.parent / f"{out.stem}.csv", results)
    out.write_text(text(results, a, lambda r: min(r.betas, key=lambda b: abs(b - held))), encoding="utf-8")
