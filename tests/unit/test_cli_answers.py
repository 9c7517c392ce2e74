"""Streamed pieces, whatever their order, become whole answers."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.headless import AnswersAsJson, AnswersForPeople
from engine.events import AnswerText

ARMS = ("base", "lora", "lora 2")


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[tuple[int, str], str], list[AnswerText]]:
    """Whole answers, and their pieces interleaved."""
    rows = draw(st.integers(0, 3))
    word = st.text("ab é\n", max_size=4)
    pieces = {(row, arm): draw(st.lists(word, max_size=4)) for row in range(rows) for arm in ARMS}
    left = {key: [(text, False) for text in texts] + [("", True)] for key, texts in pieces.items()}
    events = []
    while left:
        key = draw(st.sampled_from(sorted(left)))
        text, done = left[key].pop(0)
        events.append(AnswerText(*key, text, done))
        if not left[key]:
            del left[key]
    return {key: "".join(texts) for key, texts in pieces.items()}, events


@given(streams())
def test_json_has_every_answer_once_and_whole(stream: tuple[dict[tuple[int, str], str], list[AnswerText]]) -> None:
    answers, events = stream
    written: list[str] = []
    sink = AnswersAsJson(written.append, ARMS)
    for event in events:
        sink.add(event)
    before_close = len(written)
    sink.close()
    assert len(written) == before_close
    rows = [json.loads(line) for line in written]
    found = {(row["row"], arm): text for row in rows for arm, text in row["answers"].items()}
    assert found == answers and len(rows) * len(ARMS) == len(answers)


@given(streams())
def test_people_see_each_answer_whole_under_its_heading(
    stream: tuple[dict[tuple[int, str], str], list[AnswerText]],
) -> None:
    answers, events = stream
    written: list[str] = []
    sink = AnswersForPeople(written.append)
    for event in events:
        sink.add(event)
    sink.close()
    order = list(dict.fromkeys((event.row, event.arm) for event in events))
    assert "".join(written) == "".join(f"[{row}] {arm}\n{answers[row, arm]}\n\n" for row, arm in order)


def test_the_first_open_answer_is_written_as_it_comes() -> None:
    written: list[str] = []
    sink = AnswersForPeople(written.append)
    sink.add(AnswerText(0, "base", "one "))
    sink.add(AnswerText(0, "adapted", "waits"))
    sink.add(AnswerText(0, "base", "two"))
    assert written == ["[0] base\none ", "two"]


def test_a_row_is_written_when_its_last_arm_is_done() -> None:
    written: list[str] = []
    sink = AnswersAsJson(written.append, ARMS)
    for arm in ARMS[:2]:
        sink.add(AnswerText(0, arm, arm, done=True))
    sink.add(AnswerText(0, ARMS[2], "late"))
    assert written == []
    sink.add(AnswerText(0, ARMS[2], "r", done=True))
    assert json.loads(written[0]) == {"row": 0, "answers": {"base": "base", "lora": "lora", "lora 2": "later"}}


def test_a_folder_name_cannot_command_the_terminal() -> None:
    written: list[str] = []
    AnswersForPeople(written.append).add(AnswerText(0, "evil\x1b[2J\nname", "text", done=True))
    assert "".join(written) == "[0] evil\\x1b[2J name\ntext\n\n"
