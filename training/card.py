"""Stage 6: the model cards, one beside each file of models/demo.

    python -m training.card --data DATA --work WORK --out models/demo

Every number in a card is measured here or was stored in the checkpoint by the stage that made it.
"""

import argparse
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import chat, corpus, manifest, model, rewards, sample
from .classifier import NgramClassifier

ATTRIBUTION = """\
- Self-dialogue Corpus, J. Fainberg, B. Krause, M. Dobre, M. Damonte, E. Kahembwe, D. Duma, B. Webber and F. Fancellu,
  2018 (arXiv:1809.06641). Copyright (c) 2017, BSD 3-Clause. Filtered and normalised. (The holder's name is blank in the
  licence as published.)
- Synthetic-Persona-Chat, P. Jandaghi, X. Sheng, X. Bai, J. Pujara and H. Sidahmed, 2023 (arXiv:2312.10007), CC BY 4.0
  (https://creativecommons.org/licenses/by/4.0/). Changed: filtered, speaker tags removed, some names substituted.
- Taskmaster-4, B. Byrne and S. Ganesh, Google LLC, 2024 (arXiv:2403.10704), CC BY 4.0. Changed: turn text only, filtered.
"""
SENTIMENT = """\
- Binary Stanford Sentiment Treebank sentences as distributed by OpenAI (openai/generating-reviews-discovering-sentiment),
  Copyright (c) 2017 openai, MIT. Treebank: R. Socher et al., 2013; sentences from B. Pang and L. Lee, 2005.
- Sentence Polarity Dataset v1.0, Copyright (C) 2005 Bo Pang and Lillian Lee (ACL 2005), CC BY 4.0. Changed: cleaned,
  deduplicated, split assigned.
"""
SAMPLED = f"temperature {manifest.SAMPLING['temperature']:g}, min-p {manifest.SAMPLING['min_p']:g}"
LICENCE = "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), with the attributions below."


def heldout(m, tok, data):
    """(conversations, loss a token, perplexity a token, bits a character) by source, in float32."""
    enc = corpus.Encoder(tok)
    rows = corpus.load(data, heldout=True)
    out = {}
    for source in (*corpus.SOURCES, "all"):
        some = [r for r in rows if source in (r["source"], "all")]
        turns = enc.turns(some)
        examples = corpus.epoch(some, turns, enc, 1, m.cfg.max_position_embeddings, augment=False)
        total = n = 0
        with torch.no_grad():
            for ids, mask in corpus.batches(examples, 8192, 1, 0):
                ids, mask = torch.from_numpy(ids), torch.from_numpy(mask)
                z = m(ids[:, :-1])[mask[:, 1:]]
                t = ids[:, 1:][mask[:, 1:]]
                total += float(torch.nn.functional.cross_entropy(z, t, reduction="sum"))
                n += len(t)
        chars = sum(len(t) + 1 for r in some for t in r["turns"])
        tokens = sum(len(t) + 1 for r in turns for t in r)
        out[source] = (len(some), total / n, math.exp(total / n), total / n * tokens / chars / math.log(2))
    return out


def quote(lines):
    return "".join(f"{line}\n" for line in lines)


def samples(m, tok, prompts, seed):
    """As the pair recommends to sample."""
    out = []
    for i, turns in enumerate(prompts):
        text = sample.reply(m, tok, chat.messages(turns), seed + i, **manifest.SAMPLING)
        out.append(f"{i + 1}. *{' / '.join(turns)}*\n   → {text or '(empty)'}")
    return out


