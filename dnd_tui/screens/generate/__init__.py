"""The Generate screen."""
