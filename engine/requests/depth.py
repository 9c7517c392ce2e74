"""Chains of layers: searching, judging and exporting them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.requests.choices import ModelChoice


@dataclass(frozen=True, kw_only=True)
class DepthRequest:
    """Search a chain of the base's layers for labelled prompts, and judge it on rows held out. Resumable.

    source, column, label, template, text_files: labelled prompts, as in `PromptChoice`; at least 16 different ones.
    out: folder for `chain.json`, and for `search.json`, from which a stopped search goes on.
    held_out: labelled prompts to judge on, read in the same way; None holds out rows of `source`.
    adapter: PEFT folder of a LoRA that is attached all the time.
    chains: how many chains the search looks at.
    rows: how many rows it looks at them on, at least 8.
    moves: "both", "skip" or "loop".
    predictor: also learn which chain of the menu to take for which prompt, and try that on the held-out rows. Off by
        default: it needs the text encoder, and pays on few data sets (`engine.depth.predictor`).
    """

    models: ModelChoice
    source: Path
    out: Path
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
    held_out: Path | None = None
    adapter: Path | None = None
    chains: int = 200
    rows: int = 32
    moves: str = "both"
    predictor: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ChainChoiceRequest:
    """The chain that the predictor of a search takes for each prompt, if held-out rows showed a gain.

    search: folder of a search with `predictor`.
    source, column, label, template, text_files: the prompts, as in `PromptChoice`; labels are not looked at.
    adapter: PEFT folder of the LoRA that was attached during the search.
    """

    models: ModelChoice
    search: Path
    source: Path
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
    adapter: Path | None = None


@dataclass(frozen=True, kw_only=True)
class DepthOracleRequest:
    """An analysis, not an accuracy that can be had: a search of chains for each row by the row's own label. Resumable.

    source, column, label, template, text_files: labelled prompts, as in `PromptChoice`.
    out: folder for `oracle.json`; rows that are finished there are not searched again.
    rows: how many rows, drawn at random.
    chains: how many chains each search looks at; there are three a row: skips only, loops only, both.
    length_weight: λ of the search, as published.
    """

    models: ModelChoice
    source: Path
    out: Path
    column: str | None = None
    label: str | None = None
    template: str | None = None
    text_files: str = "auto"
    adapter: Path | None = None
    rows: int = 16
    chains: int = 200
    length_weight: float = 5.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DepthTableRequest:
    """Ways to run the base, over tasks: itself, its best chains, with a generated adapter, with both. Resumable.

    Chains are searched on rows of `NAME.train.jsonl`, the prompts of which the adapter is generated from too; all is
    judged on rows of `NAME.test.jsonl`.

    tasks: folder with `tasks.json`, `NAME.train.jsonl`, `NAME.test.jsonl`.
    out: folder for `table.json`, `table.md`, and a folder a task; what is finished there is not done again.
    only: names or patterns of the tasks; empty is all of them, whatever their split.
    chains, rows: of each search, as in `DepthRequest`.
    """

    models: ModelChoice
    tasks: Path
    out: Path
    only: tuple[str, ...] = ()
    chains: int = 200
    rows: int = 32
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ChainExportRequest:
    """A chain of the base's layers -> a checked folder that other programs read.

    chain: folder or `chain.json` of a search, or a chain in words such as 0-12,15-29.
    adapter: PEFT folder of a LoRA that goes with the chain.
    format: "mergekit", "dense", "peft" or "json" (`engine.depth.export`).
    """

    models: ModelChoice
    chain: str
    out: Path
    adapter: Path | None = None
    format: str = "mergekit"
    replace: bool = False
