"""The rows of tables as text: commas, semicolons, tabs or bars between fields, with a header line or without.

    prompt,response        sep=;              Tell me a joke about cats
    Where is Rome?,Italy   prompt;response    Explain rain

Which sign stands between fields, several rows say. A first line `sep=;`, as Excel writes it, says so itself.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from engine.errors import EngineError
from engine.prompts.columns import PROMPT_COLUMNS
from engine.prompts.labels import LABELS
from engine.prompts.located import Located, Rows
from engine.prompts.names import is_number, is_unnamed, key_of, unnamed_column
from engine.prompts.streams import LINE_LIMIT, text_lines

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SAID = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_NAME = re.compile(r"[\w .-]+")
_SNIFFED_LINES, _SNIFFED_CHARACTERS = 40, 2**16
_PROMPTS, _ANSWERS = frozenset(map(key_of, PROMPT_COLUMNS)), frozenset(map(key_of, LABELS))
_KNOWN = _PROMPTS | _ANSWERS


def read_comma_separated(path: Path, *, header: bool = True) -> Rows:
    """Rows of a .csv file, as objects keyed by the header; without one, "column 1", "column 2" and so on."""
    yield from _table(path, ",", header)


def read_tab_separated(path: Path, *, header: bool = True) -> Rows:
    """Rows of a .tsv file, as those of a .csv file."""
    yield from _table(path, "\t", header)


def is_table(format: str) -> bool:
    """Whether files of a format are tables as text, which may have a header."""
    return format in ("csv", "tsv")


def table_in_text(path: Path) -> str | None:
    """ "tsv" or "csv" where a text file is a table under another name; None for any other text.

    All of its lines have as many tabs, or the first names a prompt and an answer.
    """
    with closing(text_lines(path)) as numbered:
        lines = [line.strip(" \r\n") for _, line in islice(numbered, _SNIFFED_LINES) if not line.isspace()]
    if len(lines) < 2:
        return None
    tabs = {line.strip().count("\t") for line in lines}
    if len(tabs) == 1 and tabs != {0}:
        return "tsv"
    header = next(iter(_records(lines, delimiter_of(lines))), [])
    names = {key_of(field) for field in header if _NAME.fullmatch(field.strip())}
    return "csv" if names & _PROMPTS and names & _ANSWERS else None


def has_header(path: Path, *named: str | None) -> bool:
    """Whether the first row of a table names its columns.

    The columns that are named say so: "column 1" is how those of a table without a header are called. Where none is
    named, the first rows show it (`names_columns`).
    """
    first, *below = _first_rows(path) or [[]]
    keys = {key_of(field) for field in first}
    chosen = [name for name in named if name is not None]
    if chosen:
        return not all(map(is_unnamed, chosen)) or any(key_of(name) in keys for name in chosen)
    return names_columns(first, below)


def header_of(path: Path) -> tuple[str, ...]:
    """The fields of the first row of a table, as names of columns."""
    return tuple(field.strip() for field in next(iter(_first_rows(path, 1)), []))


def names_columns(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row of a table is its header, by what stands in it and in the `rows` below.

    A known name says so, and a word above numbers. It is a row where it has a number, a sentence above sentences, or
    what comes again below. A single field is a row where it is a sentence.
    """
    if any(key_of(field) in _KNOWN for field in first):
        return True
    if len(first) == 1:
        return not _is_sentence(first[0], least=3)
    filled = [(at, field.strip()) for at, field in enumerate(first) if field.strip()]
    columns = [(field, [text for row in rows if (text := "".join(row[at : at + 1]).strip())]) for at, field in filled]
    if any(not is_number(field) and below and all(map(is_number, below)) for field, below in columns):
        return True
    return not any(_is_like(field, below) for field, below in columns)


def _is_like(field: str, below: Sequence[str]) -> bool:
    """Whether a field is one of those below it, not the name above them."""
    sentences = sum(map(_is_sentence, below))
    return is_number(field) or field in below or (_is_sentence(field) and 2 * sentences >= len(below))


