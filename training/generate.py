"""Batched sampling with a key-value cache, and the two passes that RL needs over what was sampled.

Prompts of a batch have equal length, so no prompt is padded; each prompt is read once and its cache shared by its
samples. Sampling is at temperature 1 without truncation, as the theory wants, unless told otherwise.
"""

import torch
import torch.nn.functional as F

from .model import fast_dtype


class Buffer:
    """Keys and values of one layer for a batch of rows, with room to grow."""

    def __init__(self, k, v, copies, room):
        self.n = k.shape[2]
        self.k, self.v = (torch.cat([x.repeat_interleave(copies, 0), x.new_empty(
            x.shape[0] * copies, x.shape[1], room, x.shape[3])], 2) for x in (k, v))

    def append(self, k, v):
        t = k.shape[2]
        self.k[:, :, self.n:self.n + t] = k
        self.v[:, :, self.n:self.n + t] = v
        self.n += t
        return self.k[:, :, :self.n], self.v[:, :, :self.n]

    def select(self, rows):
        self.k, self.v = self.k[rows], self.v[rows]


class Record:
    """Keeps what a layer computed for the prompt."""

    def append(self, k, v):
        self.k, self.v = k, v
        return k, v


class Shared:
    """A recorded prompt seen by several samples (`owner`: which prompt each row continues); differentiable."""

    def __init__(self, record, owner):
        # As a product, whose gradient is a product, too: the gradient of indexing adds up number by number.
        pick = F.one_hot(owner, len(record.k)).to(record.k.dtype)
        self.k, self.v = ((pick @ x.flatten(1)).view(-1, *x.shape[1:]) for x in (record.k, record.v))

    def append(self, k, v):
        return torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)


def logits(m, h):
    """Output logits in float32 whatever the rest runs in: probabilities are compared between models."""
    with torch.autocast("cpu", enabled=False):
        return F.linear(h.float(), m.embed_tokens.weight)


@torch.no_grad()
def sample(m, prompts, copies, limit, end, generator, temperature=1.0, top_p=1.0, min_p=0.0, logps=None):
    """Replies to prompts (B, P): a list of B*copies token lists without the end marker, and whether each ended.

    A list given as `logps` gets the model's own log-probability of each reply (its end marker included), whatever
    the temperature.
    """
    records = [Record() for _ in m.layers]
    h = m.hidden(prompts, caches=records)[:, -1:]
    caches = [Buffer(r.k, r.v, copies, limit) for r in records]
    h = h.repeat_interleave(copies, 0)
    rows = torch.arange(prompts.shape[0] * copies)
    live = torch.ones(len(rows), dtype=torch.bool)
    replies, ended = [[] for _ in rows], [False] * len(rows)
    said = torch.zeros(len(rows))
    position = prompts.shape[1]
    for step in range(limit):
        z = logits(m, h[:, 0])
        if temperature == 0:
            x = z.argmax(-1)
        else:
            p = (z / temperature).softmax(-1)
            if top_p < 1:
                s, i = p.sort(-1, descending=True)
                s[s.cumsum(-1) - s > top_p] = 0
                p = torch.zeros_like(p).scatter_(-1, i, s)
            if min_p > 0:
                p[p < min_p * p.max(-1, keepdim=True).values] = 0
            c = p.cumsum(-1)
            u = torch.rand(len(c), 1, generator=generator) * c[:, -1:]
            x = torch.searchsorted(c, u, right=True)[:, 0].clamp_max(c.shape[1] - 1)
        if logps is not None:
            said[rows] += live * z.log_softmax(-1).gather(-1, x[:, None])[:, 0]
        for r, t, was in zip(rows.tolist(), x.tolist(), live.tolist()):
            if was and t != end:
                replies[r].append(t)
            elif was:
                ended[r] = True
        live = live & (x != end)
        if step == limit - 1 or not live.any():
            break
        if live.float().mean() < 0.8:  # copying the caches costs more than a few finished rows
            keep = live.nonzero()[:, 0]
            rows, x, live = rows[keep], x[keep], live[keep]
            for c in caches:
                c.select(keep)
        at = torch.full((1,), position)
        h = m.hidden(x[:, None], positions=at[None], caches=caches)
        position += 1
    if logps is not None:
        logps += said.tolist()
    return replies, ended


