"""What is here: models, generators, a file or folder that somebody asks about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.adapter.consumers import consumers
from engine.adapter.formats import FORMATS
from engine.base.catalog import BUNDLED, BundledBase, BundledModel
from engine.base.convert import base_folder, converted_base, memory_needed
from engine.base.fetch import cache_folder, find_model_files, model_files
from engine.base.source import BaseSource, base_parameters, source_named
from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.generator.about import ABOUT, GARBLED, TENSORS, garbled, read_about
from engine.jobs.preview import facts_data, facts_lines
from engine.jobs.prompts import chosen_prompts
from engine.jobs.results import Result, verdict_lines, verdicts_data
from engine.prompts import describe
from engine.released import released_generator
from engine.requests import InfoRequest, ModelsRequest, PromptChoice
from engine.text import readable_size
from engine.weights.layout import Layout


@dataclass(frozen=True)
class ModelEntry:
    """One model of the catalogue.

    kind: "base" or "encoder".
    size: bytes to fetch.
    memory: bytes of a base's weights in memory, by number format; None of an encoder.
    present: usable without a network. `where`: the folder that is used then.
    ready: usable at once; a base that is present but not yet converted takes `convert_seconds` first, on two cores.
    source: what it is and which packages carry it.
    """

    name: str
    kind: str
    licence: str
    size: int
    memory: dict[str, int] | None
    present: bool
    ready: bool
    convert_seconds: int | None
    where: str | None
    source: str


def list_models() -> list[ModelEntry]:
    """All models of the catalogue. Looks at the disk only: names and sizes, no network, no hashing."""
    return [_entry(model) for model in BUNDLED]


def fetch_model(name: str, reporter: Reporter | None = None) -> Path:
    """Make the model called `name` in the catalogue ready to use; the folder it is in.

    Raises:
        EngineError: no such model, or it cannot be fetched.
    """
    for model in BUNDLED:
        if name == model.name:
            return base_folder(model, reporter) if isinstance(model, BundledBase) else model_files(model, reporter)
    hint = f"There is: {', '.join(model.name for model in BUNDLED)}"
    raise EngineError(f"no bundled model is called {name!r}", hint=hint)


def list_models_job(request: ModelsRequest, reporter: Reporter) -> Result:
    """Fetch what is asked for, then list every model there is to use."""
    for name in request.fetch:
        fetch_model(name, reporter)
    entries = [asdict(entry) for entry in list_models()]
    try:
        folder = released_generator()
        entries.append(_generator_json(folder))
    except EngineError as missing:
        reporter.note(missing.text(setting), warning=True)
    lines = tuple((str(entry["name"]), _entry_line(entry)) for entry in entries)
    return Result({"models": entries, "cache": str(cache_folder())}, lines)


def info_job(request: InfoRequest, reporter: Reporter) -> Result:
    """Report what a path is; without a path, what this installation has."""
    target = request.target
    if target is None:
        return list_models_job(ModelsRequest(), reporter)
    if (target / ABOUT).is_file():
        return _generator_info(target)
    if (target / "adapter_config.json").is_file():
        return _adapter_info(target, request.models.base)
    return _prompts_info(request, target)


def _entry(model: BundledModel) -> ModelEntry:
    base = model if isinstance(model, BundledBase) else None
    files = find_model_files(model)
    ready = converted_base(base) if base else files
    where = ready or files
    packages = [package.requirement for package in model.packages]
    carriers = f"the package {packages[0]}" if len(packages) == 1 else f"{len(packages)} packages, {packages[0]} and on"
    return ModelEntry(
        model.name,
        model.kind,
        model.licence,
        model.download_size,
        memory=memory_needed(base) if base else None,
        present=where is not None,
        ready=ready is not None,
        convert_seconds=base.convert_seconds if base else None,
        where=str(where) if where else None,
        source=f"{model.hub_id}, in {carriers}",
    )


def _entry_line(entry: dict[str, Any]) -> str:
    parts = [entry["kind"], entry["licence"], readable_size(entry["size"])]
    if memory := entry.get("memory"):
        sizes = " or ".join(f"{readable_size(size)} ({name})" for name, size in memory.items())
        parts.append(f"in memory {sizes}")
    missing = f"not here yet: fetched at first use, or with {setting('fetch')}"
    parts.append(f"here: {entry['where']}" if entry["present"] else missing)
    if entry.get("convert_seconds") and not entry["ready"]:
        parts.append(f"then converted once, about {entry['convert_seconds']} s")
    return ", ".join(parts)


def _generator_json(folder: Path) -> dict[str, Any]:
    about = read_about(folder)
    return {
        "name": "released generator",
        "kind": f"generator for {about['base']['id']}",
        "licence": "Apache-2.0",
        "size": (folder / TENSORS).stat().st_size,
        "present": True,
        "where": str(folder),
    }


def _generator_info(folder: Path) -> Result:
    about = read_about(folder)
    try:
        return _described(about)
    except GARBLED as error:
        raise garbled(folder, error) from error


def _described(about: dict[str, Any]) -> Result:
    history = about["history"]
    lora = about["layout"]["lora"]
    condition = about["condition"]
    lines = (
        ("kind", "generator"),
        ("base", about["base"]["id"]),
        ("adapter", f"rank {lora['rank']}, alpha {lora['alpha']}, {len(about['layout']['modules'])} modules"),
        ("frame", about["frame"]),
        ("condition", f"{condition['prompts']} prompts of {condition['tokens']} tokens"),
        ("weight tokens", " x ".join(str(size) for size in about["tokens"])),
        ("trained on", f"{len(history.get('tasks', {}))} tasks"),
        ("hash", about["sha256"]),
    )
    data = {"kind": "generator"} | {key: value for key, value in about.items() if key != "layout"}
    return Result(data | {"lora": lora}, lines)


def _adapter_info(folder: Path, chosen_base: str) -> Result:
    from engine.adapter.peft_folder import read_peft_layout
    from engine.adapter.provenance import Combination, Imported, Provenance, read_provenance

    layout, config = read_peft_layout(folder)
    provenance = read_provenance(folder)
    lora = layout.lora
    lines = [
        ("kind", "adapter"),
        ("base", str(config.get("base_model_name_or_path"))),
        ("adapter", f"rank {lora.rank}, alpha {lora.alpha}, {len(layout.modules)} modules"),
        ("parameters", f"{layout.parameters:,}"),
    ]
    if isinstance(provenance, Provenance):
        lines += [("prompts", f"{provenance.prompts_used} of {provenance.prompts_total}, {provenance.prompts_name}")]
        lines += [("template", provenance.template)] if provenance.template else []
    elif isinstance(provenance, Imported):
        lines += [("imported from", provenance.source)]
    elif isinstance(provenance, Combination):
        lines += [("sum of", ", ".join(f"{part.weight:g} x {part.name}" for part in provenance.parts))]
    if provenance:
        lines += [("made by", provenance.command)]
    base = source_named(str(config.get("base_model_name_or_path")), chosen_base)
    verdicts = consumers(folder.absolute(), layout, base)
    data = {
        "kind": "adapter",
        "config": config,
        "parameters": layout.parameters,
        "provenance": provenance.to_json() if provenance else None,
        "consumers": verdicts_data(verdicts),
        "formats": _formats(folder.absolute(), layout, base),
    }
    return Result(data, (*lines, *verdict_lines(verdicts)))


def _formats(folder: Path, layout: Layout, base: BaseSource) -> dict[str, dict[str, Any]]:
    """What an export in each form would be: its sizes by number format, why it cannot be, and who would read it."""
    parameters = base_parameters(base)
    found: dict[str, dict[str, Any]] = {}
    for name, form in FORMATS.items():
        refused = form.refusal(layout, base)
        sizes = {each: form.estimated_bytes(each, layout, parameters, base.gguf) for each in form.float_types}
        found[name] = {
            "bytes": sizes,
            "refused": None if refused is None else f"{refused.reason}. {refused.fix}",
            "consumers": verdicts_data(consumers(folder, layout, base, form=name)),
        }
    return found


def _prompts_info(request: InfoRequest, source: Path) -> Result:
    choice = PromptChoice(
        source=source,
        column=request.column,
        label=request.label,
        template=request.template,
        text_files=request.text_files,
    )
    report = describe(chosen_prompts(choice))
    return Result({"kind": "prompts"} | facts_data(report), facts_lines(report))
