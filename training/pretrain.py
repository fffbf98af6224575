"""Stage 2a: pretrain the reference model on the dialogue corpora.

    python -m training.pretrain trunk --data DATA --work WORK            # until stopped (or --steps)
    python -m training.pretrain decay --data DATA --work WORK --steps N  # trunk.pt -> pretrained.pt

Warm-up, stable, decay (WSD, Hu et al., 2024): the trunk runs at a constant learning rate and can be stopped
and resumed at any time; a decay branch brings the rate linearly to zero and gives the model that is used.
"""

import argparse
import math
import signal
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from . import corpus, model
from .muon import Muon

SEED = 1
WARMUP = 100


def loss_sum(m, ids, mask):
    """Summed cross-entropy of the counted tokens; only their rows meet the output matrix."""
    with model.fast_products():
        h = m.hidden(ids[:, :-1])[mask[:, 1:]]
        target = ids[:, 1:][mask[:, 1:]]
        total = 0.0
        for i in range(0, len(h), 1024):
            logits = F.linear(h[i:i + 1024], m.embed_tokens.weight).float()
            total = total + F.cross_entropy(logits, target[i:i + 1024], reduction="sum")
    return total, len(h)


@torch.no_grad()
def heldout_loss(m, batches):
    """Mean loss a content token, in nats."""
    total, n = 0.0, 0
    for ids, mask in batches:
        t, k = loss_sum(m, ids, mask)
        total, n = total + float(t), n + k
    return total / n


def optimisers(m, lr_muon, lr_adam):
    matrices = [p for n, p in m.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in m.named_parameters() if p.ndim < 2 or "embed" in n]
    return [
        Muon(matrices, lr=lr_muon, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=lr_adam, betas=(0.9, 0.95), weight_decay=0.0, eps=1e-10),
    ]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("phase", choices=["trunk", "decay"])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--steps", type=int, default=10**9, help="trunk: stop at this step; decay: length of the branch")
    p.add_argument("--tokens", type=int, default=6144, help="tokens a batch, padding included")
    p.add_argument("--lr-muon", type=float, default=0.015)
    p.add_argument("--lr-adam", type=float, default=0.003)
    p.add_argument("--save-every", type=float, default=240, help="seconds")
    p.add_argument("--layers", type=int, default=5)
    p.add_argument("--hidden", type=int, default=256)
    p.add_argument("--ff", type=int, default=704)
    a = p.parse_args()
    torch.manual_seed(SEED)

    tok = Tokenizer.from_file(str(a.work / "tokenizer.json"))
    enc = corpus.Encoder(tok)
    rows = corpus.load(a.data)
    rows, turns = corpus.mixture(rows, enc.turns(rows))
    held = corpus.load(a.data, heldout=True)[::4]
    cfg = model.Config(vocab_size=tok.get_vocab_size(), num_hidden_layers=a.layers, hidden_size=a.hidden, intermediate_size=a.ff)
    limit = cfg.max_position_embeddings
    held = corpus.epoch(held, enc.turns(held), enc, SEED, limit, augment=False)
    held = [tuple(map(torch.from_numpy, b)) for b in corpus.batches(held, a.tokens, SEED, 0)]

    trunk, final = a.work / "trunk.pt", a.work / "pretrained.pt"
    if trunk.exists():
        m, state = model.load(trunk)
    else:
        m, state = model.Llama(cfg).initialise(SEED), {"step": 0, "epoch": 0, "batch": 0, "seen": 0, "seconds": 0.0}
    opts = optimisers(m, a.lr_muon, a.lr_adam)
    for o, s in zip(opts, state.pop("optimisers", [])):
        o.load_state_dict(s)
    start = state["step"]
    last = start + a.steps if a.phase == "decay" else a.steps
    print(f"{sum(q.numel() for q in m.parameters()) / 1e6:.2f}M parameters, from step {start}", flush=True)

    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))

    def checkpoint():
        model.save(trunk, m, **state, optimisers=[o.state_dict() for o in opts])

    t0 = saved = time.time()
    running = window = 0.0
    while state["step"] < last and not stop:
        examples = corpus.epoch(rows, turns, enc, SEED + 1000 * state["epoch"], limit)
        for i, (ids, mask) in enumerate(corpus.batches(examples, a.tokens, SEED + state["epoch"], 0)):
            if i < state["batch"]:
                continue
            if state["step"] >= last or stop:
                break
            rate = min(1.0, (state["step"] + 1) / WARMUP)
            if a.phase == "decay":
                rate *= (last - state["step"]) / a.steps
            for o, lr in zip(opts, (a.lr_muon, a.lr_adam)):
                o.param_groups[0]["lr"] = lr * rate
            total, n = loss_sum(m, torch.from_numpy(ids), torch.from_numpy(mask))
            (total / n).backward()
            norm = torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            for o in opts:
                o.step()
                o.zero_grad(set_to_none=True)
            now = time.time()
            running, window = running + float(total.detach()), window + n
            state.update(step=state["step"] + 1, batch=i + 1, seen=state["seen"] + ids.size)
            if state["step"] % 50 == 0:
                spent = state["seconds"] + now - t0
                print(f"step {state['step']} epoch {state['epoch']} loss {running / window:.4f} norm {float(norm):.2f} "
                      f"seen {state['seen'] / 1e6:.2f}M {spent:.0f}s", flush=True)
                running = window = 0.0
            if state["step"] % 500 == 0:
                h = heldout_loss(m, held)
                print(f"step {state['step']} held-out loss {h:.4f} perplexity {math.exp(h):.2f}", flush=True)
            if a.phase == "trunk" and now - saved > a.save_every:
                state["seconds"] += now - t0
                t0 = saved = now
                checkpoint()
        else:
            state.update(epoch=state["epoch"] + 1, batch=0)
    state["seconds"] += time.time() - t0
    if a.phase == "trunk":
        checkpoint()
    if a.phase == "decay" and not stop:
        state["heldout"] = heldout_loss(m, held)
        model.save(final, m, **state, trunk_steps=start)
        print(f"held-out loss {state['heldout']:.4f} perplexity {math.exp(state['heldout']):.2f}", flush=True)


if __name__ == "__main__":
    main()
