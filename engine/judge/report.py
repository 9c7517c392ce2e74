"""The quality table as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.judge.overlap import WORDS, SharedPassages
from engine.judge.statistics import Difference, Recovery
from engine.judge.table import BITS, FIGURES, SCORE, Figure, QualityTable
from engine.tasks.arms import ARMS, GENERATED, OTHER_PROMPTS, arm_title

_MISSING = "not measured"
_HIDDEN = "The judged rows lost their instruction; the prompts that adapters were made from kept it.\n"


def as_markdown(table: QualityTable) -> str:
    """The arms, what generated adapters gain, the recovery, every task, and the rules by which the arms were made."""
    parts = [_HIDDEN] if table.hide_instruction else []
    parts.append(_arms(table))
    parts += [_differences(table, figure) for figure in FIGURES if table.differences(figure)]
    if recovered := list(_recoveries(table)):
        parts.append("\n".join(recovered) + "\n")
    parts += [_tasks(table, figure) for figure in FIGURES]
    if table.shared:
        parts.append(shared_as_markdown(table.shared))
    rules = (f"- {ARMS[arm].title}: {ARMS[arm].rule}{_settings(table, arm)}.\n" for arm in table.arms if arm in ARMS)
    parts.append("Arms:\n\n" + "".join(rules))
    return "\n".join(parts)


def shared_as_markdown(shared: Iterable[SharedPassages]) -> str:
    """Which training tasks share texts with judged tasks."""
    pairs = ([pair.trained, pair.judged, f"{pair.rows} of {pair.of}"] for pair in shared)
    head = ["Trained on", f"Shares passages of {WORDS} words with", "Training rows that do"]
    return markdown_table(head, pairs, 2)


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]], left: int) -> str:
    """A Markdown table whose first `left` columns are texts, the others figures."""
    names = list(head)
    lines = [_line(names), _line(["---"] * left + ["---:"] * (len(names) - left)), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def three_digits(value: float | None) -> str:
    """0.125, or that it was not measured."""
    return _MISSING if value is None else f"{value:.3f}"


def _settings(table: QualityTable, arm: str) -> str:
    """Such as ` (steps 60, learning_rate 0.001)`."""
    told = ", ".join(f"{name} {value}" for name, value in table.settings.get(arm, {}).items())
    return f" ({told})" if told else ""


def _arms(table: QualityTable) -> str:
    head = ["Arm", "Score", "95 % interval", "Bits per byte", "95 % interval"]
    head += ["Tasks", "Seeds", "Seconds to make", "Seconds to answer"]
    rows = []
    for arm in table.arms:
        measured = len(table.task_means(arm))
        if not measured:
            rows.append([arm_title(arm), f"{_MISSING}: {table.missing(arm)}", *[""] * (len(head) - 2)])
            continue
        cells = [cell for figure in FIGURES for cell in (_with_spread(table, arm, figure), _range(table, arm, figure))]
        cost = table.costs[arm]
        seeds = str(len(table.seed_means(arm)))
        rows.append([arm_title(arm), *cells, str(measured), seeds, f"{cost.making:.2f}", f"{cost.answering:.0f}"])
    most = max((len(table.seed_means(arm)) for arm in table.arms), default=0)
    note = (
        "\nMeans over tasks, with their bootstrap intervals over tasks"
        + ("; ± is the standard deviation over seeds" if most > 1 else "")
        + ". Seconds are the device's: to make one task's adapter, and to answer all tasks once.\n"
    )
    return markdown_table(head, rows, 1) + note


def _with_spread(table: QualityTable, arm: str, figure: Figure) -> str:
    spread = table.spread(arm, figure)
    return three_digits(table.mean(arm, figure)) + ("" if spread is None else f" ± {spread:.3f}")


def _range(table: QualityTable, arm: str, figure: Figure) -> str:
    found = table.interval(arm, figure)
    return "" if found is None else f"{found[0]:.3f} to {found[1]:.3f}"


def _differences(table: QualityTable, figure: Figure) -> str:
    better = ", lower is better" if figure.lower_is_better else ""
    head = [f"{arm_title(table.subject)} against ({figure.title.lower()}{better})", "Difference", "95 % interval"]
    head += ["Better on", "Worse on", "Tasks", "Sign test p"]
    return markdown_table(head, map(_difference_cells, table.differences(figure)), 1)


def _difference_cells(one: Difference) -> list[str]:
    counts = [str(one.wins), str(one.losses), str(one.tasks)]
    return [arm_title(one.than), f"{one.mean:+.3f}", f"{one.low:+.3f} to {one.high:+.3f}", *counts, f"{one.p:.2g}"]


def _recoveries(table: QualityTable) -> Iterator[str]:
    for arm in (GENERATED, OTHER_PROMPTS):
        for figure in FIGURES:
            found = table.recovery(arm, figure)
            if found:
                yield f"- {arm_title(arm)}, {figure.title.lower()}: {_recovery_text(found)}"


def _recovery_text(found: Recovery) -> str:
    interval = f"{found.gain_low:+.3f} to {found.gain_high:+.3f}"
    gain = f"the oracle gains {found.gain:.3f} ({interval}) over the multi-task LoRA"
    if found.part is None:
        return f"{gain}, not surely more than nothing: no recovery can be stated."
    return f"{gain}; {found.part:.0%} of it is reached ({found.low:.0%} to {found.high:.0%})."


def _tasks(table: QualityTable, figure: Figure) -> str:
    measured = [arm for arm in table.arms if table.task_means(arm, figure)]
    head = [f"Task ({figure.title.lower()})", "Source", "Metric", "Rows", *map(arm_title, measured)]
    rows = [
        [
            task.name,
            task.source,
            task.metric if figure is SCORE else BITS.title.lower(),
            str(task.rows),
            *(three_digits(task.mean(arm, figure)) for arm in measured),
        ]
        for task in table.tasks
    ]
    means = [three_digits(table.mean(arm, figure)) for arm in measured]
    return markdown_table(head, [*rows, ["**Mean over tasks**", "", "", "", *means]], 3)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
