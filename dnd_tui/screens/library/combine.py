"""Combining adapters of the library: which, with which weights, at which rank, under which name."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.validation import ValidationResult, Validator
from textual.widgets import Button, Input, Static

from dnd_tui.screens.dialogs import FormDialog
from dnd_tui.state.adapter_record import AdapterRecord, WeightedName
from dnd_tui.text import one_line
from dnd_tui.widgets.form_field import FormField, WholeNumber, problem_in
from dnd_tui.widgets.path_inputs import DropInput
from engine.adapter.combine import check_weights
from engine.adapter.peft_folder import CONFIG_FILE
from engine.errors import EngineError
from engine.files import read_json
from engine.requests import CombineRequest, ModelChoice, average

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

# Names of adapters that stand in the name of their sum.
_NAMED = 3


@dataclass(frozen=True)
class CombinePlan:
    """A weighted sum; see `dnd_tui.screens.library.entries.Plan`."""

    records: tuple[AdapterRecord, ...]
    weights: tuple[float, ...]
    rank: int | None
    name: str
    stages: tuple[str, ...] = ("import", "read", "combine", "load", "write", "check")

    @property
    def title(self) -> str:
        """What is done."""
        if len(self.records) == 1:
            what = "scale" if self.rank is None else "reduce the rank of"
            return f"{what} {self.records[0].name}"
        return f"combine {' + '.join(record.name for record in self.records)}"

    @property
    def models(self) -> ModelChoice:
        """The base of the adapters; a sum needs no generator."""
        return replace(self.records[0].models, generator=ModelChoice.generator)

    def request(self, folder: Path) -> CombineRequest:
        """The sum, written to `folder`."""
        return CombineRequest(
            models=self.models,
            adapters=tuple(record.folder for record in self.records),
            out=folder,
            weights=() if self.weights == average(len(self.records)) else self.weights,
            rank=self.rank,
            names=tuple(record.name for record in self.records),
        )

    def origin(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Parts, and what of them is kept."""
        pairs = zip(self.records, self.weights, strict=True)
        parts = tuple(WeightedName(name=record.name, weight=weight) for record, weight in pairs)
        return {"origin": "combined", "parts": parts, "kept": data["kept_energy"] or {}}


async def ask_how_to_combine(app: DndApp, records: Sequence[AdapterRecord]) -> CombinePlan | None:
    """Ask for weights, rank and name; None if it is not wanted, or not possible (a dialog explains). From a worker."""
    if len({record.base_id for record in records}) > 1:
        problem = "adapters of different base models cannot be added up"
        app.show_error(EngineError(problem, hint="Mark adapters of one base only"))
        return None
    try:
        ranks = await asyncio.to_thread(lambda: [_rank(record) for record in records])
    except EngineError as error:
        app.show_error(error)
        return None
    return await app.push_screen_wait(CombineDialog(records, ranks))


def _rank(record: AdapterRecord) -> int:
    file = record.folder / CONFIG_FILE
    config = read_json(file)
    rank = config.get("r") if isinstance(config, dict) else None
    if type(rank) is not int or rank < 1:
        raise EngineError("has no rank", where=str(file), hint="It is damaged: delete this adapter")
    return rank


class FiniteNumber(Validator):
    """A number that one can multiply with."""

    def validate(self, value: str) -> ValidationResult:
        """Whether the text is such a number."""
        try:
            finite = math.isfinite(float(value))
        except ValueError:
            finite = False
        return self.success() if finite else self.failure("must be a number like 0.5 or -1")


