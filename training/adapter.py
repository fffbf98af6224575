"""Trains a LoRA adapter with TRL's DPOTrainer on a small random model, adds its output folder as it is, and compares greedy replies at λ = 1 with
transformers.

    python -m training.adapter --realign bin/realign --work WORK --out docs/pairs.md

The pair is added in one line: realign pairs add NAME --reference FOLDER --adapter warm=FOLDER,beta=0.1. The model is one of `training.architectures`: the real layers and
kind of tokenizer, tiny widths. What it says means nothing; that the same tokens come out does.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import architectures
from training import tokenizers_of as kinds

MARKS = ("<!-- adapter -->", "<!-- /adapter -->")
TOKENS = 24
BETA = 0.1
PROMPTS = [f"{verb} me about {thing}." for verb in ("Tell", "Ask", "Warn", "Remind") for thing in ("the sea", "old maps", "42 keys", "Ünïcödé", "rain")]


def train(folder, out):
    """A DPO run: its output folder is what TRL leaves."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = Dataset.from_list([{
        "prompt": [{"role": "user", "content": p}], "chosen": [{"role": "assistant", "content": "Gladly, here it is."}],
        "rejected": [{"role": "assistant", "content": "No."}]} for p in PROMPTS])
    shutil.rmtree(out, ignore_errors=True)
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=DPOConfig(output_dir=str(out), beta=BETA, learning_rate=2e-2, max_steps=20, per_device_train_batch_size=4, report_to="none", use_cpu=True,
                       save_strategy="no", seed=1, gradient_checkpointing=False, bf16=False),
        train_dataset=pairs, processing_class=tokenizer,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "gate_proj"], task_type="CAUSAL_LM"))
    trainer.train()
    trainer.save_model(str(out))


def ends_of(tokenizer):
    """Tokens that end a turn in any of the tokenizers."""
    names = ("<|eot_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<eos>", "</s>", "<|end|>")
    known = tokenizer.get_vocab()  # of Qwen one of these stands for unknown text, too
    return {tokenizer.eos_token_id, *(known[name] for name in names if name in known)}


def without_end(tokens, ends):
    return tokens[:next((i for i, t in enumerate(tokens) if t in ends), len(tokens))]


def replies(model, tokenizer):
    """Greedy replies, as token ids without the end."""
    out, ends = [], ends_of(tokenizer)
    for prompt in PROMPTS:
        text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            got = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)[0, ids.shape[1]:].tolist()
        out.append(without_end(got, ends))
    return out


def decoded(program, pair, strength, ends):
    """The same with Realign, whose events have the end token, too."""
    out = []
    for prompt in PROMPTS:
        text = program.run("decode", "--pair", pair, "--lambda", strength, "--temperature", 0, "--max-tokens", TOKENS, "--json", "--f32-cache", "--gpu-layers", 0, "--prompt", prompt)
        events = [json.loads(line) for line in text.splitlines()]
        out.append(without_end([e["id"] for e in events if e["type"] == "token"], ends))
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--model", default="Llama 3", help="one of the architectures of training.architectures with a chat template")
    p.add_argument("--out", type=Path, help="page to put the result into")
    args = p.parse_args()
    args.work = args.work.resolve()
    torch.set_num_threads(1)
    a = next(a for a in architectures.ARCHITECTURES if a.title == args.model)
    folder, trained = args.work / "base", args.work / "dpo-out"
    shutil.rmtree(folder, ignore_errors=True)
    architectures.make(a, kinds.KINDS[a.tokenizer].make(args.work / "tokenizer"), 1, folder)
    train(folder, trained)

    program = architectures.Program(args.realign, args.work)
    program.run("pairs", "add", "mine", "--reference", folder, "--adapter", f"warm={trained},beta={BETA}")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    from peft import PeftModel
    plain = replies(base, tokenizer)
    tuned = replies(PeftModel.from_pretrained(base, trained).eval(), tokenizer)
    same = {strength: sum(x == y for x, y in zip(decoded(program, "mine", strength, ends_of(tokenizer)), want)) for strength, want in ((0, plain), (1, tuned))}
    ended = sum(len(reply) < TOKENS for reply in tuned)
    differ = sum(x != y for x, y in zip(plain, tuned))
    files = ", ".join(sorted(f.name for f in trained.iterdir()))
    text = (f"{len(PROMPTS)} prompts, greedy, {TOKENS} tokens each, {a.title}: at λ = 1 {same[1]} replies of {len(PROMPTS)} are transformers' with the adapter, token for token; at λ = 0 "
            f"{same[0]} are the base's. {differ} of the {len(PROMPTS)} differ between the two, and {ended} end before the limit. The folder that the trainer left was added as it is ({files}).")
    print(text)
    if args.out:
        architectures.write(args.out, MARKS, text)


if __name__ == "__main__":
    main()
