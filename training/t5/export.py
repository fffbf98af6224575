"""Writes a T5 of transformers as GGUF: any of T5, T5 1.1, FLAN-T5 and UMT5, by llama.cpp's names of tensors.

    python -m training.t5.export --model FOLDER --out model.gguf [--type q8_0]

FOLDER is a checkpoint of transformers with SentencePiece's own file (spiece.model or tokenizer.model). A T5 1.0 multiplies what its decoder made by d_model^-0.5 before
the output layer; llama.cpp's graph does not, so the factor is written as t5.logit_scale, which Realign applies.
"""

import argparse
import itertools
import re
from pathlib import Path

import gguf
import numpy as np
from sentencepiece import sentencepiece_model_pb2

from training.export import TYPES, finish

# LAYERS are the parts of a layer by the number of the sublayer that transformers gives them.
ENCODER = {
    "layer.0.SelfAttention.q": "attn_q", "layer.0.SelfAttention.k": "attn_k", "layer.0.SelfAttention.v": "attn_v", "layer.0.SelfAttention.o": "attn_o",
    "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b", "layer.0.layer_norm": "attn_norm", "layer.1.layer_norm": "ffn_norm",
    "layer.1.DenseReluDense.wi": "ffn_up", "layer.1.DenseReluDense.wi_0": "ffn_gate", "layer.1.DenseReluDense.wi_1": "ffn_up", "layer.1.DenseReluDense.wo": "ffn_down",
}
DECODER = {
    **{name: part for name, part in ENCODER.items() if name.startswith("layer.0.")},
    "layer.1.EncDecAttention.q": "cross_attn_q", "layer.1.EncDecAttention.k": "cross_attn_k", "layer.1.EncDecAttention.v": "cross_attn_v",
    "layer.1.EncDecAttention.o": "cross_attn_o", "layer.1.layer_norm": "cross_attn_norm",
    **{name.replace("layer.1.", "layer.2."): part for name, part in ENCODER.items() if name.startswith("layer.1.")},
}
UNUSED = 5  # gguf.TokenType.UNUSED


def gguf_name(name):
    """llama.cpp's name of a parameter of transformers, without .weight at the end of either."""
    if name == "shared":
        return "token_embd"
    if name == "lm_head":
        return "output"
    m = re.fullmatch(r"(en|de)coder\.(?:block\.(\d+)\.(.+)|final_layer_norm)", name)
    if not m:
        raise ValueError(f"{name} is no parameter of a T5")
    side, block, rest = m.groups()
    if block is None:
        return f"{side}c.output_norm"
    return f"{side}c.blk.{block}.{(ENCODER if side == 'en' else DECODER)[rest]}"


def tensors(state, tied):
    """(name, float32 array) of what a file holds. The embedding is there once under several names; so is the output layer where it is tied."""
    for name, t in state.items():
        module, _ = name.rsplit(".", 1)
        if module.endswith("embed_tokens") or module == "lm_head" and tied:
            continue
        yield gguf_name(module) + ".weight", np.ascontiguousarray(t.detach().float().numpy())


def is_tied(model):
    return model.lm_head.weight.data_ptr() == model.shared.weight.data_ptr()


def scales(model):
    """Whether the decoder's output is multiplied by d_model^-0.5, by what transformers itself asks."""
    c = model.config
    return bool(getattr(c, "scale_decoder_outputs", c.tie_word_embeddings))


