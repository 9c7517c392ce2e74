"""The Forge screen."""
