"""A folder as a zip file: the same bytes for the same files, in the order of their names."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from engine.errors import EngineError

# Matrices of floats hardly get smaller, and take long to try.
_STORED = frozenset({".safetensors", ".gguf"})
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def write_zip(folder: Path, file: Path) -> None:
    """Pack `folder`, under its own name, into `file`, and read it back.

    Raises:
        EngineError: what is read back is not what was packed.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for source in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{folder.name}/{source.relative_to(folder).as_posix()}", _LONG_AGO)
            entry.external_attr = 0o644 << 16
            entry.file_size = source.stat().st_size
            entry.compress_type = zipfile.ZIP_STORED if source.suffix in _STORED else zipfile.ZIP_DEFLATED
            with open(source, "rb") as reading, archive.open(entry, "w") as writing:
                shutil.copyfileobj(reading, writing, 1 << 20)
    with zipfile.ZipFile(file) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise EngineError("cannot be read back from the zip file", where=broken, hint="Nothing was exported")
