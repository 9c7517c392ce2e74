"""Answers by a larger model, for prompts that have none: what it writes, an adapter is made from."""
