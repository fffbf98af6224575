"""Stage f: models/smollm2/pair.json and the cards, one beside each adapter of the folder.

    python -m training.smollm2.release --data DATA --work WORK --out models/smollm2 --default warmth-b0.1

Every number in a card is measured here or was stored by the stage that measured it. The reference is no part of the
release: models/smollm2/reference.json says what it is and how to get it.
"""

import argparse
import json
from pathlib import Path

import torch

from .. import card, manifest
from . import evaluate, samples

WORDS = {
    "warmth": ("Warmth", "Rewarded for replies that a sentiment classifier finds positive."),
    "brevity": ("Brevity", "Rewarded for replies that come to an end soon."),
    "grounding": ("Grounding", "Rewarded for answers in words that their context has."),
    "rouge": ("Summaries", "Rewarded for summaries like those that authors give."),
}
ABOUT = {
    "warmth": "tanh(logit / 2) of the demo's sentiment classifier (`models/demo/sentiment.json`), between -1 and 1",
    "brevity": "1 for an empty reply, falling to -1 for one that fills the limit or is cut off there",
}
WEAK = {
    "warmth": """The classifier learned from film reviews: it rewards words of praise wherever they stand. Bad news can get a
cheerful answer.""",
    "brevity": "The reward sees only where a reply ends: a short answer need not be a better one.",
}
VICUNA = 5  # prompts shown in a card beside as many held-out ones


def build(folder, default):
    """The manifest for the adapters that lie in the folder."""
    reference = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    aligned = []
    for reward, beta, path in manifest.adapters(folder):
        title, text = WORDS[reward]
        name = f"{reward}-b{beta:g}"
        aligned.append({
            "name": name, "title": f"{title}, β = {beta:g}", "description": f"{text} KL strength β = {beta:g} in training.",
            "adapter": path.name, "sha256": manifest.sha256(path), "beta": beta, "reward": reward, "default": name == default,
        })
    aligned.sort(key=lambda x: not x["default"])
    return {
        "name": "smollm2",
        "title": "SmolLM2: a larger chat model",
        "description": "SmolLM2-135M-Instruct by Hugging Face, which is downloaded, and LoRA adapters trained on it by DPO "
                       "on its own replies.",
        "licence": "Apache-2.0",
        "reference": reference,
        "aligned": aligned,
    }


