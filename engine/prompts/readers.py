"""The rows of one file, streamed, with the place of each: one reader a format.

    .txt                one prompt a non-empty line; or, when some line is exactly `---`, prompts of many lines with
                        such lines between them
    .md                 the whole file is one prompt, or parts between `---` lines; front matter is left out
    .jsonl, .ndjson     one JSON object or string a line
    .json               an array of objects or strings, or an object holding one under a name like "data";
                        a file with an object on each line is read as .jsonl
    .csv, .tsv          with a header line; .csv may use semicolons
    .parquet            read in batches of rows

Each may be gzipped (`.gz` after the ending).
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from engine.errors import EngineError
from engine.prompts.columns import has_prompt
from engine.prompts.streams import LINE_LIMIT, as_engine_errors, opened, text_lines, whole_text

if TYPE_CHECKING:
    import pyarrow as pa

JSON_LIMIT = 128 * 2**20
"""Largest plain JSON file, in bytes unpacked: it is loaded whole, unlike all others."""

BATCH_ROWS = 256
"""Rows of a columnar file held at a time."""

_CONTAINERS = ("data", "rows", "train", "examples", "instances", "prompts", "items", "questions")
_SEPARATOR = "---"
_FRONT_MATTER_LINE = re.compile(r"[\w-]+\s*:|\s|#|- |$")


class Located(NamedTuple):
    """A row and its place in the file: `unit` number `number` ("line 3", "row 3", "item 3")."""

    unit: str
    number: int
    row: Any


Rows = Generator[Located, None, None]


def read_lines_or_parts(path: Path) -> Rows:
    """Rows of a .txt file."""
    with closing(text_lines(path)) as lines:
        parted = any(line.rstrip() == _SEPARATOR for _, line in lines)
    if parted:
        yield from _parts(path)
        return
    for number, line in text_lines(path):
        if line.strip():
            yield Located("line", number, line.strip())


def read_markdown(path: Path) -> Rows:
    """Rows of a .md file."""
    yield from _parts(path, front_matter=True)


def read_json_lines(path: Path) -> Rows:
    """Rows of a .jsonl file."""
    hint = "Each line must hold one whole JSON value; a file that is one JSON array should be named .json"
    for number, line in text_lines(path):
        if not line.isspace():
            yield Located("line", number, _parsed(line.rstrip("\r\n"), path, number, hint))


def read_json(path: Path) -> Rows:
    """Rows of a .json file."""
    if _has_object_lines(path):
        yield from read_json_lines(path)
        return
    text = whole_text(
        path, JSON_LIMIT, "Write it as JSON Lines (.jsonl), which is streamed: jq -c '.[]' in > out.jsonl"
    )
    if not text.strip():
        return
    data = _parsed(text, path, 1, "Mend the file, or write it again")
    if isinstance(data, dict):
        held = _held_rows(data)
        data = held if held is not None else [data]
    if not isinstance(data, list):
        raise EngineError(
            "holds neither a list of prompts nor an object", where=str(path), hint="Write a JSON array of objects"
        )
    for number, row in enumerate(data, 1):
        yield Located("item", number, row)


def read_comma_separated(path: Path) -> Rows:
    """Rows of a .csv file, as objects keyed by the header."""
    yield from _table(path, None)


def read_tab_separated(path: Path) -> Rows:
    """Rows of a .tsv file, as objects keyed by the header."""
    yield from _table(path, "\t")


def read_parquet(path: Path, columns: tuple[str, ...] | None = None) -> Rows:
    """Rows of a .parquet file; `columns` limits what is read (images beside the prompts stay on disk)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(opened(path))
        if path.name.lower().endswith(".gz"):
            file = stack.enter_context(_unpacked(path, file))
        try:
            table = pq.ParquetFile(file, pre_buffer=False)
            wanted = None if columns is None else [name for name in columns if name in table.schema_arrow.names]
            yield from batch_rows(table.iter_batches(batch_size=BATCH_ROWS, columns=wanted))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise EngineError(
                f"is no whole Parquet file: {first_line(error)}",
                where=str(path),
                hint="It may be truncated or of another format; fetch or write it again",
            ) from error


