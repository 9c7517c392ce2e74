"""What several screens show, with its own styles."""
