"""The generator: condition -> weight tokens -> a LoRA adapter; its artifact on disk."""
