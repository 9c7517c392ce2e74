"""What the app keeps between its runs: the library of adapters, recent prompts, past runs; and transcripts."""