def pad(replies, ended, end):
    """Reply tokens with their end marker as (R, T), and the mask of what was sampled."""
    full = [r + [end] if e else r for r, e in zip(replies, ended)]
    width = max(map(len, full))
    y = torch.full((len(full), width), end)
    mask = torch.zeros(len(full), width, dtype=torch.bool)
    for i, r in enumerate(full):
        y[i, :len(r)] = torch.tensor(r)
        mask[i, :len(r)] = True
    return y, mask


def reply_hidden(m, prompts, y, mask, owner, chunk=64):
    """Last hidden states that predict every sampled token, in the order of y[mask]. owner: which prompt each row continues.

    Rows go through the model in chunks of like length, so that little of it is padding.
    """
    records = [Record() for _ in m.layers]
    first = m.hidden(prompts, caches=records)[:, -1:]
    lengths = mask.sum(1)
    starts = lengths.cumsum(0) - lengths
    p = prompts.shape[1]
    parts, places = [], []
    for rows in lengths.argsort().split(chunk):
        mine = owner[rows]
        h = first.index_select(0, mine)
        t = int(lengths[rows].max()) - 1
        if t > 0:
            attend = torch.ones(t, p + t, dtype=torch.bool).tril(p)
            h = torch.cat([h, m.hidden(y[rows, :t], positions=torch.arange(p, p + t)[None],
                                       caches=[Shared(r, mine) for r in records], attend=attend)], 1)
        at = torch.arange(t + 1)
        real = at < lengths[rows][:, None]
        parts.append(h.flatten(0, 1).index_select(0, real.flatten().nonzero()[:, 0]))
        places.append((starts[rows][:, None] + at)[real])
    return torch.cat(parts).index_select(0, torch.cat(places).argsort())


def reply_logits(m, prompts, y, mask, copies, chunk=32):
    """Logits at every sampled token in the order of y[mask]: (number of sampled tokens, vocabulary)."""
    return logits(m, reply_hidden(m, prompts, y, mask, torch.arange(len(y)) // copies, chunk))


class TokenLogps(torch.autograd.Function):
    """log softmax(E h) at given tokens, with a gradient for h: no more than a few rows of logits at a time."""

    ROWS = 256

    @staticmethod
    def forward(ctx, h, embedding, tokens):
        kept, out = [], []
        for x, t in zip(h.split(TokenLogps.ROWS), tokens.split(TokenLogps.ROWS)):
            z = F.linear(x, embedding)
            top = z.max(-1, keepdim=True).values
            taken = z.gather(-1, t[:, None]) - top
            p = z.sub_(top).exp_()
            total = p.sum(-1, keepdim=True)
            out.append((taken - total.log())[:, 0])
            if ctx.needs_input_grad[0]:
                kept.append(p.div_(total).to(fast_dtype()))
        ctx.save_for_backward(embedding, tokens, *kept)
        return torch.cat(out)

    @staticmethod
    def backward(ctx, g):
        embedding, tokens, *kept = ctx.saved_tensors
        at = g[:, None] * embedding[tokens]
        mean = torch.cat([p @ embedding.to(p.dtype) for p in kept])
        return at - g[:, None] * mean, None, None


def reply_logps(m, prompts, y, mask, owner, chunk=64):
    """log pi of every sampled token in the order of y[mask], and the hidden states that predict them."""
    h = reply_hidden(m, prompts, y, mask, owner, chunk)
    return TokenLogps.apply(h.float(), m.embed_tokens.weight, y[mask]), h


def row_sums(values, mask):
    """Sum of values (one per token that mask marks, in its order) along each row; differentiable."""
    return torch.zeros(len(mask), dtype=values.dtype).index_add(0, mask.nonzero()[:, 0], values)