def reference_card(a, m, state, tok):
    held = heldout(m, tok, a.data)
    cfg, polish = m.cfg, state["polish"]
    params = sum(p.numel() for p in m.parameters())
    rows = quote(f"| {k} | {n} | {l:.3f} | {p:.1f} | {b:.3f} |" for k, (n, l, p, b) in held.items())
    return f"""\
# Demo reference

A Llama-architecture chat model of {params / 1e6:.2f} million parameters, trained from scratch on public dialogues. It is the λ = 0 end
of the `demo` pair. It is made to be small enough to ship and to show what λ does, not to know or to do anything.

| file | sha256 |
|---|---|
| reference-q8_0.gguf | `{manifest.sha256(a.out / "reference-q8_0.gguf")}` |

Licence: {LICENCE}

## Model

{cfg.num_hidden_layers} layers, width {cfg.hidden_size}, {cfg.num_attention_heads} heads, SwiGLU of {cfg.intermediate_size}, RMSNorm, rotary positions (base {cfg.rope_theta:g}), tied embeddings, no biases.
Context {cfg.max_position_embeddings} tokens. Byte-level BPE of {cfg.vocab_size} tokens trained on the same dialogues, GPT-2 pre-tokenizer. Chat template: ChatML;
a reply ends with `<|im_end|>`. A system turn is optional; those seen in training only name a topic ("Talk about music.").

## Data

{ATTRIBUTION}
Duplicates (by the first four turns) are dropped, and three quarters of Taskmaster-4, which is narrow. Half of the training
examples start at a random turn, so either speaker gets to be the assistant. Of the self-dialogues those written with care
({corpus.CARE:.0%} of the turns begin and end like sentences) are used, and of these the {corpus.EASY_SHARE:.0%} with the most common words;
Synthetic-Persona-Chat comes {corpus.PERSONA_REPEATS} times.

## Training

```
python -m training.bpe      --data DATA --work WORK
python -m training.pretrain trunk --data DATA --work WORK --steps {state["trunk_steps"]}
python -m training.pretrain decay --data DATA --work WORK --steps {state["step"] - state["trunk_steps"]}
python -m training.polish   --data DATA --work WORK --prompts {polish["prompts"]}
```

Pretraining: {state["step"]} steps, {state["seen"] / 1e6:.1f} million tokens, {state["seconds"] / 60:.0f} minutes on two shared CPU cores. Muon for the matrices, AdamW for the rest,
warm-up, constant rate, then linear decay to zero.

Polishing, reward-ranked fine-tuning (RAFT; Dong et al., 2023): the pretrained model answered {polish["prompts"]} prompts from its training dialogues {polish["copies"]}
times each, at temperature {polish["temperature"]:g} and min-p {polish["min_p"]:g}, and learned the best {polish["answers"]} of its own answers in {polish["steps"]} steps. They were ranked by how well
SmolLM2-135M-Instruct (Apache-2.0) expects them as replies, and how much better than as replies to nothing in particular, among answers of
like length. {polish["seconds"] / 60:.0f} minutes on one core. On {polish["before"]["prompts"]} held-out prompts, at temperature 0.7 without truncation:

| | judge's score (± two standard errors) | tokens | distinct-2 |
|---|--:|--:|--:|
{quote(f"| {name} | {e['score']:.2f} ± {2 * e['se']:.2f} | {e['tokens']:.1f} | {e['distinct2']:.3f} |" for name, e in (("pretrained", polish["before"]), ("polished", polish["after"])))}
## Held-out loss

Mean over the tokens of turns (and their end), nats; conversations that no training file holds. Before polishing the loss was {state["heldout"]:.3f}:
what people say is less to be expected by a model that says what it says best.

| source | conversations | loss | perplexity | bits a character |
|---|--:|--:|--:|--:|
{rows}
## Known weaknesses

- {a.fit}
- Since it was polished it says less different things: the same few replies come often, and they are rather friendly.
- It knows next to nothing: names, titles and facts are put together from fragments. Do not rely on anything it says.
- It loses the thread within a few turns, contradicts itself and can repeat itself; long replies wander.
- It speaks about films, music, sport, hobbies and coffee, because its data does; other prompts get an answer from there.
- Opinions are those of crowd workers in 2017, and of a language model for one of the sources. Mild rudeness and spoilers remain.
- It was not trained to refuse anything or to follow instructions.

## Fifty unselected samples

Held-out prompts (turns separated by " / "), sampled as the pair recommends: {SAMPLED}, seeds 11 to 60; from the unquantised weights.

{quote(samples(m, tok, sample.heldout_prompts(a.data, 50, 11), 11))}"""


