"""Compares what Realign makes of models in other programs' formats with transformers, architecture by architecture.

    python -m training.architectures --realign bin/realign --work WORK --llama-cpp FOLDER --out docs/pairs.md

For each architecture it makes two random models in transformers: the real layers and the real kind of tokenizer, tiny widths. Each pair is then
added in every way that people have models: as GGUF by path, from the stores of Ollama, Hugging Face and LM Studio, as a folder of
safetensors, and as safetensors in the Hugging Face cache. Next-token logits are compared with transformers at 32 bits, and the
tokens of some texts with its tokenizer. The table goes into the page, between two marks.

The GGUF files are made by llama.cpp's convert_hf_to_gguf.py, so that they owe nothing to Realign's own conversion. FOLDER is a checkout of llama.cpp; its
script asks which known tokenizer it has before it, and is told the kind, since tokenizers made here are not on its list.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from training import tokenizers_of as kinds

TOLERANCE = 1e-3  # of a difference of logits, relative to the largest logit
SHAPE = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512)
MARKS = ("<!-- architectures -->", "<!-- /architectures -->")

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "  Two spaces before, and a line break\nbehind.\n\n\tA tab.",
    "Numbers: 1, 23, 456, 7890, 3.14159; don't, we'll, I'M.",
    "def f(x):\n    return x ** 2  # a comment\n",
    "Ünïcödé, Ελληνικά, русский, 中文字符, العربية, 🙂👍🏽",
]


@dataclass
class Architecture:
    title: str
    config: str  # class of transformers
    tokenizer: str  # of training.tokenizers_of
    extra: dict = field(default_factory=dict)
    older: dict = field(default_factory=dict)  # what config.json of most repositories has, and transformers 5 writes in another way
    shape: dict = field(default_factory=lambda: dict(SHAPE))


ARCHITECTURES = [
    Architecture("Llama 3", "LlamaConfig", "llama3", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}),
    Architecture("Qwen2", "Qwen2Config", "qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
    Architecture("Qwen3", "Qwen3Config", "qwen2", {"head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}}),
    Architecture("Gemma 2", "Gemma2Config", "gemma", {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}),
    Architecture("Gemma 3", "Gemma3TextConfig", "gemma", {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16, "num_hidden_layers": 7}),
    Architecture("Mistral", "MistralConfig", "mistral", {"head_dim": 32, "sliding_window": None}),
    Architecture("Phi-3", "Phi3Config", "phi3", {"original_max_position_embeddings": 512, "pad_token_id": 0}),
    Architecture("OLMo 2", "Olmo2Config", "olmo2", {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}),
    Architecture("GPT-NeoX", "GPTNeoXConfig", "gptneox", {"rotary_pct": 0.25}, {"rotary_pct": 0.25}),
    Architecture("Mamba", "MambaConfig", "gptneox", {"state_size": 16}, {}, dict(hidden_size=64, num_hidden_layers=2)),
]

# ways is how a pair is given, in the order of the table.
WAYS = ["GGUF, path", "ollama:", "hf: GGUF", "LM Studio", "safetensors, path", "hf: safetensors"]


def make(a, tokenizer, seed, folder):
    """A random model in its folder, and the model."""
    folder = Path(folder)
    config = getattr(transformers, a.config)(**{**a.shape, **a.extra}, vocab_size=-(-len(tokenizer) // 32) * 32,
                                             bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():  # norms and biases as trained ones are: neither 1 nor 0
        for name, p in model.named_parameters():
            if "A_log" in name or name.endswith(".D"):
                continue
            p.add_(torch.randn_like(p) * (0.1 if p.dim() == 1 else 0.15))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Repositories saved by transformers 4, which are most, list the added tokens here, too; llama.cpp looks for them here.
    config = json.loads((folder / "tokenizer_config.json").read_text())
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    config["added_tokens_decoder"] = {str(t.pop("id")): t for t in added}
    config.update(kinds.KINDS[a.tokenizer].flags)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **a.older}, indent=2))
    return model


def convert(llama, folder, out, pre, older):
    """llama.cpp's own conversion. It reads config.json by transformers, whose version 5 renames what it looks for: older is that."""
    code = (f"import sys, runpy; sys.path[:0] = [{str(llama)!r}, {str(llama / 'gguf-py')!r}]\n"
            f"import conversion.base as b\nb.TextModel.get_vocab_base_pre = lambda self, tokenizer: {pre!r}\n"
            f"load = b.ModelBase.load_hparams\nb.ModelBase.load_hparams = staticmethod(lambda *a, **k: {{**load(*a, **k), **{older!r}}})\n"
            f"sys.argv = ['convert', {str(folder)!r}, '--outfile', {str(out)!r}, '--outtype', 'f32']\n"
            f"runpy.run_path({str(llama / 'convert_hf_to_gguf.py')!r}, run_name='__main__')\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])


def link(target, source):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    os.link(source, target)


def to_ollama(root, name, file):
    """A model in Ollama's store; returns its name."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    link(root / "blobs" / f"sha256-{digest}", file)
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": file.stat().st_size}]}))
    return f"ollama:{name}"


def to_hub(root, name, files):
    """Files in Hugging Face's cache: links into blobs; returns the name of the repository."""
    repo = root / f"models--test--{name}"
    commit = hashlib.sha1(name.encode()).hexdigest()
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    for file in files:
        blob = repo / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        link(blob, file)
        at = repo / "snapshots" / commit / file.name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.unlink(missing_ok=True)
        at.symlink_to(os.path.relpath(blob, at.parent))
    return f"hf:test/{name}"


class Program:
    """Realign, with stores and data of its own."""

    def __init__(self, realign, work):
        self.realign, self.home = str(Path(realign).resolve()), work / "home"
        shutil.rmtree(self.home, ignore_errors=True)
        self.ollama, self.hub, self.lmstudio = self.home / "ollama", self.home / "hub", self.home / ".lmstudio" / "models"
        for folder in (self.ollama, self.hub, self.lmstudio):
            folder.mkdir(parents=True)
        self.env = {**os.environ, "HOME": str(self.home), "OLLAMA_MODELS": str(self.ollama), "HF_HUB_CACHE": str(self.hub), "REALIGN_DATA": str(self.home / "data")}

    def run(self, *args):
        done = subprocess.run([self.realign, *map(str, args)], capture_output=True, text=True, env=self.env)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1].removeprefix("realign: "))
        return done.stdout

    def found(self, file):
        """The name by which the store's scan lists a file."""
        for model in json.loads(self.run("pairs", "find", "--json"))["models"]:
            if model["path"] == str(file):
                return model["name"]
        raise RuntimeError(f"{file} was not found")

    def logits(self, pair, model, lines):
        tokens, out = self.home / "tokens.jsonl", self.home / "logits.jsonl"
        tokens.write_text("".join(json.dumps(line) + "\n" for line in lines))
        self.run("logits", "--pair", pair, "--model", model, "--f32-cache", "--gpu-layers", 0, "--tokens-file", tokens, "--out", out)
        return [json.loads(line) for line in out.read_text().splitlines()]


