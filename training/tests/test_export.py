"""What a rating study exports for TRL loads in datasets, and TRL trains on it.

The files are those that internal/study's TestRowsForTRL keeps, and those of the study that e2e/study.spec.mjs has two
people rate, where the browser tests have left them.
"""

import copy
import json
from pathlib import Path

import pytest

datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")

import torch  # noqa: E402
from tokenizers import Regex, Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402
from trl.data_utils import is_conversational, maybe_apply_chat_template  # noqa: E402

ROOT = Path(__file__).parents[2]
FILES = ROOT / "internal" / "study" / "testdata"
CLICKED = ROOT / "test-results" / "export"
TEMPLATE = ("{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
            "{% if add_generation_prompt %}<assistant> {% endif %}")


def load(name, folder=FILES):
    return datasets.load_dataset("json", data_files=str(folder / f"{name}.jsonl"), split="train")


@pytest.fixture
def tokenizer():
    # A token for each character, so that tokens of prompt and answer never merge.
    words = ["<pad>", "<unk>", "<s>", "</s>"] + [chr(c) for c in range(32, 127)]
    tok = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    return fast


@pytest.fixture
def small():
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(vocab_size=99, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256))


@pytest.mark.parametrize("mode", ["chat", "plain"])
def test_rows_have_the_types_that_trl_expects(mode, tokenizer):
    rows = load(f"preferences-{mode}")
    assert rows.num_rows == 4
    assert {"prompt", "chosen", "rejected", "chosen_lambda", "rejected_lambda", "seed", "rater", "order"} <= set(rows.column_names)
    assert rows.features["chosen_lambda"].dtype == "float64"
    assert rows[0]["seed"] == str(2**64 - 1) and rows[0]["order"] == "rejected_first"
    assert is_conversational(rows[0]) == (mode == "chat")
    text = maybe_apply_chat_template(rows[0], tokenizer)
    assert "high" in text["chosen"] and "low" in text["rejected"] and "Hi" in text["prompt"]
    labels = load(f"labels-{mode}")
    assert labels.features["label"].dtype == "bool" and {True, False} == set(labels["label"])
    assert is_conversational(labels[0]) == (mode == "chat")


def take_a_step(rows, tokenizer, small, tmp_path):
    config = trl.DPOConfig(output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True, bf16=False,
                           logging_steps=1, save_strategy="no", learning_rate=0.01)
    before = {k: v.clone() for k, v in small.state_dict().items()}
    trainer = trl.DPOTrainer(model=small, ref_model=copy.deepcopy(small), args=config, train_dataset=rows, processing_class=tokenizer)
    loss = trainer.train().training_loss
    assert 0 < loss < 10
    assert any(not torch.equal(v, before[k]) for k, v in trainer.model.state_dict().items())


@pytest.mark.parametrize("mode", ["chat", "plain"])
def test_trl_takes_a_step_of_dpo_on_them(mode, tokenizer, small, tmp_path):
    take_a_step(load(f"preferences-{mode}"), tokenizer, small, tmp_path)


@pytest.mark.skipif(not (CLICKED / "preferences.jsonl").exists(), reason="no export is in test-results: run node --test e2e/study.spec.mjs")
def test_what_people_clicked_trains(tokenizer, small, tmp_path):
    outputs, clicked = {}, []
    for line in (CLICKED / "ratings.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["type"] == "output":
            outputs[row["id"]] = row
        elif row["type"] == "rating" and not row.get("catch") and row["answer"].get("choice") in ("a", "b"):
            shown = [outputs[i] for i in row["shown"]]
            chosen, rejected = shown if row["answer"]["choice"] == "a" else shown[::-1]
            clicked.append((row["annotator"], chosen["text"], rejected["text"], chosen["lambda"], rejected["lambda"]))
    rows = load("preferences", CLICKED)
    assert sorted(clicked) == sorted((r["rater"], r["chosen"][-1]["content"], r["rejected"][-1]["content"], r["chosen_lambda"], r["rejected_lambda"]) for r in rows)
    assert len(clicked) > 10 and all(is_conversational(r) for r in rows)
    assert {True, False} == set(load("labels", CLICKED)["label"])
    take_a_step(rows, tokenizer, small, tmp_path)