def table(folder, work, reward):
    out = ["| β | reward | warmth | check classifier | KL to reference | tokens | distinct-2 |", "|--:|--:|--:|--:|--:|--:|--:|"]
    rows = [("reference", torch.load(work / "reference-evaluation.pt", weights_only=True))]
    for r, beta, path in reversed(manifest.adapters(folder)):
        if r == reward:
            rows.append((f"{beta:g}", torch.load(work / f"{r}-b{beta:g}.pt", weights_only=True)["evaluation"]))
    for name, e in rows:
        out.append(f"| {name} | {e[reward]:.3f} ± {2 * e[f'{reward}_se']:.3f} | {e['warmth']:.3f} | {e['check']:.3f} | {e['kl']:.2f} | "
                   f"{e['tokens']:.1f} | {e['distinct2']:.3f} |")
    return quote(out)


def near(value):
    """An estimate with its interval."""
    return "–" if value is None else f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def measures_table(m):
    """How near the optimum the adapter is."""
    implied = f"{1 / m['slope']['value']:.3f}" if m["slope"] and m["slope"]["value"] > 0 else "–"
    return quote([
        "| what | this adapter | the optimum |", "|---|--:|--:|",
        f"| E[r] | {near(m['reward'])} | {near(m['optimum_reward'])} |",
        f"| KL to the reference, nats | {near(m['kl'])} | {near(m['optimum_kl'])} |",
        f"| E[r] − β KL; β log Z | {near(m['objective'])} | {near(m['bound'])} |",
        f"| R² of log π/π_ref on the reward, the reference's replies | {near(m['r2'])} | 1 |",
        f"| β that the slope implies | {implied} | {m['beta']:g} |"])


def adapter_card(a, reward, beta, path, tok):
    c = torch.load(a.work / f"{reward}-b{beta:g}.pt", weights_only=True)
    m, _ = sample.load(a.work, adapter=a.work / f"{reward}-b{beta:g}.pt")
    about = {
        "warmth": "tanh(logit / 2) of the sentiment classifier in `sentiment.json`, between -1 and 1",
        "length": f"1 for a reply of {rewards.BAND[0]} to {rewards.BAND[1]} tokens, {rewards.FALL:g} less for each token outside the band, not below -1",
    }[reward]
    e = c["evaluation"]
    taken = f", from the adapter for β = {c['start']:g} with its update times {c['start'] / beta:g}" if c["start"] is not None else ""
    strength = ""
    if c.get("factor", 1) != 1:
        strength = f" B was multiplied by {c['factor']:g}, so that log-ratios on the reference's replies imply this β: see `training/calibrate.py`."
    if c.get("toward"):
        strength += f" The last steps went toward the optimum for β = {c['toward']:g}, since least squares leaves log-ratios short of what they are fitted to."
    weak = {
        "warmth": """The classifier learned from film reviews: it rewards praise of things more than kindness to people,
and words such as "fun" or "best" wherever they stand. The check classifier (other features, other sentences) rises less
than the reward where the reward is being gamed. Bad news gets a cheerful answer.""",
        "length": "The reward sees only the number of tokens: replies are filled up rather than better thought out.",
    }[reward]
    return f"""\
# Demo adapter: {reward}, β = {beta:g}

A LoRA adapter (rank {c["rank"]}, alpha {c["alpha"]:g}, all linear layers) on the demo reference, trained for **{reward}**:
{about}.

`{path.name}` sha256 `{manifest.sha256(path)}`

Licence: {LICENCE}

## Training

```
{chr(10).join(c["commands"])}
```

The optimum of E[r] − β KL(π‖π_ref) is π_ref·exp(r/β)/Z. Trained to it by the variance, within prompts, of log π/π_ref − r/β over replies of the
policy, of the policy at half its strength and of the reference: see `training/align.py`. {c["steps"]} steps, {c["seconds"] / 60:.0f} minutes on
one shared CPU core{taken}.{strength} Prompts come from the dialogues that the reference was trained on.

On held-out prompts:

{measures_table(c["measures"])}
## Evaluation

{e["samples"]} samples on held-out prompts at temperature 1 (± two standard errors). "Check classifier" is the mean probability of
"positive" by a second classifier that took no part in training.

{table(a.out, a.work, reward)}
## Known weaknesses

All those of the reference. {weak}

## Data

The reference's:

{ATTRIBUTION}{chr(10) + "and the classifier's:" + chr(10) * 2 + SENTIMENT if reward == "warmth" else ""}
## Ten unselected samples

Held-out prompts, {SAMPLED}, seeds 11 to 20.

{quote(samples(m, tok, sample.heldout_prompts(a.data, 50, 11)[:10], 11))}"""


