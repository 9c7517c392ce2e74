"""The table of chains over tasks as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.depth.chain import format_chain
from engine.depth.table import ADAPTER, ADAPTER_CHAIN, ARMS, BASE
from engine.judge.report import markdown_table

if TYPE_CHECKING:
    from engine.depth.table import DepthTable, TaskCells


def as_markdown(table: DepthTable) -> str:
    """Means over tasks, the accuracies by task, every cell; what was left out; how it was made."""
    parts = [_means(table), _accuracies(table), _cells(table)]
    parts += [f"- {name}: not measured, {reason}\n" for name, reason in table.left_out.items()]
    made = ", ".join(f"{name} {value}" for name, value in table.settings.items())
    parts.append(f"Made with: {made}.\n")
    return "\n".join(parts)


def _means(table: DepthTable) -> str:
    head = ["Arm", "Accuracy", "Layers", "Reads, of base", "Writes, of base", "Reliable gains", "Reliable losses"]
    rows = []
    for arm, title in ARMS.items():
        mean = table.arm(arm)
        rows.append(
            [
                title,
                _told(mean["accuracy"], _percent),
                _told(mean["layers"], "{:.1f}".format),
                _told(mean["prefill_ratio"], "{:.2f}".format),
                _told(mean["decode_ratio"], "{:.2f}".format),
                *(["", ""] if arm == BASE else [str(mean["reliable_gains"]), str(mean["reliable_losses"])]),
            ]
        )
    tasks = table.arm(BASE)["tasks"]
    note = (
        f"\nMeans over {tasks} tasks, all of whose arms are measured; of speeds geometric ones, as multiples of the "
        "base's. Reliable: p < 0.05 against the base, McNemar's exact test, each task by itself. Where nothing really "
        f"differs, chance makes up to {tasks * 0.05:.1f} of {tasks} tasks look reliable in each arm.\n"
    )
    return markdown_table(head, rows, left=1) + note


def _accuracies(table: DepthTable) -> str:
    rows = [[task.name, *(_told(_accuracy(task, arm), _percent) for arm in ARMS)] for task in table.tasks]
    return markdown_table(["Task", *ARMS.values()], rows, left=1)


def _cells(table: DepthTable) -> str:
    head = ["Task", "Split", "Arm", "Chain", "Layers", "Right on rows of the search", "Held-out right"]
    head += ["Accuracy, 95 % interval", "Gained, lost, p", "Reads, tokens/s", "Writes, tokens/s"]
    rows = [_cell(task, arm) for task in table.tasks for arm in ARMS if arm in task.cells]
    note = (
        "\nGained, lost: held-out rows that only the arm, and only the base, answers. In brackets: the speed as a "
        "multiple of the base's, in turns with it.\n"
    )
    return markdown_table(head, rows, left=4) + note + _over_adapter(table)


def _cell(task: TaskCells, arm: str) -> list[str]:
    cell, judgement = task.cells[arm], task.against(arm)
    searched = "-" if cell.search_right is None else f"{cell.search_right} of {task.rows}"
    interval = compared = "-"
    if judgement is not None:
        low, high = judgement.chain_interval
        interval = f"{_percent(cell.scores.accuracy)}, {_percent(low)} to {_percent(high)}"
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
        *_speeds(task, arm),
    ]


def _speeds(task: TaskCells, arm: str) -> tuple[str, str]:
    speed, ratio = task.speed.get(arm), task.ratio(arm)
    if speed is None or ratio is None:
        return "-", "-"
    return f"{speed.prefill:.0f} ({ratio.prefill:.2f})", f"{speed.decode:.1f} ({ratio.decode:.2f})"


def _over_adapter(table: DepthTable) -> str:
    """What the chain adds where the adapter is attached anyway."""
    judged = [(task.name, task.against(ADAPTER_CHAIN, ADAPTER)) for task in table.tasks]
    lines = [
        f"- {name}: {each.gained} gained, {each.lost} lost, p = {each.p_value:.2g}\n" for name, each in judged if each
    ]
    return "\nThe best chain with the adapter, against the adapter alone:\n\n" + "".join(lines) if lines else ""


def _accuracy(task: TaskCells, arm: str) -> float | None:
    return task.cells[arm].scores.accuracy if arm in task.cells else None


def _told(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _percent(share: float) -> str:
    return f"{share:.1%}"
