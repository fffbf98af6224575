"""Compares what Realign decodes of pairs that need no second checkpoint, and of mixtures of experts, with transformers.

    python -m training.mixtures --realign bin/realign --work WORK --out docs/pairs.md

The models are random ones of `training.architectures`: real layers and tokenizers, tiny widths. For each pair, prompt and λ the mixture is
computed from transformers' logits in 64 bits, decoded greedily, and compared with what `realign decode` says and with the log-probabilities that it
tells; then once more with --plain, and the texts of a λ-map with those at the middle of their spans. The table goes into the page, between two marks.
"""

import argparse
import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import gguf
import torch
import transformers
from transformers import AutoTokenizer

from training import architectures
from training import tokenizers_of as kinds
from training.adapter import PROMPTS, ends_of

MARKS = ("<!-- mixtures -->", "<!-- /mixtures -->")
TOKENS = 16
LAMBDAS = (-0.5, 0, 0.5, 1, 2)
MAPPED = 4  # prompts of which there is a map
NARROW = 1e-3  # spans of a map that are narrower are not compared: 32 bits round their ends
SYSTEM = "Answer in one short sentence, as a sailor would."
CONTEXT = "The harbour was closed in 1907, and its lighthouse was sold to a baker."
ALTERNATIVES = 20  # of each token, whose log-probabilities are compared

LARGE = dict(hidden_size=96, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512)
EXPERTS = dict(moe_intermediate_size=48, num_experts=6, num_experts_per_tok=2, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])


@dataclass
class Case:
    title: str
    models: str  # what it was made of
    given: tuple  # to pairs add, behind the name
    tokenizer: object
    rows: Callable  # of a prompt: what gives the two models' logits after some tokens


def one(title):
    return next(a for a in architectures.ARCHITECTURES if a.title == title)


def model(a, args, name, seed, shape=None):
    """A random model, its folder and its tokenizer."""
    folder = args.work / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    made = architectures.make(dataclasses.replace(a, shape=shape or a.shape), kinds.KINDS[a.tokenizer].make(args.work / "tokenizers" / a.tokenizer), seed, folder)
    return made, folder, AutoTokenizer.from_pretrained(folder)


