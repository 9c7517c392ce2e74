"""Writing leaves the old or the new, never half."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy
import pyarrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from engine.adapter.export import write_zip
from engine.errors import EngineError
from engine.files import (
    digest_file,
    digest_json,
    read_json,
    refuse_nested,
    refuse_small_disk,
    replacing_archive,
    replacing_file,
    replacing_folder,
    tidy_after_kill,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.json"
    write_json(target, {"é": 1})
    assert read_json(target) == {"é": 1}
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()
    with pytest.raises(ValueError, match="half"), replacing_file(target) as part:
        part.write_text("half")
        raise ValueError("half way")
    assert read_json(target) == {"é": 1} and names(target.parent) == ["a.json"]


def test_who_may_read_a_file_stays_as_it_was(tmp_path: Path) -> None:
    for mode in (0o600, 0o640, 0o644):
        (tmp_path / "a.json").touch()
        os.chmod(tmp_path / "a.json", mode)
        write_json(tmp_path / "a.json", {})
        assert (tmp_path / "a.json").stat().st_mode & 0o777 == mode
    with replacing_file(tmp_path / "own.json", private=True) as part:
        part.write_text("{}")
    assert (tmp_path / "own.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_replaced_whole(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "a folder"
    if there:
        target.mkdir()
        (target / "old").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing_folder(target, replace=True) as part:
        (part / "new").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == (["a folder"] if there else [])
    with replacing_folder(target, replace=True) as part:
        (part / "new").write_text("whole")
    assert names(target) == ["new"] and names(tmp_path) == ["a folder"]


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(EngineError, match="already exists.*another out"), replacing_folder(tmp_path):
        pass
    (tmp_path / "empty").mkdir()
    with replacing_folder(tmp_path / "empty") as part:
        (part / "x").write_text("x")
    assert names(tmp_path / "empty") == ["x"]


def test_no_folder_takes_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file", tmp_path / "file" / "deeper" / "folder"):
        error = rf"{re.escape(str(tmp_path / 'file'))}: is a file"
        with pytest.raises(EngineError, match=error), replacing_folder(target, replace=True):
            pass
    assert names(tmp_path) == ["file"]


def test_source_and_target_may_not_lie_in_one_another(tmp_path: Path) -> None:
    source = tmp_path / "adapter"
    source.mkdir()
    (tmp_path / "link").symlink_to(source)
    for target, problem in ((source / "new", "lies inside"), (tmp_path, "holds"), (tmp_path / "link" / "a", "inside")):
        with pytest.raises(EngineError, match=problem):
            refuse_nested(source, target)
    refuse_nested(source, source)
    refuse_nested(source, tmp_path / "adapter-2")


_KILLED = """
import os, signal, sys
from pathlib import Path
from engine import files
from engine.files import replacing_folder
def killed_after(real):
    def call(old, new):
        real(old, new)
        os.kill(os.getpid(), signal.SIGKILL)
    return call
if sys.argv[2] == "after the exchange":
    files.exchange = killed_after(files.exchange)
if sys.argv[2] == "between two names":
    files.exchange = lambda *_: False
    os.rename = killed_after(os.rename)
with replacing_folder(Path(sys.argv[1]), replace=True) as part:
    (part / "new").write_text("new")
    if sys.argv[2] == "while writing":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("when", ["while writing", "after the exchange", "between two names"])
def test_a_killed_writer_leaves_nothing_once_tidied(tmp_path: Path, when: str) -> None:
    """The old or the new is there at once; where a system cannot exchange names, once it is tidied."""
    target = tmp_path / "a [folder]"
    target.mkdir()
    (target / "old").write_text("old")
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(target), when])
    assert killed.returncode == -signal.SIGKILL and names(tmp_path) != ["a [folder]"]
    expected = ["new"] if when == "after the exchange" else ["old"]
    assert when == "between two names" or names(target) == expected
    tidy_after_kill(target)
    assert names(tmp_path) == ["a [folder]"] and names(target) == expected


