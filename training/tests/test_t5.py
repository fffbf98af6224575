from argparse import Namespace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

from training.t5 import demo, dialogue, export, model, recover  # noqa: E402
from training.t5.parity import FIXTURES, TINY, make  # noqa: E402


@pytest.mark.parametrize("shape", FIXTURES, ids=lambda s: s.title)
def test_names_are_llama_cpps(shape):
    m = make(shape, 0, 128)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5, TINY["num_layers"])
    written = dict(export.tensors(m.state_dict(), export.is_tied(m)))
    for name, t in m.state_dict().items():
        if "embed_tokens" in name or shape.tied and "lm_head" in name:
            continue
        want = names.get_name(name, try_suffixes=(".weight",))
        np.testing.assert_array_equal(written.pop(want), t.numpy())
    assert not written, "nothing else is written"


def test_what_is_scaled_is_what_transformers_scales():
    for shape in FIXTURES:
        m = make(shape, 0, 128)
        doubled = make(shape, 0, 128)
        doubled.config.d_model, doubled.model_dim = 4 * m.config.d_model, 4 * m.config.d_model  # the factor asks for no other thing
        args = dict(input_ids=torch.tensor([[5, 6, 1]]), decoder_input_ids=torch.tensor([[0]]))
        ratio = float((m(**args).logits / doubled(**args).logits).mean())
        assert ratio == pytest.approx(2.0 if export.scales(m) else 1.0, rel=1e-4)


def small():
    return model.new(64, 1, width=32, ff=32, encoder=2, decoder=2, heads=2)


def test_log_probability_is_the_sum_of_each_tokens():
    m = small()
    with torch.no_grad():
        m.lm_head.weight.mul_(20)
        source, reply = [5, 6, 1], [7, 8, 9, 1]
        logits = m(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[0, *reply[:-1]]])).logits[0].log_softmax(-1)
        got = model.log_probability(m, [source, [5, 1]], [reply, [7, 1], [3, 3, 3], [1]], 2)
    want = float(sum(logits[i, t] for i, t in enumerate(reply)))
    assert float(got[0]) == pytest.approx(want, abs=0.05)  # products may be of 16 bits
    assert got.shape == (4,)


def test_strength_of_the_adapter():
    m = small()
    before = model.log_probability(m, [[5, 1]], [[7, 1]], 1)
    branches = model.add_lora(m, 1)
    assert all(name.startswith("decoder.") for name in branches)
    with torch.no_grad():
        for b in branches.values():
            b.b.normal_()
    changed = model.log_probability(m, [[5, 1]], [[7, 1]], 1)
    model.strength(branches, 0.0)
    again = model.log_probability(m, [[5, 1]], [[7, 1]], 1)
    assert float(again[0]) == float(before[0]) != float(changed[0])


class Letters:
    """A vocabulary of letters, from 10 on."""

    def piece_to_id(self, piece):
        return 3 + dialogue.ROLES.index(piece)

    def encode(self, texts):
        return [[10 + ord(c) - ord("a") for c in t] for t in texts]


def test_examples():
    encoder = dialogue.Encoder(Letters())
    turns = encoder.turns([{"turns": ["a", "bb", "c", "d"]}])
    assert encoder.source(turns[0][:3]) == [3, 10, 4, 11, 11, 3, 12, 1], "the last turn is the user's"
    pairs = dialogue.examples(turns * 50, encoder, 1)
    assert all(s[-1] == 1 and r[-1] == 1 and s[0] in (3, 4) for s, r in pairs)
    batches = list(dialogue.batches(pairs, 40, 1))
    assert sorted(p for b in batches for p in b) == sorted(pairs)


def test_recover_gives_back_what_ships(tmp_path):
    shipped = Path(__file__).parents[2] / "models" / "demo-t5"
    recover.recover(shipped, tmp_path)
    sp, m, state = demo.load(Namespace(work=tmp_path))
    assert state["step"] > 0
    export.write(tmp_path / "again.gguf", m, tmp_path / "demo-t5.spm", "q8_0", "again", context=512, template=dialogue.TEMPLATE)
    a, b = (gguf.GGUFReader(str(f)) for f in (shipped / "reference-q8_0.gguf", tmp_path / "again.gguf"))
    assert [t.name for t in a.tensors] == [t.name for t in b.tensors]
    assert all(np.array_equal(x.data, y.data) for x, y in zip(a.tensors, b.tensors))
    same = ("tokens", "scores", "token_type", "eos_token_id", "unknown_token_id", "padding_token_id", "add_space_prefix", "remove_extra_whitespaces")
    assert all(a.fields[f"tokenizer.ggml.{k}"].contents() == b.fields[f"tokenizer.ggml.{k}"].contents() for k in same)
    assert sp.decode(sp.encode("Hello there.")) == "Hello there."
    factors = torch.load(tmp_path / "length-b0.1.pt", weights_only=True)["factors"]
    branches = model.add_lora(m, 1)
    assert set(factors) == set(branches)
    model.set_factors(branches, factors)


def test_replies_of_several_kinds():
    m = small()
    branches = model.add_lora(m, 1)
    with torch.no_grad():
        for b in branches.values():
            b.b.normal_()
    torch.manual_seed(1)
    sources = [[5, 1], [6, 7, 1]]
    own, reference = demo.Replies(m, branches, sources, 1.0, 3), demo.Replies(m, branches, sources, 0.0, 2)
    both = demo.joined([reference.some([0, 1], slice(1, 2)), own])
    assert [len(group) for group in both.replies] == [4, 4] and both.base.shape == both.rewards.shape == (2, 4)
    assert both.replies[1][1:] == own.replies[1] and both.replies[0][0] == reference.replies[0][1]
    model.strength(branches, 0.0)
    assert demo.log_ratios(m, sources, both).abs().max() < 1e-4, "the reference's own ratios are 0"
