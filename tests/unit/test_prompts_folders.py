"""Folders as tools leave them: splits, configurations, caches, text files; what is not read is told."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from engine.errors import EngineError
from engine.prompts import describe, read_prompts


def put(path: Path, *prompts: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return path


def texts(path: Path, **named: str) -> list[str]:
    return [row.prompt for row in read_prompts(path, **named)]


def test_of_several_configurations_the_usual_one_is_read_and_the_others_are_told(tmp_path: Path) -> None:
    for name in ("extra", "main"):
        for split in ("train", "test"):
            put(tmp_path / name / f"{split}-00000-of-00001.jsonl", f"{name} {split}")
    assert texts(tmp_path) == ["main train"]
    reading = describe(read_prompts(tmp_path)).reading
    for left in ("extra/train-00000-of-00001.jsonl", "main/test-00000-of-00001.jsonl"):
        assert left in reading
    assert texts(tmp_path / "extra") == ["extra train"]


def test_without_a_usual_configuration_one_has_to_be_named(tmp_path: Path) -> None:
    for name in ("german", "french"):
        put(tmp_path / name / "train.jsonl", name)
    with pytest.raises(EngineError, match="2 configurations: french, german") as caught:
        texts(tmp_path)
    assert str(tmp_path / "french") in str(caught.value.hint)


def test_training_rows_of_another_format_go_before_test_rows(tmp_path: Path) -> None:
    put(tmp_path / "test.jsonl", "test")
    (tmp_path / "train.csv").write_text("prompt\ntrain\n")
    assert texts(tmp_path) == ["train"]
    put(tmp_path / "more.jsonl", "more")
    assert texts(tmp_path) == ["more"]


def test_what_a_mac_puts_beside_files_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", "one")
    (tmp_path / "__MACOSX").mkdir()
    for name in ("__MACOSX/a.jsonl", "._a.jsonl"):
        (tmp_path / name).write_bytes(b"\0\5")
    assert texts(tmp_path) == ["one"]


def test_where_the_first_file_is_about_something_else_another_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"a": 1}')
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    with pytest.raises(EngineError) as caught:
        texts(tmp_path)
    assert str(caught.value.hint).endswith("name one file of the folder")


def test_files_that_differ_can_be_named_one_by_one(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", "one")
    (tmp_path / "b.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(EngineError, match="name one file of the folder"):
        texts(tmp_path)


def test_the_cache_of_a_hub_is_read_though_it_is_made_of_links(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--org--name"
    blob = put(cache / "blobs" / "0a1b", "one")
    link = cache / "snapshots" / "c0ffee" / "data" / "train.jsonl"
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("../../../blobs") / blob.name)
    (link.parent / "train2.jsonl").symlink_to(put(tmp_path / "outside.jsonl", "secret"))
    assert texts(cache) == texts(cache / "snapshots" / "c0ffee") == ["one"]


@pytest.mark.parametrize("indexed", [False, True])
def test_arrow_files(tmp_path: Path, indexed: bool) -> None:
    table = pa.table({"prompt": [f"ask {n}" for n in range(1000)], "image": [b"\xff"] * 1000})
    folder = tmp_path / "json" / "default" / "0.0.0"
    folder.mkdir(parents=True)
    new = pa.ipc.new_file if indexed else pa.ipc.new_stream
    with new(str(folder / "json-train.arrow"), table.schema) as writer:
        writer.write_table(table)
    (folder / "dataset_info.json").write_text("{}")
    assert texts(tmp_path) == [f"ask {n}" for n in range(1000)]
    (folder / "json-train.arrow").write_bytes((folder / "json-train.arrow").read_bytes()[:100])
    with pytest.raises(EngineError, match="no whole Arrow file"):
        texts(tmp_path)


def test_splits_of_a_saved_dataset_that_are_not_read_are_told(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"prompt": "one"}])
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(tmp_path)
    assert describe(read_prompts(tmp_path)).reading.endswith("files not read: test")


MAILS = ["Dear Ann,\n\nthe parcel has not arrived.\n\nBen", "Hello,\n\nI was charged twice for one order.\n\nCleo"]
LISTS = ["Tell me a joke\nExplain the rain\nName a red fruit", "Sing me a song\nDraw a big house"]


@pytest.mark.parametrize(("files", "whole"), [(MAILS, True), (LISTS, False), (["one", "two"], False)])
def test_whether_a_text_file_is_a_prompt_or_a_list_of_them_is_guessed_and_can_be_said(
    tmp_path: Path, files: list[str], whole: bool
) -> None:
    for number, text in enumerate(files):
        (tmp_path / f"{number}.txt").write_text(text + "\n")
    lines = [line for text in files for line in text.splitlines() if line]
    assert texts(tmp_path) == (files if whole else lines)
    assert ("each file a prompt" in describe(read_prompts(tmp_path)).reading) is whole
    assert texts(tmp_path, text_files="files") == files
    assert texts(tmp_path, text_files="lines") == lines
    assert texts(tmp_path / "0.txt", text_files="files") == files[:1]
    with pytest.raises(EngineError, match="lines, files or auto"):
        texts(tmp_path, text_files="words")
