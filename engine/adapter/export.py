"""An adapter folder -> a checked export in any of the formats.

    source folder -> adapter -> files in a folder beside the target -> read back, compared -> (zip) -> target

Nothing takes the target's place unless the comparison holds, so a failed export leaves what was there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter import check
from engine.adapter.attach import check_fits
from engine.adapter.card import Origin, Subject, card_files, read_provenance
from engine.adapter.check import Differences, as_stored
from engine.adapter.commands import ADAPTER_GGUF, MODEL_GGUF
from engine.adapter.formats import chosen_format, estimated_bytes, refusal
from engine.adapter.gguf_adapter import read_gguf_adapter, write_gguf_adapter
from engine.adapter.gguf_merged import largest_difference, write_gguf_merged
from engine.adapter.merged import write_merged
from engine.adapter.mlx_folder import read_mlx_files, write_mlx_files
from engine.adapter.ollama_folder import write_ollama_files
from engine.adapter.peft_folder import peft_files, read_peft_folder, write_files
from engine.base.source import BaseSource, base_parameters
from engine.errors import EngineError
from engine.events import Reporter, Stage
from engine.files import refuse_small_disk, replacing_archive, replacing_folder
from engine.weights.layout import Layout
from engine.weights.lora import LoraAdapter
from engine.zip_file import write_zip

if TYPE_CHECKING:
    from engine.base.load import LoadedBase


@dataclass(frozen=True, kw_only=True)
class Choice:
    """In which form an adapter is to be written.

    form: name of the format, of `FORMATS`. float_type: of the numbers.
    archive: as one zip file.
    replace: whether a folder or file that is there may be replaced.
    command: the command line of the export, for the card.
    """

    form: str = "peft"
    float_type: str = "float32"
    archive: bool = False
    replace: bool = False
    command: str | None = None


@dataclass(frozen=True)
class ExportResult:
    """A finished export.

    target: the folder, or the zip file.
    layout: of the adapter in it.
    bytes: size of all its files.
    differences: what the check found.
    """

    target: Path
    layout: Layout
    bytes: int
    differences: Differences


def export_adapter(
    source: Path,
    target: Path,
    base: LoadedBase,
    prompt_ids: Sequence[int],
    choice: Choice | None = None,
    *,
    base_source: BaseSource | None = None,
    reporter: Reporter | None = None,
) -> ExportResult:
    """Any plain LoRA folder of peft -> a checked export with a card at `target`.

    Args:
        source: the adapter folder; may be `target` itself when it may be replaced.
        base: the model to check on; as before afterwards, but for a merged model, whose check uses it up.
        prompt_ids: tokens of the prompt whose logits are compared, for example of `CHECK_PROMPT`.
        choice: None is a PEFT folder in float32.
        base_source: where the base is; needed for GGUF and Ollama forms.
        reporter: hears the stages "read", "write", "check" and, of an archive, "zip".

    Raises:
        EngineError: the source is broken or not plain LoRA, it does not fit the base, it cannot be written in this
            form, the target is there or cannot be written, or what was read back differs; `target` is then as before.
    """
    reporter = reporter or Reporter()
    with reporter.stage("read"):
        adapter, config = read_peft_folder(source)
        provenance = read_provenance(source)
    named = config.get("base_model_name_or_path")
    base_id = named if isinstance(named, str) and named else base.ref.id
    if base_id != base.ref.id:
        reporter.note(f"The adapter names {base_id} as its base; it is checked on {base.ref.id}", warning=True)
    return write_checked_export(
        target,
        adapter,
        base,
        prompt_ids,
        choice,
        base_id=base_id,
        provenance=provenance,
        base_source=base_source,
        reporter=reporter,
    )


def write_checked_export(
    target: Path,
    adapter: LoraAdapter,
    base: LoadedBase,
    prompt_ids: Sequence[int],
    choice: Choice | None = None,
    *,
    base_id: str,
    provenance: Origin | None,
    base_source: BaseSource | None = None,
    reporter: Reporter | None = None,
) -> ExportResult:
    """An adapter in memory -> a checked export with a card at `target`.

    Arguments, stages (but "read") and errors as in `export_adapter`; `base_id` goes into the config and the card.
    """
    choice, reporter = choice or Choice(), reporter or Reporter()
    architecture = base.model.config.model_type
    where = base_source or BaseSource(base_id, architecture)
    form = chosen_format(choice.form, choice.float_type)
    check_fits(base.model, adapter)
    refused = refusal(form.name, adapter.layout, where)
    if refused:
        raise EngineError(f"no {form.title} can be written: {refused.reason}", hint=refused.fix)
    size = estimated_bytes(form, choice.float_type, adapter.layout, base_parameters(where), where.gguf)
    refuse_small_disk(target, (size or 0) * (2 if choice.archive else 1))
    subject = Subject(
        base_id=base_id,
        architecture=architecture,
        layout=adapter.layout,
        form=form.name,
        float_type=choice.float_type,
        provenance=provenance,
        export_command=choice.command,
    )
    work = _Work(adapter, base, base_id, where, choice.float_type)
    with _place(target, choice, reporter) as folder:
        with reporter.stage("write", unit="tensors") as stage:
            write_files(folder, {}, card_files(subject))
            digests = _write(form.name, folder, work, stage)
        with reporter.stage("check"):
            differences = _check(form.name, folder, work, prompt_ids, digests)
    files = [target] if choice.archive else target.rglob("*")
    total = sum(file.stat().st_size for file in files if file.is_file())
    return ExportResult(target, adapter.layout, total, differences)


@dataclass(frozen=True)
class _Work:
    """What is written."""

    adapter: LoraAdapter
    base: LoadedBase
    base_id: str
    source: BaseSource
    float_type: str

    @property
    def config(self) -> Any:
        """Of the base."""
        return self.base.model.config

    @property
    def base_gguf(self) -> Path:
        """The base's GGUF file; a form that needs one is refused without."""
        assert self.source.gguf is not None
        return self.source.gguf

    @property
    def name(self) -> str:
        """What a GGUF file calls itself."""
        return f"{self.base_id} adapted"


