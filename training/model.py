"""A Llama-architecture language model in plain PyTorch, with the names and shapes of Hugging Face's.

RMSNorm, rotary positions (the half-split form of Hugging Face; `export` permutes for llama.cpp), SwiGLU, no
biases, tied embeddings. A linear layer may carry a LoRA branch: W x + (alpha/r) B A x (Hu et al., 2021).
"""

import dataclasses
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass
class Config:
    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads


def fast_dtype():
    """What this CPU multiplies fastest: bfloat16 where it has instructions for it (else emulated, and 20 times slower)."""
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def fast_products():
    """A context in which products run in `fast_dtype`."""
    return torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype() == torch.bfloat16)


def quick():
    """Makes products of float32 matrices run in bfloat16, with float32 sums, where the CPU has instructions for it."""
    torch.set_float32_matmul_precision("medium" if fast_dtype() == torch.bfloat16 else "highest")


class Linear(nn.Linear):
    """A bias-free linear layer that may have a LoRA branch."""

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out, bias=False)
        self.rank, self.merged = 0, None

    def add_lora(self, rank, alpha, generator):
        self.rank, self.scale = rank, alpha / rank
        self.lora_a = nn.Parameter(torch.randn(rank, self.in_features, generator=generator) / math.sqrt(self.in_features))
        self.lora_b = nn.Parameter(torch.zeros(self.out_features, rank))
        self.use_lora = True

    def merge(self, factor, dtype):
        """From now on runs with the sum of the weight and `factor` times the branch; differentiable."""
        added = torch.addmm(self.weight, self.lora_b, self.lora_a, alpha=self.scale * factor) if self.rank else self.weight
        self.merged = added.to(dtype)

    @property
    def dtype(self):
        return (self.weight if self.merged is None else self.merged).dtype

    def forward(self, x):
        if self.merged is not None:
            return F.linear(x, self.merged)
        y = F.linear(x, self.weight)
        if self.rank and self.use_lora:
            y = y + F.linear(F.linear(x, self.lora_a), self.lora_b) * self.scale
        return y


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


def rope_tables(cfg, dtype=torch.float32):
    inv = cfg.rope_theta ** (-torch.arange(0, cfg.head_dim, 2, dtype=torch.float32) / cfg.head_dim)
    angle = torch.outer(torch.arange(cfg.max_position_embeddings, dtype=torch.float32), inv)
    angle = torch.cat([angle, angle], -1)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def attention(q, k, v, attend=None):
    """Softmax attention, causal unless `attend` says which keys each query sees.

    Written out: on a CPU this takes about half the time of the fused kernel with its backward pass.
    """
    s = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    t, n = s.shape[-2:]
    if attend is None and t > 1:
        attend = torch.ones(t, n, dtype=torch.bool).tril(n - t)
    if attend is not None:
        s = s + torch.zeros(attend.shape, dtype=s.dtype).masked_fill(~attend, -1e4)
    return torch.matmul(s.softmax(-1).to(v.dtype), v)


