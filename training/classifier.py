"""Stage 3: the two sentiment classifiers, one to be rewarded by and one to check with.

    python -m training.classifier --data DATA --work WORK --out models/demo/sentiment.json

The reward classifier is logistic regression on words and word pairs, written as JSON so that any language can run
it. The evaluation classifier is logistic regression on character 3- to 5-grams, trained on other sentences; it
never takes part in training, so that a policy that fools the first shows against the second.

Film-review sentences are not chat. Only n-grams that also occur in the dialogues are kept; an n-gram counts once
however often it is said; the score is divided by the root of the number of n-grams, so that saying more does not
pay by itself; and the logit is centred and scaled on replies from the dialogues before it becomes a reward.
"""

import argparse
import hashlib
import json
import math
import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np

from . import corpus

TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|[!?]")


# Words that carry no feeling by themselves. In reviews some of them betray the verdict all the same ("too", "only",
# "film" against "movie"), and a policy would learn those instead of warmth. They count only beside another word.
STOP = frozenset("""a an the this that these those it its it's that's there there's here what what's which who whom whose
when where why how i i'm i've i'd i'll me my mine you you're you've you'd you'll your yours he he's him his she she's her
hers we we're we've us our ours they they're they've them their theirs one ones someone something anything everything
everyone nothing nobody none and or but nor so yet if then than because while although though as at by for from in into of
off on onto out over under up down to toward with without within about after before between through during against is am
are was were be been being isn't aren't wasn't weren't do does did done doing don't doesn't didn't have has had having
haven't hasn't hadn't can can't cannot could couldn't will won't would wouldn't shall should shouldn't may might must ain't
let let's not no never only just too very really quite rather even still also again ever always often sometimes already
almost well more most less least much many few some any all both each every other others another such same own like
yes yeah oh ok okay know think get gets got make makes made go goes going went come comes see seen saw say says said
tell tells take takes give gives put turn turns feel feels seem seems look looks find finds keep keeps want wants need
way thing things kind sort lot bit part time times year years minute minutes hour hours day man men woman women
people guy guys kid kids girl boy world movie movies film films picture cinema screen story plot title character
characters director actor actors cast script scene scenes series show shows documentary portrait history book books
song songs music album band game games team first second last new old next big little long short two three
your it'd that'd now once since until around away back else maybe perhaps us him exercise becomes become provides
works work
! ?""".split())


def features(text):
    """Distinct words and neighbouring pairs of a text, without those made of stop words alone."""
    words = TOKEN.findall(text.lower())
    pairs = (f"{a} {b}" for a, b in zip(words, words[1:]) if a not in STOP or b not in STOP)
    return {w for w in words if w not in STOP}.union(pairs)


class NgramClassifier:
    """The reward classifier. `logit` is calibrated to mean 0 and standard deviation 1 on the dialogues' turns."""

    def __init__(self, spec):
        self.spec, self.weights = spec, spec["weights"]

    @classmethod
    def load(cls, path):
        return cls(json.loads(Path(path).read_text(encoding="utf-8")))

    def raw(self, text):
        f = features(text)
        hit = [self.weights[x] for x in f if x in self.weights]
        return math.fsum(hit) / math.sqrt(max(1, len(f)))

    def logit(self, text):
        return (self.raw(text) - self.spec["centre"]) / self.spec["scale"]


def sentences(data):
    """Training sentences in two halves by hash (no sentence in both), and the Treebank's dev and test sentences."""
    halves, seen, splits = ([], []), set(), {"dev": [], "test": []}
    for name in ("sst2", "polarity"):
        for row in corpus.read(Path(data) / f"sentiment-{name}.jsonl.xz"):
            key = re.sub(r"[^a-z0-9]+", "", row["text"].lower())
            if row["split"] != "train":
                if name == "sst2":
                    splits[row["split"]].append((row["text"], row["label"]))
            elif key not in seen:
                seen.add(key)
                # 60% for the reward, 40% for the check
                halves[int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10 >= 6].append((row["text"], row["label"]))
    return halves, splits


def fit_ngrams(train, turns, minimum=3):
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    in_chat = Counter(f for t in turns for f in features(t))
    in_reviews = Counter(f for t, _ in train for f in features(t))
    vocab = sorted(f for f, n in in_reviews.items() if n >= minimum and in_chat[f] >= 3)
    index = {f: i for i, f in enumerate(vocab)}

    def matrix(texts):
        rows, cols, vals = [], [], []
        for r, t in enumerate(texts):
            fs = features(t)
            for f in fs:
                if f in index:
                    rows.append(r)
                    cols.append(index[f])
                    vals.append(1 / math.sqrt(max(1, len(fs))))
        return csr_matrix((vals, (rows, cols)), shape=(len(texts), len(vocab)))

    lr = LogisticRegression(C=2.0, max_iter=500).fit(matrix([t for t, _ in train]), [y for _, y in train])
    w = {f: round(float(x), 3) for f, x in zip(vocab, lr.coef_[0]) if abs(x) >= 0.05}
    spec = {
        "kind": "ngram-logistic",
        "version": 1,
        "about": "features: the distinct words that are no stop words and the distinct neighbouring pairs that are not "
                 "two stop words; raw = sum of the weights of the features / sqrt(number of features); "
                 "logit = (raw - centre) / scale; warmth reward = tanh(logit / 2), within -1 to 1",
        "token_pattern": TOKEN.pattern,
        "lowercase": True,
        "ngrams": [1, 2],
        "bias": float(lr.intercept_[0]),
        "stop_words": sorted(STOP),
        "centre": 0.0,
        "scale": 1.0,
        "weights": w,
    }
    c = NgramClassifier(spec)
    raw = np.array([c.raw(t) for t in turns[::10]])
    spec["centre"], spec["scale"] = float(raw.mean()), float(raw.std())
    return c


def fit_check(train):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2, lowercase=True),
        LogisticRegression(C=8.0, max_iter=500),
    )
    return model.fit([t for t, _ in train], [y for _, y in train])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    (mine, other), splits = sentences(a.data)
    turns = [t for r in corpus.load(a.data) for t in r["turns"]]
    reward, check = fit_ngrams(mine, turns), fit_check(other)
    report = {"reward_sentences": len(mine), "check_sentences": len(other), "weights": len(reward.weights)}
    for name, rows in splits.items():
        y = np.array([y for _, y in rows])
        # Reviews have their own middle: accuracy is of the raw logit.
        report[f"reward_accuracy_{name}"] = float(np.mean((np.array([reward.raw(t) for t, _ in rows]) > -reward.spec["bias"]) == y))
        report[f"check_accuracy_{name}"] = float(np.mean(check.predict([t for t, _ in rows]) == y))
    held = [t for r in corpus.load(a.data, heldout=True) for t in r["turns"]]
    report["agreement_correlation_on_chat"] = float(np.corrcoef(
        [math.tanh(reward.logit(t) / 2) for t in held], check.predict_proba(held)[:, 1])[0, 1])
    reward.spec["report"] = report
    # For other implementations to check themselves by.
    reward.spec["examples"] = [{"text": t, "logit": round(reward.logit(t), 6)} for t in ["", "The!", *held[:200:10]]]
    a.out.write_text(json.dumps(reward.spec, ensure_ascii=True, separators=(",", ":"), sort_keys=True) + "\n")
    (a.work / "check.pkl").write_bytes(pickle.dumps(check))
    print(json.dumps(report, indent=1), a.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
