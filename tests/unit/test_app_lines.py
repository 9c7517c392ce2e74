"""Text as people read it in a terminal: commands in lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dnd_tui.widgets.lines import command_lines

words = st.lists(st.text(st.sampled_from("ab/-é漢"), min_size=1, max_size=30), min_size=1, max_size=8)


@given(words, st.integers(2, 40))
def test_no_word_of_a_command_is_broken_that_fits_a_line(words: list[str], width: int) -> None:
    lines = command_lines(" ".join(words), width)
    assert all(0 < cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(words)
    whole = [word for line in lines for word in line.split()]
    assert all(word in whole for word in words if cell_len(word) <= width)


def test_a_path_is_broken_behind_a_slash() -> None:
    command = "dnd-tui export /data/library/20241102-120000/adapter --out /exports/topics"
    assert command_lines(command, 32) == [
        "dnd-tui export",
        "/data/library/20241102-120000/",
        "adapter --out /exports/topics",
    ]
