"""What an adapter will be made from, as the preview shows it: facts, a notice where there is little, one whole query.

! There is neither an answer nor a common instruction in it. ...
  [ Answer eight ]  [ Let a model answer ]  [ Instruction ]

You will type      She won the race.
The base read      Say in one word what the sentence is about.  She won the race.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from dnd_tui.text import answers_words, printable
from dnd_tui.widgets.bars import KeyButton
from engine.solver.plan import GENERATOR

_MOST_FILES = 3


def fact_lines(
    facts: Mapping[str, Any],
    context: Mapping[str, Any],
    sample: Mapping[str, Any] | None,
    read: int,
    notes: Sequence[str],
) -> tuple[tuple[str, str], ...]:
    """Facts of a preview, what the adapter is made from, the rows used once they are there, remarks.

    Args:
        facts, context, sample: of `Result.data` of a PreviewRequest.
        read: rows read so far, while the rows are being chosen.
    """
    alone = context["kind"] == GENERATOR
    looked_at = "" if facts["complete"] else f" in the first {facts['rows']:,} rows"
    labels = f"{facts['label_column']}, on {facts['labelled']:,} rows{looked_at}" if facts["label_column"] else "none"
    skipped = f"{facts['skipped']:,} rows without a prompt{looked_at}" if facts["skipped"] else ""
    if sample:
        skipped = f"{sample['skipped']:,} rows without a prompt" if sample["skipped"] else ""
    batch = f"{len(sample['rows']):,} of {sample['total']:,} prompts" if sample else f"reading row {read:,} …"
    lines = (
        ("made from", context_words(context)),
        *([("answers", answers_words(context["answers"], context["taught_by"]))] if context["taught_by"] else []),
        ("rows", _rows(facts, sample)),
        *(() if context["problem"] else (("rows used", batch),)),
        *(() if alone or context["problem"] else (("held out", held_out_words(context)),)),
        ("prompt column", facts["column"]),
        ("labels", f"{labels} (never read by the generator)" if alone and facts["label_column"] else labels),
        ("length", _lengths(facts)),
        ("duplicates", f"{facts['duplicates']:,}{looked_at}" if facts["duplicates"] else f"none{looked_at}"),
        ("left out", skipped or "none"),
        ("read as", facts["reading"]),
        ("files", _files(facts["files"], Path(facts["source"]))),
    )
    return (*lines, *(("note", note) for note in notes))


_NO_HEADER = "No header line was found: the first line is a row. If it is the header, choose so under Prompt column."


def reading_remark(data: Mapping[str, Any], guess: str) -> str:
    """What a person has to know of how a source is read; "" for nothing.

    Args:
        data: `Result.data` of a PreviewRequest.
        guess: the prompt column, where it is only a guess.
    """
    guessed = f"Choose the prompt column: {guess} is only a guess." if guess else ""
    return f"{guessed} {'' if data['header'] else _NO_HEADER}".strip()


def read_otherwise(data: Mapping[str, Any]) -> dict[str, str]:
    """Columns of a table whose first line is read in the other way, each with its words for the person."""
    words = "no header line" if data["header"] else "the first line is the header"
    return {name: f"{name}: {words}" for name in data["otherwise"]}


def row_count(facts: Mapping[str, Any], sample: Mapping[str, Any] | None) -> int | None:
    """Rows of the source, those without a prompt too; None if they were not all counted."""
    if sample:
        return int(sample["total"] + sample["skipped"])
    return int(facts["rows"]) if facts["complete"] else None


def _rows(facts: Mapping[str, Any], sample: Mapping[str, Any] | None) -> str:
    count = row_count(facts, sample)
    return f"more than {facts['rows']:,}" if count is None else f"{count:,}"


def _lengths(facts: Mapping[str, Any]) -> str:
    if facts["shortest"] == facts["longest"]:
        return f"{facts['longest']:,} characters"
    return f"{facts['shortest']:,} to {facts['longest']:,} characters, median {facts['median']:,}"


def _files(files: Sequence[str], source: Path) -> str:
    below = [Path(file) for file in files[:_MOST_FILES]]
    names = ", ".join(file.name if file == source else file.relative_to(source).as_posix() for file in below)
    more = len(files) - _MOST_FILES
    return f"{names} and {more:,} more" if more > 0 else names


# Characters of a query; the rows show all of it.
_LONGEST = 800
ANSWERED = 8
"""How many prompts a person is asked to answer."""

_ALONE = (
    "! There are no answers and no common instruction. From prompts alone an adapter learns a form of answers, "
    "not this task. Answer eight of them yourself, let a larger model answer them, or type an instruction. Or generate "
    "all the same."
)


class ContextNotice(Vertical):
    """What an adapter from prompts alone can and cannot do, and what would be better; not there for other kinds."""

    DEFAULT_CSS = """
    ContextNotice {
        display: none; height: auto; padding: 0 1; background: $warning-muted;
        &.-shown { display: block; }
        Static { height: auto; }
        Horizontal { height: auto; }
        Button { margin-right: 1; }
    }
    """

    def compose(self) -> ComposeResult:
        """The sentence, three ways out."""
        yield Static(_ALONE, markup=False)
        with Horizontal():
            yield KeyButton("Answer eight", "drop.answer", id="answer")
            yield KeyButton("Let a model answer", "drop.teach", id="teach")
            yield KeyButton("Instruction", "drop.instruct", id="instruct")

    @property
    def shown(self) -> bool:
        """Whether the person is offered something better."""
        return self.has_class("-shown")

    def show(self, wanted: bool) -> None:
        """Show it, or not."""
        self.set_class(wanted, "-shown")


class QueryView(Vertical):
    """One whole query as it will be typed afterwards, and what the base reads of it while solving."""

    DEFAULT_CSS = """
    QueryView {
        height: auto; border-left: outer $primary-muted; padding-left: 1; margin-top: 1;
        Static { height: auto; }
        &.-empty { display: none; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = Static(markup=False)

    def compose(self) -> ComposeResult:
        """Both texts."""
        yield self._text

    def show(self, context: Mapping[str, Any]) -> None:
        """Of the "context" of a preview; nothing where there is no query."""
        query, teacher = context.get("query", ""), context.get("teacher", "")
        query = query if len(query) <= _LONGEST else f"{query[:_LONGEST]} …"
        self.set_class(not query, "-empty")
        parts = [Content.styled("You will type", "bold $text-muted"), Content(printable(query))]
        if teacher and teacher != query:
            heading = Content.styled("The base reads, while solving", "bold $text-muted")
            parts += [Content(""), heading, Content(printable(teacher))]
        self._text.update(Content("\n").join(parts))


def context_words(context: Mapping[str, Any]) -> str:
    """Why, and from what: "40 answers found: from answered examples"."""
    if context["problem"]:
        return f"✗ {context['problem']}"
    alone = context["kind"] == GENERATOR
    return f"{context['reason']}: {'' if alone else 'from '}{context['words']}"


def held_out_words(context: Mapping[str, Any]) -> str:
    """On how many rows the adapter will be checked."""
    return f"{context['held_out']:,} rows to check it on" if context["held_out"] else "none: too few rows to check it"
