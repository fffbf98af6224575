"""Stage 1: train the byte-level BPE tokenizer.

    python -m training.bpe --data DATA --work WORK

The pre-tokenizer is GPT-2's, which llama.cpp calls "gpt-2": the two must split text alike.
"""

import argparse
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from . import chat, corpus


def train(texts, vocab_size):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in chat.SPECIAL_TOKENS],
        show_progress=False,
    )
    tok.train_from_iterator(texts, trainer)
    return tok


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="folder with dialogue-*.jsonl.xz")
    p.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    p.add_argument("--vocab", type=int, default=4096)
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    rows = corpus.load(a.data)
    # "user", "assistant" and "system" occur at every turn: make sure that each is one token.
    roles = [r for r in (*chat.ROLES, "system") for _ in range(20000)]
    tok = train((t for t in [*(t for r in rows for t in r["turns"]), *roles]), a.vocab)
    tok.save(str(a.work / "tokenizer.json"))
    chars = sum(len(t) for r in rows[:2000] for t in r["turns"])
    toks = sum(len(e.ids) for r in rows[:2000] for e in tok.encode_batch(r["turns"]))
    print(f"{len(rows)} conversations, {tok.get_vocab_size()} tokens, {chars / toks:.2f} characters a token")


if __name__ == "__main__":
    main()
