"""Answers of a base model, with or without an adapter: decoding, sampling, text as it streams."""
