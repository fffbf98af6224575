"""Logits of Realign's own engine against Hugging Face transformers on the same weights.

    python -m training.smollm2.parity prompts --data DATA --work WORK
    python -m training.smollm2.parity whole --work WORK
    python -m training.export adapter --checkpoint WORK/smollm2-X.pt --type f32 --out WORK/X-f32.gguf
    realign logits --reference WORK/smollm2-f32.gguf --adapter WORK/X-f32.gguf --model adapter --f32-cache \
        --tokens-file WORK/smollm2-prompts.jsonl --out WORK/logits.jsonl
    python -m training.smollm2.parity compare --work WORK --logits WORK/logits.jsonl --adapter WORK/smollm2-X.pt
    python -m training.smollm2.parity golden --data DATA --work WORK [--adapter WORK/smollm2-X.pt] --out FILE

`whole` writes the base with its weights as they are, but stored in float32: products of llama.cpp with quantised
weights round the other side to eight bits, which is not what parity is about. Without --adapter (and with --model
reference) the base alone is compared. The measure is that of `training.parity`.

`golden` writes what a test of the program compares the files that ship with: for a few prompts the token ids, and
the largest logits of the base and of the base with the adapter, less their mean.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch

from .. import parity
from . import base, evaluate, samples


def write_whole(source, out):
    """A copy of a GGUF file with all tensors in float32."""
    reader = gguf.GGUFReader(source)
    w = gguf.GGUFWriter(str(out), reader.fields["general.architecture"].contents())
    for name, f in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.quantization_version"):
            continue
        if name == "general.file_type":
            w.add_file_type(gguf.LlamaFileType.ALL_F32)
        else:
            w.add_key_value(name, f.contents(), f.types[0], f.types[1] if len(f.types) > 1 else None)
    for t in reader.tensors:
        w.add_tensor(t.name, gguf.quants.dequantize(t.data, t.tensor_type))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def golden(b, adapter, texts, count=8):
    """What the base says after each prompt, and what it says with its adapter, if it has one."""
    out = {**({"adapter": adapter} if adapter else {}), "prompts": []}
    for text in texts:
        ids, row = b.prompt(text), {"prompt": text}
        for name in ("reference", "aligned") if adapter else ("reference",):
            b.model.switch_lora(name == "aligned")
            with torch.no_grad():
                z = b.model(torch.tensor([ids]))[0, -1]
            z = z - z.mean()
            top = z.topk(count).indices
            row[name] = {"ids": top.tolist(), "logits": [round(x, 4) for x in z[top].tolist()]}
        out["prompts"].append({**row, "tokens": ids})
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["prompts", "whole", "compare", "golden"])
    p.add_argument("--data", type=Path)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--base", type=Path, default=base.FILE)
    p.add_argument("--adapter", type=Path)
    p.add_argument("--logits", type=Path)
    p.add_argument("--out", type=Path)
    p.add_argument("--count", type=int, default=20)
    p.add_argument("--limit", type=float, default=1e-3)
    a = p.parse_args()
    if a.what == "whole":
        return write_whole(a.base, a.work / "smollm2-f32.gguf")
    b = base.Base(a.base)
    if a.what == "prompts":
        texts = samples.first_turns(a.data, heldout=True)[:a.count]
        (a.work / "smollm2-prompts.jsonl").write_text("".join(json.dumps({"tokens": b.prompt(t)}) + "\n" for t in texts))
        return print(len(texts), "prompts")
    adapter = evaluate.load_adapter(b.model, a.adapter)["name"] if a.adapter else None
    if a.what == "golden":
        texts = samples.first_turns(a.data, heldout=True)[:4] + ["It's 1,234.5% done  \u2014 caf\u00e9 \u2603\nnew line"]
        a.out.write_text(json.dumps(golden(b, adapter, texts), indent=1) + "\n", encoding="utf-8")
        return print(len(texts), "prompts")
    hf = parity.hugging_face(b.model.merged_state(), b.model.cfg)
    worst, rows = 0.0, [json.loads(line) for line in a.logits.open()]
    for r in rows:
        with torch.no_grad():
            ours = hf(torch.tensor([r["tokens"]])).logits[0, -1].numpy().astype(np.float64)
        worst = max(worst, parity.relative(ours, np.array(r["logits"], dtype=np.float64)))
    print(f"{len(rows)} prompts, largest relative difference {worst:.2e} (limit {a.limit:g})")
    raise SystemExit(worst > a.limit)


if __name__ == "__main__":
    main()
