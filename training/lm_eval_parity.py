"""lm-evaluation-harness through Realign's API at λ = 0 and λ = 1, against the same harness on transformers.

    python -m training.lm_eval_parity --realign bin/realign --questions 60

The demo pair's weights are written in float32, as its reference in float16 and a Q8_0 adapter have them, and both sides
compute with those: transformers with the adapter merged, Realign with two contexts whose caches are in float32, too. The harness asks both for the
log-likelihoods of two answers to each question; the tokens are the server's on both sides. The measure is the largest
difference of two log-likelihoods, in nats.

Needs torch, transformers, gguf and lm_eval[api].
"""

import argparse
import json
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import gguf
import lm_eval
import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

ANSWERS = [" I don't know, it was okay.", " I loved it, it was one of the best."]


def in_float32(source, target):
    """Writes a GGUF file again with float32 matrices."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        types = field.types
        writer.add_key_value(field.name, field.contents(), types[0], sub_type=types[-1] if types[0] == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for t in reader.tensors:
        writer.add_tensor(t.name, gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def unpermute(rows, heads):
    """Rows of a query or key projection in transformers' order of rotary halves, from llama.cpp's."""
    n, rest = rows.shape[0], rows.shape[1:]
    return rows.reshape(heads, n // heads // 2, 2, *rest).swapaxes(1, 2).reshape(n, *rest)


def merge(model, adapter):
    """Adds alpha/rank · B·A of a LoRA file to the model's weights."""
    reader = gguf.GGUFReader(adapter)
    alpha = reader.fields["adapter.lora.alpha"].contents()
    halves = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    cfg = model.config
    heads = {"attn_q": cfg.num_attention_heads, "attn_k": cfg.num_key_value_heads}
    names = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    state = model.state_dict()
    for name, low in halves.items():
        if not name.endswith(".lora_a"):
            continue
        whole = name.removesuffix(".lora_a")
        _, layer, module, _ = whole.split(".")
        high = halves[f"{whole}.lora_b"]
        if module in heads:
            high = unpermute(high, heads[module])
        state[f"model.layers.{layer}.{names[module]}.weight"] += alpha / low.shape[0] * high @ low
    return model


class SameTokens(HFLM):
    """transformers with the tokens of a server."""

    url = ""

    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        return post(self.url + "/tokenize", {"prompt": string, "add_special_tokens": False})["tokens"]


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def served(realign, folder, pair):
    """Starts a server of a pair; the process and its address."""
    log = open(folder / "log", "w+")
    server = subprocess.Popen([realign, "serve", "--addr", "127.0.0.1:0", "--data", folder / "data", "--pair", pair, "--f32-cache"], stderr=log)
    for _ in range(600):
        log.seek(0)
        for word in log.read().split():
            if word.startswith("url=http:"):
                return server, word.removeprefix("url=").rstrip("/")
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit((folder / "log").read_text())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--realign", default="bin/realign")
    p.add_argument("--models", type=Path, default=Path("models/demo"))
    p.add_argument("--adapter", default="warmth-b0.1")
    p.add_argument("--dialogue", type=Path, default=Path("examples/dialogue.jsonl"))
    p.add_argument("--questions", type=int, default=60)
    p.add_argument("--most", type=float, default=1e-3, help="largest difference in nats that is accepted")
    a = p.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        reference, adapter = folder / "reference.gguf", folder / "adapter.gguf"
        in_float32(a.models / "reference-q8_0.gguf", reference)
        in_float32(a.models / f"{a.adapter}.lora.gguf", adapter)
        subprocess.run([a.realign, "pairs", "add", "float32", "--data", folder / "data", "--reference", reference,
                        "--adapter", f"{a.adapter}={adapter}"], check=True)
        turns = [json.loads(line) for line in a.dialogue.open()]
        questions = [t["prompt"] if isinstance(t["prompt"], str) else t["prompt"][-1]["content"] for t in turns][: a.questions]
        with open(folder / "rows.jsonl", "w") as rows:
            for question in questions:
                rows.write(json.dumps({"question": question, "choices": ANSWERS, "gold": 1}) + "\n")
        (folder / "warm.yaml").write_text(
            f"task: warm\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/rows.jsonl\ntest_split: test\n"
            "output_type: multiple_choice\ndoc_to_text: '{{question}}\\n'\ndoc_to_choice: '{{choices}}'\ndoc_to_target: gold\n"
            "metric_list:\n  - metric: acc\n")
        tasks = TaskManager(include_path=str(folder))
        server, url = served(a.realign, folder, "float32")
        try:
            SameTokens.url = url
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=reference.name)
            for lam in (0, 1):
                model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=reference.name, dtype=torch.float32).eval()
                if lam == 1:
                    model = merge(model, adapter)
                theirs = answers(tasks, SameTokens(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=8))
                ours = answers(tasks, "local-completions", {
                    "model": f"float32:{a.adapter}@{lam}", "base_url": url + "/v1/completions", "tokenizer_backend": "remote",
                    "num_concurrent": 2, "batch_size": 8})
                assert ours.keys() == theirs.keys() and len(ours) == 2 * len(questions), (len(ours), len(theirs))
                furthest = max(abs(ours[k] - theirs[k]) for k in ours)
                mean = sum(theirs.values()) / len(theirs)
                print(f"λ = {lam}: {len(ours)} log-likelihoods, mean {mean:.3f}, largest difference {furthest:.2e} nats")
                if not furthest <= a.most:
                    raise SystemExit(f"more than {a.most}")
        finally:
            server.terminate()
            server.wait()


def answers(tasks, model, arguments=None):
    """The log-likelihood of each continuation, by context and continuation."""
    result = lm_eval.simple_evaluate(model=model, model_args=arguments, tasks=["warm"], task_manager=tasks, log_samples=True)
    return {tuple(arg): float(resp[0]) for s in result["samples"]["warm"] for arg, resp in zip(s["arguments"], s["filtered_resps"])}


if __name__ == "__main__":
    main()