def test_what_is_being_written_is_not_tidied(tmp_path: Path) -> None:
    target, file = tmp_path / "folder", tmp_path / "folder.json"
    with replacing_folder(target) as part, replacing_file(file) as other, replacing_archive(tmp_path / "a.zip") as top:
        (part / "new").touch()
        for each in (target, file, tmp_path / "a.zip", tmp_path):
            tidy_after_kill(each)
        assert part.is_dir() and other.is_file() and top[0].is_dir()
    assert names(tmp_path) == ["a.zip", "folder", "folder.json"]


_REPLACING = """
import sys
from pathlib import Path
from engine.files import replacing_folder
target = Path(sys.argv[1])
for turn in range(10**6):
    with replacing_folder(target, replace=True) as part:
        for name in ("a", "b", "c"):
            (part / name).write_text(str(turn) * 10_000)
    print(turn, flush=True)
"""


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="only there names are exchanged in one step")
@pytest.mark.parametrize("turns", [1, 2, 5, 9])
def test_whoever_is_killed_leaves_one_whole_folder(tmp_path: Path, turns: int) -> None:
    """A real kill at whatever moment it comes; nothing is tidied."""
    target = tmp_path / "it's a f\u00f6lder"
    writer = subprocess.Popen([sys.executable, "-c", _REPLACING, str(target)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(turns):
        assert writer.stdout.readline()
    writer.kill()
    writer.communicate()
    contents = {name: (target / name).read_text() for name in names(target)}
    assert list(contents) == ["a", "b", "c"] and len(set(contents.values())) == 1


def test_an_archive_is_the_folder_and_takes_the_place_of_no_folder(tmp_path: Path) -> None:
    target = tmp_path / "my export.zip"
    for turn in ("first", "second"):
        with replacing_archive(target, replace=True) as (folder, file):
            (folder / "weights.gguf").write_text(turn)
            write_zip(folder, file)
        assert names(tmp_path) == [target.name]
        with zipfile.ZipFile(target) as archive:
            assert archive.read("my export/weights.gguf") == turn.encode()
    with pytest.raises(EngineError, match="already exists"), replacing_archive(target):
        pass
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(EngineError, match="is a folder, not a file"), replacing_archive(tmp_path / "folder.zip"):
        pass


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path: Path) -> None:
    refuse_small_disk(tmp_path / "a" / "b", 1000)
    with pytest.raises(EngineError, match=r"the disk is too full: 1000000.0 GB are needed, .* are free"):
        refuse_small_disk(tmp_path / "a" / "b", 10**15)


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "the disk is full.*untouched"), (errno.EROFS, "cannot be written")]
)
def test_a_full_or_read_only_disk_is_told(tmp_path: Path, number: int, message: str) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(EngineError, match=message), replacing_file(tmp_path / "a.json"):
        raise OSError(number, os.strerror(number))
    assert read_json(tmp_path / "a.json") == 1 and names(tmp_path) == ["a.json"]


def rust_tensors(file: Path) -> None:
    save_file({"a": torch.zeros(5000)}, file)


def rust_tokenizer(file: Path) -> None:
    Tokenizer(WordLevel({f"word {number}": number for number in range(500)}, "word 0")).save(str(file))


def numpy_array(file: Path) -> None:
    numpy.zeros(5000).tofile(file)


def packed(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", bytes(5000))


def table(file: Path) -> None:
    parquet.write_table(pyarrow.table({"a": list(map(str, range(5000)))}), file)


@pytest.mark.parametrize(
    "write", [lambda file: file.write_text("x" * 5000), rust_tensors, rust_tokenizer, numpy_array, packed, table]
)
def test_a_really_full_disk_is_told_whichever_library_writes(tmp_path: Path, write: Callable[[Path], object]) -> None:
    """A file size limit is the full disk that a test can have without being root."""
    target = tmp_path / "a"
    target.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(EngineError, match="the disk is full") as told, replacing_file(target) as part:
            write(part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.value.where == str(target) and target.read_text() == "old" and names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n oops}', "line 2"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 100_000, "broken JSON"),
        (None, "no such file"),
    ],
)
def test_broken_json_is_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineError, match=message):
        read_json(path)


@given(st.dictionaries(st.text(), st.integers()))
def test_a_digest_does_not_depend_on_the_order_of_keys(data: dict[str, int]) -> None:
    assert digest_json(data) == digest_json(dict(reversed(data.items())))


def test_a_file_digest_is_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a").startswith("ba7816bf8f01cfea")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
