"""Labelled tasks: their folder, the metrics and labels that answers are scored by, names of arms."""
