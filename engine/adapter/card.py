"""Where an adapter comes from: the model card and `provenance.json` of its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePath

from engine.adapter.consumers import vllm_command
from engine.errors import EngineError
from engine.files import read_json
from engine.weights.layout import Layout

CARD_FILE = "README.md"
PROVENANCE_FILE = "provenance.json"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made an adapter, and from what.

    generator_id: name of the generator artifact.
    generator_digest: SHA-256 of the generator, in hexadecimal.
    prompts_name: file name of the prompts; of a longer path only the last part is kept.
    prompts_digest: SHA-256 of the sampled prompts, in hexadecimal.
    prompts_used: how many prompts were sampled.
    prompts_total: how many the source holds.
    seed: seed of the sampling.
    command: the command line that makes the adapter again.
    timings: seconds by stage, in the order they ran.
    scores: measured figures by name; None when nothing was measured.
    """

    generator_id: str
    generator_digest: str
    prompts_name: str
    prompts_digest: str
    prompts_used: int
    prompts_total: int
    seed: int
    command: str
    timings: Mapping[str, float]
    scores: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        """The folders above the prompt file are nobody's business but the owner's."""
        object.__setattr__(self, "prompts_name", PurePath(self.prompts_name).name)


def adapter_card(provenance: Provenance | None, *, base_id: str, layout: Layout) -> str:
    """The README.md of an adapter folder: front matter as the hub reads it, then text.

    Args:
        provenance: None for an adapter that this program did not make.
        base_id: hub id or name of the base.
        layout: of the adapter.
    """
    lora = layout.lora
    parts = [
        _front_matter(base_id),
        f"# LoRA adapter for {_code(base_id)}",
        "Matrices of every adapted linear module, in the format of peft.",
        _table(
            ("Property", "Value"),
            {
                "Rank": str(lora.rank),
                "Alpha": str(lora.alpha),
                "Modules": f"{len(layout.modules)} ({', '.join(layout.kinds)})",
                "Parameters": f"{layout.parameters:,}",
            },
        ),
    ]
    if provenance is not None:
        parts += _origin(provenance)
    return "\n\n".join([*parts, *_usage(base_id, lora.rank)]) + "\n"


def card_files(provenance: Provenance | None, *, base_id: str, layout: Layout) -> dict[str, str]:
    """The card, and `provenance.json` where there is a provenance: text by file name, for `write_peft_folder`."""
    files = {CARD_FILE: adapter_card(provenance, base_id=base_id, layout=layout)}
    if provenance is not None:
        plain = {field.name: getattr(provenance, field.name) for field in fields(provenance)}
        plain["timings"] = dict(provenance.timings)
        plain["scores"] = None if provenance.scores is None else dict(provenance.scores)
        files[PROVENANCE_FILE] = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
    return files


def read_provenance(folder: Path) -> Provenance | None:
    """What `card_files` stored in an adapter folder; None if there is no such file.

    Raises:
        EngineError: the file is broken or has other fields.
    """
    file = folder / PROVENANCE_FILE
    if not file.is_file():
        return None
    data = read_json(file)
    if not isinstance(data, dict) or set(data) != {field.name for field in fields(Provenance)}:
        hint = f"Remove {PROVENANCE_FILE} to go on without it"
        raise EngineError("does not hold the fields of a provenance", where=str(file), hint=hint)
    for name, value in data.items():
        if not _is_of_kind(name, value):
            raise EngineError(f"{name} is of the wrong type", where=str(file))
    return Provenance(**data)


def _is_of_kind(name: str, value: object) -> bool:
    if name in ("timings", "scores"):
        if isinstance(value, dict):
            return all(isinstance(figure, int | float) for figure in value.values())
        return name == "scores" and value is None
    return isinstance(value, int if name in ("prompts_used", "prompts_total", "seed") else str)


def _front_matter(base_id: str) -> str:
    # JSON strings are YAML strings: no name can break out of its line.
    return "\n".join(
        [
            "---",
            "library_name: peft",
            f"base_model: {json.dumps(base_id)}",
            "pipeline_tag: text-generation",
            "tags:",
            "- lora",
            f"- {json.dumps(f'base_model:adapter:{base_id}')}",
            "---",
        ]
    )


def _origin(provenance: Provenance) -> list[str]:
    facts = {
        "Generator": _code(provenance.generator_id),
        "Generator SHA-256": _code(provenance.generator_digest),
        "Prompts": f"{_code(provenance.prompts_name)}, {provenance.prompts_used} of {provenance.prompts_total:,}",
        "Prompts SHA-256": _code(provenance.prompts_digest),
        "Seed": str(provenance.seed),
    }
    seconds = {stage: f"{value:.3f}" for stage, value in provenance.timings.items()}
    seconds["total"] = f"{sum(provenance.timings.values()):.3f}"
    parts = [
        "## Where it comes from",
        "Generated from prompts alone, without training: a generator read the prompts and wrote the matrices.",
        _table(("Part", "Value"), facts),
        "The command that makes it again:",
        _block("sh", provenance.command),
        "## Time",
        _table(("Stage", "Seconds"), seconds),
    ]
    if provenance.scores:
        scores = {name: f"{value:.4g}" for name, value in provenance.scores.items()}
        parts += ["## Scores", _table(("Figure", "Value"), scores)]
    return parts


def _usage(base_id: str, rank: int) -> list[str]:
    snippet = f"""\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base_id!r})
tokenizer = AutoTokenizer.from_pretrained({base_id!r})
model = PeftModel.from_pretrained(base, "path/to/this/folder")"""
    parts = ["## Use", "transformers and peft:", _block("python", snippet)]
    serve = vllm_command(base_id, "path/to/this/folder", rank)
    if serve is not None:
        parts += ["vLLM:", _block("sh", serve)]
    return parts


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |"]
    return "\n".join(lines + [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(text: str) -> str:
    """As inline code, with more backticks around it than it holds itself."""
    text = " ".join(text.split())
    fence = _fence(text, 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _block(language: str, text: str) -> str:
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def _fence(text: str, least: int) -> str:
    longest = max((len(run) for run in "".join(c if c == "`" else " " for c in text).split()), default=0)
    return "`" * max(least, longest + 1)
