"""Which matrices a LoRA has for a base (layout), and matrices <-> weight tokens."""
