"""The two pictures of docs/fidelity.md, as SVG that is the same for the same numbers."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

STYLES = {  # method: label, colour (told apart by all common kinds of colour vision), marker
    "trained": ("trained at β", "#000000", "s"),
    "decoded": ("decoded at λ", "#0072b2", "o"),
    "exact": ("exact λ", "#009e73", "D"),
    "interpolated": ("weights interpolated by λ", "#d55e00", "^"),
}
COLOURS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#e69f00")


def settle():
    plt.rcParams.update({"svg.hashsalt": "realign", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                         "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False})


def points(axes, xs, estimates, **style):
    """Estimates with their intervals, in the order of xs."""
    order = sorted(range(len(xs)), key=lambda i: xs[i])
    es = [estimates[i] for i in order]
    axes.errorbar([xs[i] for i in order], [e.value for e in es], [[e.value - e.low for e in es], [e.high - e.value for e in es]],
                  markersize=4, linewidth=1.2, elinewidth=0.8, capsize=2, **style)


def save(figure, out):
    figure.savefig(out, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    out.write_text("\n".join(line.rstrip() for line in out.read_text(encoding="utf-8").splitlines()) + "\n", encoding="utf-8")


def against_lambda(out, results):
    settle()
    wide = max(len(r.betas) for r in results)
    figure, grid = plt.subplots(len(results), wide, figsize=(2.7 * wide, 2.5 * len(results)), sharey="row", squeeze=False, layout="constrained")
    for row, r in zip(grid, results):
        for axes, b0 in zip(row, r.betas):
            for method, (label, colour, marker) in STYLES.items():
                some = {b: r.table.get((method, None if method == "trained" else b0, b)) for b in r.betas}
                if method != "trained":
                    some[b0] = r.table["trained", None, b0]  # which λ = 1 is
                some = {b0 / b: m["reward"] for b, m in some.items() if m}
                points(axes, list(some), list(some.values()), label=label, color=colour, marker=marker, alpha=0.8)
            weighted = {c.factor: c.weighted for c in r.comparisons if c.beta0 == b0} | {1.0: r.table["trained", None, b0]["reward"]}
            points(axes, list(weighted), list(weighted.values()), label="decoded at λ, weighted", color="#56b4e9", marker="v", linestyle=":", alpha=0.8)
            best = {b0 / b: r.optima[b].reward for b in r.betas}
            points(axes, list(best), list(best.values()), label="exact optimum for β", color="#cc79a7", marker="x", linestyle="--", alpha=0.8)
            axes.axhline(r.table["reference", None, None]["reward"].value, color="#777777", linestyle=":", label="reference")
            axes.set_xscale("log", base=2)
            axes.set_xticks([b0 / b for b in r.betas], [f"{b0 / b:g}\nβ {b:g}" for b in r.betas])
            axes.set_title(f"{r.reward}, trained at β₀ = {b0:g}", fontsize=8)
        row[0].set_ylabel(f"mean {r.reward} reward")
    for axes in grid[-1]:
        axes.set_xlabel("λ = β₀/β")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    save(figure, out)


def against_kl(out, results):
    settle()
    figure, row = plt.subplots(1, len(results), figsize=(5.4 * len(results), 4), squeeze=False)
    for axes, r in zip(row[0], results):
        reference = r.table["reference", None, None]

        def curve(method, b0, **style):
            some = [m for (kind, at, b), m in r.table.items() if kind == method and at == b0]
            some += [reference] + ([r.table["trained", None, b0]] if b0 else [])
            points(axes, [m["kl"].value for m in some], [m["reward"] for m in some], **style)

        for i, b0 in enumerate(r.betas):
            colour = COLOURS[i % len(COLOURS)]
            curve("decoded", b0, label=f"decoded, β₀ = {b0:g}", color=colour, marker="o", alpha=0.8)
            curve("interpolated", b0, label=f"interpolated, β₀ = {b0:g}", color=colour, marker="^", alpha=0.5, linestyle="--")
        curve("trained", None, label="trained", color="#000000", marker="s")
        best = list(r.optima.values())
        points(axes, [0, *(o.kl.value for o in best)], [reference["reward"], *(o.reward for o in best)], label="exact optimum", color="#777777", marker="x", linestyle=":")
        axes.set_xscale("function", functions=(lambda x: abs(x) ** 0.5, lambda x: x**2))
        axes.set_xlim(left=0)
        axes.set_xlabel("KL to the reference, nats a reply (root scale)")
        axes.set_ylabel(f"mean {r.reward} reward")
        axes.legend(fontsize=7)
    figure.tight_layout()
    save(figure, out)
