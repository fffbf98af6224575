"""What training.t5.demo keeps in WORK, from the files that ship: to train adapters further, or on others' machines.

    python -m training.t5.recover --models models/demo-t5 --work WORK

Weights are those of the eight-bit files, which is what decodes.
"""

import argparse
import json
from pathlib import Path

import gguf
import torch
from sentencepiece import sentencepiece_model_pb2

from training.t5 import export, model


def vocabulary(fields):
    """SentencePiece's model as dialogue.vocabulary learns it."""
    p = sentencepiece_model_pb2.ModelProto()
    read = lambda key: fields[f"tokenizer.ggml.{key}"].contents()
    for piece, score, kind in zip(read("tokens"), read("scores"), read("token_type"), strict=True):
        p.pieces.add(piece=piece, score=score, type=kind)
    p.trainer_spec.model_type = 1  # unigram
    p.trainer_spec.unk_id, p.trainer_spec.eos_id, p.trainer_spec.pad_id, p.trainer_spec.bos_id = read("unknown_token_id"), read("eos_token_id"), read("padding_token_id"), -1
    p.trainer_spec.unk_piece, p.trainer_spec.eos_piece, p.trainer_spec.pad_piece = "<unk>", "</s>", "<pad>"
    p.normalizer_spec.name = "identity"
    p.normalizer_spec.add_dummy_prefix, p.normalizer_spec.remove_extra_whitespaces = read("add_space_prefix"), read("remove_extra_whitespaces")
    return p.SerializeToString()


def values(reader):
    return {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}


def recover(models, work):
    work.mkdir(parents=True, exist_ok=True)
    pair, told = (json.loads((models / name).read_text(encoding="utf-8")) for name in ("pair.json", "training.json"))
    reader = gguf.GGUFReader(str(models / pair["reference"]["file"]))
    (work / "demo-t5.spm").write_bytes(vocabulary(reader.fields))
    held = values(reader)
    m = model.new(len(reader.fields["tokenizer.ggml.tokens"].contents()), 0)
    state = m.state_dict()
    for name in state:
        module, _ = name.rsplit(".", 1)
        state[name] = held[export.gguf_name("shared" if module.endswith("embed_tokens") else module) + ".weight"].view_as(state[name])
    m.load_state_dict(state)
    torch.save({"weights": m.state_dict(), "state": told["reference"]}, work / "demo-t5.pt")
    names = {export.gguf_name(name): name for name in model.add_lora(m, 0)}
    for a in pair["aligned"]:
        factors = values(gguf.GGUFReader(str(models / a["adapter"])))
        pairs = {names[n]: (factors[f"{n}.weight.lora_a"], factors[f"{n}.weight.lora_b"]) for n in (x.removesuffix(".weight.lora_a") for x in factors if x.endswith("lora_a"))}
        torch.save({"factors": pairs, **told[a["name"]]}, work / f"{a['name']}.pt")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=Path, default=Path("models/demo-t5"))
    p.add_argument("--work", type=Path, required=True)
    a = p.parse_args()
    if (a.work / "demo-t5.pt").exists():
        raise SystemExit(f"{a.work / 'demo-t5.pt'} is there already: choose another --work, or remove it")
    recover(a.models, a.work)


if __name__ == "__main__":
    main()
