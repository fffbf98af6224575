"""The fidelity experiment on models small enough to enumerate, where the right answers are known."""

import csv
import hashlib
import json
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch

from training import bpe, chat, corpus, export, model, prefixes
from training.fidelity import __main__ as fidelity
from training.fidelity import estimate, experiment, report
from training.fidelity.results import Results


def test_a_constant_has_no_interval_and_pairs_cancel():
    b = estimate.Bootstrap(30, repeats=200)
    noise = np.random.default_rng(1).normal(size=(30, 4))
    assert b.mean(np.full((30, 4), 2.5)) == estimate.Estimate(2.5, 2.5, 2.5)
    assert b.mean(noise - noise).high == 0
    e = b.mean(noise)
    assert e.value == pytest.approx(noise.mean()) and e.low < e.value < e.high


def test_intervals_cover():
    """95% intervals of prompts with an effect of their own, which resampling replies instead would make too narrow."""
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        e = estimate.Bootstrap(60, repeats=300, seed=seed).mean(3 + rng.normal(size=(60, 1)) + 0.3 * rng.normal(size=(60, 4)))
        hits += e.low <= 3 <= e.high
    assert 0.89 <= hits / 200 <= 0.99


def test_verdict():
    assert estimate.Estimate(0.0, -0.05, 0.05).within(0.1) is True
    assert estimate.Estimate(0.2, 0.15, 0.25).within(0.1) is False
    assert estimate.Estimate(-0.2, -0.25, -0.15).within(0.1) is False
    assert estimate.Estimate(0.08, 0.02, 0.14).within(0.1) is None


def test_slope_says_which_beta_a_model_was_trained_to():
    rng = np.random.default_rng(2)
    r, log_z = rng.uniform(-1, 1, (50, 6)), rng.normal(0, 5, (50, 1))  # by prompt, as the normaliser is
    slope, fit = estimate.Bootstrap(50, repeats=200).slope(r, r / 0.2 - log_z)
    assert slope.value == pytest.approx(5) and slope.high - slope.low < 1e-9 and fit.value == pytest.approx(1)
    _, loose = estimate.Bootstrap(50, repeats=200).slope(r, r / 0.2 - log_z + rng.normal(0, 5, r.shape))
    assert loose.value < 0.6


def test_distinct():
    same, others = [[[1, 2, 3]]] * 10, [[[i, i + 100, i + 200]] for i in range(10)]
    assert estimate.distinct(same, 1) == [[0.1]] and estimate.distinct(others, 2) == [[1.0]]
    assert estimate.distinct(same + others + same[:5], 2).shape == (2, 1)  # a last group that is not full is left out
    assert estimate.distinct([[[]]] * 10, 2) == [[0.0]]


def test_frontier():
    kls, rewards = [np.array([0.0]), np.array([4.0]), np.array([1.0])], [np.array([0.0]), np.array([3.0]), np.array([1.0])]
    assert estimate.frontier(kls, rewards, np.array([2.25])) == [2.0]
    assert np.isnan(estimate.frontier(kls, rewards, np.array([4.1])))
    assert estimate.summary(np.array([np.nan, 1.0])) is None


