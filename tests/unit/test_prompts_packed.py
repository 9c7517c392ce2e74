"""Packed files and archives are read as they are; what is no file at all is named."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import EngineError
from engine.prompts import read_prompts

LINES = "".join(json.dumps({"prompt": f"ask {n}"}) + "\n" for n in range(5000)).encode()
ASKED = [f"ask {n}" for n in range(5000)]


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def texts(path: Path) -> list[str]:
    return [row.prompt for row in read_prompts(path)]


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
def test_packed_files(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / f"p.jsonl{ending}").write_bytes(pack(LINES))
    (tmp_path / "unnamed.jsonl").write_bytes(pack(LINES))
    for path in (tmp_path / "named", tmp_path / "named" / f"p.jsonl{ending}", tmp_path / "unnamed.jsonl"):
        assert texts(path) == ASKED
    pq.write_table(pa.table({"prompt": ["ask"]}), tmp_path / "plain")
    (tmp_path / f"p.parquet{ending}").write_bytes(pack((tmp_path / "plain").read_bytes()))
    assert texts(tmp_path / f"p.parquet{ending}") == ["ask"]
    for text in ("\ufeffask\n", "\ufeffask\r\n"):
        for encoding in ("utf-8", "utf-16-le"):
            (tmp_path / f"p.txt{ending}").write_bytes(pack(text.encode(encoding)))
            assert texts(tmp_path / f"p.txt{ending}") == ["ask"]


@pytest.mark.parametrize("data", [zstd(LINES)[:200], b"\x28\xb5\x2f\xfd" + b"x" * 100])
def test_a_broken_zstd_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.jsonl.zst").write_bytes(data)
    with pytest.raises(EngineError, match="zstd file is truncated or damaged"):
        texts(tmp_path / "p.jsonl.zst")
    (tmp_path / "p.jsonl.zst").write_bytes(LINES)
    with pytest.raises(EngineError, match="this is no zstd file"):
        texts(tmp_path / "p.jsonl.zst")


def archive(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def test_an_archive_is_read_as_a_folder(tmp_path: Path) -> None:
    entries = {"data/train.jsonl": LINES, "data/test.jsonl": b"", "README.md": b"x", "__MACOSX/._p.jsonl": b"x"}
    prompts = read_prompts(archive(tmp_path / "p.zip", **entries))
    assert [row.prompt for row in prompts] == ASKED
    assert [prompts.place.named(file) for file in prompts.files] == ["data/train.jsonl"]
    assert [prompts.place.named(file) for file in prompts.place.left] == ["data/test.jsonl"]
    assert texts(archive(tmp_path / "q.zip", **{"p.jsonl.zst": zstd(LINES)})) == ASKED
    pq.write_table(pa.table({"prompt": ["ask"]}), tmp_path / "plain")
    assert texts(archive(tmp_path / "r.zip", **{"p.parquet": (tmp_path / "plain").read_bytes()})) == ["ask"]


def test_an_entry_that_points_out_of_its_archive_is_left_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(LINES)
    path = archive(tmp_path / "folder.zip", **{str(outside): b"", "../outside.jsonl": b""})
    with pytest.raises(EngineError, match="the archive has no prompt files"):
        texts(path)


def test_a_broken_archive(tmp_path: Path) -> None:
    whole = archive(tmp_path / "p.zip", **{"p.jsonl": LINES}).read_bytes()
    for data in (LINES, whole[:-30], whole[:40] + b"\xff" * 50 + whole[90:]):
        (tmp_path / "p.zip").write_bytes(data)
        with pytest.raises(EngineError) as caught:
            texts(tmp_path / "p.zip")
        assert "damaged" in caught.value.problem


def test_an_entry_with_a_password_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "p.zip", **{"p.jsonl": LINES})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag, in the entry's own header and in the archive's list
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(EngineError, match="cannot be unpacked") as caught:
        texts(path)
    assert caught.value.hint == "Unpack the archive first"


@pytest.mark.parametrize("name", ["p.jsonl", "p.txt", "p.csv", "p.parquet", "p.jsonl.gz", "p.zip"])
def test_the_pointer_of_git_lfs_is_named_as_such(tmp_path: Path, name: str) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(EngineError, match="Git LFS pointer") as caught:
        texts(tmp_path / name)
    assert "git lfs pull" in str(caught.value.hint)
