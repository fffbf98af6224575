"""Compares encoder–decoder models in Realign with transformers.

    python -m training.t5.parity --realign bin/realign --work WORK --data DATA --out docs/pairs.md

makes models at random in the shapes of T5's family, writes them as GGUF (F32 and Q8_0), and compares tokens with SentencePiece and next-token logits with transformers: a
table between two marks of the page. The vocabulary is one that SentencePiece learns as T5's was, of T5's size, from the dialogue data (sources in DATA).

    python -m training.t5.parity --fixtures internal/decode/llamacpp/testdata

makes the tiny models that the tests of the program load, with what transformers says.

    python -m training.t5.parity --realign bin/realign --work WORK --data DATA --trained T5 --only demo-t5 --out docs/pairs.md

compares the trained model of training.t5.demo, whose WORK is T5, on held-out dialogues.
"""

import argparse
import copy
import io
import json
import lzma
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
import torch
import transformers

from training.architectures import TEXTS, Program, write
from training.t5 import export
from training.tokenizers_of import corpus

MARKS = ("<!-- encoders -->", "<!-- /encoders -->")
TOLERANCE = 1e-3  # of a difference of logits, relative to the largest logit
SPECIAL = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>")


@dataclass
class Shape:
    title: str
    config: str
    shape: dict
    tied: bool
    note: str = ""
    extra: dict = field(default_factory=dict)


GATED = dict(feed_forward_proj="gated-gelu")
SHAPES = [
    Shape("t5-small", "T5Config", dict(d_model=512, d_ff=2048, d_kv=64, num_heads=8, num_layers=6, vocab_size=32128), True),
    Shape("t5-large", "T5Config", dict(d_model=1024, d_ff=4096, d_kv=64, num_heads=16, num_layers=3, vocab_size=32128), True, "3 of 24 layers"),
    Shape("t5-v1.1-small", "T5Config", dict(d_model=512, d_ff=1024, d_kv=64, num_heads=6, num_layers=8, vocab_size=32128), False, "", GATED),
    Shape("flan-t5-base", "T5Config", dict(d_model=768, d_ff=2048, d_kv=64, num_heads=12, num_layers=4, vocab_size=32128), False, "4 of 12 layers", GATED),
    Shape("umt5-small", "UMT5Config", dict(d_model=512, d_ff=1024, d_kv=64, num_heads=6, num_layers=8, vocab_size=32128), False, "32,128 of 256,384 tokens", GATED),
    Shape("one layer each", "T5Config", dict(d_model=512, d_ff=2048, d_kv=64, num_heads=8, num_layers=1, vocab_size=32128), True),
    Shape("fewer decoder layers", "T5Config", dict(d_model=512, d_ff=1024, d_kv=64, num_heads=6, num_layers=6, num_decoder_layers=2, vocab_size=32128), False, "", GATED),
]
TRAINED = "demo-t5"
TINY = dict(d_model=32, d_ff=32, d_kv=16, num_heads=2, num_layers=2, relative_attention_num_buckets=8)
FIXTURES = [
    Shape("t5-v1.0", "T5Config", TINY, True),
    Shape("t5-v1.1", "T5Config", {**TINY, "num_decoder_layers": 1}, False, "", GATED),
    Shape("umt5", "UMT5Config", {**TINY, "num_layers": 1}, False, "", GATED),
]


def make(shape, seed, size=None):
    """A random model, with norms and biases as trained ones are, and logits of a trained model's size."""
    torch.manual_seed(seed)
    about = {**shape.shape, **shape.extra, "decoder_start_token_id": 0, "tie_word_embeddings": shape.tied}
    config = getattr(transformers, shape.config)(**about, **({"vocab_size": size} if size else {}))
    model = transformers.AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32).eval()
    if not shape.tied:  # transformers 5 ties them whatever the configuration says
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight).normal_())
        model.config.tie_word_embeddings = False
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1 or "relative" in name:  # constants at first; matrices are random already
                p.add_(torch.randn_like(p) * (0.1 if p.dim() == 1 else 0.5))
        model.lm_head.weight.mul_(4 / (1 if shape.tied else model.config.d_model**0.5))
    return model


