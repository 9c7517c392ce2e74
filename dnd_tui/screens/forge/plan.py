"""What the engine's plans of `collect` and `train` say, in the words of the screen.

`Data` is what a PlanRequest gave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dnd_tui.text import duration
from engine.host import Failed
from engine.text import readable_size

Data = Mapping[str, Any]
Lines = list[tuple[str, str]]

KINDS = ("collect", "train")
DOING = {"collect": "Collecting", "train": "Training"}
_LATER = "after the first measured steps"


def plan_lines(data: Data) -> Lines:
    """Label and value of everything that is planned."""
    lines = [*_task_lines(data), *((stage["stage"], _stage_text(stage)) for stage in data["stages"])]
    lines.append(("disk", _disk_text(data["disk"])))
    if data["finished"]:
        return [*lines, ("state", "✓ done")]
    lines.append(("time", time_left(*seconds_after(data))))
    return [*lines, ("state", f"✗ would be refused: {data['refusal']}")] if data["refusal"] else lines


def failure_lines(failure: Failed) -> Lines:
    """Why there is no plan."""
    lines = [("✗ no plan", failure.problem), ("where", failure.where or ""), ("what to do", failure.hint or "")]
    return [(label, text) for label, text in lines if text]


def task_list(data: Data) -> str:
    """Every task by name: how many rows, or why it is left out."""
    tasks = data["tasks"]
    used = [f"✓ {task['name']}: {task['rows']} rows" for task in tasks["used"]]
    return "\n".join([*used, *(f"· {task['name']}: left out, {task['reason']}" for task in tasks["left_out"])])


def is_begun(data: Data) -> bool:
    """Whether some steps are done and some are left."""
    return not data["finished"] and any(stage["done"] for stage in _steps(data))


def standing(collecting: Data | None, training: Data | None) -> str:
    """Where both runs stand while none is under way; empty without plans."""
    if training and (training["finished"] or is_begun(training)):
        return _standing("train", training)
    parts = [_standing("collect", collecting)] if collecting else []
    if training and (not collecting or collecting["finished"] or collecting["refusal"]):
        parts.append(_standing("train", training))
    return ". ".join(parts)


def seconds_after(data: Data | None, name: str = "") -> tuple[float | None, list[str]]:
    """Seconds of the stages after the one called `name`, None when nothing is known; those not measured yet.

    Without a name: of all that are left.
    """
    stages: list[Data] = list(data["stages"]) if data else []
    names = [stage["stage"] for stage in stages]
    after = names[names.index(name) + 1 :] if name in names else names
    later = [stage for stage in stages if _trains(stage) and stage["stage"] in after]
    known = [stage["seconds_left"] for stage in later if stage["seconds_left"] is not None]
    unknown = [stage["stage"] for stage in later if stage["seconds_left"] is None]
    return sum(known) if known or not unknown else None, unknown


def time_left(seconds: float | None, unknown: list[str]) -> str:
    """The estimate in words, as far as it can be made."""
    if seconds is None:
        return _LATER
    return f"{duration(seconds)} left" + (f", {' and '.join(unknown)} {_LATER}" if unknown else "")


def _standing(kind: str, data: Data) -> str:
    if data["finished"]:
        return f"{DOING[kind]} is done"
    if data["refusal"]:
        return f"{DOING[kind]} would be refused: {data['refusal']}"
    if not is_begun(data):
        return f"Ready to {kind}"
    # Steps of a stage are done only when those before it are.
    stages = list(_steps(data))
    stage = next((stage for stage in stages if stage["done"] < stage["steps"]), stages[-1])
    return f"{DOING[kind]} is paused at step {stage['done']} of {stage['steps']} of {stage['stage']}"


def _trains(stage: Data) -> bool:
    """Whether it is one of the stages that train: only they are counted in steps, logged and resumed."""
    return stage["unit"] == "steps" and stage["steps"] > 0


def _steps(data: Data) -> Iterator[Data]:
    return filter(_trains, data["stages"])


def _task_lines(data: Data) -> Lines:
    tasks = data["tasks"]
    if data["kind"] == "train":
        return [("library", f"{tasks['collected']} tasks, and {tasks['held_out']} held out")]
    used, left_out = tasks["used"], tasks["left_out"]
    text = f"{len(used)} with {sum(task['rows'] for task in used):,} rows, {tasks['held_out']} of them held out"
    if not tasks["settled"]:
        text += "; some may turn out to have too long rows"
    lines = [("tasks", text)]
    reasons = Counter(task["reason"] for task in left_out)
    if reasons:
        lines.append(("left out", "; ".join(f"{count} {reason}" for reason, count in reasons.items())))
    return lines


def _stage_text(stage: Data) -> str:
    done = f"{stage['done']} of {stage['steps']} {stage['unit']} done"
    return done if stage["done"] else f"{stage['steps']} {stage['unit']}"


def _disk_text(disk: Data | None) -> str:
    if disk is None:
        return "known once the base and the text encoder are here"
    text = f"{readable_size(disk['lasting'])} to keep, {readable_size(disk['temporary'])} on the way"
    if disk["free"] is None:
        return text
    room = disk["free"] >= disk["lasting"] + disk["temporary"]
    return f"{'' if room else '✗ too little room: '}{text}; {readable_size(disk['free'])} free"
