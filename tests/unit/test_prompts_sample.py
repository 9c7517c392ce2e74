"""Sampling: seeded, uniform, in order, one pass; and the report."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Cancelled, EngineError
from engine.events import Event, Note, Reporter, StageAdvanced
from engine.prompts import describe, read_prompts, sample_prompts
from engine.prompts.sample import reservoir


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def numbered(tmp_path: Path, count: int) -> Path:
    return write_rows(tmp_path / "p.jsonl", [{"prompt": f"prompt {n}", "response": f"LABEL {n}"} for n in range(count)])


@given(st.integers(0, 300), st.integers(1, 40), st.integers())
def test_a_reservoir_is_a_seeded_subset_in_order(total: int, count: int, seed: int) -> None:
    kept = reservoir(range(total), count, seed)
    assert len(kept) == min(total, count)
    assert kept == sorted(set(kept))
    assert set(kept) <= set(range(total))
    assert kept == reservoir(range(total), count, seed)
    if count >= total:
        assert kept == list(range(total))


def test_every_place_is_about_equally_likely() -> None:
    drawn = Counter(item for seed in range(4000) for item in reservoir(range(20), 5, seed))
    # 1000 expected for each; the standard deviation is 27
    assert set(drawn) == set(range(20))
    assert all(850 < times < 1150 for times in drawn.values())


def test_the_sample_of_a_seed_is_the_same_everywhere() -> None:
    assert reservoir(range(1000), 8, 0) == [83, 410, 510, 520, 591, 664, 671, 914]


def test_a_batch_holds_prompts_and_no_labels(tmp_path: Path) -> None:
    batch = sample_prompts(read_prompts(numbered(tmp_path, 100)), 10, seed=3)
    assert batch.texts == tuple(f"prompt {number - 1}" for number in batch.numbers)
    assert len(batch.texts) == 10
    assert (batch.total, batch.skipped) == (100, 0)
    assert "LABEL" not in repr(batch)


def test_seed_and_texts_decide_the_digest(tmp_path: Path) -> None:
    prompts = read_prompts(numbered(tmp_path, 50))
    one, again, other = (sample_prompts(prompts, 10, seed) for seed in (1, 1, 2))
    assert one == again
    assert one.texts != other.texts
    assert one.digest != other.digest
    everything = sample_prompts(prompts, 50, 1)
    copy = tmp_path / "copy.txt"
    copy.write_text("\n".join(everything.texts))
    assert sample_prompts(read_prompts(copy), 50, 9).digest == everything.digest


def test_fewer_prompts_than_asked_for_are_all_taken_in_order(tmp_path: Path) -> None:
    batch = sample_prompts(read_prompts(numbered(tmp_path, 5)), 128, seed=1)
    assert batch.texts == tuple(f"prompt {n}" for n in range(5))
    assert batch.numbers == (1, 2, 3, 4, 5)


def test_one_prompt_is_enough(tmp_path: Path) -> None:
    assert sample_prompts(read_prompts(numbered(tmp_path, 1)), 32, seed=0).texts == ("prompt 0",)


def test_empty_rows_are_skipped_counted_and_told(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "a"}, {"prompt": "  "}, {"prompt": None}, {"prompt": "b"}]
    events: list[Event] = []
    batch = sample_prompts(read_prompts(write_rows(tmp_path / "p.jsonl", rows)), 8, 0, Reporter(events.append))
    assert (batch.texts, batch.numbers, batch.total, batch.skipped) == (("a", "b"), (1, 4), 2, 2)
    assert [event.text for event in events if isinstance(event, Note)] == ["2 rows without a prompt skipped"]


def test_progress_counts_all_rows_and_reading_can_be_cancelled(tmp_path: Path) -> None:
    prompts = read_prompts(numbered(tmp_path, 4500))
    events: list[Event] = []
    sample_prompts(prompts, 8, 0, Reporter(events.append))
    steps = [event.step for event in events if isinstance(event, StageAdvanced)]
    assert steps == [2000, 4000, 4500]
    seen: list[Event] = []
    with pytest.raises(Cancelled):
        sample_prompts(prompts, 8, 0, Reporter(seen.append, cancelled=lambda: len(seen) > 1))


def test_a_hundred_thousand_prompts(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("".join(f"prompt {n}\n" for n in range(100_000)))
    batch = sample_prompts(read_prompts(path), 32, seed=0)
    assert batch.total == 100_000
    assert max(batch.numbers) > 50_000


def test_at_least_one_must_be_sampled(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="at least 1"):
        sample_prompts(read_prompts(numbered(tmp_path, 3)), 0, seed=0)


def test_describe(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"instruction": "aa", "input": "", "output": "x"},
        {"instruction": "aa", "input": "", "output": "y"},
        {"instruction": "bbbb", "input": "c", "output": ""},
        {"instruction": "", "input": "c", "output": "z"},
    ]
    path = write_rows(tmp_path / "p.jsonl", rows)
    report = describe(read_prompts(path))
    assert (report.format, report.column, report.label_column) == ("jsonl", "instruction + input", "output")
    assert (report.rows, report.complete, report.prompts, report.skipped) == (4, True, 3, 1)
    assert (report.labelled, report.duplicates) == (2, 1)
    assert (report.shortest, report.median, report.longest) == (2, 2, 7)
    assert report.files == (path,)


def test_describe_stops_at_its_limit(tmp_path: Path) -> None:
    prompts = read_prompts(numbered(tmp_path, 10))
    assert (describe(prompts, 4).rows, describe(prompts, 4).complete) == (4, False)
    assert (describe(prompts, 10).rows, describe(prompts, 10).complete) == (10, True)
