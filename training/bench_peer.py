"""Realign's decoder against a loop over two contexts of llama.cpp, on the same weights and prompts.

    python -m training.bench_peer --realign bin/realign --pair-folder models/smollm2 --pairs 20 --seconds 60

The other side is what somebody writes who mixes logits by hand: llama-cpp-python, the reference and the reference with its
adapter in a context each, both contexts at the same time with a thread each, numpy for the mixture. Lanes are one batch of K
sequences in each context; they read the prompt once. Nothing is traced on either side. Both continue the same tokens for the
same number of tokens, in turns; a ratio is that of tokens a second, reading the prompt included, loading not. Realign is a
new process each time, and decodes another prompt before the one that counts.

"Rows" is the share of K × tokens that Realign read, since lanes with equal texts share them. Needs numpy and llama-cpp-python.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import llama_cpp as ll
import numpy as np

TEXT = ("The film was long, and yet nobody in the room looked at a clock. It began with a house by the sea, in which three "
        "sisters lived, and it ended with the same house, empty. ")
CASES = [  # name, λ of the lanes, temperature, samples
    ("K = 1, λ = 0.5", [0.5], 0.7, 1),
    ("K = 8, parting early", [0.25, 0.75, 1.25, 1.75], 1.0, 2),
    ("K = 8, sharing half", [round(0.7 + 0.6 * k / 7, 4) for k in range(8)], 0.0, 1),
    ("K = 8, sharing rows", [round(0.9 + 0.2 * k / 7, 4) for k in range(8)], 0.0, 1),
]

FORMATS = {"q8_0": 7, "q4_k_m": 15}  # llama.cpp's numbers (LLAMA_FTYPE_MOSTLY_…)
PROGRAMS = {  # what runs beside both sides: for each program, seconds of work, seconds of rest, and seconds until it ends
    "nothing": [],
    "one": [(1, 0, None)],  # keeps one processor busy
    "all": [(1, 0, None)] * (os.cpu_count() or 1),
    "start": [(1, 0, 1)] * (os.cpu_count() or 1),  # while a process starts, loads and measures; begun anew for each run
    "bursts": [(0.05, 0.05, None)] * (os.cpu_count() or 1),
    "comes and goes": [(2, 2, None)],
}
BUSY = """
import sys, time
work, rest, most = map(float, sys.argv[1:])
began = time.perf_counter()
while time.perf_counter() - began < most:
    until = time.perf_counter() + work
    while time.perf_counter() < until:
        pass
    time.sleep(rest)
"""


class Beside:
    """The programs of a name of PROGRAMS, running in its block."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.all = [subprocess.Popen([sys.executable, "-S", "-c", BUSY, str(work), str(rest), str(most or 1e9)]) for work, rest, most in PROGRAMS[self.name]]

    def __exit__(self, *_):
        for program in self.all:
            program.kill()
            program.wait()


class Context:
    """One context of K sequences on shared weights, with an adapter or without, on one thread."""

    def __init__(self, model, adapter, cells, sequences):
        p = ll.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max, p.n_threads, p.n_threads_batch = cells, 512, 512, sequences, 1, 1
        p.kv_unified = True  # sequences share the cells of the prompt
        self.c = ll.llama_init_from_model(model, p)
        assert self.c, "the context cannot be made"
        if adapter is not None:
            lora = ll.llama_adapter_lora_init(model, str(adapter).encode())
            assert lora, f"{adapter} cannot be loaded"
            assert ll.llama_set_adapters_lora(self.c, (ll.llama_adapter_lora_p_ctypes * 1)(lora), 1, (ctypes.c_float * 1)(1.0)) == 0
        self.width = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
        self.batch = ll.llama_batch_init(512, 0, 1)

    def forward(self, rows):
        """Logits of the rows that want them; a row is a token, its position, its sequence, and whether it does."""
        b = self.batch
        b.n_tokens, wanted = len(rows), 0
        for i, (token, at, sequence, want) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = token, at, 1, sequence, want
            wanted += want
        assert ll.llama_decode(self.c, b) == 0
        return np.ctypeslib.as_array(ll.llama_get_logits(self.c), (wanted, self.width)) if wanted else None

    def read(self, prompt, sequences):
        """Reads a prompt once for all sequences; the logits after it."""
        memory, out = ll.llama_get_memory(self.c), None
        ll.llama_memory_clear(memory, True)
        for at in range(0, len(prompt), 512):
            part = prompt[at:at + 512]
            out = self.forward([(t, at + i, 0, at + i == len(prompt) - 1) for i, t in enumerate(part)])
        for s in range(1, sequences):
            ll.llama_memory_seq_cp(memory, 0, s, -1, -1)
        return np.repeat(out, sequences, axis=0)


