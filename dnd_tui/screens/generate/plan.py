"""What the Generate screen can make: an adapter from what stands in prompts, or one that is trained on from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnd_tui.screens.generate.facts import RunFacts
from dnd_tui.state.adapter_record import REFINED, AdapterRecord
from dnd_tui.state.library import ADAPTER_FOLDER
from dnd_tui.state.stored import now
from engine.errors import EngineError
from engine.host import Failed
from engine.requests import ContextChoice, GenerateRequest, ModelChoice, PromptChoice, RefineRequest
from engine.solver.plan import AUTO, BOTH, EXAMPLES, GENERATOR, INSTRUCTION

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

_SOLVED = ("import", "read", "load", "context", "solve", "fit", "check", "attach", "write")
STAGES = {
    EXAMPLES: _SOLVED,
    BOTH: _SOLVED,
    INSTRUCTION: ("import", "read", "load", "answer", "context", "solve", "check", "attach", "write"),
    GENERATOR: ("import", "load", "read", "encode", "decode", "detokenise", "attach", "write"),
    REFINED: ("import", "read", "load", "train", "check", "attach", "write"),
}
"""By what an adapter is made from."""

_TRAINED = ", trained"


@dataclass(frozen=True)
class Generation:
    """An adapter from what stands in prompts."""

    prompts: PromptChoice
    models: ModelChoice
    solve: ContextChoice

    @property
    def name(self) -> str:
        """What the adapter will be called."""
        return self.prompts.source.stem or self.prompts.source.name

    @property
    def title(self) -> str:
        """Of the job."""
        return f"generate an adapter from {self.prompts.source.name}"

    @property
    def subject(self) -> str:
        """What becomes an adapter, for the headline."""
        return self.prompts.source.name

    @property
    def stages(self) -> tuple[str, ...]:
        """Of the job, in order. What "auto" finds is known once its stages come."""
        auto = self.solve.made_from == AUTO
        return STAGES.get(GENERATOR if auto and self.models.generator is not None else self.solve.made_from, _SOLVED)

    def request(self, folder: Path) -> GenerateRequest:
        """What makes it, at `folder`."""
        return GenerateRequest(models=self.models, prompts=self.prompts, solve=self.solve, out=folder)

    def origin(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of its record on what it was made of; `data` is what the job answered."""
        return {
            "base_id": data["base"],
            "generator": self.models.generator,
            "generator_digest": data.get("generator", ""),
            "made_from": data["made_from"],
            "context": data.get("instruction", ""),
            "rows": data.get("rows"),
            "taught_by": data.get("taught_by", {}),
        }


@dataclass(frozen=True)
class Training:
    """A new adapter: one of the library, trained further on the answers to prompts.

    start, called, adapter: id, name and PEFT folder of the one that training begins with.
    context: the instruction that it holds; prompts need it no more.
    """

    start: str
    called: str
    adapter: Path
    prompts: PromptChoice
    models: ModelChoice
    base_id: str
    context: str = ""

    @classmethod
    def of(cls, record: AdapterRecord, prompts: PromptChoice | None = None) -> Training:
        """From `record` on, on its own prompts or on others."""
        chosen = prompts or record.prompts
        assert chosen is not None
        return cls(record.id, record.name, record.folder, chosen, record.models, record.base_id, record.context)

    @classmethod
    def again(cls, record: AdapterRecord) -> Training:
        """What made `record`, which was trained, from the same start."""
        assert record.prompts is not None
        adapter = record.folder.parent.parent / record.start / ADAPTER_FOLDER
        return cls(
            record.start, record.start_name, adapter, record.prompts, record.models, record.base_id, record.context
        )

    @property
    def name(self) -> str:
        """What the adapter will be called; one that is trained twice is called so once."""
        return self.called.removesuffix(_TRAINED) + _TRAINED

    @property
    def title(self) -> str:
        """Of the job."""
        return f"train {self.called} on {self.prompts.source.name}"

    @property
    def subject(self) -> str:
        """What becomes an adapter, for the headline."""
        return f"{self.called}, trained on {self.prompts.source.name}"

    @property
    def stages(self) -> tuple[str, ...]:
        """Of the job, in order."""
        return STAGES[REFINED]

    def check_start(self) -> None:
        """Look whether the adapter that training begins with is still there. Touches the disk.

        Raises:
            EngineError: it is gone.
        """
        if not self.adapter.is_dir():
            hint = "Train another one, or bring it back in the Library (key u)"
            raise EngineError(f"{self.called}, the adapter that training began with, is gone", hint=hint)

    def request(self, folder: Path) -> RefineRequest:
        """What makes it, at `folder`."""
        chosen = self.prompts
        return RefineRequest(
            models=self.models,
            adapter=self.adapter,
            source=chosen.source,
            column=chosen.column,
            label=chosen.label,
            template=chosen.template,
            text_files=chosen.text_files,
            seed=chosen.seed,
            out=folder,
        )

    def origin(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of its record on what it was made of."""
        return {
            "base_id": self.base_id,
            "made_from": REFINED,
            "start": self.start,
            "start_name": self.called,
            "context": self.context,
            "rows": data["rows"],
            "taught_by": data.get("taught_by", {}),
        }


Plan = Generation | Training


def plan_of(record: AdapterRecord) -> Plan | None:
    """What makes `record` again; None for one that was combined or imported."""
    if record.prompts is None:
        return None
    if record.made_from == REFINED:
        return Training.again(record)
    return Generation(record.prompts, record.models, record.solve)


def record_of(
    plan: Plan,
    id: str,
    folder: Path,
    data: Mapping[str, Any],
    facts: RunFacts,
    norms: Mapping[str, tuple[float, float]],
) -> AdapterRecord:
    """The library's entry for what a plan has made just now.

    Args:
        id, folder: its place in the library.
        data: what the job answered.
        norms: of each module, those of its update and of the frame's.
    """
    prompts, models = plan.prompts, plan.models
    return AdapterRecord(
        id=id,
        name=plan.name,
        folder=folder,
        dataset=prompts.source.name,
        source=prompts.source.absolute(),
        column=prompts.column,
        label=prompts.label,
        template=prompts.template,
        text_files=prompts.text_files,
        count=prompts.count,
        seed=prompts.seed,
        base=models.base,
        verdict=(data.get("held_out") or {}).get("sentence", ""),
        device=models.device,
        dtype=models.dtype,
        made=now(),
        seconds=dict(facts.seconds),
        warm=facts.warm,
        parameters=data["parameters"],
        bytes=data["bytes"],
        norms=norms,
        prompt_share=data.get("prompt_share"),
        **plan.origin(data),
    )


_WAYS = {"solve": "Solve from examples", "forge": "Forge"}


def lead_on(app: DndApp, failure: Failed, plan: Plan | None) -> None:
    """Explain why a run failed; where there is no generator for its base, with the ways that need none or make one."""

    async def go(way: str | None) -> None:
        assert plan is not None
        if way == "forge":
            await app.go("forge")
        elif way == "solve":
            await app.solve_instead(plan.prompts.source, replace(plan.models, generator=None))

    if failure.no_generator and plan is not None:
        app.show_error(failure, _WAYS, go)
    else:
        app.show_error(failure)
