"""Replies to held-out prompts, decoded by Realign, and their scores.

For every aligned model (beta0) one run decodes all its lambda = beta0 / beta', and 0: at lambda = 1 that is the
model trained at beta0 itself, which the decoding from the other models is compared with. All runs share the noise of
a (prompt, sample), so that comparisons are paired.
"""

import dataclasses
import json
import random
import shutil
import subprocess
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer

from .. import chat, corpus, manifest, prefixes

LANES = 64  # of a prompt that one run of the program decodes at most
BATCH_FLAGS = ["--temperature", "1", "--top-k", "0", "--top-p", "1", "--min-p", "0"]


@dataclasses.dataclass
class Conversations:
    """How a pair's models read conversations: its tokens, and the limits that its adapters were trained with."""

    encoder: object  # with turns(rows) and prompt(turns), which gives token ids
    end: int  # the token that ends a reply
    prompt_limit: int  # tokens
    limit: int  # tokens of a reply


def conversations(pair, work):
    """Those of a pair's folder, by the architecture of its reference. WORK holds the tokenizer that training made."""
    pair = Path(pair)
    reference = gguf.GGUFReader(str(pair / json.loads((pair / "pair.json").read_text(encoding="utf-8"))["reference"]["file"]))
    if reference.fields["general.architecture"].contents() == "t5":
        import sentencepiece

        from ..t5 import dialogue

        encoder = dialogue.Encoder(sentencepiece.SentencePieceProcessor(model_file=str(work / "demo-t5.spm")))
        return Conversations(encoder, dialogue.END, dialogue.SOURCE, dialogue.REPLY)
    encoder = corpus.Encoder(Tokenizer.from_file(str(work / "tokenizer.json")))
    return Conversations(encoder, encoder.end[0], prefixes.PROMPT_LIMIT, prefixes.LIMIT)


def heldout(rows, how, count, seed):
    """Conversation prefixes as those that the adapters were trained on, one a conversation, with their tokens."""
    rng = random.Random(seed)
    rows = rng.sample(rows, len(rows))
    out = []
    for row, turns in zip(rows, how.encoder.turns(rows)):
        fit = []
        for last in range(len(turns) - 1):
            n = rng.choice(prefixes.TURNS)
            if n <= last + 1:
                ids = how.encoder.prompt(turns[last + 1 - n:last + 1])
                if len(ids) <= how.prompt_limit:
                    fit.append((row["turns"][last + 1 - n:last + 1], ids))
        if fit and len(out) < count:
            text, ids = rng.choice(fit)
            out.append({"id": len(out), "messages": chat.messages(text), "seed": seed * 1_000_003 + len(out), "tokens": ids})
    if len(out) < count:
        raise SystemExit(f"--prompts {count}: only {len(out)} held-out conversations have a prompt of {how.prompt_limit} tokens at most")
    return out


def fingerprint(pair):
    """SHA-256 of each model file of a pair."""
    m = json.loads((Path(pair) / "pair.json").read_text(encoding="utf-8"))
    files = [x.get("adapter") or x["file"] for x in (m["reference"], *m["aligned"])]
    return {f: manifest.sha256(Path(pair) / f) for f in files}


