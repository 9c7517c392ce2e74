"""The rows of one file, streamed, with the place of each: one reader a format.

    .txt, .md           `texts`
    .jsonl, .ndjson     one JSON object or string a line (`json_rows`)
    .json               loaded whole (`json_rows`); a file with an object on each line is read as .jsonl
    .csv, .tsv          `tables`
    .parquet, .arrow    `columnar`

Each may be packed (`.gz` or `.zst` after the ending), or be an entry of a `.zip` archive.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.prompts.columnar import read_arrow, read_dataset, read_parquet
from engine.prompts.json_rows import read_json, read_json_lines
from engine.prompts.located import Rows
from engine.prompts.places import DATASET, Place
from engine.prompts.tables import read_comma_separated, read_tab_separated
from engine.prompts.texts import read_lines_or_parts, read_markdown, read_whole

_OF_TEXT: dict[str, Callable[[Path], Rows]] = {
    "jsonl": read_json_lines,
    "json": read_json,
    "txt": read_lines_or_parts,
    "md": read_markdown,
}
_OF_COLUMNS = {"parquet": read_parquet, "arrow": read_arrow, DATASET: read_dataset}
_OF_TABLES = {"csv": read_comma_separated, "tsv": read_tab_separated}


def read_rows(place: Place, file: Path, columns: tuple[str, ...] | None = None) -> Rows:
    """The rows of one of a place's files. Columnar formats give `columns` only; None gives all."""
    if place.format in _OF_COLUMNS:
        return _OF_COLUMNS[place.format](file, columns)
    if place.format in _OF_TABLES:
        return _OF_TABLES[place.format](file, header=place.header)
    return read_whole(file) if place.whole else _OF_TEXT[place.format](file)
