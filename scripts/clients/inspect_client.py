"""inspect_ai against a server with the demo pair: one task at three λ. REALIGN_URL says where."""

import os
import tempfile

os.environ["REALIGN_BASE_URL"] = os.environ["REALIGN_URL"] + "/v1"
os.environ["REALIGN_API_KEY"] = "none"

from inspect_ai import Task, eval as evaluate
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

task = Task(dataset=[Sample(input=f"What did you think of {x}?", target="love") for x in ("the film", "the song", "the food", "the book")], solver=generate(), scorer=includes())
accuracies = []
for lam in (0, 1, 2):
    with tempfile.TemporaryDirectory() as logs:
        [log] = evaluate(task, model=f"openai-api/realign/demo:warmth-b0.1@{lam}", seed=3, max_tokens=40, temperature=0.7, log_dir=logs, display="none", log_samples=True)
        assert log.status == "success", log.error
        assert all(s.output.completion for s in log.samples), log.samples  # read from the log's file
    accuracies.append(log.results.scores[0].metrics["accuracy"].value)
assert accuracies[-1] >= accuracies[0], accuracies
print("inspect ok: accuracy at λ 0, 1, 2:", accuracies)
