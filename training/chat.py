"""The chat format of the demo pair: ChatML, as a Jinja template and as plain Python.

The template text is stored in the GGUF. It is the ChatML shape that llama.cpp recognises by itself, so that
its C function (which knows a fixed list of templates and no Jinja) renders the same text.
"""

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"  # padding only; never seen in training
SPECIAL_TOKENS = [END_OF_TEXT, IM_START, IM_END]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

ROLES = ("user", "assistant")


def messages(turns, system=None):
    """Turns of two alternating speakers as chat messages; the first speaker is the user."""
    out = [{"role": "system", "content": system}] if system else []
    return out + [{"role": ROLES[i % 2], "content": t} for i, t in enumerate(turns)]


def render(msgs, add_generation_prompt=False):
    """The text of a conversation; equals CHAT_TEMPLATE rendered by Jinja (a test says so)."""
    text = "".join(f"{IM_START}{m['role']}\n{m['content']}{IM_END}\n" for m in msgs)
    return text + (f"{IM_START}assistant\n" if add_generation_prompt else "")


def parse(text):
    """The contents of the turns of a rendered conversation, without the one that is to come."""
    return [t.split("\n", 1)[1].split(IM_END)[0] for t in text.split(IM_START)[1:] if IM_END in t]