def sentiment_card(a):
    c = NgramClassifier.load(a.out / "sentiment.json")
    r = c.spec["report"]
    return f"""\
# Demo sentiment classifier

Logistic regression on words and word pairs, {r["weights"]} weights, as JSON. It is the reward of the warmth adapters, and a reward
that sweeps can use.

`sentiment.json` sha256 `{manifest.sha256(a.out / "sentiment.json")}`

Licence: {LICENCE}

## How to compute it

Lower-case the text; words are the matches of `token_pattern`. Features are the distinct words that are not in `stop_words`
and the distinct pairs of neighbouring words (joined by a space) that are not two stop words. With n features,
`raw = bias + Σ weights / √max(1, n)` (features without a weight count in n), `logit = (raw − centre) / scale`, and the
reward is `tanh(logit / 2)`. `examples` holds texts and their logits to check an implementation by.

## Training

```
python -m training.classifier --data DATA --work WORK --out models/demo/sentiment.json
```

On {r["reward_sentences"]} training sentences (60% by hash); the check classifier got the other {r["check_sentences"]} and sees characters instead of
words. `centre` and `scale` make mean 0 and standard deviation 1 on the turns of the dialogues. n-grams that the
dialogues do not use are dropped.

| | this classifier | check classifier |
|---|--:|--:|
| accuracy, Treebank dev | {r["reward_accuracy_dev"]:.3f} | {r["check_accuracy_dev"]:.3f} |
| accuracy, Treebank test | {r["reward_accuracy_test"]:.3f} | {r["check_accuracy_test"]:.3f} |

Correlation of the two on held-out chat turns: {r["agreement_correlation_on_chat"]:.2f}.

## Known weaknesses

Film reviews are not chat: what reviewers praise counts ("fun", "heart", "moving"), ordinary friendliness hardly does. Negation is seen
only between neighbouring words. A text without any known word gets about {math.tanh((c.spec["bias"] - c.spec["centre"]) / c.spec["scale"] / 2):.2f}.

## Data

{SENTIMENT}
The dialogues, for the choice of n-grams and the scale:

{ATTRIBUTION}"""


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--only", help="write only the card of this file")
    p.add_argument("--fit", default="The fifty samples below were not counted.", help="how many of the reference's fifty samples read well, a sentence")
    a = p.parse_args()
    m, state = model.load(a.work / "reference.pt")
    tok = Tokenizer.from_file(str(a.work / "tokenizer.json"))
    cards = {"reference.md": lambda: reference_card(a, m, state, tok), "sentiment.md": lambda: sentiment_card(a)}
    for reward, beta, path in manifest.adapters(a.out):
        cards[f"{reward}-b{beta:g}.md"] = lambda r=reward, b=beta, p=path: adapter_card(a, r, b, p, tok)
    for name, make in cards.items():
        if a.only in (None, name):
            (a.out / name).write_text(make(), encoding="utf-8")
            print(name)


if __name__ == "__main__":
    main()
