"""The check classifier of stage 3 as a file that any language can run, for sweeps to judge by.

    python -m training.check --work WORK --rewards models/demo/sentiment.json --out models/demo/sentiment-check.json.gz

WORK/check.pkl is turned into JSON, compressed: every n-gram with the number of training sentences it occurs in and its
weight. Weights are rounded to 6 decimals, which moves no probability by more than 1e-6 on the examples, and that is checked.
"""

import argparse
import gzip
import json
import math
import pickle
from collections import Counter
from pathlib import Path

import numpy as np

# Beside replies of the dialogues: what splits words, folds letters or leaves nothing to go by.
EXTRA = [
    "", " ", "a", "No!", "I  love\tit,\n\nreally :)", "It's the worst film I've ever seen.", "ÉTÉ à la plage, naïve CAFÉ",
    "good good good bad", "…—“quotes”", "ok\u00a0then", "日本語の文", "1985, 2.5 and 100%", "x" * 40,
]


def ngrams(text, low, high):
    """scikit-learn's char_wb: n-grams of each word with a blank at both ends; a word shorter than n counts once, whole."""
    for word in text.lower().split():
        word = f" {word} "
        for n in range(low, high + 1):
            yield from (word[i:i + n] for i in range(max(1, len(word) - n + 1)))
            if len(word) <= n:
                break


def probability(spec, text):
    """What the about field says, in plain Python."""
    low, high = spec["ngrams"]
    square = dot = 0.0
    for gram, times in Counter(ngrams(text, low, high)).items():
        if gram in spec["weights"]:
            df, weight = spec["weights"][gram]
            x = (1 + math.log(times)) * (math.log((1 + spec["sentences"]) / (1 + df)) + 1)
            square += x * x
            dot += x * weight
    return 1 / (1 + math.exp(-(dot / math.sqrt(square) if square else 0.0) - spec["bias"]))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--rewards", type=Path, required=True, help="the reward classifier, for its example texts")
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    model = pickle.loads((a.work / "check.pkl").read_bytes())
    vectors, regression = model[0], model[1]
    reward = json.loads(a.rewards.read_text(encoding="utf-8"))
    n = reward["report"]["check_sentences"]
    df = (1 + n) / np.exp(vectors.idf_ - 1) - 1
    assert np.abs(df - df.round()).max() < 1e-6, "the idf are not those of so many sentences"
    spec = {
        "kind": "char-ngram-tfidf-logistic",
        "version": 1,
        "about": "features: n-grams of characters within the words of the lower-cased text, each word with a blank at both ends; "
                 "n-grams for one n after the other until the word is no longer than n, then the whole word once; "
                 "x = (1 + ln count) * (ln((1 + sentences) / (1 + df)) + 1), divided by the Euclidean norm; "
                 "probability of positive = 1 / (1 + exp(-(bias + sum of x * weight))); weights holds [df, weight]",
        "ngrams": list(vectors.ngram_range),
        "sentences": n,
        "bias": float(regression.intercept_[0]),
        "weights": {g: [int(round(df[i])), round(float(regression.coef_[0][i]), 6)] for g, i in sorted(vectors.vocabulary_.items())},
    }
    texts = [e["text"] for e in reward["examples"]] + EXTRA
    exact = model.predict_proba(texts)[:, 1]
    off = max(abs(probability(spec, t) - e) for t, e in zip(texts, exact))
    assert off < 1e-6, off
    spec["examples"] = [{"text": t, "probability": round(float(e), 9)} for t, e in zip(texts, exact)]
    raw = json.dumps(spec, ensure_ascii=True, separators=(",", ":")).encode()
    a.out.write_bytes(gzip.compress(raw, 9, mtime=0))
    print(len(spec["weights"]), "n-grams,", a.out.stat().st_size, "bytes, largest difference", off)


if __name__ == "__main__":
    main()
