"""The Depth screen."""
