"""The figures of the quality table, and how it is written and drawn."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.judge.report import as_markdown, as_svg
from engine.judge.table import BITS, SCORE, Cost, QualityTable, Run, TaskRuns
from engine.tasks.arms import ARMS, CHOICES, GROUPS, arm_title, chosen_arms


def one(*scores: float, bits: float | None = 1.0, seed: int = 0) -> Run:
    return Run(seed, scores, bits)


TABLE = QualityTable(
    tasks=[
        TaskRuns(
            "piqa",
            "exact_match",
            "PIQA",
            {
                "generated": [one(1, 1, 0, 1, bits=0.5), one(1, 1, 1, 1, bits=0.25, seed=1)],
                "base": [one(0, 0, 0, 0, bits=2.0)],
                "multi_task": [one(0, 0, 0, 1, bits=1.0)],
                "oracle": [one(1, 1, 1, 1, bits=0.25)],
                "lora:a": [one(0, 1, 0, 1, bits=None)],
            },
        ),
        TaskRuns(
            "sum|up",
            "rouge_l",
            "SNI",
            {
                "base": [one(0.5, bits=1.0)],
                "multi_task": [one(0.5, bits=1.0)],
                "generated": [one(0.25), one(0.75, seed=1)],
                "oracle": [one(0.75, bits=0.5)],
            },
        ),
    ],
    costs={
        "base": Cost(0.0, 12.4),
        "multi_task": Cost(0.1, 13.0),
        "generated": Cost(0.5, 31.6),
        "oracle": Cost(60.0, 2.0),
        "lora:a": Cost(0.2, 1.0),
    },
    settings={"oracle": {"steps": 60, "learning_rate": 0.001}},
    unmeasured={"mean": "needs a LoRA library", "prompts_64": "the generator reads 32 prompts"},
)


def test_a_task_counts_once_however_many_rows_it_has() -> None:
    assert TABLE.mean("base") == 0.25
    assert TABLE.mean("oracle") == 0.875
    assert TABLE.mean("mean") is None


def test_seeds_are_averaged_first_and_their_spread_is_told() -> None:
    assert TABLE.task_means("generated") == {"piqa": 0.875, "sum|up": 0.5}
    assert TABLE.seed_means("generated") == {0: 0.5, 1: 0.875}
    assert TABLE.spread("generated") == pytest.approx(0.375 / 2**0.5)
    assert TABLE.spread("base") is None
    assert TABLE.task_means("generated", BITS) == {"piqa": 0.375, "sum|up": 1.0}


def test_arms_are_in_a_fixed_order_and_further_ones_follow() -> None:
    assert TABLE.arms == [*GROUPS["table"], "prompts_64", "lora:a"]
    assert (TABLE.missing("mean"), TABLE.missing("examples")) == ("needs a LoRA library", "was not asked for")


def test_differences_are_over_tasks_measured_with_both() -> None:
    found = {each.than: each for each in TABLE.differences()}
    assert set(found) == {"base", "multi_task", "oracle", "lora:a"}
    assert (found["base"].mean, found["base"].wins, found["base"].losses) == (0.4375, 1, 0)
    assert (found["lora:a"].mean, found["lora:a"].tasks) == (0.375, 1)
    bits = {each.than: each for each in TABLE.differences(BITS)}
    assert "lora:a" not in bits
    assert (bits["base"].mean, bits["base"].wins, bits["base"].losses) == (-0.8125, 1, 0)


def test_recovery_of_both_figures_has_better_as_positive() -> None:
    score, bits = TABLE.recovery(figure=SCORE), TABLE.recovery(figure=BITS)
    assert score is not None and bits is not None
    # Gains over the multi-task LoRA: (0.625 + 0) of (0.75 + 0.25), and (0.625 + 0) of (0.75 + 0.5) bits.
    assert (score.part, bits.part) == (pytest.approx(0.625), pytest.approx(0.5))
    assert TABLE.recovery("other_prompts") is None


def test_markdown_has_every_figure_and_every_reason() -> None:
    text = as_markdown(TABLE)
    lines = text.splitlines()
    assert "| Mean adapter | not measured: needs a LoRA library |  |  |  |  |  |  |  |" in lines
    assert "| Oracle LoRA | 0.875 | 0.750 to 1.000 | 0.375 | 0.250 to 0.500 | 2 | 1 | 60.00 | 2 |" in lines
    assert any(line.startswith("| Generated | 0.688 ± 0.265 | 0.500 to 0.875 |") for line in lines)
    assert "| LoRA of a | 0.500 | 0.500 to 0.500 | not measured |  | 1 | 1 | 0.20 | 1 |" in lines
    assert "| Base | +0.438 | +0.000 to +0.875 | 1 | 0 | 2 | 1 |" in lines
    assert any(line.startswith("| Generated against (bits per byte, lower is better) |") for line in lines)
    assert any(line.startswith("- Generated, score: the oracle gains 0.500 (+0.250 to +0.750)") for line in lines)
    assert any(line.startswith("| sum\\|up | SNI | rouge_l | 1 | 0.500 | 0.500 | 0.500 |") for line in lines)
    assert f"- Oracle LoRA: {ARMS['oracle'].rule} (steps 60, learning_rate 0.001)." in lines


def test_markdown_without_a_generated_arm_has_no_differences() -> None:
    table = QualityTable([TaskRuns("piqa", "exact_match", "PIQA", {"base": [one(1.0)]})], {"base": Cost(0, 1)})
    text = as_markdown(table)
    assert "Generated against" not in text and "is reached" not in text


def test_json_is_plain_data() -> None:
    data = json.loads(json.dumps(TABLE.to_json()))
    base = data["arms"]["base"]
    assert (base["title"], base["tasks_measured"], base["not_measured"]) == ("Base", 2, None)
    assert base["score"] == {"mean": 0.25, "interval": [0.0, 0.5], "by_seed": {"0": 0.25}, "spread": None}
    assert (base["making_seconds"], base["answering_seconds"]) == (0.0, 12.4)
    assert data["arms"]["mean"]["not_measured"] == "needs a LoRA library"
    assert data["tasks"][0]["score"]["generated"] == 0.875 and data["tasks"][0]["bits_per_byte"]["oracle"] == 0.25
    assert data["differences"]["score"][0]["than"] == "base"
    assert data["recovery"]["generated"]["score"]["part"] == pytest.approx(0.625)
    assert data["recovery"]["other_prompts"] == {"score": None, "bits_per_byte": None}


def test_the_plot_draws_what_was_measured_in_the_panels_of_its_axis() -> None:
    picture = ElementTree.fromstring(as_svg(TABLE))
    named = picture.findall("{*}circle/{*}title")
    assert [title.text for title in named if (title.text or "").startswith("Oracle")] == [
        "Oracle LoRA: 0.875 (0.750 to 1.000)",
        "Oracle LoRA: 0.375 (0.250 to 0.500)",
    ]
    width = float(picture.attrib["width"])
    assert all(0 < float(dot.attrib["cx"]) < width for dot in picture.findall("{*}circle"))
    words = [text.text for text in picture.findall("{*}text")]
    assert "Mean adapter" not in words and "LoRA of a" in words


def test_a_plot_of_nothing_is_a_picture() -> None:
    empty = QualityTable([TaskRuns("t", "rouge_l", "here", {})], {})
    assert ElementTree.fromstring(as_svg(empty)).tag.endswith("svg")


def test_groups_and_names_are_expanded_in_the_order_of_the_table() -> None:
    assert chosen_arms(("oracle", "base", "base")) == ["base", "oracle"]
    assert set(chosen_arms(("table",))) - set(chosen_arms(("untrained",))) == {"oracle"}
    assert chosen_arms(("library", "prompts"))[-1] == "library"
    with pytest.raises(EngineError, match="no arm 'best'.*Arms and groups: table, untrained"):
        chosen_arms(("best",))


@given(st.lists(st.sampled_from(CHOICES)))
def test_every_choice_is_an_arm_once(names: list[str]) -> None:
    arms = chosen_arms(names)
    assert len(set(arms)) == len(arms) and set(arms) <= {*ARMS, "library"} and arms
    assert chosen_arms(arms) == arms and all(arm_title(arm) for arm in arms)
