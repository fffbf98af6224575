"""How well decoding at lambda predicts a model retrained at beta / lambda: the experiment behind docs/fidelity.md."""
