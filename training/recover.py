"""WORK/reference.pt and WORK/tokenizer.json from the files that ship, for stages that begin with the reference.

    python -m training.recover --models models/demo --work WORK

The weights are those of the eight-bit file, which is the model that adapters are laid over. What stages 1 to 2b kept
beside the weights (steps, losses, the polishing) is in the reference's card only.
"""

import argparse
from pathlib import Path

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from . import model
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


def recover(path, work):
    reader = gguf.GGUFReader(path)
    cfg = base.config(reader.fields)
    m = model.Llama(cfg)
    m.load_state_dict(base.weights(reader, cfg))
    work.mkdir(parents=True, exist_ok=True)
    model.save(work / "reference.pt", m)
    tokenizer(reader.fields).save(str(work / "tokenizer.json"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=Path, default=Path("models/demo"))
    p.add_argument("--work", type=Path, required=True)
    a = p.parse_args()
    if (a.work / "reference.pt").exists():
        raise SystemExit(f"{a.work / 'reference.pt'} is there already: choose another --work, or remove it")
    recover(a.models / "reference-q8_0.gguf", a.work)


if __name__ == "__main__":
    main()
