"""Reading the base back from GGUF, the DPO loss and its optimum, rewards and pairs of smollm2."""

import math

import pytest
import torch

from training import export, generate, model
from training.smollm2 import base, dpo, evaluate, release, samples, tasks


@pytest.fixture
def small():
    cfg = model.Config(vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
                       num_key_value_heads=2, max_position_embeddings=64)
    m = model.Llama(cfg)
    g = torch.Generator().manual_seed(4)
    for p in m.parameters():
        torch.nn.init.normal_(p, 0.5 if p.ndim == 1 else 0, 0.3, generator=g)
    return m


def test_row_order_is_undone():
    w = torch.arange(48.0).view(16, 3).numpy()
    assert (base.unpermute(export.permute(w, 2), 2) == w).all()
    assert (export.permute(w, 2) != w).any()


def test_every_parameter_is_found_by_its_gguf_name(small):
    for name in small.state_dict():
        assert base.parameter_name(export.gguf_name(name)[0]) == name


def test_only_the_last_blocks_get_adapters(small):
    small.add_lora(4, 8.0, 5, first=1)
    assert {n.split(".")[1] for n in small.lora_state()} == {"1", "2"} and len(small.lora_state()) == 2 * 2 * 7


def test_sampled_log_probabilities_are_those_of_a_pass(small):
    prompts = torch.randint(3, 40, (3, 6), generator=torch.Generator().manual_seed(1))
    logps = []
    replies, ended = generate.sample(small, prompts, 2, 9, 2, torch.Generator().manual_seed(2), 0.7, logps=logps)
    assert any(ended) and not all(ended)
    for i, (reply, end, logp) in enumerate(zip(replies, ended, logps)):
        said = reply + [2] * end
        z = small(torch.tensor([prompts[i // 2].tolist() + said]))[0, 5:-1].log_softmax(-1)
        assert logp == pytest.approx(float(z[range(len(said)), said].sum()), abs=1e-4)


def items(small, gaps):
    prompts = torch.randint(3, 40, (len(gaps), 6), generator=torch.Generator().manual_seed(1))
    logps = []
    replies, ended = generate.sample(small, prompts, 2, 9, 2, torch.Generator().manual_seed(2), logps=logps)
    made = [{"ids": r, "ended": e, "logp": p, "text": ""} for r, e, p in zip(replies, ended, logps)]
    return [{"ids": p.tolist(), "replies": made[2 * i:2 * i + 2], "gaps": [g]} for i, (p, g) in enumerate(zip(prompts, gaps))]


def test_ratios_are_zero_before_training_and_the_loss_is_what_it_should_be(small):
    gaps = [0.5, 1.0, 0.0]
    small.add_lora(4, 8.0, 5)
    ratios = dpo.log_ratios(small, items(small, gaps), 2)
    assert ratios.abs().max() < 1e-4
    p = [1 / (1 + math.exp(-g)) for g in gaps]
    entropy = [-(q * math.log(q) + (1 - q) * math.log(1 - q)) for q in p]
    assert float(dpo.loss(ratios, torch.tensor(gaps), 0.1)) == pytest.approx(math.log(2) - sum(entropy) / 3, abs=1e-5)


def test_the_loss_is_least_at_the_reward_over_beta():
    gaps = torch.tensor([0.8, 0.3])
    for beta in (0.1, 0.3):
        best = torch.stack([gaps / beta, torch.zeros(2)], 1).requires_grad_()
        value = dpo.loss(best, gaps, beta)
        gradient, = torch.autograd.grad(value, best)
        assert abs(float(value)) < 1e-6 and gradient.abs().max() < 1e-6
        assert float(dpo.loss(best + torch.tensor([1.0, 0.0]), gaps, beta)) > 1e-5


def test_two_pairs_of_a_prompt_are_told_apart(small):
    small.add_lora(4, 8.0, 5)
    with torch.no_grad():
        for m in small.linears():
            m.lora_b.normal_(std=0.1, generator=torch.Generator().manual_seed(4))
    batch = items(small, [0.8, 0.5])
    one = {"ids": batch[0]["ids"], "replies": batch[0]["replies"] + batch[0]["replies"][::-1], "gaps": [0.8, 0.5]}
    ratios = dpo.log_ratios(small, [one], 2)
    assert ratios.shape == (2, 2) and torch.allclose(ratios[0], ratios[1].flip(0), atol=1e-4)
    assert dpo.measure(small, [one], 0.3, 2)["pairs"] == 2


def test_training_moves_the_ratios_to_the_rewards(small):
    params = small.add_lora(8, 16.0, 5)
    batch = items(small, [0.8, 0.5])
    opt = torch.optim.AdamW(params, lr=0.01, weight_decay=0.0)
    for _ in range(80):
        opt.zero_grad()
        dpo.loss(dpo.log_ratios(small, batch, 2), torch.tensor([0.8, 0.5]), 0.3).backward()
        opt.step()
    found = dpo.measure(small, batch, 0.3, 2)
    assert found["slope"] == pytest.approx(1, abs=0.1) and found["preferred"] == 1 and found["loss"] < 1e-3


def test_best_and_worst_make_a_pair():
    row = {"ids": [1], "replies": [{"ids": [0] * n, "ended": e, "text": ""} for n, e in ((10, True), (4, True), (20, False), (19, True))]}
    for ranks, lengths, gaps in ((1, [4, 20], [0.6 + 1]), (2, [4, 20, 10, 19], [0.6 + 1, 0.9])):
        found, = dpo.pairs([row], tasks.reward("brevity", None, 20), ranks)
        assert [len(r["ids"]) for r in found["replies"]] == lengths and found["gaps"] == pytest.approx(gaps)
    assert [tasks.brevity(0, True, 48), tasks.brevity(24, True, 48), tasks.brevity(48, False, 48)] == [1, 0, -1]


def test_pairs_of_different_lengths_are_not_put_together():
    assert [len(b) for b in dpo.batches(list(range(8)))] == [4, 4] and [len(b) for b in dpo.batches(list(range(3)), group=1)] == [1, 1, 1]


def test_a_step_has_as_many_pairs_whatever_the_batches_are():
    for group, sizes in ((8, {(4,)}), (1, {(1, 1, 1, 1)})):
        found = dpo.steps(list(range(16)), group, 2, 7)
        assert {tuple(map(len, s)) for s in found} == sizes and len(found) == 8
        assert sorted(i for s in found[:4] for b in s for i in b) == list(range(16))
    assert [len(s) for s in dpo.steps(list(range(6)), 1, 1, 7)] == [4, 2]


def test_long_prompts_are_left_out():
    class Words:
        def prompt(self, text):
            return text.split()

    rows = [{"prompt": "a " * n} for n in (3, 9, 4, 3, 12)]
    assert sorted(len(ids) for group in samples.groups(Words(), rows, 10, 1, 7, 8) for _, ids in group) == [3, 3, 4]


def test_grounding_is_the_share_of_word_pairs_that_the_context_has():
    context = "The old king's daughter lived by the sea."
    assert tasks.grounding("By the sea", context) == 1 and tasks.grounding("By a lake", context) == -1
    assert tasks.grounding("The king’s daughter lived", context) == pytest.approx(2 * 2 / 3 - 1) and tasks.grounding("sea", context) == -1


def test_rouge_is_of_the_longest_common_subsequence():
    assert tasks.rouge("the cat sat", "The cat, sat.") == 1 and tasks.rouge("", "a") == 0 and tasks.rouge("x", "y") == 0
    assert tasks.rouge("police killed the gunman", "police kill the gunman") == pytest.approx(0.75)
    assert tasks.rouge("the gunman kill police", "police kill the gunman") == pytest.approx(0.5)


def test_tasks_read_their_rows(tmp_path):
    import json
    import lzma
    with lzma.open(tmp_path / "grounded-qa-fairytale.jsonl.xz", "wt") as f:
        for split in ("train", "test", "val"):
            f.write(json.dumps({"context": f"{split} c", "question": "q?", "answer": "a", "split": split}) + "\n")
    with lzma.open(tmp_path / "summaries-scitldr.jsonl.xz", "wt") as f:
        f.write(json.dumps({"document": "d", "summaries": ["s", "t"], "split": "train"}) + "\n")
    assert tasks.rows("grounding", tmp_path) == [{"prompt": "train c\n\nq?", "context": "train c", "reference": "a"}]
    assert [r["context"] for r in tasks.rows("grounding", tmp_path, heldout=True)] == ["test c"]
    assert tasks.rows("summaries", tmp_path) == [{"prompt": f"d\n\n{tasks.SUMMARISE}", "context": "d", "reference": "s"}]
    row, = tasks.rows("summaries", tmp_path)
    assert tasks.reward("rouge", None, 40)(row, {"text": "s"}) == 1 and tasks.of("rouge") == "summaries" and tasks.of("brevity") == "dialogue"


def test_a_half_written_batch_is_left_out(tmp_path):
    path = tmp_path / "s.jsonl"
    lines = ['{"limit": 4, "group": 8}'] + ['{"prompt": "x"}'] * (samples.GROUP + 3) + ['{"prom']
    path.write_text("\n".join(lines))
    settings, rows = samples.read(path)
    assert settings["limit"] == 4 and len(rows) == samples.GROUP


def test_manifest_lists_the_adapters(tmp_path):
    (tmp_path / "reference.json").write_text('{"file": "base/x.gguf", "install": "make smollm2"}')
    for name in ("warmth-b0.1", "warmth-b0.3", "brevity-b0.1"):
        (tmp_path / f"{name}.lora.gguf").write_bytes(b"x")
    pair = release.build(tmp_path, "warmth-b0.3")
    assert pair["reference"]["install"] == "make smollm2"
    assert [a["name"] for a in pair["aligned"]] == ["warmth-b0.3", "warmth-b0.1", "brevity-b0.1"]
    assert [a["default"] for a in pair["aligned"]] == [True, False, False]


def test_replies_are_gathered_by_lane():
    token = '{"type":"token","lane":%d,"id":%d,"text":"%s","kl_reference":%g}'
    lines = [token % (0, 5, " a", 0.5), token % (1, 6, "b", 0), token % (0, 2, "", 0.25), token % (1, 7, " c", 0),
             '{"type":"end","lane":0,"reason":"stop"}', '{"type":"end","lane":1,"reason":"length"}', '{"type":"stats"}']
    assert evaluate.gather(lines, 2) == [{"ids": [5], "text": "a", "ended": True, "kl": 0.75},
                                         {"ids": [6, 7], "text": "b c", "ended": False, "kl": 0}]
    assert evaluate.distinct2(["a b c", "a b"]) == 2 / 3
