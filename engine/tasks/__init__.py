"""Labelled tasks: their folder, the metrics and labels that answers are scored by, examples, names of arms."""
