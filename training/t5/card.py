"""The model card of demo-t5: one for the pair, as its files belong together."""

import math

import torch

from training import manifest
from training.card import ATTRIBUTION, LICENCE, SAMPLED
from training.t5 import dialogue, model

SAMPLES = 12


@torch.no_grad()
def samples(sp, m, branches, factors, sources):
    """(context, reply of the reference, reply of the adapter) to held-out contexts, sampled as is recommended."""
    rows = []
    for i, source in enumerate(sources[:SAMPLES]):
        said = []
        for strength in (0.0, 1.0):
            model.set_factors(branches, factors)
            model.strength(branches, strength)
            torch.manual_seed(i)
            reply = model.sample(m, [source], 1, dialogue.REPLY, **manifest.SAMPLING)[0]
            said.append(sp.decode([t for t in reply if t != dialogue.END]))
        text = "".join(f" **{sp.id_to_piece(t)[1:-1]}:** " if t in [sp.piece_to_id(r) for r in dialogue.ROLES] else sp.id_to_piece(t).replace("▁", " ") for t in source[:-1])
        rows.append((" ".join(text.split()), *said))
    return rows


def write(out, reference, state, adapters, quoted):
    """adapters: (file, β, steps, measures); quoted: rows of samples of the adapter at β = 0.1."""
    cell = lambda text: text.replace("|", "\\|")
    lines = [
        "# demo-t5", "",
        "A T5 of seven million parameters (1.1 style: gated GELU, an output layer of its own), trained from scratch on public dialogues to answer a context, and LoRA",
        "adapters on its decoder that are rewarded for replies of 24 to 32 tokens. It is made to be small enough to ship and to show what λ does to an encoder–decoder",
        "model, not to know or to do anything.", "",
        f"Licence: {LICENCE}", "",
        "| file | sha256 |", "|---|---|", *(f"| {f.name} | `{manifest.sha256(f)}` |" for f in (reference, *(a[0] for a in adapters))), "",
        "## Data", "", ATTRIBUTION,
        "## Training", "", "```",
        "python -m training.t5.demo pretrain --data DATA --work WORK", "python -m training.t5.demo align --data DATA --work WORK", "python -m training.t5.demo export --data DATA --work WORK --out models/demo-t5", "```", "",
        f"The reference: {state['step']} steps, {state['tokens'] / 1e6:.1f} million tokens of replies, {state['seconds'] / 60:.0f} minutes on two shared CPU cores. Held-out loss {state['heldout']:.3f} a token of the reply",
        f"(perplexity {math.exp(state['heldout']):.1f}).", "",
        "The adapters are trained to the optimum π_ref·exp(r/β)/Z by the variance, within contexts, of β·log π/π_ref − r. How near they came, on held-out contexts:", "",
        "| β | steps | measured |", "|--:|--:|---|", *(f"| {beta:g} | {steps} | {measures} |" for _, beta, steps, measures in adapters), "",
        "R² is the share of log π/π_ref's variance within contexts that the reward explains, over the reference's replies (in brackets: the adapter's own).", "",
        "## Samples", "", f"Held-out contexts, {SAMPLED}; the adapter is that of β = 0.1.", "",
        "| context | reference, λ = 0 | adapter, λ = 1 |", "|---|---|---|", *(f"| {cell(a)} | {cell(b)} | {cell(c)} |" for a, b, c in quoted), "",
    ]
    (out / "README.md").write_text("\n".join(lines), encoding="utf-8")