def encoded(tokenizer, prompt, system="", context=""):
    messages = [{"role": "user", "content": context + "\n\n" + prompt if context else prompt}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def logits(m, tokens):
    with torch.no_grad():
        return m(torch.tensor([tokens])).logits[0, -1].double()


def contrast(args, title, **beyond):
    m, folder, tokenizer = model(one(title), args, f"contrast-{next(iter(beyond))}", 3)

    def rows(prompt):
        plain, other = encoded(tokenizer, prompt), encoded(tokenizer, prompt, **beyond)
        return lambda said: (logits(m, plain + said), logits(m, other + said))
    (kind, text), = beyond.items()
    words = {"system": "a system prompt", "context": "a context"}[kind]
    return Case(f"Contrast: {words}", title, ("--reference", folder, f"--contrast-{kind}", text), tokenizer, rows)


def proxy(args):
    """Three models of one tokenizer, the large one of another shape."""
    a = one("Qwen2")
    large, at, tokenizer = model(dataclasses.replace(one("Qwen3"), tokenizer=a.tokenizer), args, "large", 1, LARGE)
    tuned, tuned_at, _ = model(a, args, "tuned", 2)
    untuned, untuned_at, _ = model(a, args, "untuned", 3)

    def rows(prompt):
        tokens = encoded(tokenizer, prompt)

        def after(said):
            z = logits(large, tokens + said)
            return z, z + logits(tuned, tokens + said) - logits(untuned, tokens + said)
        return after
    return Case("Proxy", "Qwen3, steered by two Qwen2", ("--reference", at, "--aligned", f"small={tuned_at},untuned={untuned_at}"), tokenizer, rows)


def experts(args, program):
    """Two mixtures of experts, as GGUF that is written here: their tokenizer is that of a dense model, as Realign converts it."""
    a = one("Qwen3")
    _, dense, tokenizer = model(a, args, "dense", 1)
    converted = args.work / "dense.gguf"
    program.run("convert", dense, "--out", converted)
    made, files = [], []
    for seed in (1, 2):
        config = transformers.Qwen3MoeConfig(**{**a.shape, **a.extra, **EXPERTS}, vocab_size=-(-len(tokenizer) // 32) * 32, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
        torch.manual_seed(seed)
        m = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for p in m.parameters():
                p.add_(torch.randn_like(p) * (0.1 if p.dim() == 1 else 0.15))
        made.append(m)
        files.append(args.work / f"experts-{seed}.gguf")
        write_experts(files[-1], m, converted)

    def rows(prompt):
        tokens = encoded(tokenizer, prompt)
        return lambda said: tuple(logits(m, tokens + said) for m in made)
    return Case("Mixture of experts", "Qwen3-MoE, GGUF", ("--reference", files[0], "--aligned", f"tuned={files[1]}"), tokenizer, rows)


def write_experts(file, m, vocabulary):
    """A Qwen3-MoE model as GGUF, with the tokenizer of another file."""
    c = m.config
    w = gguf.GGUFWriter(file, "qwen3moe")
    for key, value in (("block_count", c.num_hidden_layers), ("context_length", c.max_position_embeddings), ("embedding_length", c.hidden_size), ("feed_forward_length", c.intermediate_size),
                       ("attention.head_count", c.num_attention_heads), ("attention.head_count_kv", c.num_key_value_heads), ("attention.key_length", c.head_dim), ("attention.value_length", c.head_dim),
                       ("expert_count", c.num_experts), ("expert_used_count", c.num_experts_per_tok), ("expert_feed_forward_length", c.moe_intermediate_size)):
        w.add_uint32("qwen3moe." + key, value)
    w.add_float32("qwen3moe.attention.layer_norm_rms_epsilon", c.rms_norm_eps)
    w.add_float32("qwen3moe.rope.freq_base", c.rope_parameters["rope_theta"])
    for name, f in gguf.GGUFReader(vocabulary).fields.items():
        if name.startswith("tokenizer."):
            w.add_key_value(name, f.contents(), f.types[0], sub_type=f.types[-1] if f.types[0] == gguf.GGUFValueType.ARRAY else None)
    state = m.state_dict()
    names = [("model.embed_tokens.weight", "token_embd.weight"), ("model.norm.weight", "output_norm.weight"), ("lm_head.weight", "output.weight")]
    for i in range(c.num_hidden_layers):
        names += [(f"model.layers.{i}.{old}.weight", f"blk.{i}.{new}.weight") for old, new in (
            ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"), ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"), ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm"), ("mlp.gate", "ffn_gate_inp"))]
        layer = f"model.layers.{i}.mlp.experts."
        if layer + "gate_up_proj" in state:  # transformers 5 holds all experts in one
            gate, up = state[layer + "gate_up_proj"].chunk(2, dim=1)
            down = state[layer + "down_proj"]
        else:
            gate, up, down = (torch.stack([state[f"{layer}{e}.{part}_proj.weight"] for e in range(c.num_experts)]) for part in ("gate", "up", "down"))
        for part, value in (("gate", gate), ("up", up), ("down", down)):
            w.add_tensor(f"blk.{i}.ffn_{part}_exps.weight", value.contiguous().numpy())
    for old, new in names:
        w.add_tensor(new, state[old].numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def greedy(after, strength, ends, most=TOKENS):
    """The greedy reply without its end, and the two rows and the mixture before each token."""
    said, steps = [], []
    while len(said) < most:
        r, a = after(said)
        z = (1 - strength) * r + strength * a
        steps.append((r, a, z))
        t = int(z.argmax())
        if t in ends:
            break
        said.append(t)
    return said, steps


def decoded(program, pair, prompt, ends, *more):
    """The tokens of each lane without its end, and its events of tokens."""
    text = program.run("decode", "--pair", pair, "--lambda=" + ",".join(map(str, LAMBDAS)), "--temperature", 0, "--max-tokens", TOKENS, "--json", "--alternatives", ALTERNATIVES,
                       "--f32-cache", "--gpu-layers", 0, "--prompt", prompt, *more)
    lanes = [[] for _ in LAMBDAS]
    for e in map(json.loads, text.splitlines()):
        if e["type"] == "token" and e["id"] not in ends:
            lanes[e["lane"]].append(e)
    return [[e["id"] for e in events] for events in lanes], lanes


def difference(steps, events):
    """The largest difference of log-probabilities, relative to the largest logit, as long as the tokens were the same."""
    worst = 0.0
    for (r, a, z), e in zip(steps, events):
        scale = max(float(x.abs().max()) for x in (r, a, z))
        logp = [x - x.logsumexp(0) for x in (r, a, z)]
        aligned = e["logp"]["aligned"]
        told = [(0, e["id"], e["logp"]["reference"]), (1, e["id"], aligned[0] if isinstance(aligned, list) else aligned), (2, e["id"], e["logp"]["mixture"])]
        told += [(0, t["id"], t["logp"]) for t in e["top"]["reference"]] + [(1, t["id"], t["logp"]) for t in e["top"]["aligned"][0]] + [(2, t["id"], t["logp"]) for t in e["top"]["mixture"]]
        worst = max([worst] + [abs(float(logp[i][t]) - value) / scale for i, t, value in told])
        if int(z.argmax()) != e["id"]:
            break
    return worst


def gap(steps, got, want):
    """How far apart the two tokens are where replies part, relative to the largest logit."""
    at = next(i for i in range(max(len(got), len(want))) if got[i:i + 1] != want[i:i + 1])
    z = steps[at][2]
    best = z.topk(2).values
    other = z[got[at]] if at < len(got) else best[1]  # one reply ended
    return float(max(best[0] - other, 0) / z.abs().max())


def compare(case, program, pair, prompts):
    """A row of the table."""
    tokenizer = case.tokenizer
    ends = ends_of(tokenizer)
    program.run("pairs", "add", pair, *case.given)
    worst, same, plain, spans, equal, gaps = 0.0, 0, 0, 0, 0, []
    for n, prompt in enumerate(prompts):
        after = case.rows(prompt)
        got, events = decoded(program, pair, prompt, ends)
        slow, _ = decoded(program, pair, prompt, ends, "--plain")
        for i, strength in enumerate(LAMBDAS):
            want, steps = greedy(after, strength, ends)
            same += got[i] == want
            if got[i] != want:
                gaps.append(gap(steps, got[i], want))
            plain += got[i] == slow[i]
            worst = max(worst, difference(steps, events[i]))
        if n >= MAPPED:
            continue
        found = json.loads(program.run("map", "--pair", pair, "--temperature", 0, "--max-tokens", TOKENS, "--from", 0, "--to", 2, "--json", "--f32-cache", "--gpu-layers", 0, "--prompt", prompt))
        for b in found["branches"]:
            if b["to"] - b["from"] >= NARROW:
                spans += 1
                equal += [t for t in b["tokens"] if t not in ends] == greedy(after, (b["from"] + b["to"]) / 2, ends)[0]
    replies = len(prompts) * len(LAMBDAS)
    size = f"{worst:.0e}" if worst <= architectures.TOLERANCE else f"**wrong by {worst:.0e}**"
    parted = f"; the others part where two tokens are {max(gaps):.0e} apart at most" if gaps else ""
    return f"| {case.title} | {case.models} | {size} | {same} of {replies}{parted} | {plain} of {replies} | {equal} of {spans} |"


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--prompts", type=int, default=len(PROMPTS), help="how many of the prompts are decoded")
    p.add_argument("--only", help="rows to make now, by number from 1, separated by commas; those made before with the same --work stay in the table")
    p.add_argument("--out", type=Path, help="page to put the table into")
    args = p.parse_args()
    args.work = args.work.resolve()
    torch.set_num_threads(1)
    program = architectures.Program(args.realign, args.work)
    cases = [lambda: contrast(args, "Llama 3", system=SYSTEM), lambda: contrast(args, "Qwen2", context=CONTEXT), lambda: proxy(args), lambda: experts(args, program)]
    results = args.work / "mixtures.json"
    rows = json.loads(results.read_text()) if results.exists() else {}
    for i, case in enumerate(cases):
        number = str(i + 1)
        if not args.only or number in args.only.split(","):
            rows[number] = compare(case(), program, f"mixture-{number}", PROMPTS[:args.prompts])
            results.write_text(json.dumps(rows, indent=1, ensure_ascii=False))
            print(rows[number], flush=True)
    lines = ["| pair | models | largest difference | greedy replies that are transformers' | the same with `--plain` | spans of λ-maps that are transformers' |", "|---|---|---|---|---|---|"]
    if args.out:
        architectures.write(args.out, MARKS, "\n".join(lines + [rows[number] for number in sorted(rows)]))


if __name__ == "__main__":
    main()
