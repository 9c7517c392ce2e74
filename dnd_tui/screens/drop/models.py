"""A line on whether the models are at hand, and brings them into memory while the person looks at prompts.

    prepare -> what is on the disk (light job) -> nothing to fetch, the device is free -> LoadRequest

Nothing is fetched from a network here: the line names it, and it is left to the generation.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from textual import on, work
from textual.content import Content
from textual.widgets import Static

from dnd_tui import jobs
from dnd_tui.services import app_of
from dnd_tui.text import one_line, printable, sentence
from dnd_tui.widgets.disk import ask_disk
from engine.base.catalog import bundled_base
from engine.events import StageStarted
from engine.host import Failed, Finished
from engine.requests import LoadRequest, ModelChoice, ModelsRequest
from engine.text import readable_size


class ModelsLine(Static):
    """How ready the models are."""

    DEFAULT_CSS = """
    ModelsLine { width: 1fr; height: auto; max-height: 3; color: $text-muted; }
    ModelsLine.-ready { color: $text-success; }
    ModelsLine.-failed { color: $text-error; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._wanted: ModelChoice | None = None
        self._with_generator = True
        self._listing: jobs.Job | None = None
        self._loading: jobs.Job | None = None

    def prepare(self, models: ModelChoice, *, with_generator: bool) -> None:
        """See to these models, as far as that can be done without a network.

        Args:
            with_generator: the adapter is made by a generator; a solved one needs the base alone.
        """
        self._wanted = models
        self._with_generator = with_generator
        if self._loading is None:
            self._look(models)

    @work(exclusive=True, group="look")
    async def _look(self, models: ModelChoice) -> None:
        if bundled_base(models.base) is None and not await _is_there(models.base):
            self._show_line("The base comes from the hub: it is fetched when you generate")
        else:
            self._listing = app_of(self).engine.start(ModelsRequest(), "look for models", self, light=True)

    @on(jobs.JobEnded)
    def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is self._listing:
            self._listing = None
            if isinstance(message.outcome, Finished):
                self._listed(message.outcome.result.data["models"])
        elif message.job is self._loading:
            self._loading = None
            self._loaded(message)

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        stages = [event.stage for event in message.events if isinstance(event, StageStarted)]
        if message.job is self._loading and stages:
            self._show_line(f"Loading the models ahead: {stages[-1]} …")

    def _listed(self, models: list[dict[str, Any]]) -> None:
        wanted = self._wanted
        if wanted is None or self._loading is not None:
            return
        base = bundled_base(wanted.base)
        needed = [
            model
            for model in models
            if (self._with_generator and model["kind"] == "encoder") or (base and model["name"] == base.name)
        ]
        size = sum(model["size"] for model in needed if not model["present"])
        if size:
            self._show_line(f"First run: Generate fetches {readable_size(size)} of models")
        elif not app_of(self).settings.load_ahead:
            self._show_line("")
        elif app_of(self).engine.jobs:
            self._show_line("The device is busy: the models are loaded when you generate")
        else:
            self._show_line("Loading the models ahead …")
            self._loading = self._load(wanted)

    def _load(self, models: ModelChoice) -> jobs.Job:
        request = LoadRequest(models=models, with_generator=self._with_generator)
        return app_of(self).engine.start(request, "load the models", self)

    def _loaded(self, message: jobs.JobEnded) -> None:
        request = message.job.request
        assert isinstance(request, LoadRequest)
        wanted = self._wanted
        if wanted is not None and (wanted, self._with_generator) != (request.models, request.with_generator):
            self._look(wanted)
        elif isinstance(message.outcome, Finished):
            self._show_line("✓ The models are in memory", "-ready")
        elif isinstance(message.outcome, Failed):
            failure = message.outcome
            where = f"{failure.where}: " if failure.where else ""
            hint = f". {failure.hint}" if failure.hint else ""
            self._show_line(f"✗ The models cannot be loaded: {where}{failure.problem}{hint}", "-failed")
        else:
            self._show_line("The models are loaded when you generate")

    def _show_line(self, text: str, kind: str = "") -> None:
        self.set_class(kind == "-ready", "-ready")
        self.set_class(kind == "-failed", "-failed")
        self.update(Content(one_line(text)))
        self.tooltip = Content(one_line(text)) if text else None  # where the line is too short for it


async def _is_there(base: str) -> bool:
    """Whether a base that is none of the catalogue is on the disk."""
    try:
        return await ask_disk(partial(Path.exists, Path(base).expanduser()))
    except (OSError, ValueError):
        return False


class FailureCard(Static):
    """A frame with the failure; not there while there is none."""

    DEFAULT_CSS = """
    FailureCard {
        display: none; height: auto; max-height: 9; margin: 0 1; padding: 0 1; border: round $error;
        &.-shown { display: block; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)

    def show(self, failure: Failed | None, after: str) -> None:
        """Show a failure, or none.

        Args:
            after: what the person can do on this screen.
        """
        self.set_class(failure is not None, "-shown")
        if failure is None:
            return
        lines = [Content.styled(f"✗ {sentence(printable(failure.problem))}", "bold")]
        if failure.where:
            lines.append(Content.styled(printable(failure.where), "dim"))
        if failure.hint:
            lines.append(Content(sentence(printable(failure.hint))))
        lines.append(Content.styled(after, "dim"))
        self.update(Content("\n").join(lines))
