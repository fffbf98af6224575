"""The pair smollm2: LoRA adapters for SmolLM2-135M-Instruct by DPO on its own samples."""
