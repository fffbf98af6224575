"""Training to the optimum, on models and tasks where the optimum is known."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from training import align, bpe, calibrate, corpus, export, model, optimum, pool, recover, rewards
from training.fidelity import estimate

BETA = 0.3


class Table:
    """Two tokens over three symbols, as logits: row 0 the first token, row 1 + i the one after i."""

    def __init__(self, seed):
        g = torch.Generator().manual_seed(seed)
        self.theta, self.reference = (torch.randn(4, 3, generator=g, dtype=torch.float64) for _ in range(2))
        self.reward = torch.randn(3, 3, generator=g, dtype=torch.float64)
        self.theta.requires_grad_(True)
        self.replies = torch.cartesian_prod(torch.arange(3), torch.arange(3))
        self.mask = torch.ones(9, 2, dtype=torch.bool)

    def each(self, logits):
        """log-probability of each token of each reply, in the order of y[mask]."""
        lp = logits.log_softmax(-1)
        return torch.stack([lp[0][self.replies[:, 0]], lp[1 + self.replies[:, 0], self.replies[:, 1]]], 1).flatten()

    def optimum(self):
        p = self.each(self.reference).view(9, 2).sum(1) + self.reward.flatten() / BETA
        return p - p.logsumexp(0)


def test_descent_of_the_loss_ends_at_the_optimum_from_any_replies():
    """All replies, each as often as the other: neither the policy's own distribution nor the reference's."""
    t = Table(10)
    opt = torch.optim.LBFGS([t.theta], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe")
    owner = torch.zeros(9, dtype=torch.long)

    def closure():
        opt.zero_grad()
        cost = align.loss(t.each(t.theta), t.each(t.reference), t.mask, owner, t.reward.flatten(), BETA, 1)
        cost.backward()
        return cost

    opt.step(closure)
    torch.testing.assert_close(t.each(t.theta).view(9, 2).sum(1), t.optimum(), atol=1e-5, rtol=1e-5)
    assert float(closure()) == pytest.approx(0, abs=1e-8)


def test_gradient_on_own_replies_is_that_of_the_divergence():
    """Replies as often as the policy says them: the loss's gradient is that of KL(pi || pi*), in expectation."""
    t = Table(11)
    logp = t.each(t.theta).view(9, 2).sum(1)
    wanted, = torch.autograd.grad((logp.exp() * (logp - t.optimum())).sum(), t.theta, retain_graph=True)
    rows = torch.multinomial(logp.exp().detach(), 200_000, replacement=True, generator=torch.Generator().manual_seed(1))
    each, reference = (t.each(x).view(9, 2)[rows].flatten() for x in (t.theta, t.reference))
    cost = align.loss(each, reference, t.mask[:1].expand(len(rows), 2), torch.zeros(len(rows), dtype=torch.long), t.reward.flatten()[rows], BETA, 1)
    got, = torch.autograd.grad(cost, t.theta)
    torch.testing.assert_close(got, wanted, atol=0.03, rtol=0.03)


def test_loss_does_not_see_what_prompts_differ_by():
    each, mask = torch.zeros(6), torch.ones(6, 1, dtype=torch.bool)
    owner = torch.tensor([0, 0, 0, 1, 1, 1])
    reward = torch.tensor([1.0, 1, 1, -1, -1, -1])
    assert float(align.loss(each, each, mask, owner, reward, BETA, 2)) == pytest.approx(0)
    assert float(align.loss(each, each, mask, owner * 0, reward, BETA, 1)) == pytest.approx(0.5 / BETA**2)


def test_average_is_of_the_last_third_about():
    w = torch.zeros(1)
    average = align.Average([w])
    for i in range(300):
        w.fill_(float(i))
        average.add([w])
    assert float(average.values[0]) == pytest.approx(299 * 3 / 4, rel=0.01)  # the mean of t under a weight of t^2


def replies_of(task_seed, policy_beta, prompts=200, copies=16):
    """(reward, log-ratio) of the reference's and of the policy's replies, the policy the optimum for policy_beta; and beta log Z."""
    rng = np.random.default_rng(task_seed)
    reference, own, log_z = [], [], []
    for _ in range(prompts):
        p, r = rng.dirichlet(np.ones(30)), rng.uniform(-1, 1, 30)
        q = p * np.exp(r / policy_beta)
        q /= q.sum()
        log_z.append(np.log((p * np.exp(r / BETA)).sum()))
        for out, said in ((reference, p), (own, q)):
            y = rng.choice(30, copies, p=said)
            out.append((r[y], np.log(q / p)[y]))
    pack = lambda rows: tuple(np.array(x) for x in zip(*rows))
    return pack(reference), pack(own), BETA * np.mean(log_z)


