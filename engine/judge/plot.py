"""The quality table as a picture: one SVG, an arm a line, its mean with the interval over tasks."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from engine.judge.table import FIGURES, Figure, QualityTable
from engine.svg import ACCENT, FAINT, INK, add_dot, add_line, add_text, axis_ticks, canvas, to_text
from engine.tasks.arms import arm_title

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
        told = f"{arm_title(arm)}: {mean:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
        add_dot(root, x(mean), y, colour, told)


def _middle(place: int) -> float:
    return _TOP + _LINE * place + _LINE / 2 - 6
