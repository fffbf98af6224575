"""WORK/reference.pt, WORK/tokenizer.json and WORK/REWARD-bBETA.pt from the files that ship, for stages that begin with them.

    python -m training.recover --models models/demo --work WORK

The weights are those of the eight-bit files; of the reference's, the model that adapters are laid over. What stages 1 to 4d kept
beside the weights (steps, losses, the polishing, measures) is in the cards only.
"""

import argparse
import dataclasses
from pathlib import Path

import gguf
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from . import manifest, model
from .smollm2 import base


def tokenizer(fields):
    """As `bpe.train` builds it: the pre-tokenizer is GPT-2's."""
    if (pre := fields["tokenizer.ggml.pre"].contents()) != "gpt-2":
        raise SystemExit(f"the file's pre-tokenizer is {pre}, not gpt-2: it is not the demo's reference")
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    t = Tokenizer(models.BPE({s: i for i, s in enumerate(tokens)}, merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s, k in zip(tokens, kinds) if k == gguf.TokenType.CONTROL])
    return t


def adapters(folder, cfg, work):
    """Checkpoints with the weights of every adapter of a pair's folder, which `training.align --start` takes up."""
    for reward, beta, path in manifest.adapters(folder):
        reader = gguf.GGUFReader(path)
        lora = base.weights(reader, cfg)
        rank = next(w for name, w in lora.items() if name.endswith("lora_a")).shape[0]
        name = f"{reward}-b{beta:g}"
        torch.save({"lora": lora, "alpha": float(reader.fields["adapter.lora.alpha"].contents()), "rank": rank, "name": name,
                    "reward": reward, "beta": beta, "config": dataclasses.asdict(cfg)}, work / f"{name}.pt")


def recover(path, work):
    """The reference and its tokenizer; returns the model's configuration."""
    reader = gguf.GGUFReader(path)
    cfg = base.config(reader.fields)
    m = model.Llama(cfg)
    m.load_state_dict(base.weights(reader, cfg))
    work.mkdir(parents=True, exist_ok=True)
    model.save(work / "reference.pt", m)
    tokenizer(reader.fields).save(str(work / "tokenizer.json"))
    return cfg


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=Path, default=Path("models/demo"))
    p.add_argument("--work", type=Path, required=True)
    a = p.parse_args()
    if (a.work / "reference.pt").exists():
        raise SystemExit(f"{a.work / 'reference.pt'} is there already: choose another --work, or remove it")
    adapters(a.models, recover(a.models / "reference-q8_0.gguf", a.work), a.work)


if __name__ == "__main__":
    main()
