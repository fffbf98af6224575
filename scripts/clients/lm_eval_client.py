"""lm-evaluation-harness against a server with the demo pair: a task over local data by log-likelihood, at every λ of a grid, and
generation. REALIGN_URL says where the server is; the first argument is the root of the repository."""

import json
import os
import pathlib
import sys
import tempfile
import time
import urllib.request

import lm_eval
import lm_eval.models.api_models
from lm_eval.tasks import TaskManager

url = os.environ["REALIGN_URL"]
grid = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
aligned = "demo:warmth-b0.1"
larger = "smollm2:warmth-b0.1"
served = {m["id"].split("@")[0] for m in json.load(urllib.request.urlopen(url + "/v1/models"))["data"]}


def check(what, right):
    if not right:
        raise SystemExit(f"lm-eval: {what}")


def said(seconds):
    return f"nine λ took {sum(seconds) / seconds[0]:.2f} times one λ ({seconds[0]:.2f} s, then {min(seconds[1:]):.2f} to {max(seconds[1:]):.2f} s)"


# What the requests take, without what the harness does around them.
spent = 0.0
ask = lm_eval.models.api_models.TemplateAPI._loglikelihood_tokens


def timed(*args, **kwargs):
    global spent
    began = time.monotonic()
    try:
        return ask(*args, **kwargs)
    finally:
        spent += time.monotonic() - began


lm_eval.models.api_models.TemplateAPI._loglikelihood_tokens = timed


def score(prompts, lam, start):
    body = json.dumps({"model": aligned, "prompt": prompts, "lambda": lam, "from": start}).encode()
    request = urllib.request.Request(url + "/v1/score", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


# The warmer of two answers to a question.
root = pathlib.Path(sys.argv[1])
turns = [json.loads(line) for line in open(root / "examples" / "dialogue.jsonl")]
questions = [t["prompt"] if isinstance(t["prompt"], str) else t["prompt"][-1]["content"] for t in turns][:60]
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    with open(folder / "rows.jsonl", "w") as rows:
        for question in questions:
            choices = [" I don't know, it was okay.", " I loved it, it was one of the best."]
            rows.write(json.dumps({"question": question, "choices": choices, "gold": 1}) + "\n")
    common = f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/rows.jsonl\ntest_split: test\n"
    (folder / "warm.yaml").write_text(
        "task: warm\n" + common + "output_type: multiple_choice\ndoc_to_text: '{{question}}\\n'\ndoc_to_choice: '{{choices}}'\ndoc_to_target: gold\nmetric_list:\n  - metric: acc\n"
    )
    (folder / "reply.yaml").write_text(
        "task: reply\n" + common + "output_type: generate_until\ndoc_to_text: '{{question}}\\n'\ndoc_to_target: ' film'\ngeneration_kwargs:\n  until: ['\\n']\n  max_gen_toks: 12\nmetric_list:\n  - metric: exact_match\n"
    )
    tasks = TaskManager(include_path=str(folder))

    def run(task, lam, name=aligned, limit=None):
        before = spent
        result = lm_eval.simple_evaluate(
            model="local-completions", tasks=[task], task_manager=tasks, limit=limit, log_samples=True,
            model_args={"model": f"{name}@{lam}", "base_url": url + "/v1/completions", "tokenizer_backend": "remote", "num_concurrent": 4, "batch_size": 8, "max_retries": 1},
        )
        return result, spent - before

    run("warm", 1, limit=2)  # data and tokenizer are ready after this

    def over_grid(name):
        """The accuracy at every λ, the result of the first, and how long each took."""
        results, seconds = zip(*(run("warm", lam, name) for lam in grid))
        return [r["results"]["warm"]["acc,none"] for r in results], results[0], seconds

    accuracy, first, seconds = over_grid(aligned)
    check(f"λ moves the accuracy: {accuracy}", accuracy[-1] > accuracy[0])
    print("lm-eval demo: accuracy", dict(zip(grid, accuracy)), said(seconds))
    # The demo's models take less time than the harness itself, so what the cache saves shows on larger ones.
    if larger in served:
        accuracy, _, seconds = over_grid(larger)
        print("lm-eval", larger, "accuracy", dict(zip(grid, accuracy)), said(seconds))
        check(said(seconds), sum(seconds) <= 1.3 * seconds[0])

    # The harness' log-likelihoods are those of /v1/score.
    sample = first["samples"]["warm"][0]
    context, continuation = sample["arguments"][0]
    whole = json.load(urllib.request.urlopen(urllib.request.Request(url + "/tokenize", json.dumps({"prompt": context + continuation, "add_special_tokens": False}).encode())))["tokens"]
    head = json.load(urllib.request.urlopen(urllib.request.Request(url + "/tokenize", json.dumps({"prompt": context, "add_special_tokens": False}).encode())))["tokens"]
    ours = score([whole], [grid[0]], len(head))["data"][0]["logprobs"][0]
    theirs = float(sample["filtered_resps"][0][0])
    check(f"log-likelihood {theirs}, /v1/score says {ours}", abs(ours - theirs) < 1e-6)

    generated, _ = run("reply", 1, limit=5)
    texts = [s["resps"][0][0] for s in generated["samples"]["reply"]]
    check(f"replies {texts}", len(texts) == 5 and all(texts))
print("lm-eval", getattr(lm_eval, "__version__", ""), "ok")
