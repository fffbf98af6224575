"""The T5 of demo-t5 (1.1 style: gated GELU, an output layer of its own), its LoRA branches, and sampling."""

import math

import torch
import torch.nn.functional as F
import transformers
from torch import nn

from training.model import fast_products
from training.t5.dialogue import END, PAD

RANK, ALPHA = 32, 64.0


def new(vocab, seed, width=256, ff=512, encoder=3, decoder=3, heads=4):
    assert decoder <= encoder, "llama.cpp makes a cache for as many layers as the encoder has"
    config = transformers.T5Config(
        vocab_size=vocab, d_model=width, d_kv=width // heads, d_ff=ff, num_layers=encoder, num_decoder_layers=decoder, num_heads=heads, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", decoder_start_token_id=PAD, tie_word_embeddings=False)
    m = transformers.T5ForConditionalGeneration(config)
    m.lm_head.weight = nn.Parameter(torch.empty(vocab, width))  # transformers 5 ties it, whatever the configuration says
    config.tie_word_embeddings = m.config.tie_word_embeddings = False
    g = torch.Generator().manual_seed(seed)
    for name, p in m.named_parameters():
        if "relative" in name:
            nn.init.zeros_(p)
        elif p.ndim == 2 and ("shared" in name or "lm_head" in name):
            nn.init.normal_(p, 0, 0.02, generator=g)
        elif p.ndim == 2:
            std = 0.5 / math.sqrt(p.shape[1])
            if name.endswith(".q.weight"):
                std /= math.sqrt(config.d_kv)  # T5 does not divide by the root of a head's width
            nn.init.normal_(p, 0, std, generator=g)
            if name.endswith((".o.weight", ".wo.weight")):
                nn.init.zeros_(p)  # every block starts as the identity
    return m


def pad(lists, value=PAD):
    width = max(map(len, lists))
    return torch.tensor([[*x, *[value] * (width - len(x))] for x in lists])


def hidden(m, sources, replies, copies=1):
    """The decoder's output at every token of the replies, row by row, and those tokens. There are so many replies to a source."""
    x, y = pad(sources), pad(replies, -1)
    seen = (x != PAD).long()
    given = torch.cat([torch.full((len(y), 1), PAD), y[:, :-1].clamp(min=0)], 1)
    with fast_products():
        e = m.encoder(input_ids=x, attention_mask=seen).last_hidden_state.repeat_interleave(copies, 0)
        d = m.decoder(input_ids=given, encoder_hidden_states=e, encoder_attention_mask=seen.repeat_interleave(copies, 0), use_cache=False).last_hidden_state
    counted = y >= 0
    return d[counted], y[counted], counted


def loss(m, sources, replies):
    """Summed cross-entropy, and the number of tokens."""
    h, y, _ = hidden(m, sources, replies)
    with fast_products():
        logits = m.lm_head(h)
    return F.cross_entropy(logits.float(), y, reduction="sum"), len(y)


def log_probability(m, sources, replies, copies):
    """log π(reply | source), one a reply."""
    h, y, counted = hidden(m, sources, replies, copies)
    with fast_products():
        logits = m.lm_head(h)
    logp = logits.float().log_softmax(-1).gather(-1, y[:, None])[:, 0]
    return torch.zeros(counted.shape).masked_scatter(counted, logp).sum(-1)


@torch.no_grad()
def sample(m, sources, copies, limit, temperature=1.0, min_p=None):
    """Replies, with their end token where they have one; so many to each source."""
    x = pad(sources)
    with fast_products():
        out = m.generate(input_ids=x, attention_mask=(x != PAD).long(), do_sample=True, temperature=temperature, min_p=min_p, top_k=0, top_p=1.0, num_return_sequences=copies,
                         max_new_tokens=limit, min_new_tokens=1, pad_token_id=PAD, eos_token_id=END, decoder_start_token_id=PAD)
    replies = []
    for row in out[:, 1:].tolist():
        replies.append(row[:row.index(END) + 1] if END in row else row)
    return replies


class LoRA(nn.Linear):
    """A linear layer with a LoRA branch of variable strength."""

    def __init__(self, base, generator):
        super().__init__(base.in_features, base.out_features, bias=False, device="meta")
        self.weight = base.weight
        self.weight.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(RANK, base.in_features, generator=generator) / math.sqrt(base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, RANK))
        self.strength = 1.0

    def forward(self, x):
        y = F.linear(x, self.weight)
        if self.strength:
            y = y + F.linear(F.linear(x, self.a), self.b) * (self.strength * ALPHA / RANK)
        return y


def add_lora(m, seed):
    """Freezes a model and gives every product of its decoder a LoRA branch. The encoder stays the reference's."""
    g = torch.Generator().manual_seed(seed)
    for p in m.parameters():
        p.requires_grad_(False)
    found = [(name, x) for name, x in m.decoder.named_modules() if isinstance(x, nn.Linear)]
    branches = {}
    for name, x in found:
        parent, _, last = name.rpartition(".")
        branches[f"decoder.{name}"] = lora = LoRA(x, g)
        setattr(m.decoder.get_submodule(parent), last, lora)
    return branches


def strength(branches, x):
    for b in branches.values():
        b.strength = x


def factors(branches):
    return {name: (b.a.detach().clone(), b.b.detach().clone()) for name, b in branches.items()}


def set_factors(branches, state, scale=1.0):
    with torch.no_grad():
        for name, (a, b) in state.items():
            branches[name].a.copy_(a)
            branches[name].b.copy_(b * scale)