class Loop:
    """Decoding by hand."""

    def __init__(self, model_file, adapter, cells, lanes):
        p = ll.llama_model_default_params()
        p.n_gpu_layers = 0
        self.model = ll.llama_model_load_from_file(str(model_file).encode(), p)
        assert self.model, f"{model_file} cannot be loaded"
        self.both = [Context(self.model, a, cells, lanes) for a in (None, adapter)]
        self.threads = ThreadPoolExecutor(2)
        self.rng = np.random.default_rng(1)

    def run(self, prompt, lambdas, temperature, samples, tokens):
        """Seconds, and what the lanes say."""
        weights = np.repeat(np.array(lambdas, np.float32), samples)[:, None]
        lanes, said = len(weights), []
        began = time.perf_counter()
        reference, aligned = self.threads.map(lambda c: c.read(prompt, lanes), self.both)
        for n in range(tokens):
            z = (1 - weights) * reference + weights * aligned
            if temperature > 0:
                noise = self.rng.gumbel(size=(samples, z.shape[1])).astype(np.float32)
                z = z / temperature + np.tile(noise, (len(lambdas), 1))
            chosen = z.argmax(axis=1).tolist()
            said.append(chosen)
            if n + 1 < tokens:
                rows = [(t, len(prompt) + n, s, True) for s, t in enumerate(chosen)]
                reference, aligned = self.threads.map(lambda c: c.forward(rows), self.both)
        return time.perf_counter() - began, said