def _write(form: str, folder: Path, work: _Work, stage: Stage) -> Mapping[str, str]:
    """The SHA-256 of each weight file that is checked by it."""
    adapter, float_type = work.adapter, work.float_type
    match form:
        case "peft":
            write_files(folder, peft_files(adapter, work.base_id, float_type=float_type), {})
        case "gguf":
            write_gguf_adapter(folder / ADAPTER_GGUF, adapter, work.config, name=work.name, float_type=float_type)
        case "ollama":
            write_ollama_files(folder, adapter, work.base, work.source, name=work.name, float_type=float_type)
        case "mlx":
            write_mlx_files(folder, adapter, layers=work.config.num_hidden_layers, float_type=float_type)
        case "gguf-merged":
            write_gguf_merged(
                folder / MODEL_GGUF, work.base_gguf, adapter, work.config,
                name=work.name, float_type=float_type, stage=stage,
            )  # fmt: skip
        case "merged":
            return write_merged(folder, work.base, adapter, base_id=work.base_id, float_type=float_type, stage=stage)
    return {}


def _check(form: str, folder: Path, work: _Work, prompt_ids: Sequence[int], digests: Mapping[str, str]) -> Differences:
    adapter, base, float_type = work.adapter, work.base, work.float_type
    if form == "merged":
        return check.check_merged(folder, base, adapter, prompt_ids, digests, float_type)
    if form == "gguf-merged":
        file = folder / MODEL_GGUF
        largest = largest_difference(file, work.base_gguf, adapter, work.config, float_type=float_type)
        return Differences(tensors=largest)
    stored = as_stored(adapter, float_type)
    if form == "peft":
        found = check.check_peft_folder(folder, base, stored, prompt_ids)
    else:
        if form == "mlx":
            read = read_mlx_files(folder, adapter.layout)
        else:
            read = read_gguf_adapter(folder / ADAPTER_GGUF, work.config, adapter.layout)
        found = check.logit_difference(base, read, stored, prompt_ids)
    return check.check_adapter(found, adapter, base, prompt_ids, float_type)


@contextmanager
def _place(target: Path, choice: Choice, reporter: Reporter) -> Iterator[Path]:
    """The folder to write, which becomes `target`, or is packed into it."""
    if not choice.archive:
        with replacing_folder(target, replace=choice.replace) as folder:
            yield folder
        return
    with replacing_archive(target, replace=choice.replace) as (folder, file):
        yield folder
        with reporter.stage("zip"):
            write_zip(folder, file)
