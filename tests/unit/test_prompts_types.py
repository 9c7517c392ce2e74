"""Values of columnar files keep what they mean: class names, decimals, dates, bytes."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.prompts import read_prompts


def references(path: Path) -> list[tuple[str, ...]]:
    return [row.references for row in read_prompts(path)]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (pa.array([decimal.Decimal("1.50")]), "1.50"),
        (pa.array([datetime.date(2024, 1, 2)]), "2024-01-02"),
        (pa.array([datetime.datetime(2024, 1, 2, 3, 4)]), "2024-01-02 03:04:00"),
        (pa.array([True]), "true"),
        (pa.array(["grün".encode()]), "grün"),
        (pa.array(["x"], pa.string_view()), "x"),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([7], pa.uint8()), "7"),
        (pa.array([0.1], pa.float32()), "0.1"),
        (pa.array([16777217.0], pa.float64()), "16777217.0"),
    ],
)
def test_answers_of_other_types(tmp_path: Path, answers: pa.Array, said: str) -> None:
    pq.write_table(pa.table({"question": ["ask"], "answer": answers}), tmp_path / "p.parquet")
    assert references(tmp_path / "p.parquet") == [(said,)]


def test_prompts_in_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": [b"frag"]}), tmp_path / "p.parquet")
    assert [row.prompt for row in read_prompts(tmp_path / "p.parquet")] == ["frag"]


def test_labels_are_called_as_their_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["bad", "good"])
    features: Any = datasets.Features(text=datasets.Value("string"), label=names, id=datasets.Value("int64"))
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1], "id": [0, 1, 2]}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.save_to_disk(tmp_path / "saved")
    data.to_parquet(tmp_path / "p.parquet")
    with pa.ipc.new_stream(str(tmp_path / "p.arrow"), data.data.table.schema) as writer:
        writer.write_table(data.data.table)
    for path in (tmp_path / "saved", tmp_path / "p.parquet", tmp_path / "p.arrow"):
        assert references(path) == [("good",), ("bad",), ()]
