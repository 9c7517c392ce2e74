"""What is taken for an adapter, and what is not; nothing that lies on a disk may make the question fail."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.adapter.kind import adapter_kind, adapter_path, known_kind
from engine.errors import EngineError


def gguf_file(file: Path, type_: str | None, *, before: int = 0) -> Path:
    """A GGUF file whose type stands after `before` further fields and an array of texts."""
    writer = gguf.GGUFWriter(file, "llama")
    for number in range(before):
        writer.add_string(f"some.field.{number}", "x" * 100)
    writer.add_array("some.texts", ["a", "bc"])
    writer.add_array("some.numbers", [1, 2, 3])
    if type_ is not None:
        writer.add_type(type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_folder_with_a_config_is_one(tmp_path: Path) -> None:
    assert adapter_kind(tmp_path) is None
    (tmp_path / "adapter_config.json").write_text("{}")
    assert adapter_kind(tmp_path) == "peft"
    assert adapter_kind(tmp_path / "adapter_config.json") is None


@pytest.mark.parametrize(("type_", "kind"), [("adapter", "gguf"), ("model", None), (None, None)])
def test_a_gguf_file_is_one_when_it_says_so(tmp_path: Path, type_: str | None, kind: str | None) -> None:
    assert adapter_kind(gguf_file(tmp_path / "a.gguf", type_)) == kind
    assert adapter_kind(gguf_file(tmp_path / "b.GGUF", type_, before=50)) == kind


def test_a_folder_of_our_gguf_exports_is_one(tmp_path: Path) -> None:
    gguf_file(tmp_path / "other.gguf", "adapter")
    assert adapter_kind(tmp_path) is None, "a folder of any GGUF files may be anything"
    file = gguf_file(tmp_path / "adapter.gguf", "adapter")
    assert adapter_kind(tmp_path) == "gguf" and adapter_path(tmp_path) == file == adapter_path(file)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert adapter_kind(tmp_path) == "peft" and adapter_path(tmp_path) == tmp_path
    (tmp_path / "model").mkdir()
    gguf_file(tmp_path / "model" / "adapter.gguf", "model")
    assert adapter_kind(tmp_path / "model") is None


def test_only_the_beginning_is_read(tmp_path: Path) -> None:
    assert adapter_kind(gguf_file(tmp_path / "late.gguf", "adapter", before=1000)) is None


def test_other_paths_are_none(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "adapter"}')
    os.mkfifo(tmp_path / "waits.gguf")
    (tmp_path / "around.gguf").symlink_to("around.gguf")
    for name in ("rows.jsonl", "waits.gguf", "around.gguf", "missing.gguf", "zero\0byte", "n" * 5000):
        assert adapter_kind(tmp_path / name) is None


STARTS = [b"", b"GGUF", b"GGUF\3\0\0\0", b"GGUF\3\0\0\0" + b"\1\0\0\0\0\0\0\0" * 2]


@given(content=st.binary(max_size=200), start=st.sampled_from(STARTS))
def test_garbage_is_none(tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "garbage.gguf"
    file.write_bytes(start + content)
    assert adapter_kind(file) is None


def test_what_is_there_instead_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    gguf_file(tmp_path / "model.gguf", "model")
    for name, told in (
        ("nowhere", "no such file"),
        (".", "has no adapter_config.json"),
        ("model.gguf", "states nowhere that it is an adapter"),
        ("rows.jsonl", "neither a PEFT folder nor a GGUF adapter"),
    ):
        with pytest.raises(EngineError, match=told) as caught:
            known_kind(tmp_path / name)
        assert caught.value.hint