class Attention(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        d, h = cfg.hidden_size, cfg.head_dim
        self.q_proj = Linear(d, cfg.num_attention_heads * h)
        self.k_proj = Linear(d, cfg.num_key_value_heads * h)
        self.v_proj = Linear(d, cfg.num_key_value_heads * h)
        self.o_proj = Linear(cfg.num_attention_heads * h, d)

    def forward(self, x, cos, sin, cache=None, attend=None):
        b, t, _ = x.shape
        c = self.cfg
        q = self.q_proj(x).view(b, t, c.num_attention_heads, c.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(b, t, c.num_key_value_heads, c.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(b, t, c.num_key_value_heads, c.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            k, v = cache.append(k, v)
        groups = c.num_attention_heads // c.num_key_value_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        return self.o_proj(attention(q, k, v, attend).transpose(1, 2).reshape(b, t, -1))


class MLP(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.gate_proj = Linear(cfg.hidden_size, cfg.intermediate_size)
        self.up_proj = Linear(cfg.hidden_size, cfg.intermediate_size)
        self.down_proj = Linear(cfg.intermediate_size, cfg.hidden_size)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.input_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.self_attn = Attention(cfg)
        self.post_attention_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.mlp = MLP(cfg)

    def forward(self, x, cos, sin, cache=None, attend=None):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache, attend)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.embed_tokens = nn.Embedding(cfg.vocab_size, cfg.hidden_size)
        self.layers = nn.ModuleList(Layer(cfg) for _ in range(cfg.num_hidden_layers))
        self.norm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        cos, sin = rope_tables(cfg)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def initialise(self, seed):
        g = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.ndim < 2:
                continue
            std = 0.02 if "embed" in name else 0.5 / math.sqrt(p.shape[1])
            nn.init.normal_(p, 0, std, generator=g)
            if "o_proj" in name or "down_proj" in name:
                nn.init.zeros_(p)  # every block starts as the identity
        return self

    def hidden(self, ids, positions=None, caches=None, attend=None):
        x = self.embed_tokens(ids)
        if positions is None:
            cos, sin = self.cos[:ids.shape[1]], self.sin[:ids.shape[1]]
        else:
            cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else self.layers[0].mlp.up_proj.dtype
        x, cos, sin = x.to(dtype), cos.to(dtype), sin.to(dtype)
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, caches[i] if caches else None, attend)
        return self.norm(x)

    def forward(self, ids, **kw):
        """Logits, one row per position."""
        return F.linear(self.hidden(ids, **kw), self.embed_tokens.weight)

    def add_lora(self, rank, alpha, seed, first=0):
        """Freeze everything and add LoRA branches to all linear layers from block `first` on; returns the new parameters."""
        g = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            p.requires_grad_(False)
        new = []
        for m in self.layers[first:].modules():
            if isinstance(m, Linear):
                m.add_lora(rank, alpha, g)
                new += [m.lora_a, m.lora_b]
        return new

    def switch_lora(self, on):
        for m in self.modules():
            if isinstance(m, Linear) and m.rank:
                m.use_lora = on

    def linears(self):
        return [m for m in self.modules() if isinstance(m, Linear)]

    def lighten(self):
        """Linear weights to `fast_dtype`, once instead of at every use. Embeddings and norms stay as they are."""
        for m in self.linears():
            m.weight.data = m.weight.data.to(fast_dtype())
        return self

    def merge(self, factor=1.0, dtype=torch.float32):
        """Runs with W + factor (alpha/r) B A as one matrix, summed now, until the next merge or `unmerge`.

        Cheaper than running the branches, forwards and backwards, when there are more rows than a matrix is wide.
        """
        for m in self.linears():
            m.merge(factor, dtype)

    def unmerge(self):
        for m in self.linears():
            m.merged = None

    def lora_state(self):
        return {k: v.detach().clone() for k, v in self.state_dict().items() if "lora_" in k}

    def merged_state(self):
        """Hugging Face state dict with the LoRA branches added into the weights: W + (alpha/r) B A."""
        out = {k: v.detach().clone().float() for k, v in self.state_dict().items() if "lora_" not in k}
        for name, m in self.named_modules():
            if isinstance(m, Linear) and m.rank:
                out[f"{name}.weight"] += m.scale * m.lora_b.detach() @ m.lora_a.detach()
        return out


def scaled(lora, factor):
    """The weights of an adapter with its B times the factor."""
    return {k: v * (factor if k.endswith("lora_b") else 1) for k, v in lora.items()}


def save(path, model, **extra):
    """A checkpoint: configuration and float32 weights, written in one step so that a reader never sees half."""
    path = Path(path)
    tmp = path.with_suffix(".tmp")
    torch.save({"config": dataclasses.asdict(model.cfg), "weights": model.state_dict(), **extra}, tmp)
    tmp.replace(path)


def load(path):
    """The model and whatever else was saved beside it."""
    c = torch.load(path, map_location="cpu", weights_only=True)
    m = Llama(Config(**c["config"]))
    m.load_state_dict(c.pop("weights"))
    return m, c