def add_tokenizer(w, path, size, template=None):
    """SentencePiece's model, filled up to the size of the embedding: T5's checkpoints have more rows than tokens."""
    p = sentencepiece_model_pb2.ModelProto()
    p.ParseFromString(Path(path).read_bytes())
    if p.trainer_spec.model_type != 1:
        raise ValueError(f"{path} is no unigram model of SentencePiece")
    pieces = [(x.piece, x.score, x.type) for x in p.pieces][:size]
    extra = (f"<extra_id_{i}>" for i in itertools.count(99, -1))
    while len(pieces) < size:
        i = len(pieces) - len(p.pieces)
        pieces.append((next(extra), 0.0, gguf.TokenType.USER_DEFINED) if i < 100 else (f"[PAD{len(pieces)}]", -10000.0, UNUSED))
    w.add_tokenizer_model("t5")
    w.add_tokenizer_pre("default")
    w.add_token_list([x[0] for x in pieces])
    w.add_token_scores([x[1] for x in pieces])
    w.add_token_types([int(x[2]) for x in pieces])
    w.add_add_space_prefix(p.normalizer_spec.add_dummy_prefix)
    w.add_remove_extra_whitespaces(p.normalizer_spec.remove_extra_whitespaces)
    if p.normalizer_spec.precompiled_charsmap:
        w.add_precompiled_charsmap(p.normalizer_spec.precompiled_charsmap)
    named = {x[0]: i for i, x in enumerate(pieces)}
    w.add_pad_token_id(named["<pad>"])
    w.add_eos_token_id(named["</s>"])
    w.add_unk_token_id(named["<unk>"])
    w.add_add_bos_token(False)
    w.add_add_eos_token(True)
    if template:
        w.add_chat_template(template)


def quantized(name, w, kind):
    """The type of a tensor: matrices as asked, if their rows are whole blocks; norms and the bias of positions in full."""
    if w.ndim < 2 or "attn_rel_b" in name or w.shape[-1] % 32:
        return gguf.GGMLQuantizationType.F32
    return TYPES[kind][0]


def write(out, model, spm, kind, name, context=512, template=None, **about):
    c = model.config
    w = gguf.GGUFWriter(str(out), "t5")
    w.add_type("model")
    w.add_name(name)
    for key, value in about.items():
        getattr(w, f"add_{key}")(value)
    w.add_file_type(TYPES[kind][1])
    w.add_context_length(context)
    w.add_embedding_length(c.d_model)
    w.add_feed_forward_length(c.d_ff)
    w.add_block_count(c.num_layers)
    w.add_decoder_block_count(c.num_decoder_layers)
    w.add_head_count(c.num_heads)
    w.add_key_length(c.d_kv)
    w.add_value_length(c.d_kv)
    w.add_layer_norm_eps(c.layer_norm_epsilon)
    w.add_layer_norm_rms_eps(c.layer_norm_epsilon)
    w.add_relative_attn_buckets_count(c.relative_attention_num_buckets)
    w.add_decoder_start_token_id(c.decoder_start_token_id)
    w.add_logit_scale(c.d_model**-0.5 if scales(model) else 1.0)
    add_tokenizer(w, spm, c.vocab_size, template)
    for n, t in tensors(model.state_dict(), is_tied(model)):
        q = quantized(n, t, kind)
        w.add_tensor(n, gguf.quants.quantize(t, q), raw_dtype=q)
    finish(w)


def write_adapter(out, state, alpha, kind, name, **about):
    """A LoRA adapter. state maps a parameter's name, without .weight, to its factors A (rank, in) and B (out, rank)."""
    w = gguf.GGUFWriter(str(out), "t5")
    w.add_type("adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", float(alpha))
    w.add_name(name)
    for key, value in about.items():
        getattr(w, f"add_{key}")(value)
    for module, (a, b) in state.items():
        for suffix, t in (("lora_a", a), ("lora_b", b)):
            t = np.ascontiguousarray(t.detach().float().numpy())
            q = TYPES[kind][0] if t.shape[-1] % 32 == 0 else gguf.GGMLQuantizationType.F32
            w.add_tensor(f"{gguf_name(module)}.weight.{suffix}", gguf.quants.quantize(t, q), raw_dtype=q)
    finish(w)


def main():
    import transformers

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--type", choices=TYPES, default="f32")
    a = p.parse_args()
    spm = next((a.model / n for n in ("spiece.model", "tokenizer.model") if (a.model / n).exists()), None)
    if spm is None:
        p.error(f"{a.model} has neither spiece.model nor tokenizer.model")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(a.model)
    write(a.out, model, spm, a.type, a.model.name)
    print(f"{a.out} {a.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
