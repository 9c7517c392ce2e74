"""The plans of both runs: what the engine reports of them, and the widgets that ask its process for files.

`Data` is what a PlanRequest gave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Collapsible, Static

from dnd_tui import jobs
from dnd_tui.field_names import in_app
from dnd_tui.services import app_of
from dnd_tui.state.forge import ForgeChoices
from dnd_tui.text import duration, printable
from dnd_tui.widgets.lines import Facts
from engine.errors import EngineError
from engine.forge.plan import least_tasks
from engine.forge.recipe import Recipe
from engine.host import Failed, Finished
from engine.jobs.command_line import command_line
from engine.requests import InfoRequest, ModelChoice
from engine.text import readable_size

Data = Mapping[str, Any]
Lines = list[tuple[str, str]]

KINDS = ("collect", "train")
DOING = {"collect": "Collecting", "train": "Training"}
_LATER = "after the first measured steps"
_UNTIMED = "press m: a few steps are timed, nothing is written"
_NO_TASKS = (
    f"name a folder with a tasks.json, and NAME.train.jsonl and NAME.test.jsonl of each task; the default recipe needs "
    f"{least_tasks(Recipe())}"
)


def plan_lines(data: Data) -> Lines:
    """Label and value of everything that is planned."""
    lines = [*_task_lines(data), *((stage["stage"], _stage_text(stage)) for stage in data["stages"])]
    lines.append(("disk", _disk_text(data["disk"])))
    if data["finished"]:
        return [*lines, ("state", "✓ done")]
    lines.append(("time", _time_text(data)))
    return [*lines, ("state", f"✗ cannot start: {data['refusal']}")] if data["refusal"] else lines


def with_pace(data: Data, tokens_per_second: float | None) -> Data:
    """The plan, with the seconds that its stages will take at that pace, where the run itself has measured none."""
    if not tokens_per_second:
        return data
    stages = [
        {**stage, "seconds_left": (stage["steps"] - stage["done"]) * stage["tokens_a_step"] / tokens_per_second}
        if stage["seconds_left"] is None and stage["tokens_a_step"]
        else stage
        for stage in data["stages"]
    ]
    return {**data, "stages": stages, "timed": True}


def _time_text(data: Data) -> str:
    seconds, unknown = seconds_after(data)
    if seconds is None and not data.get("timed"):
        return _UNTIMED
    about = "about " if data.get("timed") and not is_begun(data) else ""
    return about + time_left(seconds, unknown)


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
        return f"{DOING[kind]} cannot start: {data['refusal']}"
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
        text += "; tasks with too many long rows will be left out"
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
        return "shown once base and text encoder are here"
    text = f"{readable_size(disk['lasting'])} to keep, {readable_size(disk['temporary'])} on the way"
    if disk["free"] is None:
        return text
    room = disk["free"] >= disk["lasting"] + disk["temporary"]
    return f"{'' if room else '✗ too little room: '}{text}; {readable_size(disk['free'])} free"


class PlanView(Vertical):
    """What both runs would do.

    commands: the command lines that do the same, by "collect" and "train", as far as folders are named.
    """

    DEFAULT_CSS = """
    PlanView {
        height: auto;
        .heading { margin-top: 1; }
        Collapsible { border: none; padding: 0; margin-top: 1; background: transparent; display: none; }
        Collapsible Contents { padding: 0 0 0 2; }
        Collapsible Static { height: auto; }
    }
    """

    class Planned(Message):
        """There are new plans."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.commands: dict[str, str] = {}
        self._plans: dict[str, Data] = {}
        self._lines: dict[str, Lines] = {}
        self._jobs: dict[str, jobs.Job] = {}
        self._next: tuple[ForgeChoices, ModelChoice] | None = None
        # Tokens a second that were timed, and for which models.
        self._pace: tuple[ModelChoice, float] | None = None
        self._models = ModelChoice()

    def compose(self) -> ComposeResult:
        """Collect, train, and what is long: all tasks, the commands."""
        for kind in KINDS:
            yield Static(kind.capitalize(), classes="heading", markup=False)
            yield Facts(id=f"{kind}-plan")
        yield Collapsible(Static(id="task-list", markup=False), title="Every task")
        yield Collapsible(Facts(id="commands"), title="The same without the app")

    def data(self, kind: str) -> Data | None:
        """The plan of "collect" or "train"; None where there is none."""
        return self._plans.get(kind)

    @property
    def timed(self) -> bool:
        """Whether it is known how long these runs will take."""
        return bool(self._plans) and all(seconds_after(plan)[0] is not None for plan in self._plans.values())

    def know_pace(self, models: ModelChoice, tokens_per_second: float) -> None:
        """How fast training was here with these models: plans get their times from it."""
        self._pace = models, tokens_per_second
        self._plans = {kind: self._paced(plan) for kind, plan in self._plans.items()}
        self._lines |= {kind: plan_lines(plan) for kind, plan in self._plans.items()}
        self._show()

    def _paced(self, plan: Data) -> Data:
        return with_pace(plan, self._pace[1] if self._pace and self._pace[0] == self._models else None)

    @property
    def planning(self) -> bool:
        """Whether plans are being made."""
        return bool(self._jobs)

    @property
    def next_kind(self) -> str | None:
        """The run to begin or go on with; None when both are done, would be refused, or are not planned."""
        for kind, plan in self._plans.items():
            if not plan["finished"] and not plan["refusal"]:
                return kind
        return None

    @property
    def paused(self) -> str | None:
        """The run that was begun and is not done."""
        kind = self.next_kind
        return kind if kind and is_begun(self._plans[kind]) else None

    def plan(self, choices: ForgeChoices, models: ModelChoice) -> None:
        """Ask for the plans of these choices; `Planned` follows. Of wishes in the meantime only the last one counts."""
        if self._jobs:
            self._next = choices, models
            return
        self._next = None
        self._plans, self.commands, self._models = {}, _commands(choices, models), choices.models(models)
        no_library = (
            "name the folder that collect writes" if choices.tasks.strip() else "the folder that collect writes"
        )
        self._lines = {"collect": [("tasks", _NO_TASKS)], "train": [("library", no_library)]}
        try:
            requests = choices.plan_requests(models)
        except EngineError as error:
            requests = {}
            self._lines["collect"] = failure_lines(in_app(error))
        engine = app_of(self).engine
        for kind, request in requests.items():
            self._jobs[kind] = engine.start(request, f"plan to {kind}", self, light=True)
        if not requests:
            self._show()

    @on(jobs.JobEnded)
    def _ended(self, message: jobs.JobEnded) -> None:
        kind = next(kind for kind, job in self._jobs.items() if job is message.job)
        del self._jobs[kind]
        outcome = message.outcome
        if isinstance(outcome, Finished):
            self._plans[kind] = self._paced(outcome.result.to_json())
            self._lines[kind] = plan_lines(self._plans[kind])
        elif isinstance(outcome, Failed):
            collecting = self._plans.get("collect")
            first = kind == "train" and collecting is not None and not collecting["finished"]
            self._lines[kind] = [("plan", "once the LoRA library is collected")] if first else failure_lines(outcome)
        if self._jobs:
            return
        if self._next:
            self.plan(*self._next)
        else:
            self._show()

    def _show(self) -> None:
        for kind in KINDS:
            self.query_one(f"#{kind}-plan", Facts).set(self._lines[kind])
        planned = self._plans.get("collect") or self._plans.get("train")
        self.query_one("#task-list", Static).update(printable(task_list(planned)) if planned else "")
        self.query_one("#commands", Facts).set(list(self.commands.items()))
        tasks, commands = self.query(Collapsible)
        tasks.display, commands.display = planned is not None, bool(self.commands)
        self.post_message(self.Planned())


