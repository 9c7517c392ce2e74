"""The model card of an adapter's folder: what it is, where it comes from, how it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from engine.adapter.consumers import consumers
from engine.adapter.formats import BASE_GGUF, FORMATS
from engine.adapter.provenance import (
    PROVENANCE_FILE,
    Combination,
    Imported,
    MadeFromAnswers,
    MadeFromPrompts,
    Origin,
    Provenance,
    Solved,
    Trained,
)
from engine.base.source import BaseSource, loader_name
from engine.weights.layout import Layout

CARD_FILE = "README.md"
_HERE = PurePath("path/to/this/folder")
_SNIPPET = """\
from peft import PeftModel
from transformers import AutoTokenizer, {loader}

base = {loader}.from_pretrained({base!r})
tokenizer = AutoTokenizer.from_pretrained({base!r})
model = PeftModel.from_pretrained(base, "path/to/this/folder")"""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a card is about.

    base_id: hub id or name of the base. architecture: its `model_type`.
    layout: of the adapter.
    form: name of the format, of `FORMATS`. float_type: of the numbers in it.
    provenance: None for an adapter that this program neither made nor imported.
    export_command: the command line that wrote this form, after the one of the provenance; None where that was enough.
    note: what a person wrote about the adapter; "" without one.
    """

    base_id: str
    architecture: str | None
    layout: Layout
    form: str = "peft"
    float_type: str = "float32"
    provenance: Origin | None = None
    export_command: str | None = None
    note: str = ""


def adapter_card(subject: Subject) -> str:
    """The README.md of an exported folder: front matter as the hub reads it, then text."""
    layout, base = subject.layout, _code(subject.base_id)
    merged = not FORMATS[subject.form].holds_adapter
    parts = [
        _front_matter(subject),
        f"# {base} with a LoRA adapter merged in" if merged else f"# LoRA adapter for {base}",
        FORMATS[subject.form].about,
        *_note(subject.note),
        _table(
            ("Property", "Value"),
            {
                "Rank": str(layout.lora.rank),
                "Alpha": str(layout.lora.alpha),
                "Modules": f"{len(layout.modules)} ({', '.join(layout.kinds)})",
                "Parameters": f"{layout.parameters:,}",
                "Numbers": subject.float_type,
            },
        ),
    ]
    if subject.provenance is not None:
        parts += _origin(subject.provenance, subject.export_command)
    return "\n\n".join([*parts, *_usage(subject)]) + "\n"


def _note(note: str) -> list[str]:
    """As a quotation: whatever stands in it stays inside."""
    return ["\n".join(f"> {line}".rstrip() for line in note.strip().splitlines())] if note.strip() else []


def card_files(subject: Subject) -> dict[str, str]:
    """The card, and `provenance.json` where there is a provenance: text by file name."""
    files = {CARD_FILE: adapter_card(subject)}
    if subject.provenance is not None:
        files[PROVENANCE_FILE] = json.dumps(subject.provenance.to_json(), indent=2, ensure_ascii=False) + "\n"
    return files


def _front_matter(subject: Subject) -> str:
    # JSON strings are YAML strings: no name can break out of its line.
    relation = "adapter" if FORMATS[subject.form].holds_adapter else "finetune"
    return f"""---
library_name: {FORMATS[subject.form].library}
base_model: {json.dumps(subject.base_id)}
pipeline_tag: text-generation
tags:
- lora
- {json.dumps(f"base_model:{relation}:{subject.base_id}")}
---"""


def _origin(provenance: Origin, export_command: str | None) -> list[str]:
    seconds = {stage: f"{value:.3f}" for stage, value in provenance.timings.items()}
    seconds["total"] = f"{sum(provenance.timings.values()):.3f}"
    match provenance:
        case Combination():
            parts = _combination(provenance)
        case Imported():
            parts = _import(provenance)
        case Solved():
            parts = _solution(provenance)
        case Trained():
            parts = _training(provenance)
        case Provenance():
            parts = _generation(provenance)
    return [
        "## Where it comes from",
        *parts,
        "The commands that make it again:" if export_command else "The command that makes it again:",
        _block("sh", "\n".join(filter(None, (provenance.command, export_command)))),
        "## Time",
        _table(("Stage", "Seconds"), seconds),
        *(_scores(provenance.scores) if isinstance(provenance, MadeFromPrompts) else []),
    ]


def _generation(provenance: Provenance) -> list[str]:
    facts = {
        "Generator": _code(provenance.generator_id),
        "Generator SHA-256": _code(provenance.generator_digest),
        "Prompts": f"{_code(provenance.prompts_name)}, {provenance.prompts_used} of {provenance.prompts_total:,}",
        **_template(provenance),
        "Prompts SHA-256": _code(provenance.prompts_digest),
        "Seed": str(provenance.seed),
    }
    return [
        "Generated from prompts alone, without training: a generator read the prompts and wrote the matrices.",
        _table(("Part", "Value"), facts),
    ]


