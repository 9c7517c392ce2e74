"""Tables as programs write them: what stands between fields, where lines end, with a header and without."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.prompts import describe, read_prompts
from engine.prompts.report import columns_read_otherwise
from engine.prompts.tables import delimiter_of, names_columns

ASKED = [("Where, now?", ("here",)), ("Who?", ("you",))]


def rows(path: Path, text: str, encoding: str = "utf-8", **named: str) -> list[tuple[str, tuple[str, ...]]]:
    path.write_bytes(text.encode(encoding))
    return [(row.prompt, row.references) for row in read_prompts(path, **named)]


@pytest.mark.parametrize("name", ["p.csv", "p.tsv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_what_stands_between_fields_is_found(tmp_path: Path, name: str, encoding: str, end: str, sign: str) -> None:
    lines = [f"prompt{sign}response", f"Where, now?{sign}here", f"Who?{sign}you", ""]
    assert rows(tmp_path / name, end.join(lines), encoding) == ASKED


@pytest.mark.parametrize("said", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_first_line_may_say_it(tmp_path: Path, said: str) -> None:
    text = f"{said}\r\nprompt;response\r\nWhere, now?;here\r\nWho?;you\r\n"
    assert rows(tmp_path / "p.csv", text) == ASKED
    with pytest.raises(EngineError) as caught:
        rows(tmp_path / "p.csv", text + "a;b;c\r\n")
    assert str(caught.value.where).endswith("line 5")


@pytest.mark.parametrize(
    ("lines", "sign"),
    [
        (["a, b;response", "Who?;you"], ";"),
        (["id,prompt", "1,a;b", "2,c;d"], ","),
        (["prompt", "one; two"], ","),
        (["prompt,response", "one"], ","),
        (['prompt;response', '"a', 'b,c";x', "d;y"], ";"),
        ([], ","),
    ],
)  # fmt: skip
def test_several_rows_say_what_stands_between_fields(lines: list[str], sign: str) -> None:
    assert delimiter_of(lines) == sign


def test_columns_of_one_name_and_of_none_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    assert rows(path, ",prompt,prompt,response\n0,Who?,other,you\n") == [("Who?", ("you",))]
    assert describe(read_prompts(path)).unread == ("unnamed 1", "prompt 3")


def test_blank_fields_after_the_last_column_are_none(tmp_path: Path) -> None:
    assert rows(tmp_path / "p.csv", "prompt,response\nWho?,you,\n,,,\n") == [("Who?", ("you",))]


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("prompt,response\nWhere?,here\n", "csv"),
        ("prompt|response\nWhere?|here\n", "csv"),
        ("Where?\there\nWho?\tyou\nWhom?\tyou\nWhen?\there\n", "tsv"),
        ("Where is the prompt, and what is the response?\nWho?\n", "txt"),
        ("Where?\tnow\nWho?\n", "txt"),
        ("\tone\n\ttwo\n", "txt"),
    ],
)
def test_tables_under_the_name_of_text(tmp_path: Path, text: str, format: str) -> None:
    path = tmp_path / "p.txt"
    path.write_text(text)
    prompts = read_prompts(path)
    assert prompts.format == format
    assert (prompts.head(1)[0].references == ("here",)) is (format != "txt")
    assert read_prompts(path, text_files="lines").format == "txt"


@pytest.mark.parametrize("text", ["Where?\tnow\nWho?\tyou\n", "what\tnow\nhow\tyou\n"])
def test_text_taken_for_a_table_can_be_read_by_lines(tmp_path: Path, text: str) -> None:
    with pytest.raises(EngineError) as caught:
        rows(tmp_path / "p.txt", text)
    assert str(caught.value.hint).endswith("If each line is a prompt: text files lines")


def test_a_line_end_inside_quotes_stays(tmp_path: Path) -> None:
    assert rows(tmp_path / "p.csv", 'prompt;response\r"a\rb";c\r') == [("a\rb", ("c",))]


def test_without_a_header_the_first_prompt_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    asked = rows(path, 'Tell me a joke about cats\n"Explain rain, briefly"\n')
    assert asked == [("Tell me a joke about cats", ()), ("Explain rain, briefly", ())]
    assert "csv, no header line: column 1;" in describe(read_prompts(path)).reading
    text = "Where is it?,here\nWho are you?,you\n"
    with pytest.raises(EngineError, match='column "column 1"'):
        rows(path, text)
    assert rows(path, text, column="column 1", label="column 2") == [
        ("Where is it?", ("here",)),
        ("Who are you?", ("you",)),
    ]


def test_a_header_that_is_a_sentence_can_be_named(tmp_path: Path) -> None:
    assert rows(tmp_path / "p.csv", "What do you ask?\nWho?\n", column="What do you ask?") == [("Who?", ())]


TICKETS = "1,The parcel is late,delivery\n2,I paid twice,billing\n3,Where is it?,delivery\n4,Send money back,billing\n"


def test_of_a_table_without_a_header_columns_are_found_by_what_stands_in_them(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    asked = rows(path, TICKETS)
    assert asked[0] == ("The parcel is late", ("delivery",)) and len(asked) == 4
    prompts = read_prompts(path)
    assert describe(prompts).reading.startswith(
        "csv, no header line: columns 1 to 3; prompt: column 2; label: column 3"
    )
    # Naming a column is choosing how the first line is read.
    assert columns_read_otherwise(prompts) == ["1", "The parcel is late", "delivery"]
    named = read_prompts(path, column="The parcel is late")
    assert [row.prompt for row in named] == ["I paid twice", "Where is it?", "Send money back"]
    assert columns_read_otherwise(named) == ["column 1", "column 2", "column 3"]


def test_a_table_without_a_header_and_without_a_clear_column_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        rows(tmp_path / "p.csv", "Where is Rome?,In Italy.\nWho are you?,I am you.\n")
    assert "column 1, column 2" in caught.value.problem and "No header line was found" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("first", "below", "header"),
    [
        ("id,ticket,topic", ["1,I paid twice,billing", "2,It is late,delivery"], True),
        ("number,comment", ["1,fine", "2,bad"], True),
        ("When,What would you change?", ["2021,It is slow. I wait.", "2022,Nothing at all."], True),
        ("comment text,kind", ["It is slow.,bad", "It works.,good"], True),
        ("name,name of town", [], True),
        ("1,I paid twice", ["2,It is late"], False),
        ("I paid twice,billing", ["It is late,delivery", "I paid too much,billing"], False),
        ("Where is Rome?,Italy", ["Where is Bonn?,Germany"], False),
        ("prompt,1", ["a,1"], True),
    ],
)
def test_what_shows_whether_the_first_line_names_columns(first: str, below: list[str], header: bool) -> None:
    assert names_columns(first.split(","), [row.split(",") for row in below]) is header


@given(st.lists(st.tuples(st.integers(), st.sampled_from(["yes", "no"])), min_size=4, max_size=12))
@settings(max_examples=50)
def test_no_row_of_a_table_without_a_header_is_lost(pairs: list[tuple[int, str]]) -> None:
    first, *below = [[f"Parcel {number} is late.", label] for number, label in pairs]
    assert not names_columns(first, below)
