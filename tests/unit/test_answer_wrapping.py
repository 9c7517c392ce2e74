"""How the text of an answer is wrapped while it grows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dnd_tui.screens.compare.answer_text import wrapped

WORDS = st.text(alphabet="ab  東é", max_size=60)


@given(WORDS, st.integers(2, 12))
def test_every_row_fits_and_only_spaces_are_left_out(text: str, width: int) -> None:
    rows = wrapped(text, 0, 0, width)
    assert all(cell_len(text[row.start : row.end]) <= width for row in rows)
    assert "".join(text[row.start : row.end] for row in rows).replace(" ", "") == text.replace(" ", "")


@given(WORDS, WORDS, st.integers(2, 12))
def test_wrapping_from_the_last_row_on_is_the_same_as_wrapping_all(text: str, more: str, width: int) -> None:
    *kept, last = wrapped(text, 3, 0, width)
    assert kept + wrapped(text + more, 3, last.start, width) == wrapped(text + more, 3, 0, width)
