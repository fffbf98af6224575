"""Write GGUF files: the reference model and LoRA adapters.

    python -m training.export reference --checkpoint reference.pt --tokenizer tokenizer.json --type q8_0 --out FILE
    python -m training.export adapter   --checkpoint warmth-b0.1.pt --out FILE

llama.cpp rotates neighbouring pairs of a head's dimensions where Hugging Face rotates its two halves, so the rows
of the query and key matrices are reordered; of a LoRA update B A to those matrices, the rows of B.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch

from . import chat, model

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def permute(w, heads):
    """Rows from Hugging Face's half-split rotary order to llama.cpp's interleaved one."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def gguf_name(name):
    """GGUF tensor name of a parameter, and the number of heads' kind whose rows must be permuted (or None)."""
    if name.startswith("embed_tokens."):
        return "token_embd.weight", None
    if name == "norm.weight":
        return "output_norm.weight", None
    _, layer, rest = name.split(".", 2)
    module, suffix = rest.rsplit(".", 1)
    kind = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(module)
    suffix = {"weight": "weight", "lora_a": "weight.lora_a", "lora_b": "weight.lora_b"}[suffix]
    return f"blk.{layer}.{NAMES[module]}.{suffix}", kind


def tensors(state, cfg):
    """(name, float32 array) in llama.cpp's order of rows."""
    for name, t in state.items():
        out, kind = gguf_name(name)
        w = t.detach().float().numpy()
        if kind and not name.endswith("lora_a"):
            w = permute(w, getattr(cfg, kind))
        yield out, np.ascontiguousarray(w)


def add_tokenizer(w, path):
    spec = json.loads(Path(path).read_text(encoding="utf-8"))
    vocab = spec["model"]["vocab"]
    special = {t["id"] for t in spec["added_tokens"]}
    tokens = sorted(vocab, key=vocab.get)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(len(tokens))])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]])
    w.add_bos_token_id(vocab[chat.IM_START])
    w.add_eos_token_id(vocab[chat.IM_END])
    w.add_eot_token_id(vocab[chat.IM_END])
    w.add_pad_token_id(vocab[chat.END_OF_TEXT])
    w.add_add_bos_token(False)
    w.add_add_space_prefix(False)
    w.add_chat_template(chat.CHAT_TEMPLATE)


def write_model(out, state, cfg, tokenizer, kind, name, description, licence="cc-by-4.0"):
    qtype, ftype = TYPES[kind]
    w = gguf.GGUFWriter(str(out), "llama")
    w.add_type("model")
    w.add_name(name)
    w.add_description(description)
    w.add_license(licence)
    w.add_file_type(ftype)
    w.add_vocab_size(cfg.vocab_size)
    w.add_context_length(cfg.max_position_embeddings)
    w.add_embedding_length(cfg.hidden_size)
    w.add_block_count(cfg.num_hidden_layers)
    w.add_feed_forward_length(cfg.intermediate_size)
    w.add_head_count(cfg.num_attention_heads)
    w.add_head_count_kv(cfg.num_key_value_heads)
    w.add_rope_dimension_count(cfg.head_dim)
    w.add_rope_freq_base(cfg.rope_theta)
    w.add_layer_norm_rms_eps(cfg.rms_norm_eps)
    add_tokenizer(w, tokenizer)
    for n, t in tensors(state, cfg):
        q = qtype if t.ndim == 2 else gguf.GGMLQuantizationType.F32
        w.add_tensor(n, gguf.quants.quantize(t, q), raw_dtype=q)
    finish(w)


def write_adapter(out, state, cfg, alpha, kind, name, description, licence="cc-by-4.0"):
    """Writes a LoRA adapter, in eight bits (unless told otherwise) as the weights it is for.

    llama.cpp's products of float16 and float32 matrices sum in another order when a pass has several rows, so
    logits would depend on how many lanes run, by up to 0.06 on this model; its eight-bit products do not, and
    every lane stays equal, bit for bit, to the lane alone.
    """
    w = gguf.GGUFWriter(str(out), "llama")
    w.add_type("adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", float(alpha))
    w.add_name(name)
    w.add_description(description)
    w.add_license(licence)
    for n, t in tensors(state, cfg):
        q = TYPES[kind][0] if t.shape[-1] % 32 == 0 else gguf.GGMLQuantizationType.F32
        w.add_tensor(n, gguf.quants.quantize(t, q), raw_dtype=q)
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["reference", "adapter"])
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--tokenizer", type=Path)
    p.add_argument("--type", choices=TYPES, default="q8_0")
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    if a.what == "reference":
        m, _ = model.load(a.checkpoint)
        write_model(a.out, m.state_dict(), m.cfg, a.tokenizer, a.type, "Realign demo reference",
                    "A small chat model trained from scratch on public dialogue corpora.")
    else:
        c = torch.load(a.checkpoint, map_location="cpu", weights_only=True)
        about = f"LoRA adapter on the demo reference, trained to the optimum of its KL-regularised reward: {c['reward']}, beta {c['beta']:g}."
        write_adapter(a.out, c["lora"], model.Config(**c["config"]), c["alpha"], a.type,
                      c.get("title", f"Realign demo {c['name']}"), c.get("about", about), c.get("licence", "cc-by-4.0"))
    print(f"{a.out} {a.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
