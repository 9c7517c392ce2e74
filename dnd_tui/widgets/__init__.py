"""Parts of screens; each file holds one, with its own styles."""
