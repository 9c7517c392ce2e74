"""A set of prompts that is read again at every pass, never held in memory."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import EngineError, setting
from engine.events import Stage
from engine.prompts.columns import find_shape, roles_told
from engine.prompts.images import placed
from engine.prompts.json_rows import is_object_lines, is_rows
from engine.prompts.located import Located
from engine.prompts.names import unnamed_column, unnamed_columns_told
from engine.prompts.places import Place, file_format, find_place
from engine.prompts.readers import read_rows
from engine.prompts.rows import read_images, read_prompt, read_references, read_teacher
from engine.prompts.shape import RowError, RowShape
from engine.prompts.tables import has_header, is_table, table_in_text
from engine.prompts.templates import Template, parse_template
from engine.prompts.texts import look_like_prompts

AUTO, LINES, FILES = "auto", "lines", "files"
"""What counts as a prompt in text files: a line (or a part between `---`), a file, or whichever they look like."""

State = tuple[int, int, int]
"""Of a file: its inode, its size in bytes, when it was changed (ns)."""

_OTHERS = "; or name one file of the folder"
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
    images: files and addresses of images that the prompt is about. Only an answer looks at them.
    """

    number: int
    prompt: str
    references: tuple[str, ...] = ()
    answered_by: str = ""
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """Prompts of a file or folder; iterating reads them anew, in file order.

    place: the files that are used, and those beside them.
    shape: which columns are what.
    states: what the files were like when the set was opened.
    """

    place: Place
    shape: RowShape
    states: Mapping[Path, State]

    @property
    def source(self) -> Path:
        """What the person named."""
        return self.place.source

    @property
    def format(self) -> str:
        """One of `places.FORMATS`, or "dataset" (saved by `datasets`)."""
        return self.place.format

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are used, in order; for "dataset" its folder (or that of the split that is used)."""
        return self.place.files

    @property
    def column(self) -> str:
        """The prompt column for people, for example "instruction + input"."""
        return self.shape.prompt_words

    @property
    def label_column(self) -> str | None:
        """The same for the labels; None without labels."""
        return self.shape.label_words

    def __iter__(self) -> Iterator[PromptRow]:
        """The rows that have a prompt. Raises EngineError, naming file and line, at a row that cannot be read."""
        return (row for row in self.every_row() if row.prompt)

    def every_row(self, *, labels: bool = True) -> Generator[PromptRow, None, None]:
        """All rows; those without a prompt (empty or only blanks) have the prompt "".

        Without `labels` they are not looked at, and all references are empty. Passes are of the same rows, or fail.
        """
        self._refuse_changed()
        count, pictured = 0, bool(self.shape.images or self.shape.turns)
        for file in self.files:
            for unit, number, data in read_rows(self.place, file, self.shape.columns or None):
                count += 1
                try:
                    prompt = read_prompt(self.shape, data)
                    references = read_references(self.shape, data) if labels else ()
                    teacher = read_teacher(self.shape, data) if references else ""
                    images = (
                        tuple(placed(name, file.parent) for name in read_images(self.shape, data)) if pictured else ()
                    )
                except RowError as error:
                    others = _OTHERS if len(self.files) > 1 else ""
                    where = f"{file}, {unit} {number}"
                    raise EngineError(error.problem, where=where, hint=error.hint + others) from None
                yield PromptRow(count, prompt, references, teacher, images)
        self._refuse_changed()

    def _refuse_changed(self) -> None:
        """Raises EngineError when a file is another one, or has other bytes, than when the set was opened."""
        for file, state in states_of(self.place).items():
            if self.states.get(file, state) != state:
                hint = "Try again when nothing writes to it any more, or name a copy"
                raise EngineError("was changed while it was read", where=str(file), hint=hint)

    def head(self, count: int) -> list[PromptRow]:
        """The first `count` prompts."""
        with closing(self.every_row()) as rows:
            return list(islice((row for row in rows if row.prompt), count))


def read_prompts(
    source: Path,
    *,
    column: str | None = None,
    label: str | None = None,
    template: str | None = None,
    text_files: str = AUTO,
) -> PromptSet:
    """Open a prompt file, or a folder of them, and find its prompt column. Only the first rows are read here.

    Formats and what counts as one prompt: `engine.prompts.readers`; which files of a folder: `engine.prompts.places`;
    which columns: `engine.prompts.columns`.

    Args:
        column: the prompt column (a chat column gives the last user turn); None finds it. What belongs to it stays.
        label: the label column; None finds it, if there is one.
        template: what prompts are made of, such as "Classify: {ticket}"; instead of a column.
        text_files: LINES, FILES, or AUTO.

    Raises:
        EngineError: the source cannot be read, has no prompt, or has no such column.
    """
    parsed = _parsed(template, column)
    place = place_of(source, column if parsed is None else parsed.columns[0], label, text_files)
    states = states_of(place)
    # The first file that has rows: the others must be like it
    for file in place.files:
        first = first_rows(place, file)
        if first:
            break
    else:
        raise no_prompts(place.source)
    try:
        shape = find_shape([row for _, _, row in first], column=column, label=label, template=parsed)
    except RowError as error:
        unit, number, row = first[0]
        hint = error.hint if column is not None else _hint_on_header(error.hint, place, row)
        hint += _OTHERS if len(place.files) > 1 or place.left else ""
        raise EngineError(error.problem, where=f"{file}, {unit} {number}", hint=hint) from None
    prompts = PromptSet(place, shape, states)
    if not prompts.head(1):
        raise _no_prompt([located.row for located in first], prompts)
    return prompts


def states_of(place: Place) -> dict[Path, State]:
    """What tells a change of the files, or of their archive; one that is gone is left out."""
    found = {}
    for file in (place.source, *place.files):
        with suppress(OSError):
            about = os.stat(file)
            if not stat.S_ISDIR(about.st_mode):
                found[file] = about.st_ino, about.st_size, about.st_mtime_ns
    return found


def place_of(source: Path, column: str | None = None, label: str | None = None, texts: str = AUTO) -> Place:
    """The files behind what a person named, and how they are read; the columns that are named tell of a header."""
    place = find_place(Path(source))
    if place.format == "txt":
        held = _format_in_text(place) if texts == AUTO else None
        place = replace(place, format=held) if held else replace(place, whole=_are_whole(place, texts))
    if is_table(place.format):
        place = replace(place, header=has_header(place.files[0], column, label))
    return place


def _format_in_text(place: Place) -> str | None:
    """The format of text files that hold rows of another one; None where they hold text."""
    kinds = {_format_held(file) for file in place.files[:1]}
    if None not in kinds:
        kinds |= {_format_held(file) for file in place.files[1:]}
    return kinds.pop() if len(kinds) == 1 else None


def _format_held(file: Path) -> str | None:
    if is_object_lines(file):
        return "jsonl"
    return "json" if is_rows(file) else table_in_text(file)


def _hint_on_header(hint: str, place: Place, row: Any) -> str:
    """The hint where no prompt column was found: the first line of a table may have been taken for what it is not."""
    first = f'{setting("column")} "{unnamed_column(1)}"'
    if not is_table(place.format):
        return hint
    lines = (
        f". If each line is a prompt: {setting('text_files')} {LINES}" if file_format(place.files[0]) == "txt" else ""
    )
    if place.header:
        return f"{hint}. If the first line is a row: {first}{lines}"
    found = f"No header line was found ({unnamed_columns_told(row)})"
    return f"{found}: name the prompt column, as in {first}, or by its name if the first line is the header{lines}"


def _parsed(template: str | None, column: str | None) -> Template | None:
    if template is None:
        return None
    if column is not None:
        problem = "a column and a template are two ways to say what a prompt is"
        raise EngineError(problem, where=setting("template"), hint="Leave one of them out")
    try:
        return parse_template(template)
    except ValueError as error:
        hint = 'Name columns in braces, for example "Classify: {text}"; {{ and }} are braces themselves'
        raise EngineError(str(error), where=setting("template"), hint=hint) from error


def _are_whole(place: Place, texts: str) -> bool:
    """Whether each text file is one prompt: as it is asked for, or as the files of a folder look."""
    if texts not in (AUTO, LINES, FILES):
        raise EngineError(f"text files are not read by {texts!r}", hint=f"Choose {LINES}, {FILES} or {AUTO}")
    if texts != AUTO or len(place.files) < 2:
        return texts == FILES
    return look_like_prompts(place.files)


def _no_prompt(rows: Sequence[Any], prompts: PromptSet) -> EngineError:
    column = prompts.shape.column
    who = roles_told([row for row in rows if isinstance(row, dict)], column) if column is not None else None
    if who is None:
        return no_prompts(prompts.source, f"every row is empty in the prompt column ({prompts.column})")
    hint = f'Call who asks "user" and who answers "assistant", or name another column with {setting("column")}'
    return EngineError(f'no turn of "{column}" is a user\'s: the roles are {who}', where=str(prompts.source), hint=hint)


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


def as_learned(rows: Iterable[PromptRow]) -> list[list[str]]:
    """Prompt and answer of each row, of which records keep a digest; the prompt alone where there is no answer."""
    return [[row.prompt, *row.references[:1]] for row in rows]


def images_named(rows: Sequence[PromptRow]) -> str:
    """For people: in how many rows images are not looked at, since an adapter is made from text; "" without any."""
    count = sum(bool(row.images) for row in rows)
    return f"images of {count} rows are not looked at: the adapter is made from their text" if count else ""


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


def first_rows(place: Place, file: Path) -> list[Located]:
    """The first rows of a file of a set as they are: enough to find the columns; fewer when they are very long."""
    first: list[Located] = []
    characters = 0
    with closing(read_rows(place, file)) as rows:
        for located in islice(rows, _FIRST_ROWS):
            first.append(located)
            characters += len(str(located.row))
            if characters > _FIRST_CHARACTERS:
                break
    return first