def test_measures_of_the_optimum():
    reference, own, bound = replies_of(1, BETA)
    m = optimum.summarise(reference, own, BETA)
    assert m.r2.value == pytest.approx(1) and m.implied == pytest.approx(BETA)
    assert m.bound.value == pytest.approx(bound, abs=0.01)
    assert m.gap.value == pytest.approx(0, abs=0.003) and m.reached
    assert m.optimum_reward.low < m.reward.value < m.optimum_reward.high
    assert "R2 1.000" in str(m)


def test_measures_find_out_what_stopped_short():
    reference, own, _ = replies_of(2, 3 * BETA)
    m = optimum.summarise(reference, own, BETA)
    assert m.implied == pytest.approx(3 * BETA) and m.gap.high < 0 and not m.reached
    assert m.reward.value < m.optimum_reward.value and m.kl.value < m.optimum_kl.value


def test_measures_without_own_replies_weigh_the_references():
    reference, own, bound = replies_of(3, BETA, copies=64)
    none = tuple(np.zeros((len(x), 0)) for x in own)
    log_w, log_z = optimum.weights(reference, none, BETA)
    assert np.exp(log_w).sum(1) == pytest.approx(1) and BETA * log_z.mean() == pytest.approx(bound, abs=0.03)


def test_a_reward_that_says_nothing_has_no_implied_beta():
    flat = np.zeros((20, 4)), np.random.default_rng(4).normal(size=(20, 4))
    m = optimum.summarise(flat, flat, BETA)
    assert m.implied is None and not m.reached and "implied beta nan" in str(m)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder with a small random reference, its tokenizer and a pool."""
    folder = tmp_path_factory.mktemp("work")
    tok = bpe.train(["Hello there, do you like music? I don't know. Me too!"] * 3 + ["user", "assistant", "system"] * 3, 280)
    tok.save(str(folder / "tokenizer.json"))
    cfg = model.Config(vocab_size=tok.get_vocab_size(), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                       num_key_value_heads=4, max_position_embeddings=128)
    m = model.Llama(cfg).initialise(3)
    with torch.no_grad():  # replies of some 16 tokens: one dimension is the same everywhere, and the end's has more of it
        m.embed_tokens.weight *= 3
        m.embed_tokens.weight[:, 0] = 0.3
        m.embed_tokens.weight[corpus.Encoder(tok).end[0], 0] = 1.0
    model.save(folder / "reference.pt", m)
    m.requires_grad_(False)
    end = corpus.Encoder(tok).end[0]
    for name, seed in (("pool", 1), ("pool-heldout", 2)):
        g = torch.Generator().manual_seed(seed)
        x = torch.randint(3, cfg.vocab_size, (pool.GROUP, 5), generator=g)
        pool.save(folder / f"{name}.pt", [pool.answers(m, m, tok, x, 8, end, seed)])
    return SimpleNamespace(folder=folder, model=m, tok=tok, end=end)


def test_the_pool_keeps_the_reference_s_log_probabilities(work):
    group, = pool.load(work.folder / "pool.pt", lambda text, n: float(n))
    assert len(group) == pool.GROUP and all(len(mine) == 8 for mine in group.replies)
    for i in (0, 7, 31):
        r = group.replies[i][3]
        z = work.model(torch.tensor([group.x[i].tolist() + r["ids"]]))[0, len(group.x[i]) - 1:-1].log_softmax(-1)
        assert r["each"] == pytest.approx(z.gather(-1, torch.tensor(r["ids"])[:, None])[:, 0].tolist(), abs=1e-4)
        assert r["reward"] == r["tokens"] == len([t for t in r["ids"] if t != work.end]) and r["text"] == work.tok.decode(r["ids"][:r["tokens"]])
    assert pool.log_ratios(work.model, group, work.end).abs().max() < 1e-4


def test_training_leaves_a_checkpoint_that_a_neighbour_takes_up_scaled(work):
    run = lambda *more: subprocess.run([sys.executable, "-m", "training.align", "--work", str(work.folder), "--reward", "length", "--held", "32", *more],
                                       stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "length-b1 after 2 steps: R2 " in run("--beta", "1", "--steps", "2", "--lr", "3e-3")
    first = torch.load(work.folder / "length-b1.pt", weights_only=True)
    assert first["steps"] == 2 and first["measures"]["beta"] == 1 and not (work.folder / "length-b1.partial.pt").exists()
    assert all(v.any() for v in first["lora"].values())
    assert first["commands"] == ["python -m training.align --work WORK --reward length --beta 1 --steps 2 --lr 0.003"]
    run("--beta", "2", "--start", "1", "--steps", "1", "--lr", "1e-9")
    second = torch.load(work.folder / "length-b2.pt", weights_only=True)
    assert second["start"] == 1
    for k, v in first["lora"].items():
        torch.testing.assert_close(second["lora"][k], v * (0.5 if k.endswith("lora_b") else 1), atol=1e-5, rtol=1e-4)
    run("--beta", "2", "--start", "2", "--toward", "1.5", "--steps", "1", "--lr", "1e-9")
    third = torch.load(work.folder / "length-b2.pt", weights_only=True)
    assert (third["steps"], third["start"], third["toward"], third["measures"]["beta"]) == (2, 1, 1.5, 2)
    assert [c.split("--beta ")[1] for c in third["commands"]] == ["2 --start 1 --steps 1 --lr 1e-09", "2 --start 2 --toward 1.5 --steps 1 --lr 1e-09"]
    for k, v in second["lora"].items():
        torch.testing.assert_close(third["lora"][k], v, atol=1e-5, rtol=1e-4)


def test_the_factor_is_the_smallest_that_is_enough():
    assert calibrate.chosen([(1.0, 0.8), (1.1, 0.95), (1.2, 1.02)]) == 1.1
    assert calibrate.chosen([(1.0, 0.97), (1.1, 1.05)]) == 1.0
    assert calibrate.chosen([(1.0, 0.86), (1.1, 0.87), (1.2, 0.84)]) == 1.1  # none is: the nearest


def test_calibration_scales_an_adapter_by_what_it_measured(work):
    m = model.load(work.folder / "reference.pt")[0]
    m.add_lora(4, 8.0, 5)
    group, = pool.load(work.folder / "pool.pt", lambda text, n: 0.0)
    for name, p in m.named_parameters():
        if "lora_b" in name:
            torch.nn.init.normal_(p.data, 0, 0.05, generator=torch.Generator().manual_seed(6))
    before = m.lora_state()
    torch.save({"lora": before, "alpha": 8.0, "rank": 4, "name": "length-b5"}, work.folder / "length-b5.pt")
    said = subprocess.run([sys.executable, "-m", "training.calibrate", "--work", str(work.folder), "--reward", "length", "--beta", "5", "--prompts", "32"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    slopes = [(float(f), float(s)) for f, s in re.findall(r"x ([\d.]+): slope x beta (-?[\d.]+)", said)]
    assert [f for f, _ in slopes] == pytest.approx(calibrate.FACTORS[:len(slopes)])
    after = torch.load(work.folder / "length-b5.pt", weights_only=True)
    assert after["factor"] == pytest.approx(calibrate.chosen(slopes)) and after["measures"]["beta"] == 5
    for k, v in before.items():
        torch.testing.assert_close(after["lora"][k], v * (after["factor"] if k.endswith("lora_b") else 1))
    m.load_state_dict(after["lora"], strict=False)
    m.merge(1.0)
    reward = torch.tensor([[r["tokens"] for r in mine] for mine in group.replies])
    found, _ = estimate.Bootstrap(len(reward), 1).slope(np.vectorize(rewards.length_reward)(reward.numpy()), pool.log_ratios(m, group, work.end).double().numpy())
    assert found.value * 5 == pytest.approx(dict(slopes)[round(after["factor"], 2)], abs=2e-3)


def test_recovered_models_are_those_that_were_written(work, tmp_path):
    export.write_model(tmp_path / "reference-q8_0.gguf", work.model.state_dict(), work.model.cfg, work.folder / "tokenizer.json", "q8_0", "n", "d")
    other = model.Llama(work.model.cfg).initialise(3)
    for factor in other.add_lora(4, 64.0, 5):
        torch.nn.init.normal_(factor, 0, 0.2, generator=torch.Generator().manual_seed(6))
    written = other.lora_state()
    export.write_adapter(tmp_path / "length-b0.2.lora.gguf", written, work.model.cfg, 64.0, "f32", "n", "d")
    recover.adapters(tmp_path, recover.recover(tmp_path / "reference-q8_0.gguf", tmp_path / "work"), tmp_path / "work")
    c = torch.load(tmp_path / "work" / "length-b0.2.pt", weights_only=True)
    assert (c["reward"], c["beta"], c["alpha"], c["rank"]) == ("length", 0.2, 64, 4) and c["lora"].keys() == written.keys()
    for k, v in written.items():
        torch.testing.assert_close(c["lora"][k], v)
    m, _ = model.load(tmp_path / "work" / "reference.pt")
    for k, v in work.model.state_dict().items():
        torch.testing.assert_close(m.state_dict()[k], v, atol=0.02, rtol=0.02)
    from tokenizers import Tokenizer
    text = "<|im_start|>user\nHello there,  it's 1985!<|im_end|>\n"
    assert Tokenizer.from_file(str(tmp_path / "work" / "tokenizer.json")).encode(text).ids == work.tok.encode(text).ids
