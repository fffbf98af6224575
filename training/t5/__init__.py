"""Encoder–decoder models: T5 as GGUF, its parity with transformers, and the pair demo-t5."""
