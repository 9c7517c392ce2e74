"""The choices of a search for a chain of layers. One line each."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Select

from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.depth import DepthChoices
from dnd_tui.text import one_line
from dnd_tui.widgets.form_field import FormField, WholeNumber
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput
from engine.depth.rows import FEWEST_SEARCH_ROWS

_MOVES = (("skip and loop", "both"), ("skip only", "skip"), ("loop only", "loop"))
_NO_ADAPTER = ("none", "")


class DepthForm(Vertical, can_focus=False):
    """Prompts, adapter, size of the search."""

    DEFAULT_CSS = """
    DepthForm {
        height: auto;
        .label { width: 10; }
        .problem { margin-left: 10; }
        DropInput, Select, PathField { width: 1fr; }
    }
    """

    class Changed(Message):
        """A choice was changed; perhaps to one that cannot be."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._offered: list[str] = [""]
        self._source = PathField(kind="either", takes_drops=True, compact=True, id="source")
        self._held_out = PathField(
            kind="either", placeholder="rows of Prompts", takes_drops=True, compact=True, id="held-out"
        )
        self._column = DropInput(placeholder="found by its name", compact=True, id="column")
        self._adapter: Select[str] = Select([_NO_ADAPTER], allow_blank=False, compact=True, id="adapter")
        self._chains = DropInput(validators=WholeNumber(1), compact=True, id="chains")
        self._rows = DropInput(validators=WholeNumber(FEWEST_SEARCH_ROWS), compact=True, id="rows")
        self._moves: Select[str] = Select(_MOVES, allow_blank=False, compact=True, id="moves")
        self._seed = DropInput(validators=WholeNumber(), compact=True, id="seed")

    def compose(self) -> ComposeResult:
        """What is needed first, then what has a value already."""
        yield FormField("Prompts", self._source, "Labelled prompts: the search looks at some of them")
        yield FormField("Held out", self._held_out, "Labelled prompts to judge on; empty: rows of Prompts, never seen")
        yield FormField("Adapter", self._adapter, "Adapter of the library that is on the base all the time")
        yield FormField("Chains", self._chains, "How many chains of layers the search looks at")
        yield FormField("Rows", self._rows, "How many rows it looks at them on")
        yield FormField("Moves", self._moves, "What it may do with layers")
        yield FormField("Seed", self._seed, "Seed of everything that is drawn at random")
        yield FormField("Column", self._column, "Column that holds the prompts")

    @property
    def choices(self) -> DepthChoices:
        """What stands in the fields."""
        return DepthChoices(
            source=self._source.value,
            held_out=self._held_out.value,
            column=self._column.value,
            adapter=str(self._adapter.value),
            chains=self._chains.value,
            rows=self._rows.value,
            moves=str(self._moves.value),
            seed=self._seed.value,
        )

    def show(self, choices: DepthChoices) -> None:
        """Put choices into the fields; an adapter that is not offered is none."""
        with self.prevent(Input.Changed, Select.Changed, PathField.Changed):
            self._source.value, self._held_out.value = choices.source, choices.held_out
            for field, text in (
                (self._column, choices.column),
                (self._chains, choices.chains),
                (self._rows, choices.rows),
                (self._seed, choices.seed),
            ):
                field.value = text
            if choices.moves in [value for _, value in _MOVES]:
                self._moves.value = choices.moves
            self._choose(choices.adapter)

    def offer(self, adapters: Sequence[AdapterRecord]) -> None:
        """The adapters to choose from; the chosen one stays if it is among them."""
        chosen = str(self._adapter.value)
        with self.prevent(Select.Changed):
            self._offered = ["", *(each.id for each in adapters)]
            self._adapter.set_options([_NO_ADAPTER, *((one_line(each.name), each.id) for each in adapters)])
            self._choose(chosen)

    def drop(self, source: str, held_out: str | None) -> None:
        """Prompts that were dropped."""
        self._source.value = source
        if held_out is not None:
            self._held_out.value = held_out

    def focus_source(self) -> None:
        """To the first field."""
        self._source.focus()

    def _choose(self, adapter: str) -> None:
        self._adapter.value = adapter if adapter in self._offered else ""

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        message.stop()
        result = message.validation_result
        if result is not None:
            field = next(node for node in message.input.ancestors if isinstance(node, FormField))
            field.complain("; ".join(result.failure_descriptions))
        self.post_message(self.Changed())

    @on(Select.Changed)
    @on(PathField.Changed)
    def _changed(self, message: Message) -> None:
        message.stop()
        self.post_message(self.Changed())

    @on(PathField.Submitted)
    def _decided(self, message: PathField.Submitted) -> None:
        message.stop()
