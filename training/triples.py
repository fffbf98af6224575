"""Can readers tell by reading alone at which λ a reply was decoded? Replies of the demo at λ = 0, 1 and 3, shuffled.

    python -m training.triples make --out FOLDER               # triples.md for readers, and key.json
    python -m training.triples score --out FOLDER A.json ...    # a reader's answers: a list of lists such as [3, 0, 1], the λ of A, B and C

The three replies to a prompt have the same noise, which readers are told, and are sampled as the pair recommends. Where two of them have the same text nobody
can sort them: such triples stay in, and count as not sorted.
"""

import argparse
import json
import random
import subprocess
from pathlib import Path

STRENGTHS = (0, 1, 3)
TASK = """Each prompt has three replies of a very small chat model: one of the model as it is (0), one of the same model tuned {tuned} (1), one
with that tuning overdone three times (3: {overdone}). They were drawn with the same random numbers, so 1 often begins like 0, and 3
less often. Say of each triple which is which.
"""
TUNED = {
    "warmth": ("to be warmer: more positive, still a reply", "little left but praise, often short, general or beside the point"),
    "length": ("for replies of 24 to 32 tokens, some twenty words: filled up, still a reply", "as long or longer, repetitive, broken or beside the point"),
}


def decoded(program, models, aligned, rows):
    """Texts by λ, a dictionary a row."""
    lines = "".join(json.dumps(r) + "\n" for r in rows)
    out = subprocess.run([program, "decode", "--models", models, "--pair", "demo", "--aligned", aligned, "--lambda", ",".join(map(str, STRENGTHS)), "--prompts", "-", "--max-tokens", "64"],
                         input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout
    texts = [{} for _ in rows]
    for r in map(json.loads, out.splitlines()):
        texts[r["id"]][r["lambda"]] = r["text"]
    return texts


def make(a):
    rng = random.Random(a.seed)
    found = [json.loads(line) for line in a.prompts.read_text(encoding="utf-8").splitlines()]
    rows = [{"id": i, "prompt": r["prompt"], "seed": a.seed * 1000 + i} for i, r in enumerate(rng.sample(found, a.count))]
    tuned, overdone = TUNED[a.aligned.split("-")[0]]
    page, key = TASK.format(tuned=tuned, overdone=overdone), []
    for row, texts in zip(rows, decoded(a.realign, a.models, a.aligned, rows)):
        order = rng.sample(STRENGTHS, 3)
        said = [texts[x] for x in order]
        key.append({"order": order, "equal": len(set(said)) < 3})
        page += f"\n## {row['id'] + 1}. {row['prompt']}\n" + "".join(f"- {letter}: {text}\n" for letter, text in zip("ABC", said))
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "triples.md").write_text(page, encoding="utf-8")
    (a.out / "key.json").write_text(json.dumps(key), encoding="utf-8")
    print(f"{a.out / 'triples.md'}: {len(key)} triples, {sum(k['equal'] for k in key)} of them with equal texts")


def sorted_right(key, answers):
    """How many triples with three texts were sorted rightly."""
    rows = isinstance(answers, list) and len(answers) == len(key) and all(isinstance(x, list) for x in answers)
    if not rows or any(sorted(map(str, x)) != list(map(str, STRENGTHS)) for x in answers):
        raise SystemExit(f"answers are {len(key)} lists, each of {', '.join(map(str, STRENGTHS))} in some order")
    return sum(x == k["order"] and not k["equal"] for x, k in zip(answers, key))


def read(path):
    """What a file of JSON says."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise SystemExit(f"{path}: {e}") from None


def score(a):
    key = read(a.out / "key.json")
    for path in a.answers:
        right = sorted_right(key, read(path))
        print(f"{path}: {right} of {len(key)} sorted rightly; {sum(k['equal'] for k in key)} have equal texts")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(dest="command", required=True)
    m = commands.add_parser("make")
    m.add_argument("--realign", default="bin/realign")
    m.add_argument("--models", default="models")
    m.add_argument("--aligned", default="warmth-b0.05", help="an adapter of the demo, named by its reward and β")
    m.add_argument("--prompts", type=Path, default=Path("examples/dialogue.jsonl"))
    m.add_argument("--count", type=int, default=30)
    m.add_argument("--seed", type=int, default=1)
    s = commands.add_parser("score")
    s.add_argument("answers", type=Path, nargs="+")
    for c in (m, s):
        c.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    (make if a.command == "make" else score)(a)


if __name__ == "__main__":
    main()
