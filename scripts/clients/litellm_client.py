"""LiteLLM against a server with the demo pair: REALIGN_URL says where."""

import os

import litellm

common = dict(api_base=os.environ["REALIGN_URL"] + "/v1", api_key="none", num_retries=0)
ask = [{"role": "user", "content": "What did you think of the film?"}]
model = "openai/demo:warmth-b0.1@0.5"

whole = litellm.completion(model=model, messages=ask, seed=7, max_tokens=30, **common)
text = whole.choices[0].message.content
assert text and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens, whole
streamed = "".join(c.choices[0].delta.content or "" for c in litellm.completion(model=model, messages=ask, seed=7, max_tokens=30, stream=True, **common))
assert streamed == text, (streamed, text)
grid = litellm.completion(model="openai/demo:warmth-b0.1", messages=ask, seed=7, max_tokens=30, extra_body={"lambda": [0, 0.5, 1]}, **common)
assert [c.message.content for c in grid.choices][1] == text, grid
try:
    litellm.completion(model="openai/nobody", messages=ask, **common)
    raise SystemExit("litellm: an unknown model was not refused")
except litellm.NotFoundError:
    pass
print("litellm ok")