def conversations(tokenizer):
    messages = [{"role": "user", "content": "Hello there."}, {"role": "assistant", "content": "Good day!"}, {"role": "user", "content": "Who are you?"}]
    return [messages] if tokenizer.chat_template else []


def compare(program, pair, models, tokenizer):
    """The largest relative difference of logits; an error where tokens differ."""
    worst = 0.0
    for role, model in models.items():
        lines = [{"text": t} for t in TEXTS] + [{"messages": m} for m in conversations(tokenizer)]
        for line, got in zip(lines, program.logits(pair, role, lines), strict=True):
            if "text" in line:
                want = tokenizer(line["text"])["input_ids"]
            else:
                text = tokenizer.apply_chat_template(line["messages"], add_generation_prompt=True, tokenize=False)
                want = tokenizer(text, add_special_tokens=False)["input_ids"]
            if got["tokens"] != want:
                raise RuntimeError(f"other tokens for {json.dumps(line, ensure_ascii=False)[:60]}: {got['tokens'][:12]}…, transformers {want[:12]}…")
            with torch.no_grad():
                exact = model(torch.tensor([want])).logits[0, -1].numpy()
            worst = max(worst, float(np.abs(np.array(got["logits"]) - exact).max() / np.abs(exact).max()))
    return worst


def one(a, program, args):
    """A row of the table: a word for each way."""
    name = a.title.lower().replace(" ", "").replace("-", "")
    kind = kinds.KINDS[a.tokenizer]
    made = args.work / "tokenizers" / a.tokenizer
    tokenizer = kind.make(made)
    folders = {role: args.work / "models" / f"{name}-{role}" for role in ("reference", "tuned")}
    for folder in folders.values():
        shutil.rmtree(folder, ignore_errors=True)
    models = {role: make(a, tokenizer, seed, folders[role]) for seed, role in enumerate(folders)}
    tokenizer = AutoTokenizer.from_pretrained(folders["reference"])
    if kind.files:
        for folder in folders.values():
            shutil.copy(made / "tokenizer.model", folder)
    row, files = {}, {}

    def attempt(way, where):
        try:
            pair = f"{name}-{WAYS.index(way)}"
            given = {role: where(role) for role in folders}
            program.run("pairs", "add", pair, "--reference", given["reference"], "--aligned", f"tuned={given['tuned']}")
            worst = compare(program, pair, models, tokenizer)
            row[way] = f"{worst:.0e}" if worst <= TOLERANCE else f"**wrong by {worst:.0e}**"
        except RuntimeError as e:
            row[way] = "no: " + str(e)
        print(f"{a.title}, {way}: {row[way]}", flush=True)

    def by_path(role):
        if role not in files:
            out = args.work / "gguf" / f"{name}-{role}.gguf"
            out.parent.mkdir(parents=True, exist_ok=True)
            # llama.cpp wants SentencePiece's own file; transformers no longer writes one.
            model = made / "tokenizer.model"
            if model.exists():
                shutil.copy(model, folders[role])
            convert(args.llama_cpp, folders[role], out, kind.pre, a.older)
            if not kind.files:
                (folders[role] / "tokenizer.model").unlink(missing_ok=True)
            files[role] = out
        return files[role]

    def lmstudio(role):
        file = program.lmstudio / "test" / name / f"{name}-{role}.gguf"
        link(file, by_path(role))
        return program.found(file)

    attempt("GGUF, path", by_path)
    attempt("ollama:", lambda role: to_ollama(program.ollama, f"{name}-{role}", by_path(role)))
    attempt("hf: GGUF", lambda role: to_hub(program.hub, f"{name}-{role}-GGUF", [by_path(role)]))
    attempt("LM Studio", lmstudio)
    attempt("safetensors, path", lambda role: folders[role])
    attempt("hf: safetensors", lambda role: to_hub(program.hub, f"{name}-{role}", sorted(folders[role].iterdir())))
    return row


