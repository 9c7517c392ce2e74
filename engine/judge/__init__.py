"""Streamed answers of base and adapted model, metrics, and the quality table over unseen tasks."""
