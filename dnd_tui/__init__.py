"""The terminal app and the command line of dnd-tui. No torch here: the work is done by `engine`."""

__version__ = "0.1.0"
