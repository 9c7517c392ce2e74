"""The table of chains over tasks: base, best chains, generated adapter, adapter and chain; as data and as Markdown.

Every arm of a task is judged on the same rows, that no search saw, and compared with the base row by row. One test a
cell: of many cells some look reliable by chance, so their number stands beside the reliable ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.depth.chain import Chain, format_chain
from engine.depth.scores import GAIN, LOSS, Judgement, RowScores, judge
from engine.depth.view import Speed
from engine.files import write_json, write_text
from engine.judge.report import markdown_table

MARKDOWN_FILE = "table.md"

BASE, ADAPTER, ADAPTER_CHAIN = "base", "adapter", "adapter_chain"
CHAIN_ARMS = ("skip", "loop", "both")
"""Arms of the base alone with its best chain, by what the search may do."""

ARMS: Mapping[str, str] = {
    BASE: "Base",
    "skip": "Best skips",
    "loop": "Best loops",
    "both": "Best of both",
    ADAPTER: "Adapter",
    ADAPTER_CHAIN: "Adapter, best of both",
}
"""Titles of the arms, in their order."""


@dataclass(frozen=True)
class Cell:
    """One arm of one task.

    chain: that the arm runs. scores: on the held-out rows.
    search_right: how many rows of the search it answers; None where nothing was searched.
    """

    chain: Chain
    scores: RowScores
    search_right: int | None = None

    def summary(self) -> dict[str, Any]:
        """As plain data, without its scores."""
        return {"chain": format_chain(self.chain), "length": len(self.chain), "search_right": self.search_right}


@dataclass(frozen=True)
class TaskCells:
    """A task's finished arms; `speed` is empty until all of them are there.

    rows: of the search.
    """

    name: str
    split: str
    rows: int
    cells: Mapping[str, Cell] = field(default_factory=dict)
    speed: Mapping[str, Speed] = field(default_factory=dict)

    def against(self, arm: str, other: str = BASE) -> Judgement | None:
        """The comparison of an arm with another one; None while one of them is missing."""
        if arm not in self.cells or other not in self.cells:
            return None
        return judge(self.cells[other].scores, self.cells[arm].scores)

    def ratio(self, arm: str) -> Speed | None:
        """How many times the base's speed; None where it was not measured."""
        if arm not in self.speed:
            return None
        own, base = self.speed[arm], self.speed[BASE]
        return Speed(own.prefill / base.prefill, own.decode / base.decode)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        arms = {arm: self._arm_data(arm) for arm in ARMS if arm in self.cells}
        return {"name": self.name, "split": self.split, "search_rows": self.rows, "arms": arms}

    def _arm_data(self, arm: str) -> dict[str, Any]:
        cell, speed, ratio = self.cells[arm], self.speed.get(arm), self.ratio(arm)
        over_base, over_adapter = self.against(arm), self.against(arm, ADAPTER) if arm == ADAPTER_CHAIN else None
        return {
            **cell.summary(),
            "right": cell.scores.right,
            "accuracy": cell.scores.accuracy,
            "loss": cell.scores.mean_loss,
            "against_base": over_base and asdict(over_base),
            "against_adapter": over_adapter and asdict(over_adapter),
            "speed": speed and asdict(speed),
            "speed_ratio": ratio and asdict(ratio),
        }