def first_line(error: Exception) -> str:
    """The first line of what a library reports, or its name for the error."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def batch_rows(batches: Iterator[pa.RecordBatch | pa.Table]) -> Rows:
    """The rows of arrow batches as plain objects."""
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield Located("row", number, row)


READERS: dict[str, Callable[[Path], Rows]] = {
    "jsonl": read_json_lines,
    "parquet": read_parquet,
    "csv": read_comma_separated,
    "tsv": read_tab_separated,
    "json": read_json,
    "txt": read_lines_or_parts,
    "md": read_markdown,
}
"""A reader for each format, the most certain format first: that order decides in a folder of several."""


def _parts(path: Path, front_matter: bool = False) -> Rows:
    """Prompts of many lines between lines that are exactly `---`; the place is that of the first line."""
    part: list[str] = []
    began = 1
    size = 0
    first = True
    for number, line in text_lines(path):
        if line.rstrip() == _SEPARATOR:
            text = "".join(part).strip()
            # In Markdown a block of "key: value" between two `---` at the very top is about the file
            header = front_matter and first and began == 2 and all(map(_FRONT_MATTER_LINE.match, part))
            if text and not header:
                yield Located("line", began, text)
            first = first and number == 1
            part, began, size = [], number + 1, 0
            continue
        part.append(line)
        size += len(line)
        if size > LINE_LIMIT:
            raise EngineError(
                f"the prompt is longer than {LINE_LIMIT // 2**20} MiB",
                where=f"{path}, line {began}",
                hint=f"Part prompts by lines that are exactly {_SEPARATOR}",
            )
    if text := "".join(part).strip():
        yield Located("line", began, text)


def _parsed(text: str, path: Path, line: int, hint: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line + error.lineno - 1}"
        raise EngineError(f"broken JSON: {error.msg} (column {error.colno})", where=where, hint=hint) from error
    except (ValueError, RecursionError) as error:  # a number of too many digits; brackets nested too deep
        raise EngineError(f"JSON that cannot be read: {error}", where=f"{path}, line {line}", hint=hint) from error


def _has_object_lines(path: Path) -> bool:
    """Whether the first line is a whole object and not the holder of all rows: JSON Lines under the name .json."""
    with closing(text_lines(path)) as lines:
        try:
            first = next((line for _, line in lines if not line.isspace()), "")
            data = json.loads(first) if first.lstrip().startswith("{") else None
        except (EngineError, ValueError, RecursionError):
            return False  # the reading of the whole file shows what is wrong
    return isinstance(data, dict) and _held_rows(data) is None


def _held_rows(data: dict[str, Any]) -> list[Any] | None:
    """The rows that an object holds under a name like "data"; None when the object is a row itself."""
    if has_prompt(data):
        return None
    lists = {str(name).lower(): value for name, value in data.items() if isinstance(value, list)}
    return next((lists[name] for name in _CONTAINERS if name in lists), None)


def _table(path: Path, delimiter: str | None) -> Rows:
    # A setting of the whole process; it only ever grows here
    csv.field_size_limit(max(csv.field_size_limit(), LINE_LIMIT))
    with closing(text_lines(path)) as numbered:
        head = next((line for _, line in numbered if line.strip()), "")
    if delimiter is None:
        delimiter = ";" if ";" in head and "," not in head else ","
    records = csv.reader((line for _, line in text_lines(path)), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = records.line_num + 1
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
        if not header:
            header = [field.strip() for field in fields]
            continue
        if len(fields) > len(header):
            raise EngineError(
                f"the row has {len(fields)} fields, the header {len(header)} ({', '.join(header)})",
                where=f"{path}, line {line}",
                hint=f"Put quotes around fields that hold a {_DELIMITER_NAMES[delimiter]} or a line end",
            )
        yield Located("line", line, dict(zip(header, fields, strict=False)))


_DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


def _unpacked(path: Path, file: IO[bytes]) -> IO[bytes]:
    """A copy on disk, as Parquet is read from its end and gzip only from its start."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115  closed by the caller's stack
    with as_engine_errors(path):
        shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy
