"""Formats, encodings and places: the prompts that come out of well-formed files and folders."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.prompts import read_prompts, sample_prompts
from engine.prompts.places import file_format

ROWS = [{"prompt": "one", "response": "1"}, {"prompt": "zwei\nZeilen, ü", "response": "2"}]
PROMPTS = [("one", ("1",)), ("zwei\nZeilen, ü", ("2",))]


def texts(path: Path, **named: str) -> list[str]:
    return [row.prompt for row in read_prompts(path, **named)]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_jsonl(path: Path, *prompts: str) -> Path:
    return write(path, "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))


def write_rows(path: Path) -> Path:
    """ROWS in the format that the name says."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=1)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(path.read_bytes()))
        return path
    if kind == "json":
        return write(path, json.dumps(ROWS, indent=1))
    if kind in ("jsonl", "ndjson"):
        return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS))
    plain = path.with_name("plain")
    with open(plain, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["prompt", "response"], delimiter="\t" if kind == "tsv" else ",")
        table.writeheader()
        table.writerows(ROWS)
    return write(path, plain.read_bytes().decode())


@pytest.mark.parametrize("ending", ["json", "jsonl", "ndjson", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_the_same_rows_in_every_format(tmp_path: Path, ending: str, packed: str) -> None:
    prompts = read_prompts(write_rows(tmp_path / f"rows.{ending}{packed}"))
    assert [(row.prompt, row.references) for row in prompts] == PROMPTS
    assert [row.number for row in prompts] == [1, 2]
    assert (prompts.format, prompts.column) == ({"ndjson": "jsonl"}.get(ending, ending), "prompt")
    assert prompts.label_column == "response"
    assert prompts.head(1)[0].prompt == "one"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("p.txt", "one\n\n  two \r\nthree", ["one", "two", "three"]),
        ("p.txt", "one\nmore\n---\ntwo\n\n---\n", ["one\nmore", "two"]),
        ("p.txt", "one\n ---\n----\n", ["one", "---", "----"]),
        ("p.txt.gz", "one\ntwo\n", ["one", "two"]),
        ("p.txt", "one line\u2028still\x85the same\n", ["one line\u2028still\x85the same"]),
        ("p.md", "# Title\n\nText\n", ["# Title\n\nText"]),
        ("p.md", "# One\n---\n# Two\n", ["# One", "# Two"]),
        ("p.md", "---\ntitle: x\ntags:\n- a\n---\n# One\n", ["# One"]),
        ("p.md", "---\nA prompt, not a header.\n---\nTwo\n", ["A prompt, not a header.", "Two"]),
        ("p.md", "Ask\n\n```yaml\n---\na: 1\n---\n```\n\n---\n\nTwo", ["Ask\n\n```yaml\n---\na: 1\n---\n```", "Two"]),
        ("p.md", "~~~\n```\n---\n~~~\n\n---\nTwo", ["~~~\n```\n---\n~~~", "Two"]),
        (
            "p.md",
            "Heading\n---\nText.\n\nOther heading\n---\nMore.",
            ["Heading\n---\nText.\n\nOther heading\n---\nMore."],
        ),
        ("p.md", "Ask one.\n---\n- a\n- b\n---\nAsk two.", ["Ask one.", "- a\n- b", "Ask two."]),
        ("p.md", "| a |\n|---|\n| 1 |\n\nAdd.", ["| a |\n|---|\n| 1 |\n\nAdd."]),
        ("p.md", "---\ntitle: x\nabout: |\n  much\n---\nAsk", ["Ask"]),
        ("p.txt", "one\rtwo\r", ["one", "two"]),
        ("p.jsonl", '"one"\r"two"\r', ["one", "two"]),
        ("p.json", '["one", "two"]', ["one", "two"]),
        ("p.json", '{"version": 1, "data": [{"prompt": "one"}]}', ["one"]),
        ("p.json", '{"prompt": "one"}', ["one"]),
        ("p.json", '{"prompt": "one", "items": ["a"]}', ["one"]),
        ("p.json", '{"prompt": "one"}\n{"prompt": "two"}\n', ["one", "two"]),
        ("p.jsonl", '\n"one"\r\n\n"two"', ["one", "two"]),
        ("p.csv", "id;question\n1;one, or\n2;two\n", ["one, or", "two"]),
        ("p.csv", '\nprompt\n"a ""b""\nc"\n', ['a "b"\nc']),
        ("p.csv", "prompt,response\none\n", ["one"]),
        ("P.JSONL", '{"prompt": "one"}', ["one"]),
    ],
)
def test_what_counts_as_one_prompt(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    assert texts(write(tmp_path / name, text)) == expected


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["txt", "md", "json", "jsonl", "csv", "tsv"])
def test_byte_order_marks_are_understood(tmp_path: Path, encoding: str, ending: str) -> None:
    word = "größer 東京"
    quoted = json.dumps(word, ensure_ascii=False)
    content = {
        "json": f"[{quoted}]",
        "jsonl": f"{quoted}\n",
        "csv": f"prompt,x\r\n{word},1\r\n",
        "tsv": f"prompt\tx\n{word}\t1\n",
    }
    assert texts(write(tmp_path / f"p.{ending}", content.get(ending, word + "\n"), encoding)) == [word]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_both_byte_orders(tmp_path: Path, encoding: str) -> None:
    assert texts(write(tmp_path / "p.txt", "\ufeffeins\nzwei\n", encoding)) == ["eins", "zwei"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=8), escaped=st.booleans())