def _template(record: MadeFromPrompts) -> dict[str, str]:
    return {"Template": _code(record.template.replace("\n", "\\n"))} if record.template else {}


def _solution(solved: Solved) -> list[str]:
    facts = {
        "Made from": f"{solved.made_from} ({solved.reason})",
        "Start": _code(solved.start),
        "Prompts": f"{_code(solved.prompts_name)}, {solved.rows} rows",
        **_template(solved),
        "Rows SHA-256": _code(solved.prompts_digest),
        "Examples a context": str(solved.examples),
        "Answers": _answers(solved),
        "Gradient steps": str(solved.fit_steps),
        "Seed": str(solved.seed),
    }
    what = "Solved: what the context does to the base's residual stream, put into the weights layer by layer."
    return _learned(solved, what, facts, "Prompts no longer need this instruction before them:")


def _answers(record: MadeFromAnswers) -> str:
    if isinstance(record, Solved) and record.answers == "base":
        return "the base's own, with the instruction before it"
    if not record.taught_by:
        return "of the rows"
    named = ", ".join(f"{count} by {_code(name)}" for name, count in record.taught_by.items())
    return f"of the rows; written by a model: {named}"


def _training(trained: Trained) -> list[str]:
    began = "a fresh LoRA" if not trained.start_digest else f"{_code(trained.start)}, SHA-256 {trained.start_digest}"
    facts = {
        "Start": began,
        "Prompts": f"{_code(trained.prompts_name)}, {trained.rows} rows, {trained.watched} more to see when to stop",
        **_template(trained),
        "Rows SHA-256": _code(trained.prompts_digest),
        "Answers": _answers(trained),
        "Steps": f"{trained.steps}, the best after {trained.best_step}; ended: {trained.ended}",
        "Learning rate": f"{trained.rate:g}",
        "Seed": str(trained.seed),
    }
    return _learned(trained, "Trained on answered rows.", facts, "Prompts do not need this instruction before them:")


def _learned(record: MadeFromAnswers, what: str, facts: Mapping[str, str], unneeded: str) -> list[str]:
    instruction = [unneeded, _block("text", record.instruction)] if record.instruction else []
    return [what, _table(("Part", "Value"), facts), *instruction, *filter(None, [record.verdict])]


def _combination(combination: Combination) -> list[str]:
    weights = {f"{_code(part.name)}, SHA-256 {_code(part.digest)}": f"{part.weight:g}" for part in combination.parts}
    parts = ["A weighted sum of the updates of these adapters:", _table(("Adapter", "Weight"), weights)]
    kept = combination.kept_energy
    if kept is None:
        return [*parts, "The sum is exact: the ranks of its parts add up."]
    shares = {name: f"{share:.4%}" for name, share in kept.items()}
    return [
        *parts,
        "Compressed by a truncated SVD; of the sum's squared norm it keeps:",
        _table(("Modules", "Kept"), shares),
    ]


def _import(imported: Imported) -> list[str]:
    facts = {
        "Source": _code(imported.source),
        "Source SHA-256": _code(imported.digest),
        "Format": FORMATS[imported.format].title,
    }
    changes = "\n".join(f"- {_cell(each)}" for each in imported.changes)
    return [
        "Imported, not generated here: another tool made the matrices.",
        _table(("Part", "Value"), facts),
        changes or "Every number is as it was there.",
    ]


def _scores(scores: Mapping[str, float] | None) -> list[str]:
    if not scores:
        return []
    return ["## Scores", _table(("Figure", "Value"), {name: f"{value:.4g}" for name, value in scores.items()})]


def _usage(subject: Subject) -> list[str]:
    # A merged GGUF file was made of one of the base; how that was called there is of no use to whoever reads this.
    local = Path(BASE_GGUF) if subject.form == "gguf-merged" else None
    base = BaseSource(subject.base_id, subject.architecture, local)
    parts = ["## Use"]
    if subject.form == "peft":
        parts += [
            "transformers and peft:",
            _block("python", _SNIPPET.format(base=subject.base_id, loader=loader_name(subject.architecture))),
        ]
    for verdict in consumers(_HERE, subject.layout, base, form=subject.form):
        if verdict.accepts and not (subject.form == "peft" and verdict.consumer == "transformers + peft"):
            parts.append(f"{verdict.consumer}:" + (f" {verdict.fix}." if verdict.fix else ""))
            if verdict.command:
                parts.append(_block("sh", verdict.command))
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
