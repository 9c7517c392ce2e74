"""A LoRA adapter: in memory, attached by peft, on disk."""
