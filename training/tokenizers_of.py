"""Small tokenizers of the kinds that models have: the same steps, pattern, markers and files, with a vocabulary learnt from the pages of
this repository."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parent.parent
SIZE = 600

WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
LLAMA3 = ("{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
GEMMA = ("{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}")
PHI3 = ("{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}")


def corpus():
    for page in sorted(ROOT.glob("docs/*.md")) + [ROOT / "README.md"]:
        yield page.read_text(encoding="utf-8")


def byte_pairs(split, special, normalizer=None, whole=False, start=None):
    """Merges of bytes, as Llama 3, Qwen, OLMo and GPT-NeoX have them."""
    t = Tokenizer(models.BPE(ignore_merges=whole))
    t.normalizer = normalizer
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    t.pre_tokenizer = byte_level if split is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), byte_level])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    if start:
        t.post_processor = processors.TemplateProcessing(single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, t.token_to_id(start))])
    return t


def pieces(folder, prefix, user):
    """A model of SentencePiece, trained by SentencePiece; user are pieces of one meaning."""
    folder.mkdir(parents=True, exist_ok=True)
    data = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for page in corpus() for line in page.splitlines()), model_writer=data, model_type="bpe", vocab_size=SIZE + 256, byte_fallback=True,
        add_dummy_prefix=prefix, remove_extra_whitespaces=False, normalization_rule_name="identity", user_defined_symbols=user, character_coverage=0.999,
        minloglevel=2, **({"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "pad_piece": "<pad>", "eos_piece": "<eos>", "bos_piece": "<bos>"} if not prefix else {}))
    (folder / "tokenizer.model").write_bytes(data.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=data.getvalue())


def scored(sp, prefix, start, extra=()):
    """The same tokenizer in the form of merges, as transformers converts it."""
    scores = {sp.id_to_piece(i): sp.get_score(i) for i in range(sp.get_piece_size())}
    ids = {piece: i for i, piece in enumerate(scores)}
    learnt = [p for i, p in enumerate(scores) if not (sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i))]
    merges = []
    for piece in learnt:
        local = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids]
        merges += [(pair, scores[piece]) for pair in sorted(local, key=lambda pair: (ids[pair[0]], ids[pair[1]]))]
    merges = [pair for pair, _ in sorted(merges, key=lambda m: m[1], reverse=True)]
    t = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [sp.id_to_piece(i) for i in range(sp.get_piece_size()) if sp.is_control(i) or sp.is_unknown(i)]
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    t.add_special_tokens([AddedToken(s, special=True, normalized=False, rstrip=prefix) for s in extra])
    t.post_processor = processors.TemplateProcessing(single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, t.token_to_id(start))]) if start else None
    return t


@dataclass
class Kind:
    pre: str  # what llama.cpp calls its way to cut a text
    build: object  # of a folder: the tokenizer, and how transformers is told of it
    flags: dict = field(default_factory=dict)  # of tokenizer_config.json
    files: bool = False  # whether SentencePiece's own file is in a model's folder, too

    def make(self, folder):
        tokenizer, about = self.build(folder)
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **about)


def llama3(folder):
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return byte_pairs(WORDS % "{1,3}", special, whole=True, start=special[0]), dict(bos_token=special[0], eos_token=special[1], chat_template=LLAMA3)


def qwen2(folder):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return byte_pairs(WORDS % "", special, normalizers.NFC()), dict(eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML)


def olmo2(folder):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    return byte_pairs(WORDS % "{1,3}", special), dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|pad|>", chat_template=CHATML)


def gptneox(folder):
    special = ["<|endoftext|>", "<|padding|>"]
    return byte_pairs(None, special, normalizers.NFC()), dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def gemma(folder):
    user = ["<start_of_turn>", "<end_of_turn>"]
    return (scored(pieces(folder, False, user), False, "<bos>", user),
            dict(bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>", chat_template=GEMMA))


def mistral(folder):
    return scored(pieces(folder, True, []), True, "<s>"), dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def phi3(folder):
    extra = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
    return scored(pieces(folder, True, []), True, None, extra), dict(bos_token="<s>", eos_token="<|endoftext|>", unk_token="<unk>", chat_template=PHI3)


KINDS = {
    "llama3": Kind("llama-bpe", llama3), "qwen2": Kind("qwen2", qwen2), "olmo2": Kind("dbrx", olmo2), "gptneox": Kind("olmo", gptneox),
    "gemma": Kind("default", gemma), "mistral": Kind("default", mistral, {"add_bos_token": True}, files=True), "phi3": Kind("default", phi3, {"add_bos_token": False}, files=True),
}
