"""The pair's reference, read from the GGUF file that runs.

Its weights are taken as the file has them, quantised and dequantised again, so that an adapter is trained on the
model that it will be laid over. What stays different is that llama.cpp rounds activations to eight bits before it
multiplies them with quantised weights.
"""

from pathlib import Path

import gguf
import jinja2
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from .. import export, model

FILE = Path("models/smollm2/base/SmolLM2-135M-Instruct.Q4_1.gguf")
PARAMETERS = {v: k for k, v in export.NAMES.items()}


def unpermute(w, heads):
    """Undoes `export.permute`."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def parameter_name(name):
    """Our name of a GGUF tensor."""
    whole = {"token_embd.weight": "embed_tokens.weight", "output_norm.weight": "norm.weight"}
    if name in whole:
        return whole[name]
    _, layer, module, *_, suffix = name.split(".")  # weight, or of an adapter weight.lora_a
    return f"layers.{layer}.{PARAMETERS[module]}.{suffix}"


def config(fields):
    f = lambda key: fields[f"llama.{key}"].contents()
    return model.Config(
        vocab_size=len(fields["tokenizer.ggml.tokens"].contents()), hidden_size=f("embedding_length"),
        intermediate_size=f("feed_forward_length"), num_hidden_layers=f("block_count"),
        num_attention_heads=f("attention.head_count"), num_key_value_heads=f("attention.head_count_kv"),
        max_position_embeddings=f("context_length"), rms_norm_eps=f("attention.layer_norm_rms_epsilon"),
        rope_theta=f("rope.freq_base"))


def weights(reader, cfg):
    """A file's tensors by our names, those of a model or of a LoRA adapter of it: the inverse of `export.tensors`."""
    out = {}
    for t in reader.tensors:
        w, name = gguf.quants.dequantize(t.data, t.tensor_type), parameter_name(t.name)
        _, kind = export.gguf_name(name)
        out[name] = torch.from_numpy((unpermute(w, getattr(cfg, kind)) if kind and not name.endswith("lora_a") else w).copy())
    return out


def tokenizer(fields):
    """llama.cpp's "smollm" pre-tokenizer: digits one by one, then as GPT-2."""
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    t = Tokenizer(models.BPE({s: i for i, s in enumerate(tokens)}, merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False)
                          for s, k in zip(tokens, kinds) if k == gguf.TokenType.CONTROL])
    return t


class Base:
    """The model, its tokenizer and its chat template."""

    def __init__(self, path=FILE):
        self.path = Path(path)
        reader = gguf.GGUFReader(path)
        cfg = config(reader.fields)
        self.model = model.Llama(cfg)
        self.model.load_state_dict(weights(reader, cfg))
        self.model.requires_grad_(False)
        self.tok = tokenizer(reader.fields)
        self.end = reader.fields["tokenizer.ggml.eos_token_id"].contents()
        self.template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(
            reader.fields["tokenizer.chat_template"].contents())

    def prompt(self, text):
        """Token ids of a conversation's first message, up to where the reply begins."""
        rendered = self.template.render(messages=[{"role": "user", "content": text}], add_generation_prompt=True)
        return self.tok.encode(rendered, add_special_tokens=False).ids

    def text(self, ids):
        return self.tok.decode(ids).strip()