def table(rows):
    notes, lines = [], ["| model | " + " | ".join(WAYS) + " |", "|---" * (len(WAYS) + 1) + "|"]
    for title, row in rows:
        cells = []
        for way in WAYS:
            word = row[way]
            if word.startswith("no: "):
                if word not in notes:
                    notes.append(word)
                word = f"no ({notes.index(word) + 1})"
            cells.append(word)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines + [""] + [f"{i + 1}. {note.removeprefix('no: ')}" for i, note in enumerate(notes)]).rstrip()


def write(page, marks, text):
    """Puts a text between two marks of a page."""
    old = page.read_text(encoding="utf-8")
    before, rest = old.split(marks[0], 1)
    page.write_text(f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.split(marks[1], 1)[1]}", encoding="utf-8")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--llama-cpp", type=Path, required=True, help="checkout of llama.cpp")
    p.add_argument("--only", help="architectures to do now, by title, separated by commas; those done before with the same --work stay in the table")
    p.add_argument("--out", type=Path, help="page to put the table into")
    args = p.parse_args()
    args.work, args.llama_cpp = args.work.resolve(), args.llama_cpp.resolve()
    torch.set_num_threads(1)
    program = Program(args.realign, args.work)
    wanted = [a for a in ARCHITECTURES if not args.only or a.title in args.only.split(",")]
    results = args.work / "architectures.json"
    rows = json.loads(results.read_text()) if results.exists() else {}
    for a in wanted:
        rows[a.title] = one(a, program, args)
        results.write_text(json.dumps(rows, indent=1))
    text = table([(a.title, rows[a.title]) for a in ARCHITECTURES if a.title in rows])
    print(text)
    if args.out:
        write(args.out, MARKS, text)


if __name__ == "__main__":
    main()