class CombineDialog(FormDialog[CombinePlan]):
    """The form; None when the person thinks better of it."""

    DEFAULT_CSS = """
    CombineDialog {
        FormField .label { width: 24; height: 1; text-wrap: nowrap; text-overflow: ellipsis; padding-right: 1; }
        FormField .problem { margin-left: 24; }
        .titles { text-style: bold; color: $text-muted; }
        .remark { color: $text-muted; margin-top: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="combine.cancel", tooltip="Combine nothing")
    ]

    def __init__(self, records: Sequence[AdapterRecord], ranks: Sequence[int]) -> None:
        super().__init__()
        self._records = tuple(records)
        self._exact = sum(ranks)
        rank = "" if len(self._records) > 1 else str(max(self._exact // 2, 1))
        # Of an average: 1 alone, 0.5 of two, 0.3333 of three.
        self._share = f"{1 / len(self._records):.4g}"
        self._weights = [DropInput(self._share, validators=FiniteNumber(), compact=True) for _ in self._records]
        whole = WholeNumber(1, empty=True)
        self._rank = DropInput(rank, placeholder=f"exact: {self._exact}", validators=whole, compact=True, id="rank")
        self._called = DropInput(_sum_name(self._records), compact=True, id="name")

    def compose(self) -> ComposeResult:
        """A weight an adapter, rank, name."""
        with Vertical(classes="frame") as frame:
            frame.border_title = "Combine" if len(self._records) > 1 else "Reduce the rank"
            with VerticalScroll(can_focus=False):
                yield Static("Weights", classes="titles")
                for record, weight in zip(self._records, self._weights, strict=True):
                    help = "Weight of this adapter in the sum; 1 and -1 give the difference of two"
                    yield FormField(one_line(record.name), weight, help)
                yield FormField("Rank", self._rank, "Rank of the result; empty keeps the sum exact")
                yield FormField("Name", self._called, "What the new adapter is called")
            yield Static(id="remark", classes="remark", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel")
                yield Button("Combine", variant="primary", id="combine")

    def on_mount(self) -> None:
        """Show what comes of the defaults."""
        self._check()
        (self._weights[0] if len(self._records) > 1 else self._rank).focus()

    @on(Input.Changed)
    def _check(self) -> None:
        """Every problem beside its field."""
        for field, problem in zip(self.query(FormField), self._problems(), strict=True):
            field.complain(problem)
        rank = self._rank.value.strip()
        averaged = len(self._records) > 1 and all(one.value == self._share for one in self._weights)
        words = f"{'The average' if averaged else 'The exact sum'} has rank {self._exact}"
        if rank and not self._wrong:
            words += f"; what rank {rank} keeps of it is shown afterwards"
        self.query_one("#remark", Static).update(f"{words}.")

    @property
    def _wrong(self) -> list[FormField]:
        return [field for field in self.query(FormField) if field.problem]

    def _problems(self) -> Iterator[str]:
        """What is wrong with each field, in order; empty where nothing is."""
        found = [problem_in(one.validate(one.value)) for one in self._weights]
        yield from found
        yield problem_in(self._rank.validate(self._rank.value)) or self._rank_problem(sure=not any(found))
        yield ""

    def _rank_problem(self, *, sure: bool) -> str:
        """`sure`: the weights are numbers."""
        rank = self._chosen_rank
        if rank is not None and rank > self._exact:
            return f"must be from 1 to {self._exact}"
        try:
            if sure:
                check_weights(len(self._records), self._chosen_weights, rank)
        except EngineError as error:
            return error.problem
        return ""

    @property
    def _chosen_weights(self) -> tuple[float, ...]:
        if all(one.value == self._share for one in self._weights):
            return average(len(self._records))
        return tuple(float(one.value) for one in self._weights)

    @property
    def _chosen_rank(self) -> int | None:
        return int(self._rank.value) if self._rank.value.strip() else None

    @on(Input.Submitted)
    @on(Button.Pressed, "#combine")
    def _combine(self) -> None:
        self._check()
        if self._wrong:
            self._wrong[0].focus_control()
            return
        name = self._called.value.strip() or _sum_name(self._records)
        self.dismiss(CombinePlan(self._records, self._chosen_weights, self._chosen_rank, name))


def _sum_name(records: Sequence[AdapterRecord]) -> str:
    names = [record.name for record in records[:_NAMED]]
    if len(records) == 1:
        return f"{names[0]}, smaller"
    more = len(records) - len(names)
    return " + ".join([*names, f"{more} more"] if more else names)