class GeneratorView(Vertical):
    """The trained generator: what it is, where it lies. Hidden until there is one.

    folder: of the generator that is shown.
    """

    DEFAULT_CSS = "GeneratorView { height: auto; display: none; margin-bottom: 1; }"

    class Found(Message):
        """The generator can be read, and is shown."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.folder: Path | None = None
        self._job: jobs.Job | None = None

    def compose(self) -> ComposeResult:
        """A heading, the facts."""
        yield Static("The trained generator", classes="heading", markup=False)
        yield Facts()

    def show(self, folder: Path | None, models: ModelChoice) -> None:
        """Read the generator in `folder` and show it; None hides what is shown."""
        self._job = None
        if folder != self.folder:
            self.folder, self.display = None, False
        if folder is not None:
            start = app_of(self).engine.start
            self._job = start(InfoRequest(models=models, target=folder), f"look at {folder.name}", self, light=True)

    @on(jobs.JobEnded)
    def _ended(self, message: jobs.JobEnded) -> None:
        request, outcome = message.job.request, message.outcome
        if message.job is not self._job or not isinstance(request, InfoRequest) or not isinstance(outcome, Finished):
            return
        losses = outcome.result.to_json()["history"].get("losses") or {}
        words = ", ".join(f"{arm.replace('_', ' ')} {loss:.4f}" for arm, loss in losses.items())
        facts = [line for line in outcome.result.summary() if line[0] != "kind"]
        self.query_one(Facts).set([("folder", str(request.target)), ("held-out loss", words), *facts])
        self.folder, self.display = request.target, True
        self.post_message(self.Found())


def _commands(choices: ForgeChoices, models: ModelChoice) -> dict[str, str]:
    """The command lines of both runs, as far as their folders are named."""
    found = {}
    for kind in KINDS:
        try:
            found[kind] = command_line(choices.request(kind, models))
        except EngineError:
            continue
    return found
