"""The logs of forge runs, read back: curves to draw, and the pace of a run. Light and bounded.

A line a step (see `engine.training.loop.RunLog`); where a resumed run did a step again, its last line counts.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.forge.places import LOG_FILE, run_folder

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
