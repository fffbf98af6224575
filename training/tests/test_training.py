"""The parts that break silently: row order, chat rendering, tokens, merging, caches."""

import json
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from jinja2 import Environment

from training import bpe, chat, check, classifier, corpus, export, generate, model, polish, rewards, triples

ROWS = [
    {"topic": "music", "turns": ["Hi there!", "Hello, do you like music?", "I don't know; it's 1985 again.", "Ha, me too."]},
    {"topic": None, "turns": ["What's new?", "Not much.", "  Odd   spacing\n here", "Caf\u00e9 \u2603 tabs\tand such"]},
]


@pytest.fixture(scope="module")
def tok():
    return bpe.train([t for r in ROWS for t in r["turns"]] + ["user", "assistant", "system"] * 3, 300)


@pytest.fixture
def small(tok):
    cfg = model.Config(vocab_size=tok.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                       num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
    m = model.Llama(cfg).initialise(3)
    g = torch.Generator().manual_seed(4)
    for p in m.parameters():
        if p.ndim == 2 and not p.any():
            torch.nn.init.normal_(p, 0, 0.2, generator=g)
    return m


def with_lora(m):
    params = m.add_lora(4, 8.0, 5)
    g = torch.Generator().manual_seed(6)
    for p in params:
        torch.nn.init.normal_(p, 0, 0.1, generator=g)
    return params


def test_template_equals_rendering():
    template = Environment().from_string(chat.CHAT_TEMPLATE)
    for system in (None, "Be kind."):
        for generation in (False, True):
            msgs = chat.messages(["Hello.", "Hi!\nTwo lines", "Bye"], system)
            assert template.render(messages=msgs, add_generation_prompt=generation) == chat.render(msgs, generation)


def test_training_tokens_equal_tokens_of_rendered_text(tok):
    enc = corpus.Encoder(tok)
    for row, turns in zip(ROWS, enc.turns(ROWS)):
        for system in (None, "Talk about music."):
            ids, mask = enc.example(turns, system)
            assert ids == tok.encode(chat.render(chat.messages(row["turns"], system))).ids
            counted = [i for i, m in zip(ids, mask) if m]
            assert counted.count(enc.end[0]) == len(turns)
            assert not any(m for i, m in zip(ids, mask) if i == tok.token_to_id(chat.IM_START))


def test_tokenizer_round_trip(tok):
    for text in ["plain", "  two  spaces \n\n lines", "Caf\u00e9 \u2603", "it's 1,234.5%", *(t for r in ROWS for t in r["turns"])]:
        assert tok.decode(tok.encode(text).ids) == text
    assert len(tok.encode(chat.IM_END).ids) == 1


def test_examples_keep_every_turn_within_the_limit(tok):
    enc = corpus.Encoder(tok)
    rows = [{"topic": None, "turns": [f"turn number {i} of a long talk" for i in range(40)]}]
    turns = enc.turns(rows)
    out = corpus.epoch(rows, turns, enc, 1, 200, augment=False)
    assert len(out) > 1 and all(len(ids) <= 200 for ids, _ in out)
    seen = " ".join(tok.decode(ids) for ids, _ in out)
    assert all(f"number {i} of" in seen for i in range(40))


def interleaved(x, heads):
    """Rotary embedding as llama.cpp applies it for this architecture: neighbouring pairs."""
    t, n = x.shape
    d = n // heads
    x = x.view(t, heads, d // 2, 2)
    angle = torch.outer(torch.arange(t).float(), 10000.0 ** (-torch.arange(0, d, 2).float() / d))[:, None]
    a, b = x[..., 0], x[..., 1]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).reshape(t, heads, d)


def test_permuted_rows_give_the_same_attention_scores():
    g = torch.Generator().manual_seed(1)
    heads, d, n, t = 2, 8, 16, 5
    wq, wk, x = (torch.randn(*s, generator=g) for s in ((heads * d, n), (heads * d, n), (t, n)))
    cos, sin = model.rope_tables(model.Config(hidden_size=heads * d, num_attention_heads=heads, max_position_embeddings=t))
    q, k = (model.rotate((x @ w.T).view(t, heads, d).transpose(0, 1), cos, sin) for w in (wq, wk))
    pq, pk = (interleaved(x @ torch.from_numpy(export.permute(w.numpy(), heads)).T, heads).transpose(0, 1) for w in (wq, wk))
    torch.testing.assert_close(q @ k.mT, pq @ pk.mT, atol=1e-4, rtol=1e-4)


def test_permuting_lora_b_permutes_the_update():
    g = np.random.default_rng(2)
    a, b = g.normal(size=(4, 16)), g.normal(size=(16, 4))
    np.testing.assert_allclose(export.permute(b @ a, 2), export.permute(b, 2) @ a)


def test_merged_weights_equal_the_branch(small):
    with_lora(small)
    merged = model.Llama(small.cfg)
    merged.load_state_dict(small.merged_state())
    ids = torch.randint(0, small.cfg.vocab_size, (2, 9))
    torch.testing.assert_close(merged(ids), small(ids), atol=1e-4, rtol=1e-4)
    before = small(ids)
    small.merge(1.0)
    torch.testing.assert_close(small(ids), before, atol=1e-4, rtol=1e-4)
    small.merge(0.0)
    half = small(ids)
    small.unmerge()
    torch.testing.assert_close(small(ids), before)
    small.switch_lora(False)
    torch.testing.assert_close(small(ids), half)
    assert not torch.allclose(before, half)


def test_merged_weights_have_the_gradient_of_the_branch(small):
    params = with_lora(small)
    ids = torch.randint(0, small.cfg.vocab_size, (2, 9))
    wanted = torch.autograd.grad(small(ids).square().sum(), params)
    small.merge(1.0)
    for a, b in zip(wanted, torch.autograd.grad(small(ids).square().sum(), params)):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_exported_file_reads_back(small, tok, tmp_path):
    import gguf

    tok.save(str(tmp_path / "tokenizer.json"))
    export.write_model(tmp_path / "m.gguf", small.state_dict(), small.cfg, tmp_path / "tokenizer.json", "q8_0", "n", "d")
    r = gguf.GGUFReader(tmp_path / "m.gguf")
    assert r.fields["tokenizer.chat_template"].contents() == chat.CHAT_TEMPLATE
    assert r.fields["tokenizer.ggml.eos_token_id"].contents() == tok.token_to_id(chat.IM_END)
    t = {x.name: x for x in r.tensors}
    back = gguf.quants.dequantize(t["blk.0.attn_q.weight"].data, t["blk.0.attn_q.weight"].tensor_type)
    want = export.permute(small.layers[0].self_attn.q_proj.weight.detach().numpy(), 4)
    np.testing.assert_allclose(back, want, atol=0.02)
    with_lora(small)
    export.write_adapter(tmp_path / "a.gguf", small.lora_state(), small.cfg, 8.0, "q8_0", "n", "d")
    r = gguf.GGUFReader(tmp_path / "a.gguf")
    assert r.fields["adapter.lora.alpha"].contents() == 8.0
    names = {x.name for x in r.tensors}
    assert {"blk.1.attn_output.weight.lora_a", "blk.1.ffn_down.weight.lora_b"} <= names and len(names) == 2 * 2 * 7


def test_cached_passes_equal_the_plain_one(small):
    with_lora(small)
    g = torch.Generator().manual_seed(8)
    prompts = torch.randint(3, small.cfg.vocab_size, (3, 7), generator=g)
    end = 2
    replies, ended = generate.sample(small, prompts, 2, 12, end, g)
    y, mask = generate.pad(replies, ended, end)
    z = generate.reply_logits(small, prompts, y, mask, 2, chunk=4)
    each, _ = generate.reply_logps(small, prompts, y, mask, torch.arange(6) // 2, chunk=4)
    torch.testing.assert_close(each, z.log_softmax(-1).gather(-1, y[mask][:, None])[:, 0], atol=1e-4, rtol=1e-4)
    at = 0
    for row in range(6):
        n = int(mask[row].sum())
        ids = torch.cat([prompts[row // 2], y[row, :n]])[None]
        torch.testing.assert_close(z[at:at + n], small(ids)[0, 6:6 + n], atol=1e-4, rtol=1e-4)
        at += n
    assert at == len(z)
    greedy, _ = generate.sample(small, prompts, 1, 12, end, g, temperature=0)
    ids = prompts[0].tolist()
    for x in greedy[0]:
        assert x == int(small(torch.tensor([ids]))[0, -1].argmax())
        ids.append(x)


def test_length_reward():
    assert [rewards.length_reward(n) for n in (24, 28, 32)] == [1, 1, 1]
    assert rewards.length_reward(14) == pytest.approx(0) and rewards.length_reward(34) == pytest.approx(0.8)
    assert rewards.length_reward(0) == -1


def test_repeating_a_word_does_not_raise_the_warmth():
    spec = {"bias": 0.0, "centre": 0.0, "scale": 1.0, "weights": {"great": 2.0, "awful": -3.0}}
    c = classifier.NgramClassifier(spec)
    assert c.logit("Great") == pytest.approx(2.0)
    assert c.logit("great great great great") < c.logit("great")
    assert c.logit("It was awful.") < 0 == c.logit("the")


def test_batches_hold_every_example_once():
    rng = random.Random(0)
    examples = [([i] * n, [1] * n) for i, n in enumerate(rng.choices(range(5, 90), k=200), 1)]
    out = list(corpus.batches(examples, 400, 3, 0))
    seen = [int(row[0]) for ids, _ in out for row in ids]
    assert sorted(seen) == list(range(1, 201))
    assert all(ids.shape[0] == 1 or ids.shape[0] * max((r > 0).sum() for r in ids) <= 400 for ids, _ in out)
    assert math.fsum(m.sum() for _, m in out) == sum(len(e[0]) for e in examples)


def test_check_counts_characters_as_scikit_learn_does():
    from sklearn.feature_extraction.text import TfidfVectorizer

    analyse = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), lowercase=True).build_analyzer()
    for text in [*check.EXTRA, "Two  words\tand\n\na third"]:
        assert sorted(check.ngrams(text, 3, 5)) == sorted(analyse(text))


def test_parse_undoes_render():
    turns = ["Hello.", "Hi!\nTwo lines", "Bye"]
    for generation in (False, True):
        assert chat.parse(chat.render(chat.messages(turns), generation)) == turns


def test_judge_scores_the_reply_after_its_prompt(tok, small):
    judge = object.__new__(polish.Judge)
    judge.base = SimpleNamespace(model=small, tok=tok, end=tok.token_to_id(chat.IM_END),
                                 template=Environment().from_string(chat.CHAT_TEMPLATE))
    msgs, texts = chat.messages(["Hi there!", "Hello, do you like music?", "What's new?"]), ["Not much.", "Ha, me too."]
    for text, got in zip(texts, judge.logps(msgs, texts)):
        x = tok.encode(chat.render(msgs, True)).ids
        y = tok.encode(text).ids + [judge.base.end]
        with torch.no_grad():
            logp = small(torch.tensor([x + y]))[0, len(x) - 1:-1].log_softmax(-1)
        assert got == pytest.approx(float(logp.gather(-1, torch.tensor(y)[:, None]).mean()), abs=1e-5)
    judge.neutral = {}
    alone = judge.logps(chat.messages([polish.NEUTRAL]), texts)
    for _ in range(2):
        assert judge.scores(msgs, texts) == list(zip(judge.logps(msgs, texts), alone))


def test_answers_are_ranked_among_those_of_their_length():
    rng = np.random.default_rng(1)
    rows = [{"ids": [1], "answers": [[7] * int(n) for n in lengths], "scores": [(s, s) for s in -0.3 * lengths + rng.normal(0, 0.1, 5)]}
            for lengths in rng.integers(1, 40, (200, 5))]
    chosen = [len(a) for _, a in polish.best(rows, 1)]
    mean = np.mean([len(a) for r in rows for a in r["answers"]])
    assert np.mean([len(min(r["answers"], key=len)) for r in rows]) < mean - 8  # what the scores alone would choose
    assert abs(np.mean(chosen) - mean) < 3


def test_only_answers_better_than_most_are_learned():
    merit = np.random.default_rng(2).permutation(300)
    rows = [{"ids": [int(i)], "answers": [[1], [2], [3]], "scores": [(i + s, i + s) for s in (0, 0.1, 0.2)]} for i in merit]
    chosen = polish.best(rows, 2)
    assert all(i > 100 for (i,), _ in chosen) and {i for (i,), _ in chosen} > set(range(200, 300))
    assert [a for (i,), a in chosen if i == 299] == [[3], [2]]


def test_triples_hide_their_order_and_are_scored_by_it(tmp_path, monkeypatch):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "Hello {i}?"}}\n' for i in range(20)), encoding="utf-8")
    monkeypatch.setattr(triples, "decoded", lambda program, models, aligned, rows: [{x: "same" if r["id"] == 3 and x else f"reply {r['id']} at {x}" for x in triples.STRENGTHS} for r in rows])
    a = SimpleNamespace(realign="", models="", prompts=prompts, aligned="length-b0.1", count=12, seed=1, out=tmp_path / "out")
    triples.make(a)
    page, key = (a.out / "triples.md").read_text(encoding="utf-8"), json.loads((a.out / "key.json").read_text(encoding="utf-8"))
    assert len({tuple(k["order"]) for k in key}) > 3 and [k["equal"] for k in key] == [i == 3 for i in range(12)]
    assert f"- B: reply 0 at {key[0]['order'][1]}\n" in page
    right = [k["order"] for k in key]
    assert triples.sorted_right(key, right) == 11  # nobody can sort equal texts
    assert triples.sorted_right(key, [right[0][::-1], *right[1:]]) == 10
    with pytest.raises(SystemExit, match="12 lists"):
        triples.sorted_right(key, right[1:])
    for wrong in ([3, 0, 1], [[[3], 0, 1]] * len(key), {}):
        with pytest.raises(SystemExit):
            triples.sorted_right(key, wrong)
    with pytest.raises(SystemExit, match="absent.json"):
        triples.score(SimpleNamespace(out=a.out, answers=[tmp_path / "absent.json"]))
