"""A prompt batch -> the condition of the generator: token-level hidden states of a frozen text encoder."""
