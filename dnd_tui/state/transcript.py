"""Compared answers as a file for people (Markdown) or for programs (JSON)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnd_tui.state.stored import to_plain
from dnd_tui.text import figure, one_line, printable
from engine.errors import EngineError
from engine.files import refuse_occupied, replacing_file


@dataclass(frozen=True, kw_only=True)
class TranscriptRow:
    """One prompt with its answers and scores by arm.

    number: of the prompt, as `engine.judge.compare.ComparedRow.number`.
    pick: the arm whose answer the person liked best; None if they did not choose.
    """

    number: int
    prompt: str
    references: tuple[str, ...]
    answers: Mapping[str, str]
    scores: Mapping[str, float] = field(default_factory=dict)
    pick: str | None = None


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """A whole comparison.

    made: ISO time.
    settings: what was asked for, (name, value) for people, in order.
    metric: of the scores; None where nothing was scored.
    means: mean score by arm.
    timings: figures such as "tokens_per_second" by arm.
    """

    made: str
    settings: Mapping[str, str]
    rows: Sequence[TranscriptRow]
    metric: str | None = None
    means: Mapping[str, float] = field(default_factory=dict)
    timings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def arms(self) -> list[str]:
        """What answered, in order."""
        return list(dict.fromkeys(arm for row in self.rows for arm in row.answers))

    @property
    def picks(self) -> dict[str, int]:
        """How often each arm was liked best; empty if the person never chose."""
        picked = [row.pick for row in self.rows if row.pick is not None]
        return {arm: picked.count(arm) for arm in self.arms} if picked else {}


def transcript_json(transcript: Transcript) -> str:
    """Everything, as indented JSON."""
    data = to_plain(transcript) | {"picks": transcript.picks}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def transcript_markdown(transcript: Transcript) -> str:
    """Settings and figures as tables, then every prompt with its answers as they are, in code fences."""
    parts = ["# Compared answers", one_line(transcript.made)]
    if transcript.settings:
        cells = ([name, _code(value)] for name, value in transcript.settings.items())
        parts.append(_table(["Setting", "Value"], cells))
    figures = _figures(transcript)
    if figures:
        cells = ([_code(arm), *(by_arm.get(arm, "") for by_arm in figures.values())] for arm in transcript.arms)
        parts.append(_table(["Answers of", *figures], cells))
    for row in transcript.rows:
        parts += [f"## Prompt {row.number}", fenced(row.prompt)]
        for reference in row.references:
            parts += ["### Reference", fenced(reference)]
        for arm, answer in row.answers.items():
            score = [f"{transcript.metric} {row.scores[arm]:.3f}"] if arm in row.scores else []
            liked = ["liked best"] if arm == row.pick else []
            parts += [f"### {', '.join([_code(arm), *score, *liked])}", fenced(answer)]
    return "\n\n".join(parts) + "\n"


def write_transcript(transcript: Transcript, target: Path, *, replace: bool = False) -> None:
    """Write it where the person chose, as the ending of the name asks: `.md` or `.json`.

    Args:
        replace: whether a file that is there may be replaced.

    Raises:
        EngineError: another ending, the file is there already, or it cannot be written.
    """
    makers = {".md": transcript_markdown, ".json": transcript_json}
    make = makers.get(target.suffix.lower())
    if make is None:
        raise EngineError("is no kind of file to write", where=str(target), hint="End its name in .md or .json")
    refuse_occupied(target, replace)
    with replacing_file(target) as part:
        # Halves of surrogate pairs are no UTF-8; "\udcff" means the same to JSON.
        part.write_text(make(transcript), encoding="utf-8", errors="backslashreplace", newline="")


def fenced(text: str) -> str:
    """`text` as a Markdown code block, in a longer fence than any that it holds; control characters shown."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}\n{printable(text)}\n{fence}"


def _figures(transcript: Transcript) -> dict[str, dict[str, str]]:
    """The columns of the table of figures: by heading, by arm."""
    columns: dict[str, dict[str, str]] = {}
    if transcript.means:
        columns[f"Mean {transcript.metric}"] = {arm: f"{mean:.3f}" for arm, mean in transcript.means.items()}
    for name in dict.fromkeys(name for figures in transcript.timings.values() for name in figures):
        by_arm = {arm: figure(figures[name]) for arm, figures in transcript.timings.items() if name in figures}
        columns[name.replace("_", " ").capitalize()] = by_arm
    if transcript.picks:
        columns["Liked best"] = {arm: str(times) for arm, times in transcript.picks.items()}
    return columns


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(text: str) -> str:
    text = one_line(text)
    fence = "`" * (_longest_run(text) + 1)
    # A blank keeps a backtick at the end of the text apart from the fence.
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}" if text else ""


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
