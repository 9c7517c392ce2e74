"""What stderr says of a job's events."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.progress import PlainProgress
from dnd_tui.text import duration, figure, one_line, printable
from engine.events import AnswersScored, AnswerText, Event, Note, StageAdvanced, StageFinished, StageStarted
from engine.text import readable_size


def told(*events: Event) -> list[str]:
    stream = io.StringIO()
    with PlainProgress(stream) as progress:
        for event in events:
            progress.handle(event)
    return stream.getvalue().splitlines()


def test_a_short_stage_is_one_line() -> None:
    steps = [StageAdvanced("encode", step, 32, step / 40) for step in range(1, 33)]
    assert told(StageStarted("encode", 32), *steps, StageFinished("encode", 0.84)) == ["encode 32/32 0.8 s"]


def test_at_most_one_line_a_second() -> None:
    steps = [StageAdvanced("train", step, 100, step / 10, {"loss": 2 / step}) for step in range(1, 101)]
    lines = told(StageStarted("train", 100), *steps, StageFinished("train", 10.0))
    assert lines[0] == "train 10/100 1.0 s, loss 0.2, 9.0 s left"
    assert lines[-1] == "train 100/100 10.0 s, loss 0.02"
    assert len(lines) == 10


def test_a_long_stage_tells_ever_less_often() -> None:
    steps = [StageAdvanced("train", step, None, float(step)) for step in range(1, 7201)]
    assert 200 < len(told(StageStarted("train"), *steps)) < 500


def test_time_left_counts_from_where_a_resumed_stage_began() -> None:
    lines = told(
        StageStarted("train", 1000), StageAdvanced("train", 900, 1000, 0.0), StageAdvanced("train", 902, 1000, 4.0)
    )
    assert lines == ["train 902/1000 4.0 s, 3 min 16 s left"]


def test_stage_without_steps_with_memory_and_note() -> None:
    assert told(StageStarted("load"), StageFinished("load", 2.31, 412_000_000, "float32")) == [
        "load 2.3 s, 412 MB (float32)"
    ]


def test_the_metric_that_was_chosen_is_told() -> None:
    assert told(AnswersScored("rouge_l"), AnswersScored("label", ("spam", "h\nam"))) == [
        "note: answers are scored by rouge_l",
        "note: answers are scored by label; 2 labels: spam, h am",
    ]


def test_bytes_are_shown_as_sizes() -> None:
    events: list[Event] = [
        StageStarted("fetch", 98_000_000, "bytes"),
        StageAdvanced("fetch", 12_000_000, 98_000_000, 1.5),
    ]
    assert told(*events) == ["fetch 12 MB of 98 MB 1.5 s"]


def test_a_repeated_stage_starts_anew() -> None:
    once: list[Event] = [StageStarted("answer", 2), StageAdvanced("answer", 2, 2, 0.5), StageFinished("answer", 0.5)]
    assert told(*once, *once) == ["answer 2/2 0.5 s"] * 2


def test_notes_are_one_line_and_cannot_drive_the_terminal() -> None:
    assert told(Note("a\nb\x1b[31m"), Note("careful", warning=True)) == ["note: a b\\x1b[31m", "warning: careful"]


def test_answers_are_not_progress() -> None:
    assert told(AnswerText(0, "base", "text")) == []


def test_a_closed_stderr_does_not_end_the_job() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    progress = PlainProgress(Closed())
    progress.handle(Note("one"))
    progress.handle(Note("two"))


@given(st.text())
def test_printable_text_holds_no_control_character(text: str) -> None:
    assert all(char in "\n\t" or not (ord(char) < 32 or 127 <= ord(char) < 160) for char in printable(text))
    assert len(one_line(text).splitlines()) <= 1 or "\u2028" in text or "\u2029" in text


def test_figures_for_people() -> None:
    assert [duration(value) for value in (0.04, 59.96, 125, 3720, 7199.9)] == [
        "0.0 s",
        "1 min 00 s",
        "2 min 05 s",
        "1 h 02 min",
        "2 h 00 min",
    ]
    assert [readable_size(value) for value in (0, 999, 1000, 9_770_000, 2_500_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "10 MB",
        "2.5 GB",
    ]
    assert [figure(value) for value in (13412.3, 1.23456, 1e-05)] == ["13412", "1.235", "1e-05"]