def realign_run(a, folder, text, lambdas, temperature, samples, tokens):
    """Seconds, the prompt's tokens, and the rows that the reference read beyond the prompt, for each lane and token."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        for prompt in ("Warm up.", text):
            f.write(json.dumps({"prompt": prompt}) + "\n")
        f.flush()
        done = subprocess.run(
            [a.realign, "decode", "--models", str(folder.parent), "--pair", folder.name, "--lambda", ",".join(map(str, lambdas)), "--samples", str(samples),
             "--temperature", str(temperature), "--top-k", "0", "--top-p", "1", "--min-p", "0", "--repeat-penalty", "1", "--max-tokens", str(tokens),
             "--ignore-end", "--text", "--json", "--no-trace", "--cells", str(a.cells), "--prompts", f.name], stdout=subprocess.PIPE, text=True, check=True)
    tokens_of, stats = None, None
    for event in map(json.loads, done.stdout.splitlines()):
        if event["type"] == "start":
            tokens_of = event["prompt"]["tokens"]
        elif event["type"] == "stats":
            stats = event
    rows = (stats["rows"]["reference"] - len(tokens_of)) / (len(lambdas) * samples * (tokens - 1))
    return stats["seconds"], tokens_of, rows


def requantized(folder, manifest, kind, into):
    """A folder with the pair in another format, made from the weights of its reference by llama.cpp."""
    made = into / f"{folder.name}-{kind}"
    made.mkdir()
    p = ll.llama_model_quantize_default_params()
    p.ftype, p.allow_requantize = FORMATS[kind], True
    assert ll.llama_model_quantize(str(folder / manifest["reference"]["file"]).encode(), str(made / "reference.gguf").encode(), ctypes.byref(p)) == 0
    aligned = [{k: v for k, v in m.items() if k != "sha256"} for m in manifest["aligned"]]
    for m in aligned:
        (made / m["adapter"]).symlink_to((folder / m["adapter"]).resolve())
    (made / "pair.json").write_text(json.dumps({**manifest, "name": made.name, "reference": {"name": "reference", "file": "reference.gguf"}, "aligned": aligned}))
    return made


def prompt_of(n):
    """A text of about n tokens: of four letters each, in English."""
    return (TEXT * (1 + n * 5 // len(TEXT)))[:n * 4 + n // 2].rsplit(" ", 1)[0]


def interval(ratios):
    """The median and its 95% bootstrap interval."""
    rng = np.random.default_rng(1)
    medians = [np.median(rng.choice(ratios, len(ratios))) for _ in range(2000)]
    return np.median(ratios), *np.quantile(medians, [0.025, 0.975])


def measure(a, folder, loop, case, length, tokens, beside):
    """A row of the table. It ends with the pairs that were asked for, or after the seconds, and three pairs at least."""
    name, lambdas, temperature, samples = case
    text = prompt_of(length)
    ours, theirs, shares, ids = [], [], [], realign_run(a, folder, text, lambdas, temperature, samples, 2)[1]
    loop.run(ids, lambdas, temperature, samples, 2)  # warming up
    began = time.perf_counter()
    while len(ours) < a.pairs and (len(ours) < 3 or time.perf_counter() - began < a.seconds):
        for first in (len(ours) % 2 == 0, len(ours) % 2 != 0):
            with Beside(beside):
                if first:
                    mine, _, rows = realign_run(a, folder, text, lambdas, temperature, samples, tokens)
                else:
                    his, _ = loop.run(ids, lambdas, temperature, samples, tokens)
        ours.append(mine)
        theirs.append(his)
        shares.append(rows)
    ratios = np.array(theirs) / np.array(ours)
    median, low, high = interval(ratios)
    rate = lambda seconds: len(lambdas) * samples * tokens / np.median(seconds)
    print(f"| {name}, {len(ids)} + {tokens} tokens | {beside} | {median:.2f} | {low:.2f}–{high:.2f} | {ratios.min():.2f} | {rate(ours):.1f} | "
          f"{rate(theirs):.1f} | {np.median(shares):.0%} | {len(ours)} |", flush=True)


def compare(a, folder):
    """A table for a pair's folder."""
    manifest = json.loads((folder / "pair.json").read_text())
    aligned = next((m for m in manifest["aligned"] if m.get("default")), manifest["aligned"][0])
    loop = Loop(folder / manifest["reference"]["file"], folder / aligned["adapter"], a.cells, 8)
    print(f"Pair {manifest['name']}, {os.cpu_count()} processors, llama-cpp-python {ll.__version__}.\n")
    print("| Realign ÷ a loop over two contexts, tokens a second | beside | ratio | 95% interval | least | Realign | loop | rows | pairs |\n|---|---|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    for beside in a.beside:
        for case in CASES:
            if len(case[1]) * case[3] not in a.lanes:
                continue
            for length in a.prompts:
                for tokens in a.tokens:
                    measure(a, folder, loop, case, length, tokens, beside)
    print(flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--pair-folder", type=Path, default=Path("models/smollm2"), help="with pair.json")
    p.add_argument("--pairs", type=int, default=20, help="of each row, at most")
    p.add_argument("--seconds", type=float, default=60, help="after which no further pair of a row begins")
    p.add_argument("--tokens", type=int, nargs="+", default=[24, 200])
    p.add_argument("--prompts", type=int, nargs="+", default=[40, 400])
    p.add_argument("--beside", nargs="+", default=["nothing", "one"], choices=PROGRAMS, help="other programs, see PROGRAMS")
    p.add_argument("--lanes", type=int, nargs="+", default=[1, 8], choices=[1, 8])
    p.add_argument("--cells", type=int, default=4096)
    p.add_argument("--formats", nargs="+", default=["as it is"], choices=["as it is", *FORMATS], help="of the reference")
    a = p.parse_args()
    ll.llama_backend_init()
    silent = ll.llama_log_callback(lambda *_: None)
    ll.llama_log_set(silent, None)
    with tempfile.TemporaryDirectory() as into:
        for kind in a.formats:
            manifest = json.loads((a.pair_folder / "pair.json").read_text())
            compare(a, a.pair_folder.resolve() if kind == "as it is" else requantized(a.pair_folder, manifest, kind, Path(into)))


if __name__ == "__main__":
    main()
