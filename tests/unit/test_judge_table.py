"""The figures of the quality table, and how it is written."""

from __future__ import annotations

import json

import pytest

from engine.judge.table import QualityTable, TaskScores, difference


def test_bootstrap_of_two_tasks_is_the_one_worked_out_by_hand() -> None:
    # Two differences 0 and 1: the resampled mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    found = difference("generated", "base", [0.0, 1.0], seed=0)
    assert found is not None
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    assert (found.wins, found.losses, found.tasks) == (1, 0, 2)


def test_bootstrap_of_ten_tasks_is_the_one_worked_out_by_hand() -> None:
    # One task of ten is better by 1: the resampled mean is k / 10 with k binomial(10, 1/10). P(k = 0) = 0.349 is above
    # 2.5 %, so the lower end is 0; P(k <= 2) = 0.930 and P(k <= 3) = 0.987, so the upper end is 0.3.
    found = difference("generated", "base", [1.0] + [0.0] * 9, seed=3)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.0, 0.3))


def test_bootstrap_of_equal_differences_has_no_width() -> None:
    found = difference("generated", "base", [-0.25] * 4, seed=0)
    assert found is not None
    assert (found.mean, found.low, found.high) == (-0.25, -0.25, -0.25)
    assert (found.wins, found.losses) == (0, 4)


def test_same_seed_same_interval() -> None:
    values = [0.1, -0.3, 0.7, 0.2, 0.05]
    assert difference("a", "b", values, seed=5) == difference("a", "b", values, seed=5)
    assert difference("a", "b", [], seed=5) is None


TABLE = QualityTable(
    tasks=[
        TaskScores("piqa", "exact_match", "PIQA", {"generated": [1, 1, 0, 1], "base": [0, 0, 0, 0], "oracle": [1] * 4}),
        TaskScores("sum|up", "rouge_l", "SNI", {"base": [0.5], "generated": [0.25]}),
    ],
    seconds={"base": 12.4, "generated": 31.6, "oracle": 2.0},
)


def test_a_task_counts_once_however_many_rows_it_has() -> None:
    assert TABLE.mean("base") == 0.25
    assert TABLE.mean("generated") == 0.5
    assert TABLE.mean("oracle") == 1.0
    assert TABLE.mean("mean") is None


def test_arms_are_in_a_fixed_order_and_further_ones_follow() -> None:
    assert TABLE.arms == ["base", "mean", "multi_task", "other_prompts", "generated", "oracle"]


def test_differences_are_over_tasks_measured_with_both() -> None:
    found = {one.than: one for one in TABLE.differences()}
    assert set(found) == {"base", "oracle"}
    assert (found["base"].mean, found["base"].wins, found["base"].losses) == (0.25, 1, 1)
    assert (found["oracle"].mean, found["oracle"].tasks) == (-0.25, 1)


def test_markdown() -> None:
    assert TABLE.to_markdown() == (
        "| Task | Source | Metric | Rows | Base | Mean adapter | Multi-task LoRA | Generated, other tasks' prompts "
        "| Generated | oracle |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| piqa | PIQA | exact_match | 4 | 0.000 | not measured | not measured | not measured | 0.750 | 1.000 |\n"
        "| sum\\|up | SNI | rouge_l | 1 | 0.500 | not measured | not measured | not measured | 0.250 | not measured |\n"
        "| **Mean over tasks** |  |  |  | 0.250 | not measured | not measured | not measured | 0.500 "
        "| 1.000 (1 of 2 tasks) |\n"
        "| Device seconds |  |  |  | 12 | not measured | not measured | not measured | 32 | 2 |\n"
        "\n"
        "| Generated against | Difference | 95 % interval | Better on | Worse on | Tasks |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| Base | +0.250 | -0.250 to +0.750 | 1 | 1 | 2 |\n"
        "| oracle | -0.250 | -0.250 to -0.250 | 0 | 1 | 1 |\n"
    )


def test_markdown_without_a_generated_arm_has_no_differences() -> None:
    text = QualityTable([TaskScores("piqa", "exact_match", "PIQA", {"base": [1.0]})], {}).to_markdown()
    assert "against" not in text
    assert text.count("| 1.000 |") == 2


def test_json_is_plain_data() -> None:
    data = json.loads(json.dumps(TABLE.to_json()))
    assert data["arms"]["base"] == {"title": "Base", "mean": 0.25, "tasks_measured": 2, "device_seconds": 12.4}
    assert data["arms"]["mean"]["mean"] is None
    assert data["tasks"][0]["means"]["generated"] == 0.75
    assert data["differences"][0]["than"] == "base"
