"""Every bad input is one clear EngineError: what, where, and what to do."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine.prompts.json_rows as json_rows
import engine.prompts.packed as packed
import engine.prompts.streams as streams
from engine.errors import EngineError
from engine.prompts import describe, read_prompts, sample_prompts


def refusal(path: Path, **named: str) -> EngineError:
    """The error of reading all of `path`; it must name the place and say what to do."""
    with pytest.raises(EngineError) as caught:
        list(read_prompts(path, **named))
    assert caught.value.where is not None
    assert caught.value.hint
    return caught.value


def put(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


GOOD = '{"prompt": "one"}\n'
ENDINGS = ["txt", "md", "json", "jsonl", "csv", "tsv"]


@pytest.mark.parametrize(
    ("name", "data", "where", "problem"),
    [
        ("p.jsonl", GOOD * 2 + '{"prompt": "tw\n', "p.jsonl, line 3", "broken JSON: Unterminated string"),
        ("p.jsonl", GOOD * 99 + "nonsense\n", "p.jsonl, line 100", "broken JSON"),
        ("p.jsonl", '[\n{"prompt": "one"}\n]\n', "p.jsonl, line 1", "broken JSON"),
        ("p.jsonl", GOOD + "[" * 100_000 + "\n", "p.jsonl, line 2", "JSON that cannot be read|broken JSON"),
        ("p.jsonl", GOOD + "1" * 5000 + "\n", "p.jsonl, line 2", "JSON that cannot be read"),
        ("p.jsonl", GOOD + "7\n", "p.jsonl, line 2", "a number among rows with columns"),
        ("p.jsonl", "null\n", "p.jsonl, line 1", "this one is null"),
        ("p.jsonl", '"one"\n' + GOOD, "p.jsonl, line 2", r"an object \(columns: prompt\) among rows of plain text"),
        ("p.jsonl", GOOD + '{"text": "a", "id": 1}\n', "p.jsonl, line 2", 'no column "prompt"; its columns: text, id'),
        ("p.jsonl", GOOD * 200 + '{"text": "a"}\n', "p.jsonl, line 201", 'no column "prompt"; its columns: text'),
        ("p.json", '[{"prompt": "one"},\n {"prompt": }]', "p.json, line 2", "broken JSON"),
        ("p.json", '[{"prompt": "one"}', "p.json, line 1", "broken JSON"),
        ("p.json", '[{"prompt": "one"}, {"id": 1}]', "p.json, item 2", 'no column "prompt"'),
        ("p.json", "3", "p.json", "neither a list"),
        ("p.json", '[["one"]]', "p.json, item 1", "must be an object or a string"),
        ("p.csv", "prompt,x\na,1\na, b,2\n", "p.csv, line 3", "3 fields, the header 2"),
        ("p.csv", 'prompt,x\n"a\nb",1\n"c,2\nd,3\n', "p.csv, line 4", "broken table"),
        ("p.csv", "x,prompt\n1,a\n2\n", "p.csv, line 3", 'no column "prompt"; its columns: x'),
        ("p.csv", "alpha,beta\n1,2\n", "p.csv, line 2", "alpha, beta"),
        ("p.csv", "prompt\n", "p.csv", "no prompts"),
        ("p.csv", "\n\n", "p.csv", "no prompts"),
        ("p.txt", "\n \n", "p.txt", "no prompts"),
        ("p.md", "---\n---\n", "p.md", "no prompts"),
        ("p.json", "[]", "p.json", "no prompts"),
        ("p.json", " \n", "p.json", "no prompts"),
        ("p.jsonl", "\n\n", "p.jsonl", "no prompts"),
        ("p.jsonl", '{"prompt": " "}\n{"prompt": null}\n', "p.jsonl", "every row is empty in the prompt column"),
        ("p.txt", b"\xef\xbb\xbf", "p.txt", "no prompts"),
    ],
)
def test_what_is_wrong_and_where(tmp_path: Path, name: str, data: bytes | str, where: str, problem: str) -> None:
    error = refusal(put(tmp_path / name, data))
    assert error.where == str(tmp_path / where)
    assert re.search(problem, error.problem)


@pytest.mark.parametrize("ending", [*ENDINGS, "parquet", "jsonl.gz", "parquet.gz"])
def test_an_empty_file(tmp_path: Path, ending: str) -> None:
    assert "the file is empty" in refusal(put(tmp_path / f"p.{ending}", b"")).problem


@pytest.mark.parametrize("ending", [*ENDINGS, "parquet"])
def test_an_empty_file_in_gzip(tmp_path: Path, ending: str) -> None:
    error = refusal(put(tmp_path / f"p.{ending}.gz", gzip.compress(b"")))
    assert "empty" in error.problem or "no whole Parquet file" in error.problem


@pytest.mark.parametrize("ending", ENDINGS)
def test_binary_under_the_name_of_text(tmp_path: Path, ending: str) -> None:
    for data in (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"PK\x03\x04\x14\0\0\0", bytes(range(256)) * 100):
        assert "binary" in refusal(put(tmp_path / f"p.{ending}", data)).problem


def test_binary_far_into_the_text(tmp_path: Path) -> None:
    assert "binary" in refusal(put(tmp_path / "p.txt", b"line\n" * 10_000 + b"a\0b\n")).problem


@pytest.mark.parametrize("ending", ENDINGS)
def test_latin_1_is_refused_with_the_line_and_how_to_convert(tmp_path: Path, ending: str) -> None:
    lines = {"json": '["eins",\n"zwei",\n"größer"]', "jsonl": '"eins"\n"zwei"\n"größer"\n'}
    text = lines.get(ending, "prompt\nzwei\ngrößer\n")
    error = refusal(put(tmp_path / f"p.{ending}", text.encode("latin-1")))
    assert error.where == f"{tmp_path / 'p'}.{ending}, line 3"
    assert "UTF-8" in error.problem
    assert "iconv" in str(error.hint)


@pytest.mark.parametrize("ending", ["txt", "json"])
def test_broken_utf_16(tmp_path: Path, ending: str) -> None:
    error = refusal(put(tmp_path / f"p.{ending}", '["one"]\n'.encode("utf-16")[:-1]))
    assert "not valid UTF-16" in error.problem


def test_utf_16_without_its_mark_is_told_as_binary(tmp_path: Path) -> None:
    assert "binary" in refusal(put(tmp_path / "p.txt", "one\n".encode("utf-16-le"))).problem


@pytest.mark.parametrize("name", ["nothing.jsonl", "file.jsonl/below.jsonl", "n" * 300 + ".jsonl", "a\0b.jsonl"])
def test_nothing_there(tmp_path: Path, name: str) -> None:
    put(tmp_path / "file.jsonl", GOOD)
    with pytest.raises(EngineError):
        read_prompts(tmp_path / name)


@pytest.mark.parametrize("name", ["p.pdf", "p", "p.gz", "p.jsonl.rar"])
def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path, name: str) -> None:
    error = refusal(put(tmp_path / name, GOOD))
    assert "unknown kind of file" in error.problem
    assert ".jsonl" in str(error.hint)
    assert ".parquet" in str(error.hint)


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "b.jsonl")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "a.jsonl")
    assert "circle" in refusal(tmp_path / "a.jsonl").problem


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone.jsonl")
    assert "no such file" in refusal(tmp_path / "a.jsonl").problem


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.jsonl")
    assert "named pipe" in refusal(tmp_path / "p.jsonl").problem
    assert "no prompt files" in refusal(tmp_path).problem


def test_a_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.txt").symlink_to("/dev/zero")
    assert "device" in refusal(tmp_path / "p.txt").problem


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "p.jsonl", GOOD)

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(packed, "open", deny, raising=False)  # chmod does not stop root
    assert "may not be read" in refusal(path).problem


@pytest.mark.parametrize(
    ("ending", "data"),
    [
        ("jsonl", GOOD.encode() * 5),
        ("jsonl.gz", gzip.compress(GOOD.encode() * 5)),
        ("csv", b"prompt,x\n" + b"a b,1\n" * 5),
        ("json", b'[{"prompt": "one"}, {"prompt": "two"}]\n'),
    ],
    ids=["jsonl", "jsonl.gz", "csv", "json"],  # what is packed holds the time
)
@pytest.mark.parametrize("moment", ["before a pass", "in a pass"])
@pytest.mark.parametrize("change", ["grows", "shrinks", "is replaced"])
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, ending: str, data: bytes, moment: str, change: str
) -> None:
    """All passes are of the same rows, or fail: no adapter of two states of a file."""
    path = put(tmp_path / f"p.{ending}", data)
    prompts = read_prompts(path)
    rows = prompts.every_row()
    if moment == "in a pass":
        next(rows)
    if change == "is replaced":
        put(tmp_path / "other", data).replace(path)
    else:
        path.write_bytes(data + b"\n" if change == "grows" else data[:-1])
    with pytest.raises(EngineError) as told:
        list(rows)
    assert told.value.where and told.value.where.startswith(str(path)) and told.value.hint
    if moment == "before a pass":
        assert told.value.problem == "was changed while it was read"


def test_a_disk_that_fails_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "p.jsonl", GOOD)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(packed, "open", fail, raising=False)
    with pytest.raises(EngineError, match="Input/output error"):
        read_prompts(path)


def test_no_room_to_unpack_a_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": [f"row {number}" for number in range(2000)]}), tmp_path / "p.parquet")
    path = put(tmp_path / "p.parquet.gz", gzip.compress((tmp_path / "p.parquet").read_bytes()))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        error = refusal(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the disk is full" in error.problem and "TMPDIR" in (error.hint or "")


@pytest.mark.parametrize("keep", [5, 30, -4])
@pytest.mark.parametrize("ending", ["txt", "json", "jsonl", "csv", "parquet"])
def test_a_truncated_gzip(tmp_path: Path, ending: str, keep: int) -> None:
    packed = gzip.compress(os.urandom(200).hex().encode() + b"\n")
    assert "gzip file is truncated" in refusal(put(tmp_path / f"p.{ending}.gz", packed[:keep])).problem


def test_a_damaged_gzip(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(json.dumps({"prompt": os.urandom(500).hex()}).encode()))
    packed[100] ^= 0xFF
    assert "gzip" in refusal(put(tmp_path / "p.jsonl.gz", bytes(packed))).problem


def test_plain_text_under_the_name_of_gzip(tmp_path: Path) -> None:
    assert "no gzip file" in refusal(put(tmp_path / "p.jsonl.gz", GOOD)).problem


def test_a_truncated_or_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"prompt": [os.urandom(50).hex() for _ in range(200)]}), path)
    whole = path.read_bytes()
    for data in (whole[:-20], whole[:100], b"PAR1", GOOD.encode()):
        assert "no whole Parquet file" in refusal(put(path, data)).problem
    error = refusal(put(path, whole[:4] + b"\xff" * 200 + whole[204:]))
    assert error.where == str(path)


def test_a_parquet_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "p.parquet")
    assert "no prompts" in refusal(tmp_path / "p.parquet").problem


def test_a_parquet_of_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": [b"\xff\xd8"]}), tmp_path / "p.parquet")
    error = refusal(tmp_path / "p.parquet", column="prompt")
    assert error.where == f"{tmp_path / 'p.parquet'}, row 1"
    assert "binary data" in error.problem


@pytest.mark.parametrize("named", [{"column": "nope"}, {"label": "nope"}])
def test_a_missing_column_lists_those_there(tmp_path: Path, named: dict[str, str]) -> None:
    error = refusal(put(tmp_path / "p.csv", "prompt,id\na,1\n"), **named)
    assert 'no column "nope"' in error.problem
    assert "prompt, id" in str(error.hint)


def test_a_column_of_plain_text(tmp_path: Path) -> None:
    assert 'no column "prompt"' in refusal(put(tmp_path / "p.txt", "one\n"), column="prompt").problem


def test_files_of_a_folder_must_be_alike(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", GOOD)
    put(tmp_path / "b.jsonl", '{"text": "x"}\n')
    assert refusal(tmp_path).where == f"{tmp_path / 'b.jsonl'}, line 1"


def test_a_folder_without_prompts(tmp_path: Path) -> None:
    assert "no prompt files" in refusal(tmp_path).problem
    (tmp_path / "a.jsonl").symlink_to("/dev/null")
    assert "1 symbolic links" in refusal(tmp_path).problem


def test_a_line_above_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LINE_LIMIT", 2**20)
    for encoding in ("utf-8", "utf-16"):
        error = refusal(put(tmp_path / "p.txt", ("one\n" + "x" * (2**20 + 1)).encode(encoding)))
        assert error.where == f"{tmp_path / 'p.txt'}, line 2"
        assert "longer than 1 MiB" in error.problem


def test_a_json_array_above_the_limit_is_to_become_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "JSON_LIMIT", 2**20)
    rows = [{"prompt": "x" * 1000}] * 1100
    error = refusal(put(tmp_path / "p.json", json.dumps(rows)))
    assert "larger than 1 MiB" in error.problem
    assert ".jsonl" in str(error.hint)
    lines = put(tmp_path / "lines.json", "".join(json.dumps(row) + "\n" for row in rows))
    assert sample_prompts(read_prompts(lines), 4, 0).total == 1100


def test_a_broken_saved_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "saved"
    rows = datasets.Dataset.from_list([{"prompt": "one"}])
    datasets.DatasetDict(train=rows).save_to_disk(folder)
    arrow = next((folder / "train").glob("*.arrow"))
    put(arrow, arrow.read_bytes()[:100])
    assert "saved data set" in refusal(folder).problem
    arrow.unlink()
    assert "saved data set" in refusal(folder).problem
    for index in ("{", "[]", '{"splits": 3}', '{"splits": ["../elsewhere"]}'):
        put(folder / "dataset_dict.json", index)
        assert refusal(folder).where == str(folder / "dataset_dict.json")


def test_a_bad_row_late_in_the_file_is_told_by_sample_and_report(tmp_path: Path) -> None:
    prompts = read_prompts(put(tmp_path / "p.jsonl", GOOD * 500 + "{\n"))
    for read in (lambda: sample_prompts(prompts, 4, 0), lambda: describe(prompts)):
        with pytest.raises(EngineError, match="line 501"):
            read()
