"""Writes reference.json: what other programs make of the same answers.

    python -m venv venv
    venv/bin/pip install choix==0.4.1 krippendorff==0.9.0 statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6
    venv/bin/python internal/preference/testdata/reference.py

Bradley–Terry strengths come from choix (maximum likelihood by BFGS) and, with covariances, from a
binomial GLM in statsmodels; Davidson's model from a Poisson log-linear model in statsmodels, which has
the same estimates and covariances (Fienberg & Larntz 1976; Dittrich, Hatzinger & Katzenbeisser 1998)
but shares no step with a direct fit; α from the krippendorff package; Wilson's intervals from
statsmodels. Versions are in the file's "versions".
"""

import json
from importlib.metadata import version
from pathlib import Path

import choix
import krippendorff
import numpy as np
import statsmodels.api as sm
from statsmodels.stats.proportion import proportion_confint


def centred(estimate, cov):
    """Contrasts against the first level as strengths that sum to 0."""
    k = len(estimate) + 1
    to_centred = np.vstack([np.zeros(k - 1), np.eye(k - 1)]) - 1 / k
    return to_centred @ estimate, to_centred @ cov @ to_centred.T


def bradley_terry(k, cells):
    rows, wins = [], []
    pairs = []
    for i, j, first, second, _ in cells:
        row = np.zeros(k)
        row[i], row[j] = 1, -1
        rows.append(row[1:])
        wins.append([first, second])
        pairs += [(i, j)] * int(first) + [(j, i)] * int(second)
    fit = sm.GLM(np.array(wins), np.array(rows), family=sm.families.Binomial()).fit(tol=1e-14, maxiter=200)
    strength, cov = centred(fit.params, fit.cov_params())
    other = choix.opt_pairwise(k, pairs, alpha=0, method="BFGS", tol=1e-12)
    return {"strength": strength.tolist(), "cov": cov.tolist(), "choix": (other - other.mean()).tolist()}


def davidson(k, cells):
    """Counts of a pair are Poisson: a mean of the pair, ±half the difference for wins, log ν for ties."""
    rows, counts = [], []
    for n, (i, j, first, second, ties) in enumerate(cells):
        for sign, tie, count in ((1, 0, first), (-1, 0, second), (0, 1, ties)):
            row = np.zeros(k + 1 + len(cells))
            row[i] += sign / 2
            row[j] -= sign / 2
            row[k], row[k + 1 + n] = tie, 1
            rows.append(row[1:])
            counts.append(count)
    fit = sm.GLM(np.array(counts), np.array(rows), family=sm.families.Poisson()).fit(tol=1e-14, maxiter=200)
    strength, cov = centred(fit.params[: k - 1], fit.cov_params()[: k - 1, : k - 1])
    return {
        "strength": strength.tolist(), "cov": cov.tolist(),
        "nu": float(np.exp(fit.params[k - 1])), "nu_se": float(fit.bse[k - 1]),
    }


def simulate(rng, k, ties):
    u = rng.normal(size=k)
    cells = []
    for i in range(k):
        for j in range(i + 1, k):
            p = np.array([np.exp((u[i] - u[j]) / 2), np.exp((u[j] - u[i]) / 2), 0.7 if ties else 0])
            cells.append([i, j, *rng.multinomial(rng.integers(5, 40), p / p.sum()).tolist()])
    return cells


def alpha(name, table):
    """table: a row per annotator, a column per item, None where nobody answered."""
    data = np.array([[np.nan if x is None else x for x in row] for row in table], dtype=float)
    levels = {
        level: float(krippendorff.alpha(reliability_data=data, level_of_measurement=level))
        for level in ("nominal", "ordinal", "interval")
    }
    return {"name": name, "table": table, "alpha": levels}


def main():
    rng = np.random.default_rng(20240611)
    # Agresti (2002), Categorical Data Analysis, table 10.10: American League East 1987, wins of the first
    # and of the second. Milwaukee, Detroit, Toronto, New York, Boston, Cleveland, Baltimore.
    wins = [
        [0, 7, 9, 7, 7, 9, 11], [6, 0, 7, 5, 11, 9, 9], [4, 6, 0, 7, 7, 8, 12], [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12], [4, 4, 5, 6, 6, 0, 6], [2, 4, 1, 3, 1, 7, 0],
    ]
    baseball = [[i, j, wins[i][j], wins[j][i], 0] for i in range(7) for j in range(i + 1, 7)]
    # Davidson (1970): brands of chocolate pudding; for the first, for the second, no preference.
    pudding = [
        [0, 1, 19, 22, 16], [0, 2, 16, 19, 12], [1, 2, 19, 19, 10], [0, 3, 18, 23, 13], [1, 3, 23, 19, 9],
        [2, 3, 19, 20, 15], [0, 4, 13, 19, 18], [1, 4, 16, 20, 12], [2, 4, 16, 15, 17], [3, 4, 17, 14, 16],
        [0, 5, 18, 21, 12], [1, 5, 22, 20, 12], [2, 5, 13, 18, 10], [3, 5, 14, 19, 18], [4, 5, 11, 21, 12],
    ]
    models = []
    for name, k, cells in (("baseball", 7, baseball), ("simulated", 9, simulate(rng, 9, False))):
        models.append({"name": name, "levels": k, "cells": cells, **bradley_terry(k, cells)})
    for name, k, cells in (("pudding", 6, pudding), ("simulated with ties", 9, simulate(rng, 9, True))):
        models.append({"name": name, "levels": k, "cells": cells, **davidson(k, cells)})

    # Krippendorff (2011), Computing Krippendorff's alpha-reliability, section C: four observers, twelve units.
    n = None
    published = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, n, n, n], [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, n, 3],
        [n, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, n], [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, n],
    ]
    tables = [alpha("published", published)]
    for name, annotators, items, points in (("likert 7", 6, 40, 7), ("two annotators", 2, 60, 5)):
        truth = rng.integers(1, points + 1, size=items)
        noise = rng.integers(-1, 2, size=(annotators, items))
        data = np.clip(truth + noise, 1, points)
        asked = rng.random((annotators, items)) < 0.7
        tables.append(alpha(name, [[int(x) if a else None for x, a in zip(*row)] for row in zip(data, asked)]))

    wilson = []
    for k_wins, total in ((0, 5), (3, 10), (57, 100), (12, 12), (999, 1000)):
        low, high = proportion_confint(k_wins, total, method="wilson")
        wilson.append({"k": k_wins, "n": total, "low": float(low), "high": float(high)})
    packages = ("choix", "krippendorff", "statsmodels", "scipy", "numpy")
    out = {"versions": {p: version(p) for p in packages}, "models": models, "alpha": tables, "wilson": wilson}
    Path(__file__).with_name("reference.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