def eight_bits(x):
    """What llama.cpp multiplies weights of eight bits with: blocks of 32 in eight bits."""
    q = gguf.GGMLQuantizationType.Q8_0
    return torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(np.ascontiguousarray(x.numpy()), q), q))


def rounding(model):
    """The model with every product's input rounded as llama.cpp rounds it."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, args: (eight_bits(args[0]),))
    return model


def quantized(model, kind):
    """A copy of the model with the weights that a file of this type holds."""
    if kind == "f32":
        return model
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in other.named_parameters():
            module, _ = name.rsplit(".", 1)
            q = export.quantized(export.gguf_name("shared" if module.endswith("embed_tokens") else module), p.numpy(), kind)
            p.copy_(torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(p.numpy(), q), q)))
    return other


def cases(size, random):
    """Sources with texts so far: short ones, one longer than the distance up to which positions are told apart, and the longest."""
    for source, text in ((1, 0), (5, 1), (40, 7), (200, 150), (511, 20)):
        yield [int(x) for x in random.integers(3, size, source)] + [1], [int(x) for x in random.integers(3, size, text)]


@torch.no_grad()
def expected(model, source, text):
    return model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[0, *text]])).logits[0, -1].numpy()


def vocabulary(lines, out, size, **more):
    data = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=data, model_type="unigram", vocab_size=size, hard_vocab_limit=False, minloglevel=2, num_threads=1, **SPECIAL, **more)
    out.write_bytes(data.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=data.getvalue())


def dialogue(data, n=60000):
    """Some lines of the dialogue data."""
    lines = []
    for path in sorted(Path(data).glob("dialogue-*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as f:
            for _, line in zip(range(n), f):
                lines += [x for x in texts(json.loads(line)) if x]
    return lines


def texts(value):
    """The texts of a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [x for v in value for x in texts(v)]
    if isinstance(value, dict):
        return [x for v in value.values() for x in texts(v)]
    return []


def compare(program, title, made, lines, kind, spm, sp, args):
    """The largest relative differences of two models' logits after lines, and how many texts become other tokens."""
    folder = args.work / "t5"
    folder.mkdir(parents=True, exist_ok=True)
    models, files = {}, {}
    for model, role in zip(made, ("reference", "tuned"), strict=True):
        files[role] = folder / f"{role}.gguf"
        export.write(files[role], model, spm, kind, title)
        models[role] = quantized(model, kind)
    name = "pair-" + "".join(c for c in title if c.isalnum()) + kind.replace("_", "")
    program.run("pairs", "add", name, "--reference", files["reference"], "--aligned", f"tuned={files['tuned']}")
    asked = [{"text": t} for t in TEXTS]
    worst, wrong = [0.0, 0.0], 0
    for role, model in models.items():
        got = program.logits(name, role, lines + asked)
        for i, m in enumerate([model] if kind == "f32" else [model, rounding(copy.deepcopy(model))]):
            for line, g in zip(lines, got):
                want = expected(m, line["tokens"], line["decoder"])
                worst[i] = max(worst[i], float(np.abs(np.array(g["logits"]) - want).max() / np.abs(want).max()))
        wrong += sum(g["tokens"] != [*sp.encode(line["text"]), 1] for line, g in zip(asked, got[len(lines):], strict=True))
    for path in files.values():
        path.unlink()
    return worst, wrong


def trained(work, data):
    """The reference of training.t5.demo and the same with the adapter of β = 0.1 in its weights; its vocabulary; lines of held-out dialogues."""
    from training.t5 import demo, dialogue, model

    of = argparse.Namespace(work=work, data=data)
    sp, reference, _ = demo.load(of)
    tuned = copy.deepcopy(reference)
    with torch.no_grad():
        for name, (a, b) in torch.load(work / "length-b0.1.pt", weights_only=True)["factors"].items():
            tuned.get_submodule(name).weight += b @ a * (model.ALPHA / model.RANK)
    pairs = dialogue.examples(demo.load_data(of, heldout=True)[2][:20], dialogue.Encoder(sp), demo.SEED)[:20]
    return (reference, tuned), work / "demo-t5.spm", sp, [{"tokens": s, "decoder": r[:i % len(r)]} for i, (s, r) in enumerate(pairs)]


