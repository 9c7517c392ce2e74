"""A prompt source before an adapter is made of it: its rows, its facts, the choices, the button.

    begin(source) -> facts, columns, first rows, context (PreviewRequest without sample: quick)
                  -> the rows used                       (one pass over the source)
                  -> models into memory                  (`models`)

Answers come from the engine's process for files. Each question has its job; what an older job still reports is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Button, Static

from dnd_tui import jobs
from dnd_tui.screens.drop.choices import ChoicesForm
from dnd_tui.screens.drop.context import ContextNotice, fact_lines, read_otherwise, reading_remark, row_count
from dnd_tui.screens.drop.models import FailureCard, ModelsLine
from dnd_tui.screens.drop.rows import Row, RowsPane
from dnd_tui.services import app_of
from dnd_tui.text import one_line, short_path
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.panes import MadeLater, Pane, Panes
from engine.events import Note, StageAdvanced
from engine.host import Failed, Finished
from engine.prompts.sample import MOST_LOOKED_AT
from engine.requests import ContextChoice, ModelChoice, PreviewRequest, PromptChoice
from engine.solver.plan import AUTO, GENERATOR

_FIRST_ROWS, _PAGE_ROWS = 100, 200
# A number is typed digit by digit.
_PATIENCE = 0.3


class PreviewView(MadeLater):
    """The preview of one source."""

    DEFAULT_CSS = """
    PreviewView {
        height: 1fr;
        #source { height: 1; padding: 0 1; }
        #source .name { width: auto; max-width: 60%; text-style: bold; color: $primary; text-wrap: nowrap; }
        #source .place { width: 1fr; color: $text-muted; padding-left: 2; text-wrap: nowrap; text-overflow: ellipsis; }
        #bottom { height: auto; padding: 0 1; align-vertical: middle; }
        #generate { width: auto; min-width: 24; margin-left: 1; }
    }
    """

    class Known(Message):
        """How many rows a source has (None: many, not counted yet), and its format."""

        def __init__(self, path: Path, rows: int | None, format: str) -> None:
            super().__init__()
            self.path, self.rows, self.format = path, rows, format

    class Remark(Message):
        """What the person should know at once of how the source is read; "" for nothing."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class GenerateWanted(Message):
        """The person wants an adapter from these prompts."""

        def __init__(self, prompts: PromptChoice, models: ModelChoice, solve: ContextChoice) -> None:
            super().__init__()
            self.prompts, self.models, self.solve = prompts, models, solve

    class AnswersWanted(Message):
        """The person wants to answer a few prompts of this source; `prompts` are its first."""

        def __init__(self, source: Path, prompts: Sequence[str]) -> None:
            super().__init__()
            self.source, self.prompts = source, prompts

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._source: Path | None = None
        self._facts: Mapping[str, Any] | None = None
        self._plan: Mapping[str, Any] = {}
        self._sample: Mapping[str, Any] | None = None
        self._failure: Failed | None = None
        self._found = self._found_label = self._guess = ""
        self._notes: list[str] = []
        # The last job of each kind, ended or not.
        self._looking: jobs.Job | None = None
        self._sampling: jobs.Job | None = None
        self._paging: jobs.Job | None = None
        self._choosing: jobs.Job | None = None
        self._prepared: ModelChoice | None = None
        self._timer: Timer | None = None
        # The person wants an adapter as soon as the prompts are read.
        self._eager = False
        self._rows = RowsPane()
        self._lines = Facts(id="facts-lines")
        self._form = ChoicesForm()
        self._models = ModelsLine(id="models-line")

    def parts(self) -> ComposeResult:
        """Name above, panes, button below."""
        with Horizontal(id="source"):
            yield Static(classes="name", markup=False)
            yield Static(classes="place", markup=False)
        yield FailureCard(id="failure")
        yield ContextNotice(id="notice")
        yield Panes(
            Pane("Rows", self._rows, id="rows-pane"),
            Pane("Facts", VerticalScroll(self._lines, can_focus=False), id="facts-pane"),
            Pane("Choices", self._form, id="choices-pane"),
            id="preview-panes",
        )
        with Horizontal(id="bottom"):
            yield self._models
            yield KeyButton("Generate adapter", "drop.generate", variant="primary", id="generate", disabled=True)

    # -- what the screen asks for

    @property
    def source(self) -> Path | None:
        """What is previewed."""
        return self._source

    @property
    def can_generate(self) -> bool:
        """Whether the source can be read, and every choice can be."""
        return self._facts is not None and self._failure is None and self._form.valid

    @property
    def failed(self) -> bool:
        """Whether the source cannot be read to its end."""
        return self._failure is not None

    @property
    def offers(self) -> bool:
        """Whether the person is offered something better than an adapter from the prompts alone."""
        return self.query_one(ContextNotice).shown

    @property
    def unanswered(self) -> PromptChoice | None:
        """The prompts, where some have no answer that a model could write."""
        return self._look_request().prompts if self._source is not None and self._plan.get("unanswered") else None

    def begin(self, source: Path) -> None:
        """Open another source with the choices of the settings."""
        self._source = source
        self.query_one("#source .name", Static).update(Content(one_line(source.name) or "/"))
        self.query_one("#source .place", Static).update(Content(one_line(short_path(source.parent))))
        self._form.begin(app_of(self).settings, app_of(self).models)
        self._form.offer_columns((), "", None)
        self._form.offer_labels((), "", None)
        self.query_one(ContextNotice).show(False)
        self._rows.all_rows = False
        self._rows.begin((), complete=True)
        self._lines.set((("reading", source.name),))
        self._found = self._found_label = self._guess = ""
        self._prepared = None
        self._eager = False
        self.read_anew()

    def read_anew(self) -> None:
        """Read the source again: what is shown stays until there are answers."""
        self._stop_reading()
        self._facts = self._sample = self._failure = None
        self._plan = {}
        self._form.complain_context("")
        self._looking = app_of(self).engine.start(self._look_request(), "look at the prompts", self, light=True)
        self._judge()

    def leave(self) -> None:
        """The person looks at something else: no answer is wanted any more."""
        self._stop_reading()
        self._eager = False
        self._source = None

    def follow_models(self) -> None:
        """Take over what was chosen elsewhere in the meantime, in the settings for example."""
        if self._prepared is not None and self._prepared != app_of(self).models:
            self.choose_models(app_of(self).models)

    def choose_models(self, models: ModelChoice) -> None:
        """Use other models, a generator that was dropped for example."""
        self._form.show_models(models)
        self._settle()

    def generate(self) -> None:
        """Hand over the choices, as soon as the prompts are read; or go to the choice that cannot be."""
        self._eager = False
        if not self._form.valid:
            self.query_one(Panes).show("choices-pane")
            self._form.focus_problem()
        elif self.can_generate and self._source is not None:
            wanted = self._form.prompts(self._source), self._form.models(), self._form.solve
            self.post_message(self.GenerateWanted(*wanted))
        elif self._failure is None:
            self._eager = True
            self.notify("The adapter is made as soon as the prompts are read", timeout=3)

    def ask_for_answers(self) -> None:
        """Let the person answer a few prompts: look for some that differ."""
        if self._looking is not None and self._source is not None:
            request = replace(self._look_request(), rows=MOST_LOOKED_AT)
            self._choosing = app_of(self).engine.start(request, "choose prompts to answer", self, light=True)

    def type_instruction(self) -> None:
        """Go to the field of the instruction."""
        self.query_one(Panes).show("choices-pane")
        self._form.focus_instruction()

    def switch_rows(self) -> None:
        """The rows used or all rows."""
        self.query_one(Panes).show("rows-pane")
        self._rows.all_rows = not self._rows.all_rows

    def focus_button(self) -> None:
        """Put Enter on the button."""
        self.query_one("#generate").focus(scroll_visible=False)

    # -- questions to the engine

    def _stop_reading(self) -> None:
        for job in (self._looking, self._sampling, self._paging, self._choosing):
            if job is not None:
                app_of(self).engine.stop(job)
        self._looking = self._sampling = self._paging = self._choosing = None

    def _look_request(self) -> PreviewRequest:
        assert self._source is not None
        return self._form.look_request(self._source, _FIRST_ROWS)

    def _settle(self) -> None:
        """Ask what the choices as they are now make necessary."""
        self._judge()
        if self._source is None or not self._form.valid:
            return
        if self._looking is None or self._looking.request != self._look_request():
            self.read_anew()
            return
        if self._facts is None:
            return
        self._show_context()
        if self._plan["problem"]:
            return
        request = self._form.sample_request(self._source)
        if self._sampling is None or self._sampling.request != request:
            if self._sampling is not None:
                app_of(self).engine.stop(self._sampling)
            self._notes, self._failure = [], None
            self._sampling = app_of(self).engine.start(request, "sample the prompts", self, light=True)
        models = self._form.models()
        if models != self._prepared:
            self._prepared = models
            if models != app_of(self).models:
                app_of(self).choose_models(models)
            self._models.prepare(models, with_generator=self._plan["kind"] == GENERATOR)

    @on(jobs.JobEnded)
    def _answered(self, message: jobs.JobEnded) -> None:
        job, outcome = message.job, message.outcome
        if job not in (self._looking, self._sampling, self._paging, self._choosing):
            return
        if isinstance(outcome, Failed):
            self._failure = outcome
            if job is self._looking:
                self._lines.set(())
        elif isinstance(outcome, Finished):
            data = outcome.result.data
            if job is self._looking:
                self._looked(data)
            elif job is self._sampling:
                self._sampled(data)
            elif job is self._choosing:
                self._chosen(data)
            else:
                self._rows.add(_page(data), complete=not data["page"]["more"])
        self._judge()

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._sampling:
            return
        self._notes += [event.text for event in message.events if isinstance(event, Note)]
        steps = [event.step for event in message.events if isinstance(event, StageAdvanced)]
        if steps:
            self._show_facts(steps[-1])

    def _looked(self, data: Mapping[str, Any]) -> None:
        self._facts, self._plan = data["facts"], data["context"]
        names = [column["name"] for column in data["columns"]]
        if (guess := data["guess"]) is not None:
            self._eager = False
            self._form.offer_columns(names, "", guess)
            self._guess = guess
            self.read_anew()
            return
        self._form.show_format(data["facts"]["format"])
        if self._form.column is None and self._form.template is None:
            self._found = data["facts"]["column"]
        self._form.offer_columns(names, self._found, self._form.column, read_otherwise(data))
        guess = self._guess if self._form.column == self._guess else ""
        self.post_message(self.Remark(reading_remark(data, guess)))
        if self._form.label is None:
            self._found_label = data["facts"]["label_column"] or ""
        self._form.offer_labels(data["labels"], self._found_label, self._form.label)
        self._rows.begin(_page(data), complete=not data["page"]["more"])
        self._show_facts()
        self._show_known()
        self._settle()
        if self.screen.focused is None or self not in self.screen.focused.ancestors:
            self.focus_button()
        if self._eager and not self.offers:  # what would be better has to be seen first
            self.generate()
        self._eager = False

    def _sampled(self, data: Mapping[str, Any]) -> None:
        sample = data["sample"]
        self._sample, self._plan = sample, data["context"]
        if sample:
            self._rows.show_batch([Row.of(row) for row in sample["rows"]], sample["total"] + sample["skipped"])
        self._show_context()
        if self._facts and not self._facts["complete"]:
            self._show_known()

    def _chosen(self, data: Mapping[str, Any]) -> None:
        assert self._source is not None
        # A prompt of which only the beginning is here cannot be answered.
        prompts = [row["prompt"] for row in data["page"]["rows"] if not row["cut"]]
        self.post_message(self.AnswersWanted(self._source, prompts))

    # -- what the person sees

    def _judge(self) -> None:
        """Show what is wrong; the button works only if nothing is."""
        button = self.query_one("#generate")
        button.disabled, button.display = not self.can_generate, not self.failed
        self.query_one(FailureCard).show(self._failure, "Then press r to read it again, or drop another file.")
        self.screen.refresh_bindings()

    def _show_context(self) -> None:
        """What the adapter is made from; where that is little, what would be better."""
        self._form.show_context(self._plan)
        chosen = self._form.solve.made_from != AUTO or self._form.models().generator is not None
        self.query_one(ContextNotice).show(self._plan["kind"] == GENERATOR and not chosen)
        self._show_facts()
        self._judge()

    def _show_facts(self, read: int = 0) -> None:
        if self._facts is not None:
            self._lines.set(fact_lines(self._facts, self._plan, self._sample, read, self._notes))

    def _show_known(self) -> None:
        """The source can be read: it is worth remembering."""
        if self._facts is not None and self._source is not None:
            self.post_message(self.Known(self._source, row_count(self._facts, self._sample), self._facts["format"]))

    # -- what the person does

    @on(ChoicesForm.Changed)
    def _choice_changed(self, message: ChoicesForm.Changed) -> None:
        message.stop()
        self._form.complain_context("")
        self._judge()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_PATIENCE, self._settle)

    @on(ChoicesForm.Decided)
    def _field_done(self, message: ChoicesForm.Decided) -> None:
        message.stop()
        self.screen.set_focus(None)
        if self.can_generate:
            self.focus_button()

    @on(RowsPane.MoreWanted)
    def _more_wanted(self, message: RowsPane.MoreWanted) -> None:
        message.stop()
        if self._looking is not None:
            request = replace(self._look_request(), start=message.count, rows=_PAGE_ROWS)
            self._paging = app_of(self).engine.start(request, "read more rows", self, light=True)

    @on(Button.Pressed, "#generate")
    def _pressed(self, message: Button.Pressed) -> None:
        message.stop()
        self.generate()


def _page(data: Mapping[str, Any]) -> list[Row]:
    return [Row.of(row) for row in data["page"]["rows"]]
