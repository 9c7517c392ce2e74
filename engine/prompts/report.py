"""What a prompt set looks like, and which columns could be named, for a person who wants to know before using it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median_low
from typing import Any, NamedTuple

from engine.files import digest_bytes
from engine.prompts.columns import PROMPT_COLUMNS, find_shape
from engine.prompts.json_rows import names_beside_rows
from engine.prompts.names import is_unnamed, listed, present, unnamed_column, unnamed_columns_told
from engine.prompts.places import Place
from engine.prompts.prompt_set import PromptSet, first_rows, place_of
from engine.prompts.rows import read_prompt, read_references
from engine.prompts.shape import RowError, RowShape
from engine.prompts.tables import header_of, is_table
from engine.prompts.templates import Template

_CHARACTERS = 2**25
_MOST_NAMED = 12


@dataclass(frozen=True)
class PromptReport:
    """Facts about the first rows of a set.

    rows: rows looked at, those without a prompt too.
    complete: the set has no more rows than that.
    prompts: rows with a prompt.
    skipped: rows without one.
    labelled: prompts with at least one reference.
    duplicates: prompts that were there before.
    shortest, median, longest: prompt lengths in characters.
    template: what prompts are made of; None where they are read from a column.
    options: the columns of options that stand under the prompts; None without any.
    unread: columns with something in them that are not read.
    left: prompt files beside those that are read.
    reading: how the source is read, in one line.
    """

    source: Path
    files: tuple[Path, ...]
    format: str
    column: str
    label_column: str | None
    rows: int
    complete: bool
    prompts: int
    skipped: int
    labelled: int
    duplicates: int
    shortest: int
    median: int
    longest: int
    template: str | None
    options: str | None
    unread: tuple[str, ...]
    left: tuple[Path, ...]
    reading: str


def describe(prompts: PromptSet, limit: int = 1000) -> PromptReport:
    """Look at the first `limit` rows, fewer when they are very long.

    Raises EngineError at a row that cannot be read.
    """
    rows = prompts.every_row()
    count = labelled = 0
    lengths: list[int] = []
    seen: set[str] = set()
    for row in islice(rows, limit):
        count += 1
        if row.prompt:
            lengths.append(len(row.prompt))
            labelled += bool(row.references)
            seen.add(digest_bytes(row.prompt.encode()))  # prompts may be megabytes long
            if sum(lengths) > _CHARACTERS:
                break
    complete, options = next(rows, None) is None, prompts.shape.options
    return PromptReport(
        source=prompts.source,
        files=prompts.files,
        format=prompts.format,
        column=prompts.column,
        label_column=prompts.label_column,
        rows=count,
        complete=complete,
        prompts=len(lengths),
        skipped=count - len(lengths),
        labelled=labelled,
        duplicates=len(lengths) - len(seen),
        shortest=min(lengths, default=0),
        median=median_low(lengths) if lengths else 0,
        longest=max(lengths, default=0),
        template=prompts.shape.template.text if prompts.shape.template is not None else None,
        options=options.words if options is not None and not options.standing else None,
        unread=prompts.shape.unread,
        left=prompts.place.left,
        reading=reading_told(prompts, count - len(lengths)),
    )


def reading_told(prompts: PromptSet, skipped: int = 0) -> str:
    """How a source is read, in one line: format, prompt, label, what is skipped and why, what is not read."""
    place, shape = prompts.place, prompts.shape
    parts = [_format_words(place, shape), f"prompt: {prompts.column}", f"label: {prompts.label_column or 'none'}"]
    if shape.options is not None and shape.labels:
        named = shape.options.first is not None and not shape.options.scores and shape.options.right is None
        parts[-1] += " (as the options are called)" if named else ""
    if shape.images:
        parts.append(f"images: {listed(shape.images, _MOST_NAMED)}")
    if skipped:
        parts.append(f"{skipped:,} row{'' if skipped == 1 else 's'} skipped: {_why_skipped(shape)}")
    if shape.unread:
        parts.append(f"columns not read: {listed(shape.unread, _MOST_NAMED)}")
    if place.format == "json" and (beside := [name for file in place.files for name in names_beside_rows(file)]):
        parts.append(f"beside the rows, not read: {listed(dict.fromkeys(beside), _MOST_NAMED)}")
    if place.left:
        parts.append(f"files not read: {listed(map(place.named, place.left), _MOST_NAMED)}")
    return "; ".join(parts)


def _format_words(place: Place, shape: RowShape) -> str:
    if place.format == "txt":
        return "txt, each file a prompt" if place.whole else "txt, each line or part between --- a prompt"
    if place.format == "md":
        return "md, each file or part between --- a prompt"
    if place.header:
        return place.format
    return f"{place.format}, no header line: {unnamed_columns_told((*shape.columns, *shape.unread))}"


def _why_skipped(shape: RowShape) -> str:
    if shape.role is not None:
        return "not a user's, or empty"
    return "no text in what the template takes" if shape.template is not None else "no text in the prompt"


class PromptColumn(NamedTuple):
    """A column, and the first prompt that it would give."""

    name: str
    example: str


def prompt_columns(prompts: PromptSet) -> list[PromptColumn]:
    """The columns that give a prompt when they are named, in the order of the data; none for plain text.

    As `read_prompts` does, it looks at the first rows only: a column that cannot be read there, or is empty, is not
    one of them.
    """
    return _usable(_objects(prompts.place))


def likeliest_column(source: Path) -> str | None:
    """The column with the longest example, for a source in which no column is known by its name to hold prompts.

    None if there is one that is known, or none that could be named. Raises EngineError as `read_prompts` does.
    """
    place = place_of(source)
    objects = _objects(place)
    if present(PROMPT_COLUMNS, objects):
        return None
    columns = _usable(objects)
    return max(columns, key=lambda column: len(column.example)).name if columns else None


def columns_read_otherwise(prompts: PromptSet) -> list[str]:
    """What the columns of a table are called if its first line is read in the other way: as a row, or as a header.

    Whoever names one of them as the prompt column has it read so. None of what is no table.
    """
    place = prompts.place
    if not is_table(place.format):
        return []
    names = header_of(place.files[0])
    if place.header:
        return [unnamed_column(number) for number in range(1, len(names) + 1)]
    return [name for name in dict.fromkeys(names) if name and not is_unnamed(name)]


def label_columns(prompts: PromptSet, column: str | None = None) -> list[str]:
    """The columns that give labels when they are named, in the order of the data; none for plain text.

    Only the first rows are looked at. A column whose text stands in the prompts is not one of them.

    Args:
        column: the prompt column, where it is named.
    """
    shape = prompts.shape
    options = shape.options.columns if shape.options is not None and not shape.options.scores else ()
    asked = {*shape.before, *shape.after, *options, *(shape.template.columns if shape.template is not None else ())}
    objects = _objects(prompts.place)
    names = [name for name in dict.fromkeys(str(name) for row in objects for name in row) if name not in asked]
    return [name for name in names if _gives_labels(objects, column, shape.template, name)]


def _gives_labels(rows: Sequence[dict[str, Any]], column: str | None, template: Template | None, label: str) -> bool:
    try:
        shape = find_shape(rows, column=column, label=label, template=template)
        return any(read_references(shape, row) for row in rows)
    except RowError:
        return False


def _objects(place: Place) -> list[dict[str, Any]]:
    """The first rows; none if they are no objects."""
    rows = next((first for file in place.files if (first := first_rows(place, file))), [])
    objects = [located.row for located in rows]
    return objects if all(isinstance(row, dict) for row in objects) else []


def _usable(objects: Sequence[dict[str, Any]]) -> list[PromptColumn]:
    names = dict.fromkeys(str(name) for row in objects for name in row)
    return [PromptColumn(name, example) for name in names if (example := _first_prompt(objects, name))]


def _first_prompt(rows: Sequence[dict[str, Any]], column: str) -> str:
    """What the first row with text in `column` gives; "" when there is none, or a row cannot be read."""
    try:
        shape = find_shape(rows, column=column)
        return next(filter(None, [read_prompt(shape, row) for row in rows]), "")
    except RowError:
        return ""