class Enumerable:
    """Two tokens from an alphabet of three, as 3 x 3 arrays; the aligned model is the optimum pi_ref exp(r / beta) / Z."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.reward = rng.uniform(-1, 1, (3, 3))
        self.reference = rng.dirichlet([1] * 3)[:, None] * rng.dirichlet([1] * 3, 3)

    def optimum(self, beta):
        p = self.reference * np.exp(self.reward / beta)
        return p / p.sum()

    def decode(self, aligned, factor, shape, rng):
        """Replies of token-wise decoding: tokens (*shape, 2), sums of log Z, KLs to the reference."""
        tokens, log_z, kl = [], 0.0, 0.0
        for step in (lambda p: p.sum(1), lambda p: (p / p.sum(1, keepdims=True))[tokens[0]]):
            r, a = step(self.reference), step(aligned)
            p = r ** (1 - factor) * a**factor
            z = p.sum(-1, keepdims=True)
            p = p / z
            log_z = log_z + np.log(z[..., 0])
            kl = kl + (p * np.log(p / r)).sum(-1)
            tokens.append((rng.uniform(size=(*shape, 1)) > p.cumsum(-1)).sum(-1).clip(max=2))
        return np.stack(tokens, -1), np.broadcast_to(log_z, shape), np.broadcast_to(kl, shape)

    def of(self, values, tokens):
        return values[tokens[..., 0], tokens[..., 1]]


def test_weights_turn_token_wise_into_whole_replies():
    task = Enumerable(3)
    wanted = (task.optimum(0.25) * task.reward).sum()  # lambda = 2
    tokens, log_z, _ = task.decode(task.optimum(0.5), 2.0, (3000, 8), np.random.default_rng(4))
    values = task.of(task.reward, tokens)
    exact, effective = estimate.sequence_level(values, log_z)
    error = exact.std() / math.sqrt(len(exact))
    assert abs(values.mean() - wanted) > 8 * error  # the two differ in this task
    assert abs(exact.mean() - wanted) < 4 * error
    assert 0 < effective <= 1


def test_equal_weights_change_nothing():
    values = np.random.default_rng(5).normal(size=(4, 3))
    exact, effective = estimate.sequence_level(values, np.full((4, 3), -700.0))
    assert exact == pytest.approx(values.mean(1)) and effective == pytest.approx(1)
    assert np.isfinite(estimate.sequence_level(values, np.array([[0.0, -900, -950]] * 4))[0]).all()


def experiment_on(task, betas, trained, prompts=300, samples=4):
    """Results as the command makes them, of models in `trained` ({beta: distribution})."""
    rng = np.random.default_rng(6)

    def cell(aligned, factor):
        tokens, log_z, kl = task.decode(aligned, factor, (prompts, samples), rng)
        constant = np.ones((prompts, samples))
        return experiment.Cell(task.of(task.reward, tokens), 0.5 * constant, kl, 2 * constant,
                               task.of(np.log(aligned / task.reference), tokens), log_z, 0.25 * constant, 6 * constant, tokens.tolist())

    def whole(aligned, factor):
        """As with very many particles: draws of pi_ref^(1 - factor) pi_al^factor / Z, told as one model decoded alone."""
        p = task.reference ** (1 - factor) * aligned**factor
        return cell(p / p.sum(), 1.0)

    runs = {}
    for b0 in betas:
        runs["decoded", b0, None] = {x: cell(trained[b0], x) for x in (0.0, *(b0 / b for b in betas))}
    runs["interpolated", betas[0], betas[1]] = {1.0: runs["decoded", betas[0], None][betas[0] / betas[1]]}
    runs["exact", betas[0], None] = {b0 / b: whole(trained[b0], b0 / b) for b0, b in [betas]}
    many = task.of(task.reward, task.decode(task.reference, 0.0, (prompts, 64), rng)[0])
    return Results("warmth", betas, *fidelity.sort(runs, betas), many, estimate.Bootstrap(prompts, repeats=300))


def test_exact_optima_leave_nothing_to_training():
    task, betas = Enumerable(3), [0.4, 0.8]
    r = experiment_on(task, betas, {b: task.optimum(b) for b in betas})
    assert len(r.comparisons) == 2
    for c in r.comparisons:
        assert abs(c.training.value) < 3 * (c.training.high - c.training.low) / 4  # within some three standard errors of none
    for i in r.implied:
        assert 1 / i.own[0].value == pytest.approx(i.beta) and i.own[1].value == pytest.approx(1)
        assert 1 / i.reference[0].value == pytest.approx(i.beta)
    assert r.table["trained", None, 0.4]["reward"].value > r.table["trained", None, 0.8]["reward"].value > r.table["reference", None, None]["reward"].value
    for b in betas:
        o = r.optima[b]
        assert abs(o.trained.value) < 3 * (o.trained.high - o.trained.low) / 4 and abs(o.gap.value) < 0.02
        assert o.bound.value == pytest.approx(b * np.log((task.reference * np.exp(task.reward / b)).sum()), abs=0.02)
    (w,) = r.whole
    assert w.factor == 0.5 and abs(w.exact.value) < 3 * (w.exact.high - w.exact.low) / 4 and w.changed.value == 0.25 and w.size.value == 6
    text = report.reading(r)
    assert "exact λ is in 1 of 1 comparisons" in text
    assert "about as far apart as their β say" in text and "stopped short" not in text and "The reward explains 1.00 of their variance" in text and "did not ask for" not in text


def test_a_model_that_was_not_trained_to_its_beta_is_found_out():
    task = Enumerable(3)
    r = experiment_on(task, [0.1, 0.8], {0.1: task.optimum(0.5), 0.8: task.optimum(0.8)})
    inward = next(c for c in r.comparisons if c.beta0 == 0.1)
    assert inward.training.high < 0  # lambda = 1/8 of a model that stands for 0.5 is far nearer the reference than 0.8
    assert inward.kl.high < 0
    assert r.optima[0.1].gap.high < 0 and r.optima[0.1].trained.high < 0 and r.whole[0].exact.high < 0
    assert 1 / r.implied[0].own[0].value == pytest.approx(0.5)
    text = report.reading(r)
    assert "At β = 0.1 training stopped short of the optimum." in text and "1.6 times from end to end, by their names 8" in text


def test_a_reward_that_says_nothing_is_reported_as_that():
    task = Enumerable(3)
    task.reward[:] = 0
    r = experiment_on(task, [0.4, 0.8], {b: Enumerable(4).reference for b in (0.4, 0.8)}, prompts=20)
    assert r.implied[0].own[0] is None and "too loosely tied" in report.reading(r)
    assert "| – | – |" in report.implied_table(r)


def test_agreement_is_said_as_it_is():
    task, betas = Enumerable(3), [0.4, 0.8]
    r = experiment_on(task, betas, {b: task.optimum(b) for b in betas})
    c = next(c for c in r.comparisons if c.factor == 0.5)
    for reward, said in (
        (estimate.Estimate(0.0, -0.01, 0.01), "in every comparison, by the estimate, and surely so."),
        (estimate.Estimate(0.0, -9.0, 9.0), "in every comparison, by the estimate; surely so in 0 of 1."),
        (estimate.Estimate(5.0, 4.0, 6.0), "training), surely so there."),
        (estimate.Estimate(5.0, -1.0, 9.0), "training), though the intervals reach inside."),
    ):
        c.reward = reward
        sentence = report.agreement_sentence(r)
        assert said in sentence and ("not at λ = 0.5 from β₀ = 0.4 (+5.00: " in sentence) == (reward.value == 5)


def test_report(tmp_path):
    task, betas = Enumerable(3), [0.4, 0.8]
    r = experiment_on(task, betas, {b: task.optimum(b) for b in betas})
    a = SimpleNamespace(pair_folder=Path("models/demo"), out=tmp_path / "fidelity.md", how=SimpleNamespace(prompt_limit=80, limit=64), prompts=300, samples=4, reference=64, particles=8, models={"r.gguf": "abc"})
    report.write(a.out, [r], a)
    text = (tmp_path / "fidelity.md").read_text(encoding="utf-8")
    docs = Path(__file__).parents[2] / "docs"
    for link in re.findall(r"\]\(([^)#\s]+)", text):  # pictures and numbers are made with the page, other pages lie beside it
        assert ((docs if link.endswith(".md") else tmp_path) / link).stat().st_size > 0
    assert text.startswith("# Fidelity of `demo`") and "other pairs" not in text
    trained = r.table["trained", None, 0.4]["kl"]
    assert "| r.gguf | `abc` |" in text and report.show(trained) in text and f"{trained.value:.2f}" in text
    rows = list(csv.DictReader((tmp_path / "fidelity.csv").open(encoding="utf-8")))
    assert any(x["what"] == "trained" and x["beta"] == "0.4" and x["measure"] == "kl" and float(x["value"]) == pytest.approx(trained.value, abs=1e-5) for x in rows)
    assert {x["lambda"] for x in rows if x["what"] == "decoded"} == {"0.5", "2"}
    best = next(x for x in rows if x["what"] == "optimum" and x["beta"] == "0.4" and x["measure"] == "objective")
    assert float(best["value"]) == pytest.approx(r.optima[0.4].bound.value, abs=1e-5) and report.show(r.optima[0.4].bound, 3) in text
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    report.write(tmp_path / "fidelity.md", [r], a)
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    (tmp_path / "fidelity-t5.md").write_text("# Fidelity of `demo-t5`\n", encoding="utf-8")
    report.write(a.out, [r], a)
    assert "The same of other pairs: [fidelity-t5.md](fidelity-t5.md). This page" in a.out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tok():
    return bpe.train(["Hello there, do you like music? I don't know. Me too!"] * 3 + ["user", "assistant", "system"] * 3, 280)


def test_heldout_prompts_are_those_of_training(tok):
    how = experiment.Conversations(corpus.Encoder(tok), 2, prefixes.PROMPT_LIMIT, prefixes.LIMIT)
    talks = [{"turns": [f"{i}" + " and on" * (40 * (i % 5 == 0)) for _ in range(6)]} for i in range(60)]
    prompts = experiment.heldout(talks, how, 48, 1)
    assert prompts == experiment.heldout(talks, how, 48, 1) != experiment.heldout(talks, how, 48, 2)
    assert [p["id"] for p in prompts] == list(range(48)) and len({p["seed"] for p in prompts}) == 48
    lengths = set()
    for p in prompts:
        assert p["tokens"] == tok.encode(chat.render(p["messages"], add_generation_prompt=True)).ids and len(p["tokens"]) <= prefixes.PROMPT_LIMIT
        assert p["messages"][0]["role"] == p["messages"][-1]["role"] == "user"
        lengths.add(len(p["messages"]))
    assert lengths == set(prefixes.TURNS)
    assert len({p["messages"][0]["content"] for p in prompts}) == 48  # one a conversation
    with pytest.raises(SystemExit, match="only 48 held-out"):
        experiment.heldout(talks, how, 49, 1)


def test_scaled_adapter(tmp_path):
    cfg = model.Config(vocab_size=300, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2)
    m = model.Llama(cfg).initialise(3)
    params = m.add_lora(32, 64.0, 5)
    for p in params:
        torch.nn.init.normal_(p, 0, 0.1)
    export.write_adapter(tmp_path / "warmth-b0.1.lora.gguf", m.lora_state(), cfg, 64.0, "q8_0", "a", "b")
    (tmp_path / "pair.json").write_text(json.dumps({"name": "demo", "reference": {"file": "r.gguf"}, "aligned": []}))
    experiment.interpolated_pair(tmp_path, tmp_path / "scaled", [("warmth", 0.1, 0.25)])
    pair = json.loads((tmp_path / "scaled" / "pair.json").read_text())
    assert pair["name"] == "scaled" and pair["reference"]["file"] == str(tmp_path.resolve() / "r.gguf") and pair["aligned"][0]["name"] == "warmth-b0.1-x0.25"
    (tmp_path / "r.gguf").write_bytes(b"r")
    sums = experiment.fingerprint(tmp_path / "scaled")
    assert list(sums) == [pair["reference"]["file"], "warmth-b0.1-x0.25.lora.gguf"] and sums[pair["reference"]["file"]] == hashlib.sha256(b"r").hexdigest()
    a, b = gguf.GGUFReader(tmp_path / "warmth-b0.1.lora.gguf"), gguf.GGUFReader(tmp_path / "scaled" / pair["aligned"][0]["adapter"])
    assert b.fields["adapter.lora.alpha"].contents() == 16.0
    for key in ("general.architecture", "general.type", "adapter.type"):
        assert a.fields[key].contents() == b.fields[key].contents()
    assert len(a.tensors) == len(b.tensors) > 0
    for x, y in zip(a.tensors, b.tensors):
        assert x.name == y.name and x.tensor_type == y.tensor_type and list(x.shape) == list(y.shape) and (x.data == y.data).all()


PROGRAM = """#!{python}
import json, sys
a = dict(zip(sys.argv[2::2], sys.argv[3::2]))
for line in open(a["--prompts"]):
    row = json.loads(line)
    for lane, x in enumerate(map(float, a["--lambda"].split(","))):
        for sample in range(int(a["--samples"])):
            print(json.dumps({{"id": row["id"], "lane": lane, "lambda": x, "sample": sample, "seed": row["seed"], "text": row["messages"][0]["content"], "tokens": [5, 6, 2],
                               **({{"exact": {{"log_z": -0.75, "effective_size": 6, "changed": True}}}} if "--exact" in a else {{}}), "reason": {reason!r}, "logp": {{"reference": -3, "aligned": -2, "mixture": -2}}, "kl_reference": 0.5, "kl_aligned": 0, "log_z": 0}}))
