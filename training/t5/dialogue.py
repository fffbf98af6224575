"""What demo-t5 is trained on: a context of one or several turns for the encoder, and the reply for the decoder.

A conversation is written as its turns, each behind a token for its speaker; the template in the GGUF writes the same.
"""

import random

import sentencepiece

from training import corpus

ROLES = ("<user>", "<assistant>", "<system>")
TEMPLATE = "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] }}{% endfor %}"
TURNS = (1, 1, 1, 3)  # of a context, drawn from these
SOURCE, REPLY = 64, 48  # tokens at most, ends included
PAD, END = 0, 1


def vocabulary(data, out, size=4096):
    """SentencePiece's unigram model of the corpora. Their text is plain ASCII with single spaces: there is nothing to normalise."""
    with open(out, "wb") as f:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(t for r in corpus.load(data) for t in r["turns"]), model_writer=f, model_type="unigram", vocab_size=size, minloglevel=2, num_threads=1,
            input_sentence_size=120000, shuffle_input_sentence=True, normalization_rule_name="identity", character_coverage=1.0, control_symbols=list(ROLES),
            pad_id=PAD, eos_id=END, unk_id=2, bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>")
    return sentencepiece.SentencePieceProcessor(model_file=str(out))


class Encoder:
    """Conversations as tokens."""

    def __init__(self, sp):
        self.sp = sp
        self.role = [sp.piece_to_id(r) for r in ROLES]

    def turns(self, rows):
        flat = iter(self.sp.encode([t for r in rows for t in r["turns"]]))
        return [[next(flat) for _ in r["turns"]] for r in rows]

    def prompt(self, turns):
        """What the encoder reads: source, by the name that corpus.Encoder has for it."""
        return self.source(turns)

    def source(self, turns):
        """A context, whose last turn is the user's."""
        ids = []
        for i, t in enumerate(turns):
            ids += [self.role[(len(turns) - 1 - i) % 2], *t]
        return [*ids, END]


def examples(turns, encoder, seed):
    """(source, reply) pairs of all conversations, in a seeded order."""
    rng = random.Random(seed)
    out = []
    for conversation in turns:
        for last in range(len(conversation) - 1):
            n = rng.choice(TURNS)
            if n > last + 1:
                continue
            source, reply = encoder.source(conversation[last + 1 - n:last + 1]), [*conversation[last + 1], END]
            if len(source) <= SOURCE and len(reply) <= REPLY:
                out.append((source, reply))
    rng.shuffle(out)
    return out


def batches(pairs, tokens, seed):
    """Batches of about so many tokens, of pairs of like length, in a seeded order."""
    rng = random.Random(seed)
    out = []
    for i in range(0, len(pairs), 8192):
        batch, width = [], 0
        for pair in sorted(pairs[i:i + 8192], key=lambda p: (len(p[0]) // 8, len(p[1]))):
            width = max(width, len(pair[0]) + len(pair[1]))
            if batch and (len(batch) + 1) * width > tokens:
                out.append(batch)
                batch, width = [], len(pair[0]) + len(pair[1])
            batch.append(pair)
        out.append(batch)
    rng.shuffle(out)
    return out
