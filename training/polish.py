"""Stage 2b: teach the pretrained model to say what it says best.

    python -m training.polish --data DATA --work WORK            # pretrained.pt -> reference.pt

Reward-ranked fine-tuning (RAFT; Dong et al., 2023, arXiv:2304.06767), one round: the model answers prompts of its own
training dialogues several times each, a judge ranks the answers to each prompt, and the model is trained on the best
of them. Nobody's words but its own are learned; the judge, SmolLM2-135M-Instruct, only chooses. An answer's score is

    mean log q(y_t | x, y_<t) + FIT (mean log q(y_t | x, y_<t) - mean log q(y_t | NEUTRAL, y_<t)),

how well the judge's q expects the answer y to the prompt x, and how much better than to a message that says nothing.
The mean over the tokens of an answer depends on how long it is, so scores are compared with those of like length:
the model is not taught to be brief. WORK/polish.jsonl keeps the ranked answers; started again, the stage goes on there.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from . import chat, corpus, generate, model, prefixes, pretrain
from .smollm2 import base

SEED = 5
FIT = 1.0
NEUTRAL = "Go on."
GROUP = 16  # prompts of equal length, answered together
TEMPERATURE, MIN_P = 0.7, 0.1


class Judge:
    """Scores answers by what a larger model expects."""

    def __init__(self, path):
        self.base = base.Base(path)
        self.base.model.lighten()
        self.neutral = {}  # texts as replies to NEUTRAL: many are said more than once

    def logps(self, messages, texts):
        """Mean log-probability a token of each text as the reply to messages, end marker included."""
        b = self.base
        rendered = b.template.render(messages=messages, add_generation_prompt=True)
        x = torch.tensor([b.tok.encode(rendered, add_special_tokens=False).ids])
        replies = [e.ids for e in b.tok.encode_batch(texts, add_special_tokens=False)]
        y, mask = generate.pad(replies, [True] * len(replies), b.end)
        with torch.no_grad():
            z = generate.reply_logits(b.model, x, y, mask, len(texts))
            each = -F.cross_entropy(z, y[mask], reduction="none")
        return (generate.row_sums(each, mask) / mask.sum(1)).tolist()

    def scores(self, messages, texts):
        """(log-probability a token as the reply to messages, as the reply to NEUTRAL) of each text."""
        new = [t for t in dict.fromkeys(texts) if t not in self.neutral]
        if new:
            self.neutral.update(zip(new, self.logps(chat.messages([NEUTRAL]), new)))
        return list(zip(self.logps(messages, texts), map(self.neutral.get, texts)))


def score(fits, alone):
    return fits + FIT * (fits - alone)


def messages(tok, ids):
    """The conversation that prompt tokens render."""
    return chat.messages([t.strip() for t in chat.parse(tok.decode(ids, skip_special_tokens=False))])


def answers(m, tok, judge, x, copies, end, seed):
    """One row a prompt: its token ids, and its different whole answers with their scores."""
    replies, ended = generate.sample(m, x, copies, prefixes.LIMIT, end, torch.Generator().manual_seed(seed), TEMPERATURE,
                                     min_p=MIN_P)
    rows = []
    for i, ids in enumerate(x.tolist()):
        mine = range(i * copies, (i + 1) * copies)
        different = [list(r) for r in sorted({tuple(replies[j]) for j in mine if ended[j] and replies[j]})]
        if different:
            texts = [t.strip() for t in tok.decode_batch(different)]
            rows.append({"ids": ids, "answers": different, "scores": judge.scores(messages(tok, ids), texts)})
    return rows


def standardised(rows):
    """Each score less the mean, over the deviation, of the scores of about as long answers: ten groups by length."""
    lengths = np.array([len(a) for r in rows for a in r["answers"]])
    scores = np.array([score(*s) for r in rows for s in r["scores"]])
    order = np.argsort(lengths, kind="stable")
    out = np.empty(len(scores))
    for part in np.array_split(order, 10):
        out[part] = (scores[part] - scores[part].mean()) / scores[part].std()
    it = iter(out.tolist())
    return [[next(it) for _ in r["answers"]] for r in rows]


def best(rows, keep):
    """(ids, mask) examples of the `keep` best answers to each prompt; a loss counts the answer and its end."""
    out = []
    for r, scores in zip(rows, standardised(rows)):
        for s, a in sorted(zip(scores, r["answers"]), reverse=True)[:keep]:
            if s > 0:
                out.append((r["ids"], a))
    return out


def collect(a, m, tok, judge, pool, end):
    """The ranked answers to all prompts, and the seconds that they took. A line of the file is a group of prompts."""
    path = a.work / "polish.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    groups = [json.loads(line) for line in lines if line.endswith("}")]
    path.write_text("".join(json.dumps(g) + "\n" for g in groups), encoding="utf-8")  # without a half-written one
    with open(path, "a", encoding="utf-8") as f:
        for i in range(len(groups), a.prompts // GROUP):
            t0 = time.time()
            x = pool.batch(GROUP, random.Random(SEED * 100003 + i))
            rows = answers(m, tok, judge, x, a.copies, end, SEED * 100003 + i)
            groups.append({"rows": rows, "seconds": time.time() - t0})
            f.write(json.dumps(groups[-1]) + "\n")
            f.flush()
            if i % 5 == 4:
                print(f"{(i + 1) * GROUP} prompts, {sum(g['seconds'] for g in groups):.0f}s", flush=True)
    return [r for g in groups for r in g["rows"]], sum(g["seconds"] for g in groups)


def judged(m, tok, judge, pool, end, groups=6):
    """Mean score, tokens and distinct-2 of answers to held-out prompts at temperature 0.7 without truncation."""
    rng, scores, replies = random.Random(SEED), [], []
    for g in range(groups):
        x = pool.batch(GROUP, rng)
        made, _ = generate.sample(m, x, 1, prefixes.LIMIT, end, torch.Generator().manual_seed(g), TEMPERATURE)
        for ids, r in zip(x.tolist(), made):
            scores += [score(*s) for s in judge.scores(messages(tok, ids), [tok.decode(r).strip()])]
        replies += made
    pairs = [p for r in replies for p in zip(r, r[1:])]
    return {"prompts": len(scores), "score": float(np.mean(scores)), "se": float(np.std(scores) / len(scores) ** 0.5),
            "tokens": float(np.mean([len(r) for r in replies])), "distinct2": len(set(pairs)) / len(pairs)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--judge", type=Path, default=base.FILE)
    p.add_argument("--prompts", type=int, default=2400)
    p.add_argument("--copies", type=int, default=8)
    p.add_argument("--keep", type=int, default=2, help="answers to each prompt to learn")
    p.add_argument("--epochs", type=int, default=2)
    p.add_argument("--tokens", type=int, default=3072, help="tokens a batch, padding included")
    p.add_argument("--lr-muon", type=float, default=0.003)
    p.add_argument("--lr-adam", type=float, default=0.0006)
    a = p.parse_args()
    torch.manual_seed(SEED)
    tok = Tokenizer.from_file(str(a.work / "tokenizer.json"))
    enc = corpus.Encoder(tok)
    end = enc.end[0]
    m, state = model.load(a.work / "pretrained.pt")
    judge = Judge(a.judge)
    pool = prefixes.Prompts(corpus.load(a.data)[1::3], enc, SEED)
    held = prefixes.Prompts(corpus.load(a.data, heldout=True), enc, SEED)
    before = judged(m, tok, judge, held, end)
    print("before", before, flush=True)
    rows, spent = collect(a, model.load(a.work / "pretrained.pt")[0].lighten(), tok, judge, pool, end)
    t0, chosen = time.time(), best(rows, a.keep)
    print(f"{len(chosen)} answers to learn", flush=True)
    examples = [(x + y + [end], [0] * len(x) + [1] * (len(y) + 1)) for x, y in chosen]
    opts = pretrain.optimisers(m, a.lr_muon, a.lr_adam)
    epochs = [list(corpus.batches(random.Random(e).sample(examples, len(examples)), a.tokens, SEED + e, 0)) for e in range(a.epochs)]
    steps = [b for e in epochs for b in e]
    for i, (ids, mask) in enumerate(steps):
        for o, lr in zip(opts, (a.lr_muon, a.lr_adam)):
            o.param_groups[0]["lr"] = lr * min(1, (i + 1) / 10, (len(steps) - i) / len(steps) * 1.2)
        total, n = pretrain.loss_sum(m, torch.from_numpy(ids), torch.from_numpy(mask))
        (total / n).backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        if (i + 1) % 20 == 0:
            print(f"step {i + 1} of {len(steps)} loss {float(total.detach()) / n:.3f}", flush=True)
    spent += time.time() - t0
    after = judged(m, tok, judge, held, end)
    print("after", after, flush=True)
    state["polish"] = {"prompts": a.prompts, "copies": a.copies, "keep": a.keep, "epochs": a.epochs, "answers": len(chosen),
                       "steps": len(steps), "temperature": TEMPERATURE, "min_p": MIN_P, "before": before, "after": after, "seconds": spent}
    model.save(a.work / "reference.pt", m, **state)


if __name__ == "__main__":
    main()
