"""The rows of columnar files: Parquet, Arrow, and folders that `datasets` saved. Read in batches.

Numbers that stand for classes become the names of the classes, where the file says them.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engine.errors import EngineError
from engine.prompts.located import Located, Rows
from engine.prompts.packed import ALWAYS_UNPACKED, MOST_GROWTH
from engine.prompts.streams import as_engine_errors, opened

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 256
"""Rows of a columnar file held at a time."""
_ALWAYS_READ, _ROWS_A_BYTE = 2**20, 8

_SHORT = ("float", "halffloat")

Columns = tuple[str, ...] | None
Classes = Mapping[str, list[str]]


def read_parquet(path: Path, columns: Columns = None) -> Rows:
    """Rows of a .parquet file; `columns` limits what is read (images beside the prompts stay on disk)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        file = _on_disk(path, stack)
        try:
            table = pq.ParquetFile(file, pre_buffer=False)
            _refuse_bomb(path, file, table.metadata)
            wanted = None if columns is None else [name for name in columns if name in table.schema_arrow.names]
            batches = table.iter_batches(batch_size=BATCH_ROWS, columns=wanted)
            yield from _batch_rows(batches, _classes_of(table.schema_arrow))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _broken(path, "Parquet", error) from error


def read_arrow(path: Path, columns: Columns = None) -> Rows:
    """Rows of an .arrow file: a stream, as the cache of `datasets` holds it, or a file with an index."""
    import pyarrow as pa

    with ExitStack() as stack:
        file = _on_disk(path, stack)
        try:
            stream = _arrow_batches(file)
            schema: pa.Schema = next(stream)
            wanted = [name for name in schema.names if columns is None or name in columns]
            slices = (
                batch.select(wanted).slice(start, BATCH_ROWS)
                for batch in stream
                for start in range(0, batch.num_rows, BATCH_ROWS)
            )
            yield from _batch_rows(slices, _classes_of(schema))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _broken(path, "Arrow", error) from error


def read_dataset(folder: Path, columns: Columns = None) -> Rows:
    """Rows of a folder that `datasets` saved."""
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
        classes = _class_names(data.features.to_dict())
        # Arrow tables: images and sounds beside the prompts are not decoded
        yield from _batch_rows(data.with_format("arrow").iter(batch_size=BATCH_ROWS), classes)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise broken_dataset(folder, error) from error


def _refuse_bomb(path: Path, file: IO[bytes], about: Any) -> None:
    """Raises EngineError where a file claims to hold far more than it has room for."""
    size = file.seek(0, io.SEEK_END)
    largest = max((about.row_group(place).total_byte_size for place in range(about.num_row_groups)), default=0)
    if largest > max(ALWAYS_UNPACKED, MOST_GROWTH * size) or about.num_rows > max(_ALWAYS_READ, _ROWS_A_BYTE * size):
        problem = f"claims to hold {about.num_rows:,} rows in {size:,} bytes: it seems made to fill the memory"
        raise EngineError(problem, where=str(path), hint="Write it as JSON Lines if it is what it should be")


def broken_dataset(path: Path, error: Exception) -> EngineError:
    """The error for a saved data set that a library cannot read."""
    return EngineError(
        f"the saved data set cannot be read: {_first_line(error)}", where=str(path), hint="Save it again"
    )


def _batch_rows(batches: Iterable[pa.RecordBatch | pa.Table], classes: Classes) -> Rows:
    """The rows of arrow batches as plain objects."""
    number = 0
    for batch in batches:
        short = [field.name for field in batch.schema if str(field.type) in _SHORT]
        for row in batch.to_pylist():
            number += 1
            for name in short:
                row[name] = _as_written(row[name])
            for name, names in classes.items():
                if name in row:
                    row[name] = _class_name(row[name], names)
            yield Located("row", number, row)


def _as_written(value: float | None) -> float | None:
    """A float32 as the number that one writes for it: 0.1, not 0.10000000149011612."""
    import numpy as np

    return None if value is None else float(str(np.float32(value)))


def _class_name(value: Any, names: list[str]) -> Any:
    """The name of a class; None for -1, which stands for an answer that is not known."""
    if isinstance(value, list):
        return [_class_name(each, names) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else None if value == -1 else value
    return value


def _classes_of(schema: pa.Schema) -> Classes:
    """The names of classes by column, which `datasets` writes into a schema."""
    about = (schema.metadata or {}).get(b"huggingface")
    try:
        return _class_names(json.loads(about)["info"]["features"]) if about else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _class_names(features: Any) -> Classes:
    if not isinstance(features, dict):
        return {}
    found: dict[str, list[str]] = {}
    for name, feature in features.items():
        each = feature[0] if isinstance(feature, list) and feature else feature
        each = each.get("feature", each) if isinstance(each, dict) else each
        if isinstance(each, dict) and each.get("_type") == "ClassLabel" and isinstance(each.get("names"), list):
            found[str(name)] = [str(label) for label in each["names"]]
    return found


def _arrow_batches(file: IO[bytes]) -> Iterator[Any]:
    """The schema, then the batches."""
    import pyarrow as pa

    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        indexed = pa.ipc.open_file(file)
        yield indexed.schema
        yield from (indexed.get_batch(place) for place in range(indexed.num_record_batches))
    else:
        stream = pa.ipc.open_stream(file)
        yield stream.schema
        yield from stream


def _on_disk(path: Path, stack: ExitStack) -> IO[bytes]:
    """A file in which one can go anywhere: a copy on disk of what is packed, which is only read from its start."""
    file = stack.enter_context(opened(path))
    if isinstance(file, io.BufferedReader) and file.seekable():
        return file
    copy: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
    with as_engine_errors(path):
        shutil.copyfileobj(file, copy)
        copy.seek(0)
    return copy


def _broken(path: Path, kind: str, error: Exception) -> EngineError:
    return EngineError(
        f"is no whole {kind} file: {_first_line(error)}",
        where=str(path),
        hint="It may be truncated or of another format; fetch or write it again",
    )


def _first_line(error: Exception) -> str:
    """The first line of what a library says, as a part of a sentence, or its name for the error."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