def _first_rows(path: Path, count: int = _SNIFFED_LINES) -> list[list[str]]:
    """Fields of the first rows; of a table that breaks among them, of those before."""
    found: list[list[str]] = []
    with closing(read_comma_separated(path, header=False)) as rows:
        try:
            found.extend(list(located.row.values()) for located in islice(rows, count))
        except EngineError:
            if not found:
                raise
    return found


def delimiter_of(lines: list[str], likely: str = ",") -> str:
    """What stands between the fields of a table with these first lines.

    That which splits the header, into names that are known where there are any, and all rows into as many fields.
    """
    best, chosen = (False, 0, 0.0, 0), likely
    for delimiter in dict.fromkeys((likely, *_DELIMITERS)):
        header, *rows = _records(lines, delimiter) or [[]]
        known = sum(key_of(field) in _KNOWN for field in header)
        alike = sum(len(row) == len(header) for row in rows) / len(rows) if rows else 1.0
        score = (len(header) > 1, known, alike, len(header))
        if score > best and len(header) > 1:
            best, chosen = score, delimiter
    return chosen


def _table(path: Path, likely: str, header: bool) -> Rows:
    # A setting of the whole process; it only ever grows here
    csv.field_size_limit(max(csv.field_size_limit(), LINE_LIMIT))
    delimiter, said = _delimiter(path, likely)
    lines = (line for number, line in text_lines(path) if number != said)
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        line = records.line_num + 1 + (said > 0)
        try:
            fields = next(records, None)
        except csv.Error as error:
            raise EngineError(
                f"broken table: {error}",
                where=f"{path}, line {line}",
                hint='A quoted field must end with a quote, and a quote inside of it is written twice: ""',
            ) from error
        if fields is None:
            return
        if not any(field.strip() for field in fields) and len(fields) < 2:
            continue  # a blank line
        if not names:
            names = _names(fields) if header else [unnamed_column(n + 1) for n in range(len(fields))]
            if header:
                continue
        if any(field.strip() for field in fields[len(names) :]):
            first = f"the header {len(names)} ({', '.join(names)})" if header else f"the first row {len(names)}"
            raise EngineError(
                f"the row has {len(fields)} fields, {first}",
                where=f"{path}, line {line}",
                hint=f"Put quotes around fields that hold a {_DELIMITERS.get(delimiter, delimiter)} or a line end",
            )
        yield Located("line", line, dict(zip(names, fields, strict=False)))


def _names(header: Sequence[str]) -> list[str]:
    """The names of columns, each once: a second "prompt", in column 3, is "prompt 3"; without a name "unnamed 3"."""
    names: dict[str, None] = {}  # a header may have very many
    for number, field in enumerate(header, 1):
        name = field.strip() or f"unnamed {number}"
        while name in names:
            name = f"{name} {number}"
        names[name] = None
    return list(names)


def _delimiter(path: Path, likely: str) -> tuple[str, int]:
    """What stands between fields, and the number of the line that says so; 0 where none does."""
    first: list[str] = []
    with closing(text_lines(path)) as numbered:
        for number, line in islice(numbered, _SNIFFED_LINES):
            if line.strip() and not first and (said := _SAID.fullmatch(line.strip("\r\n"))):
                return said[1], number
            first.append(line)
            if sum(map(len, first)) > _SNIFFED_CHARACTERS:
                break
    return delimiter_of([line for line in first if line.strip()], likely), 0


def _records(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    def whole() -> Iterator[list[str]]:
        try:
            yield from csv.reader(lines, delimiter=delimiter, strict=True)
        except csv.Error:  # the last of the lines may end inside of quotes
            return

    return [record for record in whole() if record]


def _is_sentence(field: str, least: int = 5) -> bool:
    """Whether a text has so many words, or ends as a sentence does: names of columns may have a few words."""
    return len(field.split()) >= least or field.strip().endswith((".", "?", "!", "…"))
