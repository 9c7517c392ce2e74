"""The choices that matter before an adapter is made: which prompts, what from, which models. One line each.

A value that cannot be is marked at its field with the reason. Whether models exist and fit is judged by the engine;
only a generator folder is looked at here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Input, Select

from dnd_tui.screens.drop.context import QueryView
from dnd_tui.settings import Settings
from dnd_tui.text import printable
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.form_field import TEMPLATE_HELP, FormField, TemplateText, WholeNumber, problem_in
from dnd_tui.widgets.path_completion import BaseSuggester
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput, Dropped
from engine.prompts.places import file_format
from engine.prompts.prompt_set import FILES, LINES
from engine.requests import ContextChoice, ModelChoice, PreviewRequest, PromptChoice
from engine.solver.plan import AUTO, BOTH, EXAMPLES, GENERATOR, INSTRUCTION

_MADE_FROM = (
    ("auto", AUTO),
    ("examples", EXAMPLES),
    ("instruction", INSTRUCTION),
    ("both", BOTH),
    ("generator", GENERATOR),
)
_TEXT_FILES = (("auto", AUTO), ("each line", LINES), ("each file", FILES))
_DEVICES = ("auto", "cpu", "cuda", "mps")
_DTYPES = ("auto", "float32", "bfloat16", "float16")


class ChoicesForm(VerticalScroll, can_focus=False):
    """Columns or template, what the adapter is made from, instruction, seed; base, generator, device, number format."""

    DEFAULT_CSS = """
    ChoicesForm {
        height: auto; max-height: 100%;
        Vertical.part { height: auto; }
        #models { margin-top: 1; }
        Select, PathField { width: 1fr; }
        SelectCurrent Static { text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    class Changed(Message):
        """A choice was changed; perhaps to one that cannot be."""

        def __init__(self, what: Literal["prompts", "models"]) -> None:
            super().__init__()
            self.what = what

    class Decided(Message):
        """A field is done with: keys are commands again."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._trusted = False
        # Prompt columns by which a table is read with a header instead of without, or the other way round.
        self._otherwise: dict[str, str] = {}
        # A value is (name of the column, "") or ("", the column that is found, in words).
        self._column: Select[tuple[str, str]] = Select(
            [("found by its name", ("", ""))], allow_blank=False, compact=True, id="column"
        )
        self._label: Select[tuple[str, str]] = Select(
            [("found by its name", ("", ""))], allow_blank=False, compact=True, id="label"
        )
        self._template = DropInput(
            placeholder="none: the column as it is", validators=TemplateText(), compact=True, id="template"
        )
        self._text_files = Select(_TEXT_FILES, allow_blank=False, compact=True, id="text-files")
        self._made_from = Select(_MADE_FROM, allow_blank=False, compact=True, id="made-from")
        self._instruction = DropInput(placeholder="what all prompts begin with", compact=True, id="context")
        self._query = QueryView(id="query")
        self._count = DropInput(
            placeholder="as in training", validators=WholeNumber(1, empty=True), compact=True, id="count"
        )
        self._seed = DropInput("0", validators=WholeNumber(), compact=True, id="seed")
        self._base = DropInput(placeholder=ModelChoice.base, suggester=BaseSuggester(), compact=True, id="base")
        self._generator = PathField(
            kind="folder", placeholder="released", takes_drops=True, compact=True, id="generator"
        )
        self._device = _select(_DEVICES, "device")
        self._dtype = _select(_DTYPES, "dtype")

    def compose(self) -> ComposeResult:
        """The prompts, then the models."""
        with Vertical(classes="part"):
            yield FormField("Prompt column", self._column, "The column that holds the prompts")
            yield FormField("Label column", self._label, "The column that holds the answers")
            yield FormField("Template", self._template, TEMPLATE_HELP)
            yield FormField("Text files", self._text_files, "What a prompt is in them; auto: what they look like")
            yield FormField(
                "Prompts",
                self._count,
                "How many the generator reads; empty: as in training; of more, adapters are averaged",
            )
            yield FormField("Seed", self._seed, "Another seed takes other rows")
            yield FormField("Made from", self._made_from, "What goes into the weights; auto: the best that is there")
            yield FormField(
                "Instruction", self._instruction, "A text, or a text file's path; empty: what all prompts begin with"
            )
            yield self._query
        with Vertical(classes="part", id="models"):
            yield FormField("Base", self._base, '"default", a hub id, a model folder or a .gguf file')
            yield FormField("Generator", self._generator, "A generator's folder; empty: the one that came along")
            yield FormField("Device", self._device, "Where the models run")
            yield FormField("Number format", self._dtype, "Number format of the base model")

    def begin(self, settings: Settings, models: ModelChoice) -> None:
        """Put in the defaults: those of the settings, and the models in use."""
        with self.prevent(Input.Changed):
            self._count.value = "" if settings.count is None else str(settings.count)
            self._seed.value = str(settings.seed)
            self._instruction.value = self._template.value = ""
        with self.prevent(Select.Changed):
            self._made_from.value = self._text_files.value = AUTO
        self.show_format("")
        self.show_context({})
        for field in self.query(FormField):
            field.complain("")
        self.show_models(models)

    def show_models(self, models: ModelChoice) -> None:
        """Put models into the fields."""
        self._trusted = models.trust_remote_code
        with self.prevent(Input.Changed, Select.Changed):
            self._base.value = models.base
            self._generator.value = "" if models.generator is None else str(models.generator)
            for select, known, value in ((self._device, _DEVICES, models.device), (self._dtype, _DTYPES, models.dtype)):
                select.set_options((name, name) for name in dict.fromkeys((*known, value)))
                select.value = value

    def show_format(self, format: str) -> None:
        """Show the fields that matter for prompts of a format."""
        FormField.of(self._text_files).display = format == "txt"

    def offer_columns(
        self, columns: Sequence[str], found: str, chosen: str | None, otherwise: Mapping[str, str] | None = None
    ) -> None:
        """Offer what the prompt column can be: none beside a template.

        Args:
            columns: names of all columns; none where the prompts are plain text.
            found: in words, the column that is taken when none is named.
            chosen: the column that is named.
            otherwise: names of columns if the first line of a table is read in the other way, and what to call them.
        """
        self._otherwise = dict(otherwise or {})
        self._offer(self._column, columns, found, chosen)
        self._column.disabled = self._column.disabled or self.template is not None

    def offer_labels(self, columns: Sequence[str], found: str, chosen: str | None) -> None:
        """Offer what the label column can be, as `offer_columns` does."""
        self._offer(self._label, columns, found, chosen)

    def _offer(self, select: Select[tuple[str, str]], columns: Sequence[str], found: str, chosen: str | None) -> None:
        names = dict.fromkeys((*columns, *([chosen] if chosen else [])))
        finding = ("found by its name" if not found else f"{printable(found)} (found)", ("", found))
        with self.prevent(Select.Changed):
            others = self._otherwise if select is self._column else {}
            offered = {
                **{name: printable(name) for name in names},
                **{name: printable(text) for name, text in others.items()},
            }
            select.set_options([finding, *((text, (name, "")) for name, text in offered.items())])
            select.value = (chosen, "") if chosen else ("", found)
        select.disabled = not names

    def show_context(self, context: Mapping[str, Any]) -> None:
        """Show one query of the "context" of a preview, and what is wrong with the choice; the fields that matter."""
        self._query.show(context)
        self.complain_context(context.get("problem") or "")
        FormField.of(self._count).display = context.get("kind") == GENERATOR

    def complain_context(self, problem: str) -> None:
        """Show why the choice of a context cannot be, at the field that has to be changed."""
        named = self._instruction.value.strip() and self._made_from.value in (AUTO, INSTRUCTION)
        for control in (self._instruction, self._made_from):
            wrong = control is (self._instruction if named else self._made_from)
            FormField.of(control).complain(problem if wrong else "")

    def make_from_what_is_there(self) -> None:
        """Take the best that the prompts hold."""
        self._made_from.value = AUTO

    def focus_instruction(self) -> None:
        """Go to the field of the instruction."""
        self._instruction.focus()

    def suggest_bases(self, names: Iterable[str]) -> None:
        """Bases used before; they complete what is typed."""
        self._base.suggester = BaseSuggester(names)

    @property
    def valid(self) -> bool:
        """Whether every value can be."""
        return not any(field.problem and field.display for field in self.query(FormField))

    def focus_problem(self) -> None:
        """Go to the first value that cannot be."""
        wrong = next((field for field in self.query(FormField) if field.problem and field.display), None)
        if wrong is not None:
            wrong.focus_control()

    @property
    def column(self) -> str | None:
        """The column that is named; None where it is found by its name, or a template makes the prompts."""
        return _named(self._column) if self.template is None else None

    @property
    def label(self) -> str | None:
        """The same for the labels."""
        return _named(self._label)

    @property
    def template(self) -> str | None:
        """What prompts are made of; None where a column holds them."""
        return self._template.value if self._template.value.strip() else None

    def reading(self, source: Path) -> PromptChoice:
        """How a source is read, whichever of its rows are taken."""
        return PromptChoice(
            source=source,
            column=self.column,
            label=self.label,
            template=self.template,
            text_files=str(self._text_files.value),
        )

    def look_request(self, source: Path, rows: int) -> PreviewRequest:
        """What asks for the facts of a source and its first `rows`. Only while the form is valid."""
        generator = self.models().generator
        return PreviewRequest(
            prompts=self.reading(source), solve=self.solve, generator=generator, sample=False, rows=rows
        )

    def sample_request(self, source: Path) -> PreviewRequest:
        """What asks for the rows that are used. Only while the form is valid."""
        return replace(self.look_request(source, 0), prompts=self.prompts(source), sample=True)

    @property
    def solve(self) -> ContextChoice:
        """What the adapter is to be made from."""
        return ContextChoice(made_from=str(self._made_from.value), context=self._instruction.value.strip() or None)

    def prompts(self, source: Path) -> PromptChoice:
        """The prompts chosen. Only while the form is valid."""
        count = self._count.value.strip() if FormField.of(self._count).display else ""
        return replace(self.reading(source), count=int(count) if count else None, seed=int(self._seed.value))

    def models(self) -> ModelChoice:
        """The models chosen. Only while the form is valid."""
        return ModelChoice(
            base=self._base.value.strip() or ModelChoice.base,
            generator=self._generator.path,
            device=str(self._device.value),
            dtype=str(self._dtype.value),
            trust_remote_code=self._trusted,
        )

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        message.stop()
        FormField.of(message.input).complain(problem_in(message.validation_result))
        self.post_message(self.Changed("models" if message.input is self._base else "prompts"))

    @on(Select.Changed)
    def _selected(self, message: Select.Changed) -> None:
        message.stop()
        if message.select is self._column and self.column in self._otherwise:
            self.offer_labels((), "", None)  # a label column has another name then
        ours = message.select in (self._column, self._label, self._text_files, self._made_from)
        self.post_message(self.Changed("prompts" if ours else "models"))

    @on(PathField.Changed)
    @work(exclusive=True, group="generator")
    async def _generator_named(self, message: PathField.Changed) -> None:
        """Only the disk knows whether a folder holds a generator."""
        folder = self._generator.path
        problem = ""
        if folder is not None:
            try:
                held = await ask_disk(partial(Path.is_file, folder / "generator.json"))
                problem = "" if held else "must be a folder with a generator.json"
            except (OSError, ValueError) as error:
                problem = f"cannot be looked at: {error}"
        FormField.of(self._generator).complain(problem)
        self.post_message(self.Changed("models"))

    @on(PathField.Submitted)
    @on(Input.Submitted)
    def _field_done(self, message: PathField.Submitted | Input.Submitted) -> None:
        message.stop()
        self.post_message(self.Decided())

    @on(Dropped)
    def _take_base(self, message: Dropped) -> None:
        """What is dropped into the field of the base is the base; a file of prompts, which can be none, is opened."""
        path = message.paths[0]
        if self._base.has_focus and len(message.paths) == 1 and file_format(path) is None:
            message.stop()
            self._base.value = str(path)
            self.post_message(self.Decided())


def _select(values: Sequence[str], id: str) -> Select[str]:
    return Select([(value, value) for value in values], allow_blank=False, compact=True, id=id)


def _named(select: Select[tuple[str, str]]) -> str | None:
    value = select.value
    return value[0] or None if isinstance(value, tuple) else None
