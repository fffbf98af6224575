"""Stage 7: decode held-out prompts with Realign and write docs/fidelity.md.

    python -m training.fidelity --data DATA --work WORK --realign bin/realign --pair-folder models/demo --out docs/fidelity.md

WORK holds tokenizer.json (of an encoder–decoder pair demo-t5.spm), and check.pkl of stage 3 (fitted here if it is missing); replies go into WORK/fidelity.
"""

import argparse
import dataclasses
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import classifier, corpus, manifest, rewards
from . import estimate, experiment, report
from .results import Results

INTERPOLATED = (0.25, 2)  # least and largest lambda at which weights are interpolated
EXACT = (0.25, 1)  # lambda from the first to below the second are decoded with particles, too
PARTICLES = 8


@dataclasses.dataclass
class Task:
    """One run of the program."""

    pair: Path
    aligned: str
    lambdas: list
    flags: tuple = ()
    samples: int | None = None
    called: str | None = None

    def submit(self, pool, realign):
        return pool.submit(realign.run, self.pair, self.aligned, self.lambdas, *self.flags, samples=self.samples, called=self.called)


def plan(a, betas_of):
    """What is decoded, by (method, reward, beta0, beta)."""
    out = {}
    for reward, betas in betas_of.items():
        for b0 in betas:
            name = f"{reward}-b{b0:g}"
            out["decoded", reward, b0, None] = Task(a.pair_folder, name, [0.0, *(b0 / b for b in betas)])
            whole = [b0 / b for b in betas if EXACT[0] <= b0 / b < EXACT[1]]
            if whole:
                out["exact", reward, b0, None] = Task(a.pair_folder, name, whole, ("--exact", str(PARTICLES)), called=f"{name}-exact")
            for b in betas:
                if b != b0 and INTERPOLATED[0] <= b0 / b <= INTERPOLATED[1]:
                    out["interpolated", reward, b0, b] = Task(a.work / "fidelity" / "interpolated", experiment.interpolated_name(reward, b0, b0 / b), [1.0])
    first = next(iter(betas_of.items()))
    out["reference", None, None, None] = Task(a.pair_folder, f"{first[0]}-b{first[1][0]:g}", [0.0], samples=a.reference, called=f"reference-{a.reference}")
    return out


def sort(runs, betas):
    """Cells of one reward as Results takes them; runs: {(method, beta0, beta): {lambda: Cell}}."""
    cells, on_reference = {}, {}
    for (method, b0, b), found in runs.items():
        if method == "interpolated":
            cells[method, b0, b] = found[1]
            continue
        if method == "decoded":
            on_reference[b0] = cells["reference", None, None] = found[0]
        for b in betas:
            if b0 / b in found:
                cells[("trained", None, b) if b == b0 else (method, b0, b)] = found[b0 / b]
    return cells, on_reference


def main():
    p = argparse.ArgumentParser(prog="python -m training.fidelity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--realign", type=Path, default=Path("bin/realign"))
    p.add_argument("--pair-folder", type=Path, default=Path("models/demo"))
    p.add_argument("--out", type=Path, default=Path("docs/fidelity.md"))
    p.add_argument("--prompts", type=int, default=300)
    p.add_argument("--samples", type=int, default=4)
    p.add_argument("--reference", type=int, default=256, help="replies of the reference to a prompt, which weighted are the optimum's")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--jobs", type=int, default=2, help="runs decoded at the same time")
    p.add_argument("--keep", action="store_true", help="do not decode what WORK/fidelity has already")
    a = p.parse_args()
    if a.prompts < estimate.GROUP or a.samples < 2 or a.reference < 2:
        p.error(f"--prompts must be {estimate.GROUP} at least, --samples and --reference 2")
    t0 = time.time()
    a.how = how = experiment.conversations(a.pair_folder, a.work)
    check = a.work / "check.pkl"
    if not check.exists():
        check.write_bytes(pickle.dumps(classifier.fit_check(classifier.sentences(a.data)[0][1])))
    prompts = experiment.heldout(corpus.load(a.data, heldout=True), how, a.prompts, a.seed)
    a.models, a.particles = experiment.fingerprint(a.pair_folder), PARTICLES
    realign = experiment.Realign(a.realign, a.work / "fidelity", prompts, a.samples, how.limit, a.models, a.keep)
    adapters = manifest.adapters(a.pair_folder)
    betas_of = {r: [b for x, b, _ in adapters if x == r] for r in dict.fromkeys(r for r, _, _ in adapters)}
    realign.check_prompts(a.pair_folder, f"{adapters[0][0]}-b{adapters[0][1]:g}")
    wanted = plan(a, betas_of)
    experiment.interpolated_pair(a.pair_folder, realign.folder / "interpolated",
                                 [(r, b0, b0 / b) for method, r, b0, b in wanted if method == "interpolated"])
    scorer = experiment.Scorer(pickle.loads(check.read_bytes()), how.end)
    bootstrap = estimate.Bootstrap(a.prompts)
    results = []
    with ThreadPoolExecutor(a.jobs) as pool:
        replies = {key: what.submit(pool, realign) for key, what in wanted.items()}
        for reward, betas in betas_of.items():
            score = rewards.make(reward, a.pair_folder / "sentiment.json")
            runs = {}
            for (method, r, b0, b), lines in replies.items():
                if r == reward:
                    runs[method, b0, b] = scorer.cells(lines.result(), score, a.prompts, a.samples)
                    print(f"{time.time() - t0:5.0f} s  {wanted[method, r, b0, b].called or wanted[method, r, b0, b].aligned}", flush=True)
            many = scorer.cells(replies["reference", None, None, None].result(), score, a.prompts, a.reference)[0]
            results.append(Results(reward, betas, *sort(runs, betas), many.reward, bootstrap))
    report.write(a.out, results, a)
    print(a.out, f"{time.time() - t0:.0f} s")


if __name__ == "__main__":
    main()