def test_json_lines_round_trip(tmp_path: Path, prompts: list[str], escaped: bool) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": prompt}, ensure_ascii=escaped) + "\n" for prompt in prompts),
        encoding="utf-8",
        newline="",
    )
    assert texts(path) == prompts


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.lists(st.text().filter(lambda text: text.strip() and "\0" not in text), min_size=1, max_size=8))
def test_csv_round_trip(tmp_path: Path, prompts: list[str]) -> None:
    path = tmp_path / "p.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["prompt", "n"], *([prompt, "1"] for prompt in prompts)])
    assert texts(path) == prompts


def test_a_named_column_and_label(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "prompt,Goal,gold\na,b,c\n")
    row = read_prompts(path, column="goal", label="gold").head(1)[0]
    assert (row.prompt, row.references) == ("b", ("c",))


def test_chat_rows_in_parquet(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Answer"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    assert [row[:3] for row in read_prompts(tmp_path / "p.parquet")] == [(1, "Ask", ("Answer",))]


def test_a_line_of_five_megabytes(tmp_path: Path) -> None:
    long = "word " * 2**20
    path = write_jsonl(tmp_path / "p.jsonl", long, "short")
    assert [len(text) for text in sample_prompts(read_prompts(path), 4, 0).texts] == [len(long), 5]
    table = write(tmp_path / "p.csv", f"prompt\n{long}\n")
    assert [len(text) for text in texts(table)] == [len(long)]


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with open(path, "w") as file:
        for number in range(4000):
            file.write(json.dumps({"prompt": f"{number} " + "x" * 10_000}) + "\n")  # 40 MB
    tracemalloc.start()
    try:
        batch = sample_prompts(read_prompts(path), 16, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert batch.total == 4000
    assert peak < 8 * 2**20


def test_a_link_to_a_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(write_jsonl(tmp_path / "p.jsonl", "one"))
    assert texts(tmp_path / "link.jsonl") == ["one"]


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/z.jsonl", "a.jsonl", "c.jsonl.gz"):
        write_jsonl(tmp_path / name, name)
    prompts = read_prompts(tmp_path)
    assert [row.prompt for row in prompts] == ["a/z.jsonl", "a.jsonl", "b.jsonl", "c.jsonl.gz"]
    assert [row.number for row in prompts] == [1, 2, 3, 4]
    assert [file.relative_to(tmp_path).as_posix() for file in prompts.files] == [row.prompt for row in prompts]


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["test.jsonl", "train.jsonl", "validation.jsonl"], ["train.jsonl"]),
        (["data/test-00000-of-00001.jsonl", "data/train-00000-of-00001.jsonl"], ["data/train-00000-of-00001.jsonl"]),
        (["train/a.jsonl", "test/a.jsonl"], ["train/a.jsonl"]),
        (["rows.jsonl", "rows_test.jsonl"], ["rows.jsonl"]),
        (["test.jsonl"], ["test.jsonl"]),
        (["contest.jsonl", "a.jsonl"], ["a.jsonl", "contest.jsonl"]),
        (["a.csv", "a.jsonl", "meta.json", "README.md", "notes.txt"], ["a.jsonl"]),
        (["a.txt", "README.md"], ["a.txt"]),
        (["a.md", "README.md", "LICENSE.md"], ["a.md"]),
        ([".hidden.jsonl", ".git/a.jsonl", "a.jsonl"], ["a.jsonl"]),
        (["a.ndjson", "b.jsonl.gz"], ["a.ndjson", "b.jsonl.gz"]),
    ],
)
def test_which_files_of_a_folder_are_used(tmp_path: Path, names: list[str], used: list[str]) -> None:
    for name in names:
        write_jsonl(tmp_path / name, name)
    assert [file.relative_to(tmp_path).as_posix() for file in read_prompts(tmp_path).files] == used


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write_jsonl(tmp_path / "outside" / "secret.jsonl", "secret")
    folder = tmp_path / "folder"
    write_jsonl(folder / "a.jsonl", "one")
    (folder / "link.jsonl").symlink_to(outside)
    (folder / "out").symlink_to(outside.parent)
    (folder / "loop").symlink_to(folder)
    assert texts(folder) == ["one"]


def test_an_empty_file_beside_others_of_a_folder_has_no_rows_to_show_the_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", "\n")
    write_jsonl(tmp_path / "b.jsonl", "one")
    assert texts(tmp_path) == ["one"]


def test_saved_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    one = read_prompts(tmp_path / "one")
    assert [(row.prompt, row.references) for row in one] == PROMPTS
    assert (one.format, one.column, one.files) == ("dataset", "prompt", (tmp_path / "one",))
    datasets.DatasetDict(test=rows.select([0]), train=rows.select([1])).save_to_disk(tmp_path / "two")
    two = read_prompts(tmp_path / "two")
    assert [row.prompt for row in two] == [PROMPTS[1][0]]
    assert two.files == (tmp_path / "two" / "train",)


def test_importing_and_reading_text_loads_no_heavy_library(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "p.jsonl", "one")
    code = (
        "import sys, pathlib, engine.prompts as p; p.read_prompts(pathlib.Path(sys.argv[1])).head(1);"
        "print([name for name in ('torch', 'pyarrow', 'datasets', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("a.NDJSON.GZ", "jsonl"),
        ("a.b.csv", "csv"),
        ("a.gz", None),
        ("csv", None),
        ("a.pdf", None),
    ],
)
def test_the_format_is_in_the_name(name: str, kind: str | None) -> None:
    assert file_format(Path(name)) == kind
