"""Unselected samples of the reference (or of it with an adapter) on held-out prompts.

    python -m training.sample --data DATA --work WORK [--adapter warmth-b0.1.pt] [--count 50] [--temperature 0.7]
"""

import argparse
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import chat, corpus, generate, model


def load(work, checkpoint=None, adapter=None):
    m, _ = model.load(checkpoint or Path(work) / "reference.pt")
    if adapter:
        c = torch.load(adapter, map_location="cpu", weights_only=True)
        m.add_lora(c["rank"], c["alpha"], 0)
        m.load_state_dict(c["lora"], strict=False)
    return m, Tokenizer.from_file(str(Path(work) / "tokenizer.json"))


def reply(m, tok, msgs, seed, temperature=0.7, top_p=1.0, min_p=0.0, limit=64):
    ids = tok.encode(chat.render(msgs, add_generation_prompt=True), add_special_tokens=False).ids
    out, _ = generate.sample(m, torch.tensor([ids]), 1, limit, tok.token_to_id(chat.IM_END),
                             torch.Generator().manual_seed(seed), temperature, top_p, min_p)
    return tok.decode(out[0]).strip()


def heldout_prompts(data, count, seed):
    """Conversation prefixes of one or three turns, one a conversation, in a seeded order."""
    rng = random.Random(seed)
    rows = corpus.load(data, heldout=True)
    out = []
    for row in rng.sample(rows, count):
        n = rng.choice((1, 1, 3))
        first = rng.randrange(len(row["turns"]) - n)
        out.append(row["turns"][first:first + n])
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--checkpoint", type=Path)
    p.add_argument("--adapter", type=Path)
    p.add_argument("--count", type=int, default=50)
    p.add_argument("--temperature", type=float, default=0.7)
    p.add_argument("--top-p", type=float, default=1.0)
    p.add_argument("--min-p", type=float, default=0.0)
    p.add_argument("--seed", type=int, default=11)
    p.add_argument("--prompt", help="instead of held-out prompts")
    a = p.parse_args()
    m, tok = load(a.work, a.checkpoint, a.adapter)
    prompts = [[a.prompt]] * a.count if a.prompt else heldout_prompts(a.data, a.count, a.seed)
    for i, turns in enumerate(prompts):
        text = reply(m, tok, chat.messages(turns), a.seed + i, a.temperature, a.top_p, a.min_p)
        print(f"{i + 1}. " + " / ".join(turns) + f"\n   -> {text}")


if __name__ == "__main__":
    main()