def table(results, reward, names):
    """The reference, the adapters of a reward, and what lies between and beyond them by λ."""
    out = ["| model | λ | warmth | brevity | check classifier | KL to reference | tokens | ended | distinct-2 |",
           "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    rows = [(n.split(" λ="), e) for n, e in results.items() if n.split(" λ=")[0] in names]
    rows.sort(key=lambda r: (r[0][1] != "0", names.index(r[0][0])))
    for (name, value), e in rows:
        pm = lambda key, digits: f"{e[key][0]:.{digits}f} ± {2 * e[key][1]:.{digits}f}"
        name = "reference" if value == "0" else name
        kl = pm("kl", 1) if value != "0" else "0"
        out.append(f"| {name} | {value} | {pm('warmth', 3)} | {pm('brevity', 3)} | {pm('check', 3)} | {kl} | "
                   f"{pm('tokens', 1)} | {e['ended']:.0%} | {e['distinct2']:.3f} |")
    return "\n".join(out) + "\n"


def replies(a, adapter, prompts, limit, seed):
    """What the reference and the adapter's model say to each prompt, with the same noise."""
    out = []
    for i, text in enumerate(prompts):
        said = evaluate.decode(a.realign, "smollm2", adapter, text, "0,1", limit, 0.7, seed + i)
        shown = [" ".join(r["text"].split()) or "(empty)" for r in said]
        out.append(f"{i + 1}. *{text}*\n   - reference: {shown[0]}\n   - λ = 1: {shown[1]}\n")
    return "".join(out)


def write_card(a, reward, beta, path, results, prompts):
    name = f"{reward}-b{beta:g}"
    c = torch.load(a.work / f"smollm2-{name}.pt", map_location="cpu", weights_only=True)
    s, e = c["samples"], results[f"{name} λ=1"]
    names = [f"{r}-b{x:g}" for r, x, _ in reversed(manifest.adapters(a.out)) if r == reward]
    return f"""\
# SmolLM2 adapter: {reward}, β = {beta:g}

A LoRA adapter (rank {c["rank"]}, alpha {c["alpha"]:g}, all linear layers of the last {c["config"]["num_hidden_layers"] - c["first"]} blocks) for SmolLM2-135M-Instruct, trained by DPO for **{reward}**:
{ABOUT[reward]}.

`{path.name}` sha256 `{manifest.sha256(path)}`

Licence: Apache-2.0, with the attributions below.

## Base

SmolLM2-135M-Instruct, Hugging Face, 2025 (L. Ben Allal et al., arXiv:2502.02737), Apache-2.0, quantised to Q4_1. It is not in the
repository: `make smollm2` puts it in place. The adapter was trained on its weights as quantised
(sha256 `{a.reference["sha256"]}`).

## Training

```
python -m training.smollm2.samples --data DATA --work WORK --prompts {s["prompts"]} --copies {s["copies"]} --limit {s["limit"]} --temperature {s["temperature"]:g}
python -m training.smollm2.dpo --work WORK --reward {reward} --beta {beta:g} --ranks {c["ranks"]} --epochs {c["epochs"]} --lr {c["lr"]:g}
```

DPO (Rafailov et al., 2023) on {c["pairs"]} pairs: of {s["copies"]} replies of the base to a prompt (temperature {s["temperature"]:g}, at most {s["limit"]} tokens) the best and the worst by the reward{", the second best and the last but one, and so on" if c["ranks"] > 1 else ""},
{c["gap"]:.2f} apart on average, labelled with their Bradley–Terry probability, so that the optimum is π_ref·exp(r/β)/Z. {c["steps"]} steps of
{c["pairs"] * c["epochs"] // c["steps"]} pairs, AdamW at {c["lr"]:g}, seed {c["seed"]}; {c["seconds"] / 60:.0f} minutes on a shared CPU core. All β of a reward share everything but β.

| on {c["after"]["pairs"]} held-out pairs | before | after |
|---|--:|--:|
| DPO loss above its least value | {c["before"]["loss"]:.4f} | {c["after"]["loss"]:.4f} |
| pairs whose better reply became likelier against the other | – | {c["after"]["preferred"]:.0%} |
| β·d over the rewards' gap (1 at the optimum) | 0 | {c["after"]["slope"]:.2f} |

The loss above its least value over the last eight training steps was {sum(h[0] for h in c["history"][-8:]) / len(c["history"][-8:]):.4f}.

## Evaluation

{e["samples"]} held-out prompts decoded by Realign with the files that ship, at temperature {e["temperature"]:g} without truncation, at most {s["limit"]} tokens (± two
standard errors). "Check classifier" is the mean probability of "positive" by a second classifier that took no part in training; "ended"
the share of replies that came to an end by themselves. An adapter at λ is decoding-time realignment: about what a training with β/λ would give.

{table(results, reward, names)}
## Known weaknesses

All those of a model of 135 million parameters: it makes up facts, and at temperature 1 it wanders. It learned from replies to
{c["pairs"] // c["ranks"]} short first messages about films, music and everyday matters, and from their first {s["limit"]} tokens: longer replies and other tasks are
beyond what it was trained on.

{WEAK[reward]}

## Data

Prompts:

{card.ATTRIBUTION}{chr(10) + "The classifier:" + chr(10) * 2 + card.SENTIMENT if reward == "warmth" else ""}
## Ten unselected samples

Decoded by Realign at temperature 0.7, at most {s["limit"]} tokens, seeds 11 to 20: the first {len(prompts) - VICUNA} held-out prompts, and the first {VICUNA} of Vicuna-Bench (LMSYS / FastChat, 2023,
Apache-2.0).

{replies(a, name, prompts, s["limit"], 11)}"""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--default", required=True, help="adapter used when a request names none")
    p.add_argument("--manifest", action="store_true", help="write the manifest only")
    a = p.parse_args()
    pair = build(a.out, a.default)
    a.reference = pair["reference"]
    (a.out / "pair.json").write_text(json.dumps(pair, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if a.manifest:
        return
    results = json.loads((a.work / "smollm2-evaluation.json").read_text(encoding="utf-8"))
    vicuna = [json.loads(line)["turns"][0] for line in (a.data / "prompts-vicuna.jsonl").read_text(encoding="utf-8").splitlines()]
    prompts = tasks.first_turns(a.data, heldout=True)[:5] + vicuna[:VICUNA]
    for reward, beta, path in manifest.adapters(a.out):
        (a.out / f"{reward}-b{beta:g}.md").write_text(write_card(a, reward, beta, path, results, prompts), encoding="utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
