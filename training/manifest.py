"""Stage 6: models/demo/pair.json, the list of the pair's files that Realign reads.

    python -m training.manifest --out models/demo --default-warmth 0.05 --default-length 0.1

Lists the adapters that lie in the folder. A pair has one default, the default warmth adapter, and it comes first; of
the length adapters the default one comes first, too.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path

WORDS = {
    "warmth": ("Warmth", "Rewarded for replies that a sentiment classifier finds positive."),
    "length": ("Length", "Rewarded for replies of 24 to 32 tokens."),
}

# What runs start from. A small model gives much of its probability to words that fit nowhere: min-p leaves them out,
# and goes together with λ-maps.
SAMPLING = {"temperature": 0.7, "min_p": 0.1}


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def adapters(folder):
    """(reward, β, path) of every adapter in a folder, in order."""
    out = []
    for p in Path(folder).glob("*.lora.gguf"):
        m = re.fullmatch(r"(\w+)-b([0-9.]+)", p.name.removesuffix(".lora.gguf"))
        out.append((m[1], float(m[2]), p))
    return sorted(out, key=lambda x: (x[0] != "warmth", x[1]))


def build(folder, defaults):
    folder = Path(folder)
    aligned = []
    for reward, beta, path in adapters(folder):
        title, text = WORDS[reward]
        aligned.append({
            "name": f"{reward}-b{beta:g}",
            "title": f"{title}, β = {beta:g}",
            "description": f"{text} KL strength β = {beta:g} in training.",
            "adapter": path.name,
            "sha256": sha256(path),
            "beta": beta,
            "reward": reward,
            "default": reward == "warmth" and beta == defaults[reward],
        })
    aligned.sort(key=lambda a: (a["reward"] != "warmth", a["beta"] != defaults[a["reward"]], a["beta"]))
    reference = folder / "reference-q8_0.gguf"
    return {
        "name": "demo",
        "title": "Demo: a small chat model",
        "description": "A tiny chat model of 5 million parameters: its texts are simple. It was trained from scratch on public dialogues "
                       "about films, music and sport; LoRA adapters realign it to warmer replies, or to replies of a given length.",
        "licence": "CC-BY-4.0",
        "sampling": SAMPLING,
        "reference": {"name": "reference", "title": "Reference", "file": reference.name, "sha256": sha256(reference)},
        "aligned": aligned,
    }


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--default-warmth", type=float, default=0.05)
    p.add_argument("--default-length", type=float, default=0.1)
    a = p.parse_args()
    pair = build(a.out, {"warmth": a.default_warmth, "length": a.default_length})
    (a.out / "pair.json").write_text(json.dumps(pair, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(len(pair["aligned"]), "aligned models")


if __name__ == "__main__":
    main()
