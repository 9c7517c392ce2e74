"""Making a generator of one's own: collecting LoRA checkpoints, pairing, training."""
