"""The published kind of table out of the tables of several generators."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import EngineError
from engine.jobs.leave_one_out import leave_one_out


def table(name: str, **scores: float | None) -> dict[str, Any]:
    named = {arm.replace("lora_", "lora:"): score for arm, score in scores.items()}
    return {"tasks": [{"name": name, "rows": 100, "score": named}]}


def test_average_and_best_are_over_the_training_adapters() -> None:
    one = table("piqa", base=0.1, multi_task=0.3, generated=0.5, lora_boolq=0.2, lora_obqa=0.4)
    other = table("boolq", base=0.3, multi_task=None, generated=0.25, lora_piqa=0.0, lora_obqa=0.0, oracle=0.9)
    found = leave_one_out([("a", one), ("b", other)])
    assert [each.name for each in found.sets] == ["boolq", "piqa"]
    piqa = found.sets[1]
    assert (piqa.average, piqa.best, piqa.best_of) == (pytest.approx(0.3), 0.4, "obqa")
    assert found.means() == {
        "base": pytest.approx(0.2), "multi_task": None, "average": pytest.approx(0.15), "best": pytest.approx(0.2),
        "generated": pytest.approx(0.375),
    }  # fmt: skip
    lines = found.to_markdown().splitlines()
    assert "| piqa | 100 | 0.100 | 0.300 | 0.300 | 0.400 | 0.500 |" in lines
    assert "| **Mean** |  | 0.200 | not measured | 0.150 | 0.200 | 0.375 |" in lines
    assert found.to_json()["sets"][0]["best_of"] == "obqa"


@pytest.mark.parametrize(
    "broken",
    [
        table("piqa", base=0.1, generated=0.5),
        table("piqa", lora_a=0.1),
        table("piqa", lora_a=0.1, generated=None),
        {"tasks": [{"name": "piqa"}]},
        {},
        [],
    ],
)
def test_a_table_without_the_arms_is_told(broken: Any) -> None:
    with pytest.raises(EngineError, match="there: lacks the arms of a leave-one-out table.*--arm library"):
        leave_one_out([("there", broken)])


def test_a_set_judged_twice_or_no_set_is_told() -> None:
    one = table("piqa", generated=0.5, lora_a=0.1)
    with pytest.raises(EngineError, match="there: judges piqa a second time"):
        leave_one_out([("here", one), ("there", one)])
    with pytest.raises(EngineError, match="no table is named"):
        leave_one_out([])
