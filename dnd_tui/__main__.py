"""`python -m dnd_tui` is the console command `dnd-tui`."""

from dnd_tui.cli import main

main()
