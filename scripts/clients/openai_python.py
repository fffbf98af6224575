"""OpenAI's package for Python against a server with the demo pair: REALIGN_URL says where."""

import os
import time

import openai

client = openai.OpenAI(base_url=os.environ["REALIGN_URL"] + "/v1", api_key="none", max_retries=0)
ask = [{"role": "user", "content": "What did you think of the film?"}]


def check(what, right):
    if not right:
        raise SystemExit(f"openai-python: {what}")


names = [m.id for m in client.models.list()]
check("models are listed", "demo:warmth-b0.1@0.5" in names)
check("one model", client.models.retrieve("demo:warmth-b0.1@0.3").id == "demo:warmth-b0.1@0.3")

whole = client.chat.completions.create(model="demo:warmth-b0.1@0.5", messages=ask, seed=7, max_tokens=40, temperature=0.7, logprobs=True, top_logprobs=3)
text = whole.choices[0].message.content
check("a reply", text and whole.choices[0].finish_reason in ("stop", "length") and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens)
tokens = whole.choices[0].logprobs.content
check("log-probabilities", len(tokens) == whole.usage.completion_tokens and all(t.logprob <= 0 and len(t.top_logprobs) == 3 for t in tokens))

streamed, usage = "", None
for chunk in client.chat.completions.create(model="demo:warmth-b0.1@0.5", messages=ask, seed=7, max_tokens=40, temperature=0.7, stream=True, stream_options={"include_usage": True}):
    if chunk.choices:
        streamed += chunk.choices[0].delta.content or ""
    usage = chunk.usage or usage
check(f"the stream says {streamed!r}, the whole reply {text!r}", streamed == text)
check("usage of the stream", usage.completion_tokens == whole.usage.completion_tokens and usage.prompt_tokens_details.cached_tokens > 0)

grid = client.chat.completions.create(model="demo:warmth-b0.1", messages=ask, seed=7, max_tokens=40, temperature=0.7, n=1, extra_body={"lambda": [0, 0.5, 1, 2], "realign": True})
check("a choice for each λ", [c.model_extra["lambda"] for c in grid.choices] == [0, 0.5, 1, 2])
check("λ = 0.5 of the grid is λ = 0.5 alone", grid.choices[1].message.content == text)
check("effective β", grid.choices[3].model_extra["realign"]["effective_beta"] == 0.05)

completion = client.completions.create(model="demo@0", prompt=["The film was", "I think"], max_tokens=5, temperature=0, logprobs=2, echo=True)
check("echo", len(completion.choices) == 2 and completion.choices[0].text.startswith("The film was") and completion.choices[0].logprobs.token_logprobs[0] is None)

for wrong, kind in (
    (dict(model="nobody", messages=ask), openai.NotFoundError),
    (dict(model="demo", messages=ask, tools=[{"type": "function", "function": {"name": "f"}}]), openai.BadRequestError),
    (dict(model="demo", messages=ask, temperature=101), openai.BadRequestError),
    (dict(model="demo", messages=ask, response_format={"type": "json_object"}), openai.BadRequestError),
):
    try:
        client.chat.completions.create(**wrong)
        raise SystemExit(f"openai-python: {wrong} was not refused")
    except kind as e:
        check(f"the error names its field: {e}", e.body["param"])

# A reader that leaves: the next call is answered at once.
stream = client.chat.completions.create(model="demo", messages=ask, max_tokens=2000, stream=True, extra_body={"lambda": [0, 0.5, 1]})
next(iter(stream))
stream.close()
began = time.monotonic()
client.chat.completions.create(model="demo", messages=ask, max_tokens=1)
check("the lanes of a reader that left are free", time.monotonic() - began < 10)
print("openai-python", openai.__version__, "ok")
