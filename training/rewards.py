"""The two rewards of the demo pair, each between -1 and 1.

warmth: tanh(logit / 2) of the reward classifier, which is 2 P(positive) - 1. It saturates, so that one more
"great" in a warm reply is worth next to nothing.

length: the paper's toy (Liu et al., 2024, section 5.1 has a reward for lengths in a range): 1 inside a band of
reply lengths in tokens, falling by a fixed amount for each token outside it, not below -1.
"""

import math

from .classifier import NgramClassifier

BAND = (24, 32)  # tokens of the reply, end marker not counted
FALL = 0.1  # for each token outside the band


def length_reward(n):
    outside = max(BAND[0] - n, n - BAND[1], 0)
    return max(-1.0, 1.0 - FALL * outside)


class Warmth:
    name = "warmth"

    def __init__(self, path):
        self.classifier = NgramClassifier.load(path)

    def __call__(self, text, tokens):
        return math.tanh(self.classifier.logit(text) / 2)


class Length:
    name = "length"

    def __call__(self, text, tokens):
        return length_reward(tokens)


def make(name, classifier_path):
    return Warmth(classifier_path) if name == "warmth" else Length()