"""


class Check:
    def predict_proba(self, texts):
        return np.array([[0.75, 0.25]] * len(texts))


@pytest.mark.parametrize("reason", ["stop", "length", "error"])
def test_replies_become_cells(tmp_path, reason):
    program = tmp_path / "realign"
    program.write_text(PROGRAM.format(python=sys.executable, reason=reason))
    program.chmod(0o755)
    prompts = [{"id": i, "messages": chat.messages([f"hello {i}"]), "seed": i, "tokens": [i]} for i in range(3)]
    realign = experiment.Realign(program, tmp_path / "work", prompts, 2, 64, {"r": "1"})
    lines = realign.run(tmp_path / "models" / "demo", "warmth-b0.1", [0.0, 0.1 / 0.3])
    whole = realign.run(tmp_path / "models" / "demo", "warmth-b0.1", [0.5], "--exact", "8", called="warmth-b0.1-exact")
    many = realign.run(tmp_path / "models" / "demo", "warmth-b0.1", [0.0], samples=150, called="reference-150")
    assert sorted((r["id"], r["sample"]) for r in many) == [(i, j) for i in range(3) for j in range(150)]
    assert len({r["seed"] + r["sample"] % 64 for r in many if r["id"] == 0}) == 150  # noise of its own for each
    program.unlink()  # what is kept is not decoded again
    assert experiment.Realign(program, tmp_path / "work", prompts, 2, 64, {"r": "1"}, keep=True).run("", "warmth-b0.1", []) == lines
    for other in ((prompts, 2, 64, {"r": "2"}), (prompts, 3, 64, {"r": "1"}), (prompts, 2, 48, {"r": "1"}), (prompts[:2], 2, 64, {"r": "1"})):
        with pytest.raises(SystemExit, match="--keep"):
            experiment.Realign(program, tmp_path / "work", *other, keep=True)
    scorer = experiment.Scorer(Check(), end=2)
    if reason == "error":
        with pytest.raises(SystemExit, match="ended as error"):
            scorer.cells(lines, lambda text, n: 0.0, 3, 2)
        return
    cells = scorer.cells(lines, lambda text, n: int(text[-1]) + n / 10, 3, 2)
    c = cells[0.1 / 0.3]
    assert list(cells) == [0.0, 0.1 / 0.3] and c.reward.tolist() == [[0.2, 0.2], [1.2, 1.2], [2.2, 2.2]]
    assert (c.length == 2).all() and (c.log_ratio == 1).all() and (c.kl == 0.5).all() and (c.check == 0.25).all() and c.tokens[2][1] == [5, 6]
    e = scorer.cells(whole, lambda text, n: 0.0, 3, 2)[0.5]
    assert np.isnan(c.changed).all() and (e.changed == 1).all() and (e.size == 6).all() and e.kl == pytest.approx(0.5 + 0.75)
    with pytest.raises(SystemExit, match="is missing"):
        scorer.cells(lines[:-1], lambda text, n: 0.0, 3, 2)
