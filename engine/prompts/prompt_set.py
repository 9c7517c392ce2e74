"""A set of prompts that is read again at every pass, never held in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import EngineError
from engine.events import Stage
from engine.prompts.columns import find_shape
from engine.prompts.places import DATASET, Place, find_place
from engine.prompts.readers import BATCH_ROWS, READERS, Located, Rows, batch_rows, first_line, read_parquet
from engine.prompts.rows import read_prompt, read_references, read_teacher
from engine.prompts.shape import RowError, RowShape

_FIRST_ROWS = 64
_FIRST_CHARACTERS = 8 * 2**20
_REPORT_ROWS = 2000
_REPORT_CHARACTERS = 2**24


class PromptRow(NamedTuple):
    """One prompt.

    number: place of the row in the whole set, from 1; rows without a prompt count too.
    prompt: the text an adapter may be conditioned on.
    references: the accepted answers (labels); empty when there are none. Never part of `prompt`.
    answered_by: the model that wrote the references; "" where a person or a data set did.
    """

    number: int
    prompt: str
    references: tuple[str, ...] = ()
    answered_by: str = ""


@dataclass(frozen=True)
class PromptSet:
    """Prompts of a file or folder; iterating reads them anew, in file order.

    source: what the person named.
    format: "jsonl", "json", "csv", "tsv", "parquet", "txt", "md", or "dataset" (saved by `datasets`).
    files: the files that are used, in order; for "dataset" its folder (or that of the split that is used).
    column: the prompt column for people, for example "instruction + input".
    label_column: the same for the labels; None without labels.
    """

    source: Path
    format: str
    files: tuple[Path, ...]
    column: str
    label_column: str | None
    _shape: RowShape = field(repr=False)

    def __iter__(self) -> Iterator[PromptRow]:
        """The rows that have a prompt. Raises EngineError, naming file and line, at a row that cannot be read."""
        return (row for row in self.every_row() if row.prompt)

    def every_row(self, *, labels: bool = True) -> Generator[PromptRow, None, None]:
        """All rows; those without a prompt (empty or only blanks) have the prompt "".

        Without `labels` they are not looked at, and all references are empty.
        """
        count = 0
        for file in self.files:
            for unit, number, data in _file_rows(file, self.format, self._shape.columns or None):
                count += 1
                try:
                    prompt = read_prompt(self._shape, data)
                    references = read_references(self._shape, data) if labels else ()
                    teacher = read_teacher(self._shape, data) if references else ""
                except RowError as error:
                    raise EngineError(error.problem, where=f"{file}, {unit} {number}", hint=error.hint) from None
                yield PromptRow(count, prompt, references, teacher)

    def head(self, count: int) -> list[PromptRow]:
        """The first `count` prompts."""
        with closing(self.every_row()) as rows:
            return list(islice((row for row in rows if row.prompt), count))


def read_prompts(source: Path, *, column: str | None = None, label: str | None = None) -> PromptSet:
    """Open a prompt file, or a folder of them, and find its prompt column. Only the first rows are read here.

    Formats and what counts as one prompt: `engine.prompts.readers`; which files of a folder: `engine.prompts.places`;
    which columns: `engine.prompts.rows`.

    Args:
        column: the prompt column, taken exactly as it is (a chat column gives the last user turn); None finds it.
        label: the label column; None finds it, if there is one.

    Raises:
        EngineError: the source cannot be read, has no prompt, or has no such column.
    """
    place = place_of(source)
    # The first file that has rows: the others must be like it
    for file in place.files:
        first = first_rows(file, place.format)
        if first:
            break
    else:
        raise no_prompts(place.source)
    try:
        shape = find_shape([row for _, _, row in first], column=column, label=label)
    except RowError as error:
        unit, number, _ = first[0]
        raise EngineError(error.problem, where=f"{file}, {unit} {number}", hint=error.hint) from None
    prompts = PromptSet(place.source, place.format, place.files, shape.prompt_words, shape.label_words, shape)
    if not prompts.head(1):
        raise no_prompts(place.source, f"every row is empty in the prompt column ({shape.prompt_words})")
    return prompts


def place_of(source: Path) -> Place:
    """The files behind what a person named; of a saved dict of data sets one split."""
    return _with_split(find_place(Path(source)))


def no_prompts(source: Path, problem: str = "there are no prompts in it") -> EngineError:
    """The error for a source in which nothing can be used."""
    return EngineError(problem, where=str(source), hint="At least one prompt is needed")


def teachers(rows: Iterable[PromptRow]) -> dict[str, int]:
    """Of the models that wrote answers, how many rows each answered."""
    return dict(Counter(row.answered_by for row in rows if row.references and row.answered_by))


def teachers_named(rows: Sequence[PromptRow]) -> str:
    """For people: "30 of 32 answers by NAME"; "" where no model wrote any."""
    named = teachers(rows)
    return f"{sum(named.values())} of {len(rows)} answers by {' and '.join(named)}" if named else ""


def counted_rows(rows: Iterable[PromptRow], stage: Stage) -> Iterator[PromptRow]:
    """`rows` as they come, counted for `stage` now and then; there a wish to stop is heard, however long rows are."""
    count = characters = 0
    for row in rows:
        count += 1
        characters += len(row.prompt)
        if count == _REPORT_ROWS or characters > _REPORT_CHARACTERS:
            stage.advance(count)
            count = characters = 0
        yield row
    stage.advance(count)


def first_rows(file: Path, format: str) -> list[Located]:
    """The first rows of a file of a set as they are: enough to find the columns; fewer when they are very long."""
    first: list[Located] = []
    characters = 0
    with closing(_file_rows(file, format)) as rows:
        for located in islice(rows, _FIRST_ROWS):
            first.append(located)
            characters += len(str(located.row))
            if characters > _FIRST_CHARACTERS:
                break
    return first


def _file_rows(file: Path, format: str, columns: tuple[str, ...] | None = None) -> Rows:
    if format == DATASET:
        return _dataset_rows(file, columns)
    if format == "parquet":
        return read_parquet(file, columns)
    return READERS[format](file)


def _with_split(place: Place) -> Place:
    """A saved dict of data sets narrowed to one split: train, or else the first."""
    index = place.source / "dataset_dict.json"
    if place.format != DATASET or not index.is_file():
        return place
    try:
        splits = [str(name) for name in json.loads(index.read_text(encoding="utf-8"))["splits"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken_dataset(index, error) from error
    if not splits:
        raise no_prompts(place.source)
    split = "train" if "train" in splits else splits[0]
    if Path(split).name != split:
        raise EngineError(f'"{split}" is no name of a split', where=str(index), hint="Save the data set again")
    return Place(place.source, DATASET, (place.source / split,))


def _dataset_rows(folder: Path, columns: tuple[str, ...] | None) -> Rows:
    import pyarrow as pa
    from datasets import Dataset, load_from_disk
    from datasets.utils import disable_progress_bars

    disable_progress_bars()
    try:
        data: Any = load_from_disk(str(folder))
        if not isinstance(data, Dataset):
            raise TypeError("a data set in a split of another")
        if columns is not None:
            data = data.select_columns([name for name in columns if name in data.column_names])
        # Arrow tables: images and sounds beside the prompts are not decoded
        yield from batch_rows(data.with_format("arrow").iter(batch_size=BATCH_ROWS))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise _broken_dataset(folder, error) from error


def _broken_dataset(path: Path, error: Exception) -> EngineError:
    return EngineError(f"the saved data set cannot be read: {first_line(error)}", where=str(path), hint="Save it again")
