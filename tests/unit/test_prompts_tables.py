"""Tables as programs write them: what stands between fields, where lines end, with a header and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.prompts import describe, read_prompts
from engine.prompts.tables import delimiter_of

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


def test_a_line_end_inside_quotes_stays(tmp_path: Path) -> None:
    assert rows(tmp_path / "p.csv", 'prompt;response\r"a\rb";c\r') == [("a\rb", ("c",))]


def test_without_a_header_the_first_prompt_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    asked = rows(path, 'Tell me a joke about cats\n"Explain rain, briefly"\n')
    assert asked == [("Tell me a joke about cats", ()), ("Explain rain, briefly", ())]
    assert "csv without a header" in describe(read_prompts(path)).reading
    text = "Where is it?,here\nWho are you?,you\n"
    with pytest.raises(EngineError, match='column "column 1"'):
        rows(path, text)
    assert rows(path, text, column="column 1", label="column 2") == [
        ("Where is it?", ("here",)),
        ("Who are you?", ("you",)),
    ]


def test_a_header_that_is_a_sentence_can_be_named(tmp_path: Path) -> None:
    assert rows(tmp_path / "p.csv", "What do you ask?\nWho?\n", column="What do you ask?") == [("Who?", ())]