@dataclass
class DepthTable:
    """All tasks so far, by name; it grows.

    settings: plain data, what the table was made with.
    left_out: tasks that cannot be measured, and why.
    """

    settings: Mapping[str, Any]
    tasks: dict[str, TaskCells] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def arm(self, arm: str) -> dict[str, Any]:
        """An arm over all tasks whose arms are all there: arithmetic means, of speed ratios geometric ones."""
        whole = [task for task in self.tasks.values() if len(task.cells) == len(ARMS)]
        judged = [judgement for task in whole if (judgement := task.against(arm)) is not None]
        ratios = [ratio for task in whole if (ratio := task.ratio(arm)) is not None]
        return {
            "tasks": len(whole),
            "accuracy": _mean(task.cells[arm].scores.accuracy for task in whole),
            "layers": _mean(len(task.cells[arm].chain) for task in whole),
            "prefill_ratio": _geometric_mean(ratio.prefill for ratio in ratios),
            "decode_ratio": _geometric_mean(ratio.decode for ratio in ratios),
            "reliable_gains": sum(judgement.verdict == GAIN for judgement in judged),
            "reliable_losses": sum(judgement.verdict == LOSS for judgement in judged),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "settings": dict(self.settings),
            "arms": {arm: {"title": title} | self.arm(arm) for arm, title in ARMS.items()},
            "tasks": [task.to_json() for task in self.tasks.values()],
            "left_out": dict(self.left_out),
        }

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for people, of each arm."""
        return [(title, _arm_words(self.arm(arm))) for arm, title in ARMS.items()]

    def write(self, folder: Path) -> None:
        """Write table.json, and table.md for people."""
        write_json(folder / "table.json", self.to_json())
        write_text(folder / MARKDOWN_FILE, as_markdown(self))


def as_markdown(table: DepthTable) -> str:
    """Means over tasks, the accuracies by task, every cell; what was left out; how it was made."""
    parts = [_means(table), _accuracies(table), _cells(table)]
    parts += [f"- {name}: not measured, {reason}\n" for name, reason in table.left_out.items()]
    made = ", ".join(f"{name} {value}" for name, value in table.settings.items())
    parts.append(f"Made with: {made}.\n")
    return "\n".join(parts)


def _arm_words(mean: Mapping[str, Any]) -> str:
    if mean["accuracy"] is None:
        return "not measured"
    words = f"{mean['accuracy']:.1%} of held-out rows right, {mean['layers']:.1f} layers"
    if mean["decode_ratio"] is not None:
        words += f", reads {mean['prefill_ratio']:.2f} and writes {mean['decode_ratio']:.2f} times as fast as the base"
    return words


def _means(table: DepthTable) -> str:
    head = ["Arm", "Accuracy", "Layers", "Reads, of base", "Writes, of base", "Reliable gains", "Reliable losses"]
    figures = {"accuracy": ".1%", "layers": ".1f", "prefill_ratio": ".2f", "decode_ratio": ".2f"}
    rows = []
    for arm, title in ARMS.items():
        mean = table.arm(arm)
        reliable = ["", ""] if arm == BASE else [str(mean["reliable_gains"]), str(mean["reliable_losses"])]
        rows.append([title, *(_or_dash(mean[name], form) for name, form in figures.items()), *reliable])
    tasks = table.arm(BASE)["tasks"]
    note = (
        f"\nMeans over {tasks} tasks, all of whose arms are measured; of speeds geometric ones, as multiples of the "
        "base's. Reliable: p < 0.05 against the base, McNemar's exact test, each task by itself. Where nothing really "
        f"differs, chance makes up to {tasks * 0.05:.1f} of {tasks} tasks look reliable in each arm.\n"
    )
    return markdown_table(head, rows, left=1) + note


def _accuracies(table: DepthTable) -> str:
    rows = []
    for task in table.tasks.values():
        found = {arm: cell.scores.accuracy for arm, cell in task.cells.items()}
        rows.append([task.name, *(_or_dash(found.get(arm), ".1%") for arm in ARMS)])
    return markdown_table(["Task", *ARMS.values()], rows, left=1)


def _cells(table: DepthTable) -> str:
    head = ["Task", "Split", "Arm", "Chain", "Layers", "Right on rows of the search", "Held-out right"]
    head += ["Accuracy, 95 % interval", "Gained, lost, p", "Reads, tokens/s", "Writes, tokens/s"]
    rows = [_cell(task, arm) for task in table.tasks.values() for arm in ARMS if arm in task.cells]
    note = (
        "\nGained, lost: held-out rows that only the arm, and only the base, answers. In brackets: the speed as a "
        "multiple of the base's, in turns with it.\n"
    )
    return markdown_table(head, rows, left=4) + note + _over_adapter(table)


def _cell(task: TaskCells, arm: str) -> list[str]:
    cell, judgement = task.cells[arm], task.against(arm)
    searched = "-" if cell.search_right is None else f"{cell.search_right} of {task.rows}"
    speed, ratio = task.speed.get(arm), task.ratio(arm)
    interval = compared = reads = writes = "-"
    if speed and ratio:
        reads, writes = f"{speed.prefill:.0f} ({ratio.prefill:.2f})", f"{speed.decode:.1f} ({ratio.decode:.2f})"
    if judgement is not None:
        low, high = judgement.chain_interval
        interval = f"{cell.scores.accuracy:.1%}, {low:.1%} to {high:.1%}"
        compared = "-" if arm == BASE else f"{judgement.gained}, {judgement.lost}, {judgement.p_value:.2g}"
    return [
        task.name,
        task.split,
        ARMS[arm],
        f"`{format_chain(cell.chain)}`",
        str(len(cell.chain)),
        searched,
        f"{cell.scores.right} of {len(cell.scores.exact)}",
        interval,
        compared,
        reads,
        writes,
    ]


def _over_adapter(table: DepthTable) -> str:
    """What the chain adds where the adapter is attached anyway."""
    judged = [(task.name, task.against(ADAPTER_CHAIN, ADAPTER)) for task in table.tasks.values()]
    lines = [
        f"- {name}: {each.gained} gained, {each.lost} lost, p = {each.p_value:.2g}\n" for name, each in judged if each
    ]
    return "\nThe best chain with the adapter, against the adapter alone:\n\n" + "".join(lines) if lines else ""


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _geometric_mean(values: Iterable[float]) -> float | None:
    mean = _mean(map(math.log, values))
    return None if mean is None else math.exp(mean)
