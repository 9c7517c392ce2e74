"""Which words of two answers differ."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.screens.compare.answer_text import highlighted, word_differences

TEXTS = st.text(alphabet="ab \n東京", max_size=80)
WORDS = st.text(alphabet="ab東京", min_size=1, max_size=2)


def marked(base: str, adapted: str) -> list[str]:
    return [adapted[start:end] for start, end in word_differences(base, adapted)]


def test_words_that_are_new_or_others_are_marked() -> None:
    assert marked("the cat sat on the mat", "the dog sat on a red mat") == ["dog", "a red"]


def test_the_same_text_has_no_differences_however_it_is_spaced() -> None:
    assert marked("the cat\nsat", "the  cat sat ") == []


def test_where_most_differs_nothing_is_marked() -> None:
    assert marked("", "the cat") == marked("the cat", "") == []
    assert marked("sport", "The text is about a marathon.") == []
    assert marked("a b c d", "a b x y") == ["x y"]
    assert marked("a b c d e", "a b x y z") == []
    # As seen from either side.
    assert marked("one two three four", "one two") == [] and marked("one two", "one two three four") == ["three four"]


def test_words_left_out_are_marked_in_the_other_text_only() -> None:
    assert marked("the big cat", "the cat") == []
    assert marked("the cat", "the big cat") == ["big"]


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert marked("東京は首都です", "東京は都会です") == ["会"]


def test_a_text_beyond_the_cap_differs_as_a_whole_after_it() -> None:
    base = " ".join(f"a{at}" for at in range(6000))
    adapted = "x " + " ".join(f"a{at}" for at in range(6000)) + " y"
    spans = word_differences(base, adapted)
    assert adapted[slice(*spans[0])] == "x" and adapted[slice(*spans[-1])].endswith(" y")
    assert sum(end - start for start, end in spans) < len(adapted) / 2


def test_an_answer_that_repeats_itself_is_compared_at_once() -> None:
    # difflib without its shortcut takes minutes for these. With it no word is left to begin at: all would be marked.
    assert word_differences("the cat sat " * 1300, "so the cat sat " * 1000) == []


@given(TEXTS, TEXTS)
def test_spans_are_in_order_inside_the_text_and_begin_and_end_with_words(base: str, adapted: str) -> None:
    end_before = -1
    for start, end in word_differences(base, adapted):
        assert end_before < start < end <= len(adapted)
        assert adapted[start:end] == adapted[start:end].strip()
        end_before = end


@given(st.lists(WORDS, min_size=5, max_size=12), st.lists(WORDS, max_size=2), st.lists(WORDS, max_size=2), st.data())
def test_what_is_not_marked_stands_in_the_base_in_that_order(
    same: list[str], old: list[str], new: list[str], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(same)))
    base, adapted = (" ".join([*same[:at], *other, *same[at:]]) for other in (old, new))
    rest = list(adapted)
    for start, end in word_differences(base, adapted):
        rest[start:end] = " " * (end - start)
    characters = iter("".join(base.split()))
    assert all(character in characters for character in "".join(rest) if not character.isspace())


@given(TEXTS, TEXTS)
def test_the_pieces_of_a_highlighted_text_give_the_text_back(base: str, adapted: str) -> None:
    content = highlighted(adapted, word_differences(base, adapted))
    assert "".join(text for text, _ in content.render(end="")) == adapted == content.plain


def test_marks_show_without_colours_and_markup_is_literal() -> None:
    content = highlighted("[b]no[/b] markup", [(0, 9)])
    assert content.plain == "[b]no[/b] markup"
    (span,) = content.spans
    assert (span.start, span.end) == (0, 9) and "bold underline" in str(span.style)
