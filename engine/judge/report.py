"""The quality table for people: as Markdown, and as a picture (one SVG, an arm a line)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as Xml

from engine.judge.statistics import Difference, Recovery
from engine.judge.table import BITS, FIGURES, SCORE, Figure, QualityTable
from engine.svg import ACCENT, FAINT, INK, add_dot, add_line, add_text, axis_ticks, canvas, to_text
from engine.tasks.arms import ARMS, GENERATED, OTHER_PROMPTS, arm_title
from engine.tasks.tasks import WORDS, SharedPassages

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
    words = ", ".join(f"{name} {value}" for name, value in table.settings.get(arm, {}).items())
    return f" ({words})" if words else ""


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


_LABELS, _PANEL, _GAP, _LINE, _TOP, _BOTTOM = 250, 330, 40, 26, 54, 46


def as_svg(table: QualityTable) -> str:
    """A panel a figure; dots are means over tasks, bars their 95 % intervals, ticks the means of single seeds."""
    arms = [arm for arm in table.arms if table.task_means(arm)]
    width = _LABELS + len(FIGURES) * (_PANEL + _GAP)
    height = _TOP + _LINE * len(arms) + _BOTTOM
    without = ", rows without their instruction" if table.hide_instruction else ""
    root = canvas(width, height, f"Arms over {len(table.tasks)} tasks{without}")
    for place, arm in enumerate(arms):
        weight = "bold" if arm == table.subject else "normal"
        add_text(root, _LABELS - 14, _middle(place) + 4, arm_title(arm), "end", weight)
    for number, figure in enumerate(FIGURES):
        _panel(root, _LABELS + number * (_PANEL + _GAP), table, figure, arms)
    foot = "dot: mean over tasks; bar: 95 % interval over tasks; small ticks: single seeds"
    add_text(root, width - _GAP, height - 8, foot, "end", size=11)
    return to_text(root)


def _panel(root: Xml.Element, left: float, table: QualityTable, figure: Figure, arms: list[str]) -> None:
    better = "lower" if figure.lower_is_better else "higher"
    add_text(root, left, 24, figure.title, "start", "bold")
    add_text(root, left + _PANEL, 24, f"{better} is better", "end", size=11)
    ends = [end for arm in arms for end in table.interval(arm, figure) or ()]
    ends += [mean for arm in arms for mean in table.seed_means(arm, figure).values()]
    if not ends:
        return
    ticks = axis_ticks(min(ends), max(ends))

    def x(value: float) -> float:
        return left + _PANEL * (value - ticks[0]) / (ticks[-1] - ticks[0])

    bottom = _TOP + _LINE * len(arms)
    for tick in ticks:
        add_line(root, x(tick), _TOP - 14, x(tick), bottom, FAINT, 1)
        add_text(root, x(tick), bottom + 16, f"{tick:.10g}", "middle", size=11)
    for place, arm in enumerate(arms):
        interval, mean = table.interval(arm, figure), table.mean(arm, figure)
        if interval is None or mean is None:
            continue
        y, colour = _middle(place), ACCENT if arm == table.subject else INK
        add_line(root, x(interval[0]), y, x(interval[1]), y, colour, 2)
        for value in table.seed_means(arm, figure).values() if table.spread(arm, figure) is not None else ():
            add_line(root, x(value), y - 6, x(value), y + 6, colour, 1)
        words = f"{arm_title(arm)}: {mean:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
        add_dot(root, x(mean), y, colour, words)


def _middle(place: int) -> float:
    return _TOP + _LINE * place + _LINE / 2 - 6
