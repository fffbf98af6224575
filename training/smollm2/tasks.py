"""What adapters of smollm2 are trained for: prompts of a kind, and rewards for replies to them.

- dialogue: people's first messages in the dialogues that the demo was trained on; warmth, brevity
- grounding: a section of a tale and a question about it (FairytaleQA); grounding, the share of a reply's word pairs that
  the section has
- summaries: an abstract, to be said in a sentence (SciTLDR); rouge, ROUGE-L against its author's summary

A prompt is a text as Realign renders a row with a context: the context, an empty line, what is asked.

    python -m training.smollm2.tasks --data DATA --task grounding --out examples/grounding.jsonl

writes prompts of the data's test split, which no adapter is trained on, as a file for sweeps.
"""

import argparse
import json
import random
import re
from pathlib import Path

from .. import corpus, rewards

REWARDS = {"dialogue": ("warmth", "brevity"), "grounding": ("grounding",), "summaries": ("rouge",)}
SUMMARISE = "Summarise this in one sentence."


def of(reward):
    """The task that a reward belongs to."""
    return next(task for task, names in REWARDS.items() if reward in names)


def first_turns(data, heldout=False):
    """First messages of 3 to 25 words, each once, in the corpora's order."""
    out, seen = [], set()
    for row in corpus.load(data, heldout):
        text = row["turns"][0]
        key = re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()
        if key not in seen and 3 <= len(text.split()) <= 25:
            seen.add(key)
            out.append(text)
    return out


def rows(task, data, heldout=False):
    """Prompts in the order of the data: {"prompt"}, with the "context" and the "reference" answer where the task has them."""
    if task == "dialogue":
        return [{"prompt": t} for t in first_turns(data, heldout)]
    return [{**r, "prompt": f"{r['context']}\n\n{r['prompt']}"} for r in asked(task, data, heldout)]


def asked(task, data, heldout):
    """Rows whose context stands by itself."""
    name = {"grounding": "grounded-qa-fairytale", "summaries": "summaries-scitldr"}[task]
    found = [r for r in corpus.read(data / f"{name}.jsonl.xz") if (r["split"] == "test" if heldout else r["split"] == "train")]
    if task == "grounding":
        return [{"prompt": r["question"], "context": r["context"], "reference": r["answer"]} for r in found]
    return [{"prompt": SUMMARISE, "context": r["document"], "reference": r["summaries"][0]} for r in found]


def words(text):
    """Runs of letters and digits, apostrophes inside, in lower case: those of Realign's rewards."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))


def grounding(text, context, n=2):
    """2s - 1, s the share of the reply's n-grams of words that the context has; -1 for a reply too short to have any."""
    said, there = words(text), words(context)
    grams = [tuple(said[i:i + n]) for i in range(len(said) - n + 1)]
    known = {tuple(there[i:i + n]) for i in range(len(there) - n + 1)}
    return 2 * sum(g in known for g in grams) / len(grams) - 1 if grams else -1.0


def rouge(text, reference):
    """F1 of the longest common subsequence of words (ROUGE-L; Lin, 2004)."""
    a, b = (re.findall(r"[a-z0-9]+", x.lower()) for x in (text, reference))
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b)) if row[-1] else 0.0


def brevity(tokens, ended, limit):
    """1 for nothing said, -1 for a reply that fills the limit or was cut off there; linear between."""
    return 1 - 2 * tokens / limit if ended else -1.0


def reward(name, classifier, limit):
    """The reward of a reply {"text", "ids", "ended"} to a row, between -1 and 1."""
    if name == "brevity":
        return lambda row, r: brevity(len(r["ids"]), r["ended"], limit)
    if name == "grounding":
        return lambda row, r: grounding(r["text"], row["context"])
    if name == "rouge":
        return lambda row, r: rouge(r["text"], row["reference"])
    warmth = rewards.Warmth(classifier)
    return lambda row, r: warmth(r["text"], len(r["ids"]))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--task", choices=["grounding", "summaries"], required=True)
    p.add_argument("--prompts", type=int, default=46)
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    found = asked(a.task, a.data, heldout=True)
    if a.prompts > len(found):
        p.error(f"--prompts {a.prompts}: the test split has {len(found)}")
    chosen = random.Random(a.seed).sample(found, a.prompts)
    a.out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
