"""promptfoo against a server with the demo pair: λ side by side in its own table. REALIGN_URL says where the server is and
PROMPTFOO_BIN where promptfoo is."""

import json
import os
import pathlib
import subprocess
import tempfile

url = os.environ["REALIGN_URL"] + "/v1"
lambdas = ["0", "0.5", "1", "2"]
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    config = {
        "prompts": ["What did you think of {{thing}}?"],
        "providers": [
            {"id": f"openai:chat:demo:warmth-b0.1@{x}", "label": f"λ = {x}", "config": {"apiBaseUrl": url, "apiKey": "none", "temperature": 0.7, "max_tokens": 40, "seed": 3}}
            for x in lambdas
        ],
        "tests": [{"vars": {"thing": thing}, "assert": [{"type": "javascript", "value": "output.length > 0"}]} for thing in ("the film", "the song")],
    }
    (folder / "promptfooconfig.json").write_text(json.dumps(config))
    environment = dict(os.environ, PROMPTFOO_DISABLE_TELEMETRY="1", PROMPTFOO_DISABLE_UPDATE="1", PROMPTFOO_DISABLE_REMOTE_GENERATION="1", PROMPTFOO_CONFIG_DIR=str(folder / "state"))
    done = subprocess.run([os.environ["PROMPTFOO_BIN"], "eval", "-c", str(folder / "promptfooconfig.json"), "-o", str(folder / "out.json"), "--no-cache", "--no-progress-bar"], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = json.loads((folder / "out.json").read_text())["results"]
    assert results["stats"]["successes"] == 2 * len(lambdas), results["stats"]
print("promptfoo ok:", results["stats"])