def fixtures(out):
    """Tiny models with what transformers says of them."""
    out.mkdir(parents=True, exist_ok=True)
    spm = out / "t5.spm"
    sp = vocabulary((line for page in corpus() for line in page.splitlines()), spm, 124, normalization_rule_name="identity", character_coverage=0.98, max_sentencepiece_length=6)
    random = np.random.default_rng(5)
    golden = {"texts": [{"text": t, "tokens": [*sp.encode(t), 1]} for t in TEXTS], "models": {}}
    for seed, shape in enumerate(FIXTURES):
        model = make(shape, seed, 128)
        export.write(out / f"{shape.title}.gguf", model, spm, "f32", f"random {shape.title}", context=64)
        golden["models"][shape.title] = [
            {"source": s, "text": t, "logits": [round(float(x), 5) for x in expected(model, s, t)]}
            for s, t in (([5, 1], []), ([int(x) for x in random.integers(3, 124, 20)] + [1], [7, 9, 11]), ([int(x) for x in random.integers(3, 124, 63)] + [1], [int(x) for x in random.integers(3, 124, 30)]))]
    spm.unlink()
    (out / "t5.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


def table(rows):
    lines = ["| shape | layers | F32 | Q8_0 | Q8_0, inputs in full | tokens |", "|---|---|---|---|---|---|"]
    for r in rows:
        lines.append(f"| {r['title']}{', ' + r['note'] if r['note'] else ''} | {r['layers']} | {r['f32']:.0e} | {r['q8_0']:.0e} | {r['full']:.0e} | {r['tokens']} |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--work", type=Path)
    p.add_argument("--data", type=Path, help="folder of the dialogue data")
    p.add_argument("--out", type=Path, help="page to put the table into")
    p.add_argument("--fixtures", type=Path, help="folder for tiny models; nothing else is done then")
    p.add_argument("--trained", type=Path, metavar="T5", help="WORK of training.t5.demo, whose model is compared, too")
    p.add_argument("--only", help="shapes to do now, separated by commas; those done before with the same --work stay in the table")
    args = p.parse_args()
    torch.set_num_threads(1)
    if args.fixtures:
        fixtures(args.fixtures)
        return
    if not args.work or not args.data:
        p.error("--work and --data are needed")
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    spm = args.work / "t5-32000.spm"
    if spm.exists():
        sp = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    else:
        sp = vocabulary(dialogue(args.data), spm, 32000, normalization_rule_name="nmt_nfkc", character_coverage=0.9995, input_sentence_size=200000, shuffle_input_sentence=True)
    program = Program(args.realign, args.work)
    results = args.work / "t5.json"
    rows = json.loads(results.read_text()) if results.exists() and args.only else {}
    titles = [s.title for s in SHAPES] + [TRAINED]
    for title in titles:
        if args.only and title not in args.only.split(",") or title == TRAINED and not args.trained:
            continue
        if title == TRAINED:
            made, words, pieces, lines = trained(args.trained, args.data)
            note = "trained"
        else:
            shape = next(s for s in SHAPES if s.title == title)
            made, words, pieces, note = [make(shape, seed) for seed in range(2)], spm, sp, shape.note
            lines = [{"tokens": s, "decoder": t} for s, t in cases(shape.shape["vocab_size"], np.random.default_rng(5))]
        config = made[0].config
        row = {"title": title, "note": note, "layers": f"{config.num_layers} + {config.num_decoder_layers}"}
        wrong = 0
        for kind in ("f32", "q8_0"):
            worst, n = compare(program, title, made, lines, kind, words, pieces, args)
            row[kind] = worst[0] if kind == "f32" else worst[1]
            row["full"] = worst[0]
            wrong += n
        row["tokens"] = "equal" if wrong == 0 else f"**{wrong} texts differ**"
        rows[title] = row
        print(row, flush=True)
        results.write_text(json.dumps(rows, indent=1))
        if args.out:
            write(args.out, MARKS, table([rows[t] for t in titles if t in rows]))


if __name__ == "__main__":
    main()
