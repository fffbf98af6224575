"""Writes overlap.json: ROUGE-L by rouge-score and chrF by sacreBLEU, for the tests to agree with.

    pip install rouge-score==0.1.2 sacrebleu==2.6.0
    python overlap.py
"""

import json
import random
from importlib.metadata import version
from pathlib import Path

from rouge_score import rouge_scorer
from sacrebleu.metrics import CHRF

PAIRS = [
    ("the cat sat on the mat", "the cat sat on the mat"),
    ("the cat sat on the mat", "a dog lay under a table"),
    ("the gunman was killed by police", "police killed the gunman"),
    ("", "something"),
    ("something", "."),
    ("Café au lait, s'il vous plaît!", "Cafe au lait please"),
    ("ab", "abcdefgh"),
    ("It's 3.5 degrees\tcolder\n\nthan in 1985.", "It is 3.5 degrees colder than 1985"),
    ("日本語の文です", "日本語の文章です"),
    ("no no no no", "no yes no"),
]
WORDS = "the a film music you like really what is was good great never song play sport team in on of to and but".split()


def main():
    draw = random.Random(5)
    pairs = list(PAIRS)
    for _ in range(60):
        a = [draw.choice(WORDS) for _ in range(draw.randint(1, 25))]
        b = [w if draw.random() < 0.6 else draw.choice(WORDS) for w in a] if draw.random() < 0.7 else [draw.choice(WORDS) for _ in range(draw.randint(1, 25))]
        pairs.append((" ".join(a), " ".join(b)))
    rouge = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    chrf, short = CHRF(), CHRF(char_order=3, beta=1)
    rows = [
        {
            "answer": a, "reference": r,
            "rouge": rouge.score(r, a)["rougeL"].fmeasure,
            "chrf": chrf.sentence_score(a, [r]).score,
            "chrf3": short.sentence_score(a, [r]).score,
        }
        for a, r in pairs
    ]
    Path(__file__).with_suffix(".json").write_text(json.dumps({"versions": {p: version(p) for p in ("rouge-score", "sacrebleu")}, "pairs": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