class Realign:
    """The program that decodes, and the folder for what it says."""

    def __init__(self, program, folder, prompts, samples, limit, made_from, keep=False):
        self.program, self.folder, self.keep, self.prompts, self.samples, self.limit = program, Path(folder), keep, prompts, samples, limit
        stamp = json.dumps({"models": made_from, "samples": samples, "limit": limit, "prompts": self.rows(0)}, indent=1)
        made = self.folder / "made-from.json"
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        elif made.exists() and made.read_text(encoding="utf-8") != stamp:
            raise SystemExit(f"--keep: {self.folder} is of other models, prompts or samples")
        self.folder.mkdir(parents=True, exist_ok=True)
        made.write_text(stamp, encoding="utf-8")

    def rows(self, part):
        """Lines of the file of prompts; each part of their samples has seeds of its own."""
        return "".join(json.dumps({"id": p["id"], "messages": p["messages"], "seed": p["seed"] + (part << 32)}) + "\n" for p in self.prompts)

    def run(self, pair, aligned, lambdas, *flags, samples=None, called=None):
        """Lines of `realign decode --prompts`, parsed; called: what they are kept as."""
        out, samples, most = self.folder / f"{called or aligned}.jsonl", samples or self.samples, LANES // max(len(lambdas), 1)
        if self.keep and out.exists():
            return [json.loads(line) for line in out.read_bytes().splitlines()]
        lines, prompts = [], out.with_suffix(".prompts")
        for part, first in enumerate(range(0, samples, most)):
            prompts.write_text(self.rows(part), encoding="utf-8")
            said = subprocess.run([str(self.program), "decode", "--models", str(Path(pair).parent), "--pair", Path(pair).name, "--aligned", aligned,
                                   "--lambda", ",".join(map(repr, lambdas)), "--samples", str(min(most, samples - first)), "--prompts", str(prompts),
                                   *BATCH_FLAGS, "--max-tokens", str(self.limit), *flags], stdout=subprocess.PIPE, check=True).stdout
            for line in said.splitlines():
                lines.append(json.loads(line))
                if first:
                    lines[-1]["sample"] += first
        with open(out.with_suffix(".part"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(line) + "\n" for line in lines)
        out.with_suffix(".part").rename(out)
        prompts.unlink()
        return lines

    def check_prompts(self, pair, aligned):
        """Realign must read the very tokens that training did."""
        out = self.folder / f"{aligned}.jsonl"
        if self.keep and out.exists():
            return  # it was checked then
        lines = self.run(pair, aligned, [0.0], "--json", "--max-tokens", "1", samples=1)
        out.unlink()
        starts = {e["row"]: e["prompt"]["tokens"] for e in lines if e["type"] == "start"}
        for p in self.prompts:
            if starts[p["id"]] != p["tokens"]:
                raise SystemExit(f"prompt {p['id']} is {starts[p['id']]} for Realign, but was trained as {p['tokens']}")


def scaled_adapter(source, out, factor):
    """A copy of a LoRA adapter whose update is `factor` times as large: theta_ref + factor (theta_al - theta_ref)."""
    r = gguf.GGUFReader(str(source))
    w = gguf.GGUFWriter(str(out), r.fields["general.architecture"].contents())
    w.add_type("adapter")
    w.add_string("adapter.type", r.fields["adapter.type"].contents())
    w.add_float32("adapter.lora.alpha", r.fields["adapter.lora.alpha"].contents() * factor)
    for t in r.tensors:
        w.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def interpolated_name(reward, beta0, factor):
    return f"{reward}-b{beta0:g}-x{factor:g}"


def interpolated_pair(pair, folder, wanted):
    """A pair in `folder` on the same reference, with scaled copies of its adapters: (reward, beta0, factor)."""
    pair, folder = Path(pair).resolve(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    m = json.loads((pair / "pair.json").read_text(encoding="utf-8"))
    adapters = {(r, b): path for r, b, path in manifest.adapters(pair)}
    m["name"] = folder.name
    m["reference"] = {"file": str(pair / m["reference"]["file"])}
    m["aligned"] = []
    for reward, beta0, factor in wanted:
        name = interpolated_name(reward, beta0, factor)
        scaled_adapter(adapters[reward, beta0], folder / f"{name}.lora.gguf", factor)
        m["aligned"].append({"name": name, "adapter": f"{name}.lora.gguf"})
    (folder / "pair.json").write_text(json.dumps(m))


@dataclasses.dataclass
class Cell:
    """Replies of one method at one lambda: arrays of (prompts, samples), and the replies' tokens."""

    reward: np.ndarray
    check: np.ndarray  # probability of "positive" under the check classifier
    kl: np.ndarray  # exact KL to the reference, summed along the reply; with particles a sample of that of whole replies
    length: np.ndarray
    log_ratio: np.ndarray  # log pi_aligned(y) - log pi_ref(y)
    log_z: np.ndarray  # sum of the local normalisers
    changed: np.ndarray  # with particles: whether another reply than the token-wise one was kept
    size: np.ndarray  # with particles: their effective sample size in the end
    tokens: list  # [prompt][sample] -> token ids without the end


class Scorer:
    def __init__(self, check, end):
        self.check, self.end = check, end
        self.known = {}

    def cells(self, replies, reward, prompts, samples):
        """Cells by lambda."""
        fresh = list({r["text"] for r in replies} - self.known.keys())
        if fresh:
            self.known.update(zip(fresh, self.check.predict_proba(fresh)[:, 1].tolist()))
        out = {}
        for r in replies:
            if r["reason"] not in ("stop", "length"):
                raise SystemExit(f"prompt {r['id']}, lane {r['lane']} ended as {r['reason']}: {r.get('error')}")
            ids = r["tokens"][:-1] if r["tokens"][-1] == self.end else r["tokens"]
            if r["lambda"] not in out:
                out[r["lambda"]] = Cell(*(np.full((prompts, samples), np.nan) for _ in range(8)), [[None] * samples for _ in range(prompts)])
            c, at = out[r["lambda"]], (r["id"], r["sample"])
            c.reward[at] = reward(r["text"], len(ids))
            c.check[at] = self.known[r["text"]]
            c.kl[at] = r["kl_reference"]
            c.length[at] = len(ids)
            c.log_ratio[at] = r["logp"]["aligned"] - r["logp"]["reference"]
            c.log_z[at] = r["log_z"]
            if exact := r.get("exact"):
                # Of whole replies: log of pi_ref^(1 - lambda) pi_al^lambda / Z over pi_ref.
                c.kl[at] = r["lambda"] * c.log_ratio[at] - exact["log_z"]
                c.changed[at], c.size[at] = exact["changed"], exact["effective_size"]
            c.tokens[at[0]][at[1]] = ids
        for x, c in out.items():
            if np.isnan(c.reward).any():
                raise SystemExit(f"a reply at lambda {x} is missing")
        return out
