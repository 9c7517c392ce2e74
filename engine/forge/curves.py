"""The logs of forge runs, read back: curves and their picture (one SVG, a panel a stage), and the pace of a run.

Bounded. A line a step (see `engine.training.loop.RunLog`); where a resumed run did a step again, its last line counts.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as Xml

from engine.forge.places import LOG_FILE, run_folder
from engine.svg import ACCENT, FAINT, INK, add_line, add_path, add_text, axis_ticks, canvas, to_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Curve = list[tuple[int, float]]

_LARGEST_READ = 2**24
_LONGEST_CURVE = 1000
_PACE_STEPS = 20
_HELD_OUT = "held-out"
HELD_OUT_CURVE = "held_out_"
"""What the names of curves of held-out losses begin with; the arm follows."""


def read_curves(folder: Path) -> dict[str, Curve]:
    """(step, loss) by stage, of a library or a generator; empty where there is no log.

    The losses on held-out tasks are curves of their own: "held_out_generated" and the like, as the events name them.
    A curve has at most 1,000 points: of longer ones some are left out, evenly.
    """
    curves: dict[str, dict[int, float]] = {}
    for line in _lines(folder):
        stage, step = line["stage"], line["step"]
        losses = {stage: line.get("loss")}
        if stage == _HELD_OUT:
            arms = (arm for arm in line if arm not in ("time", "stage", "step"))
            losses = {f"{HELD_OUT_CURVE}{arm}": line[arm] for arm in arms}
        for name, loss in losses.items():
            if isinstance(loss, int | float) and math.isfinite(loss):
                curves.setdefault(name, {})[step] = float(loss)
    return {name: _thinned(sorted(points.items())) for name, points in curves.items()}


def read_pace(folder: Path) -> dict[str, float]:
    """Seconds a step by stage: the mean of the last steps in the log of a run."""
    seconds: dict[str, deque[float]] = {}
    for line in _lines(folder):
        if isinstance(line.get("seconds"), int | float):
            seconds.setdefault(line["stage"], deque(maxlen=_PACE_STEPS)).append(line["seconds"])
    return {stage: sum(last) / len(last) for stage, last in seconds.items()}


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines that hold a stage and a step; of large logs the end. A kill may have cut a line: it is passed by."""
    # A generator that is passed on carries the logs of both commands in a folder.
    carried = sorted((folder / "log").glob("*.jsonl"))
    for file in (folder / LOG_FILE, run_folder(folder) / LOG_FILE, *carried):
        if not file.is_file():
            continue
        with open(file, "rb") as log:
            log.seek(max(0, file.stat().st_size - _LARGEST_READ))
            for text in log:
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError):
                    continue
                if isinstance(line, dict) and isinstance(line.get("stage"), str) and isinstance(line.get("step"), int):
                    yield line


def _thinned(points: Curve) -> Curve:
    """Every so many points, always with the last."""
    every = -(-len(points) // _LONGEST_CURVE)
    return points[::-1][::every][::-1]


def smoothed(values: ArrayLike) -> NDArray[np.float64]:
    """Moving mean over a thirtieth of the points around each: (n,) to (n,)."""
    import numpy as np

    values = np.asarray(values, np.float64)
    reach = len(values) // 60
    sums = np.concatenate(([0.0], np.cumsum(values)))
    at = np.arange(len(values))
    first, end = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    return (sums[end] - sums[first]) / (end - first)


_LEFT, _WIDTH, _HEIGHT, _RIGHT, _TOP, _BOTTOM = 60, 560, 130, 190, 44, 30
# Of the curves of one panel, in their order.
_COLOURS = (ACCENT, "#bc4c00", INK)


def as_svg(curves: Mapping[str, Curve]) -> str:
    """A panel a stage, in their order: the loss by step, faint, and its moving mean; held-out losses in one panel.

    Args:
        curves: see `read_curves`. Losses of single steps are of other tasks each time, hence the mean.
    """
    panels: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        title = "held-out tasks" if name.startswith(HELD_OUT_CURVE) else name
        panels.setdefault(title, {})[name.removeprefix(HELD_OUT_CURVE).replace("_", " ")] = curve
    panel = _TOP + _HEIGHT + _BOTTOM
    root = canvas(_LEFT + _WIDTH + _RIGHT, panel * max(1, len(panels)), "Loss by step")
    for number, (title, parts) in enumerate(panels.items()):
        _panel(root, number * panel + _TOP, title, parts)
    return to_text(root)


def _panel(root: Xml.Element, top: float, title: str, parts: Mapping[str, Curve]) -> None:
    alone = len(parts) == 1
    losses = [loss for curve in parts.values() for _, loss in curve]
    last = max(step for curve in parts.values() for step, _ in curve)
    ticks = axis_ticks(min(losses), max(losses))

    def place(step: float, loss: float) -> tuple[float, float]:
        down = (ticks[-1] - loss) / (ticks[-1] - ticks[0])
        return _LEFT + _WIDTH * step / last, top + _HEIGHT * down

    add_text(root, _LEFT, top - 18, title, "start", "bold")
    add_text(root, _LEFT + _WIDTH, top - 18, "loss by step", "end", size=11)
    for tick in ticks:
        (left, y), (right, _) = place(0, tick), place(last, tick)
        add_line(root, left, y, right, y, FAINT, 1)
        add_text(root, left - 8, y + 4, f"{tick:.10g}", "end", size=11)
    for step in (0, last):
        add_text(root, place(step, ticks[0])[0], top + _HEIGHT + 16, str(step), "middle", size=11)
    for number, (name, curve) in enumerate(parts.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = curve
        if alone:
            add_path(root, [place(*point) for point in curve], FAINT, 1)
            means = smoothed([loss for _, loss in curve]).tolist()
            drawn = [(step, mean) for (step, _), mean in zip(curve, means, strict=True)]
        add_path(root, [place(*point) for point in drawn], colour, 2)
        label = f"{'mean ' if alone else name + ' '}{drawn[-1][1]:.3f}"
        add_text(root, _LEFT + _WIDTH + 10, top + 12 + 18 * number, label, "start", size=11, colour=colour)
