"""Logits of an unquantised GGUF against Hugging Face transformers on the same weights.

    python -m training.parity prompts --data DATA --work WORK --out prompts.jsonl
    python -m training.parity gguf    --work WORK --gguf WORK/reference-f16.gguf [--adapter X.pt]
    python -m training.parity engine  --work WORK --logits logits.jsonl [--adapter X.pt]

`prompts` writes 20 held-out prompts as {"tokens": [...]} lines. `engine` compares what Realign's own engine says to
them (lines {"tokens": [...], "logits": [...]}, the logits being those after the last token):

    realign logits --reference WORK/reference-f16.gguf --tokens-file prompts.jsonl --out logits.jsonl
    realign logits --reference WORK/reference-f16.gguf --adapter X-f16.gguf --model adapter ...

(adapters ship in eight bits: write one with `export adapter --type f16` for this).

WORK/reference-f16.gguf is made of what ships by training.recover and

    python -m training.export reference --checkpoint WORK/reference.pt --tokenizer WORK/tokenizer.json --type f16 --out WORK/reference-f16.gguf

`gguf` needs no other program: transformers reads the GGUF by itself, with its own undoing of the row order, and is
compared with our own model.

Matrices, of LoRA branches too, are rounded to float16 first, as in the files; arithmetic is float32. Logits mean
something up to a constant, so both sides are centred. The measure is the largest difference over the largest logit.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from . import chat, sample


def hugging_face(state, cfg):
    """transformers' own implementation carrying a state dict of ours."""
    from transformers import LlamaConfig, LlamaForCausalLM

    m = LlamaForCausalLM(LlamaConfig(**dataclasses.asdict(cfg), tie_word_embeddings=True)).eval()
    named = {f"model.{k}": v for k, v in state.items()}
    missing, unexpected = m.load_state_dict(named, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    m.tie_weights()
    return m


def relative(a, b):
    a, b = a - a.mean(), b - b.mean()
    return float(np.abs(a - b).max() / np.abs(a).max())


def tokens(data, tok, count=20):
    for turns in sample.heldout_prompts(data, count, 5):
        yield tok.encode(chat.render(chat.messages(turns), True), add_special_tokens=False).ids


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["prompts", "gguf", "engine"])
    p.add_argument("--data", type=Path)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--checkpoint", type=Path)
    p.add_argument("--adapter", type=Path)
    p.add_argument("--gguf", type=Path)
    p.add_argument("--logits", type=Path)
    p.add_argument("--out", type=Path)
    p.add_argument("--limit", type=float, default=1e-3)
    a = p.parse_args()
    m, tok = sample.load(a.work, a.checkpoint, a.adapter)
    if a.what == "prompts":
        lines = [json.dumps({"tokens": t}) for t in tokens(a.data, tok)]
        a.out.write_text("\n".join(lines) + "\n")
        print(len(lines), "prompts")
        return
    for q in m.parameters():
        if q.ndim == 2:
            q.data = q.data.half().float()
    hf = hugging_face(m.merged_state(), m.cfg)
    if a.what == "gguf":
        from transformers import LlamaForCausalLM

        other = LlamaForCausalLM.from_pretrained(a.gguf.resolve().parent, gguf_file=a.gguf.name, dtype=torch.float32).eval()
        g = torch.Generator().manual_seed(3)
        rows = []
        for n in range(20, 40):
            t = torch.randint(3, m.cfg.vocab_size, (1, n), generator=g)
            rows.append((t[0].tolist(), other(t).logits[0, -1].detach().numpy()))
    else:
        rows = [(r["tokens"], np.array(r["logits"], dtype=np.float64)) for r in map(json.loads, a.logits.open())]
    worst = 0.0
    for ids, theirs in rows:
        with torch.no_grad():
            ours = hf(torch.tensor([ids])).logits[0, -1].numpy().astype(np.float64)
        worst = max(worst, relative(ours, theirs.astype(np.float64)))
    print(f"{len(rows)} prompts, largest relative difference {worst:.2e} (limit {a.limit:g})")
    raise SystemExit(worst > a.limit)


if __name__ == "__main__":
    main()
