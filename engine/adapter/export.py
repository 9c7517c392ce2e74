"""An adapter folder -> a checked export in any of the formats; what a writer of a format has to do.

    source folder -> adapter -> files in a folder beside the target -> read back, compared -> (zip) -> target

Nothing takes the target's place unless the comparison holds, so a failed export leaves what was there.
"""

from __future__ import annotations

import shutil
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from engine.adapter.attach import check_fits
from engine.adapter.card import Subject, card_files
from engine.adapter.check import Differences
from engine.adapter.formats import chosen_format
from engine.adapter.peft_folder import read_peft_folder, write_files
from engine.adapter.provenance import Origin, read_provenance
from engine.base.source import BaseSource, base_parameters
from engine.errors import EngineError
from engine.events import Reporter, Stage
from engine.files import refuse_small_disk, replacing_archive, replacing_folder
from engine.weights.layout import Layout
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from engine.base.load import LoadedBase


Made = TypeVar("Made")
"""What a writer is made for: `AdapterWork`, or of a chain `engine.depth.export.ChainWork`."""


class Writer(ABC, Generic[Made]):
    """One format: writes what it was made for into a folder, reads that back and compares."""

    def __init__(self, work: Made) -> None:
        self.work = work

    @abstractmethod
    def write(self, folder: Path, stage: Stage) -> None:
        """Write all files, but for the card and records, into an existing folder; `stage` hears every tensor.

        Raises:
            EngineError: this format cannot hold it.
        """

    @abstractmethod
    def check(self, folder: Path) -> Differences:
        """Read back what `write` wrote, and compare.

        Raises:
            EngineError: it is not what was meant.
        """


@dataclass(frozen=True)
class AdapterWork:
    """An adapter to be written.

    base_id: what files call the base. source: where the base is. float_type: of the numbers.
    prompt_ids: tokens of the prompt whose logits are compared.
    """

    adapter: LoraAdapter
    base: LoadedBase
    base_id: str
    source: BaseSource
    float_type: str
    prompt_ids: Sequence[int]

    @property
    def config(self) -> PretrainedConfig:
        """Of the base."""
        return self.base.model.config

    @property
    def name(self) -> str:
        """What a GGUF file calls itself."""
        return f"{self.base_id} adapted"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """In which form an adapter is to be written.

    form: name of the format, of `FORMATS`. float_type: of the numbers.
    archive: as one zip file.
    replace: whether a folder or file that is there may be replaced.
    command: the command line of the export, for the card. note: of the person, for the card too.
    """

    form: str = "peft"
    float_type: str = "float32"
    archive: bool = False
    replace: bool = False
    command: str | None = None
    note: str = ""


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
    refused = form.refusal(adapter.layout, where)
    if refused:
        raise EngineError(f"no {form.title} can be written: {refused.reason}", hint=refused.fix)
    size = form.estimated_bytes(choice.float_type, adapter.layout, base_parameters(where), where.gguf)
    refuse_small_disk(target, (size or 0) * (2 if choice.archive else 1))
    subject = Subject(
        base_id=base_id,
        architecture=architecture,
        layout=adapter.layout,
        form=form.name,
        float_type=choice.float_type,
        provenance=provenance,
        export_command=choice.command,
        note=choice.note,
    )
    writer = form.load_writer()(AdapterWork(adapter, base, base_id, where, choice.float_type, prompt_ids))
    total, differences = write_checked(
        writer, target, card_files(subject), replace=choice.replace, archive=choice.archive, reporter=reporter
    )
    return ExportResult(target, adapter.layout, total, differences)


def write_checked(
    writer: Writer, target: Path, texts: Mapping[str, str], *, replace: bool, archive: bool = False, reporter: Reporter
) -> tuple[int, Differences]:
    """Write a folder, or a zip file of it, whole and checked or not at all; its bytes, and what the check found.

    Args:
        texts: more text files, by name.
        reporter: hears the stages "write", "check" and, of an archive, "zip".

    Raises:
        EngineError: the target is there or cannot be written, or as `Writer`; `target` is then as before.
    """
    place = _zipped(target, replace, reporter) if archive else replacing_folder(target, replace=replace)
    with place as folder:
        with reporter.stage("write", unit="tensors") as stage:
            write_files(folder, {}, texts)
            writer.write(folder, stage)
        with reporter.stage("check"):
            differences = writer.check(folder)
    files = [target] if archive else target.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()), differences


@contextmanager
def _zipped(target: Path, replace: bool, reporter: Reporter) -> Iterator[Path]:
    """The folder to write, which is packed into `target`."""
    with replacing_archive(target, replace=replace) as (folder, file):
        yield folder
        with reporter.stage("zip"):
            write_zip(folder, file)


# Matrices of floats hardly get smaller, and take long to try.
_STORED = frozenset({".safetensors", ".gguf"})
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def write_zip(folder: Path, file: Path) -> None:
    """Pack `folder`, under its own name, into `file`, and read it back.

    Raises:
        EngineError: what is read back is not what was packed.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for source in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{folder.name}/{source.relative_to(folder).as_posix()}", _LONG_AGO)
            entry.external_attr = 0o644 << 16
            entry.file_size = source.stat().st_size
            entry.compress_type = zipfile.ZIP_STORED if source.suffix in _STORED else zipfile.ZIP_DEFLATED
            with open(source, "rb") as reading, archive.open(entry, "w") as writing:
                shutil.copyfileobj(reading, writing, 1 << 20)
    with zipfile.ZipFile(file) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise EngineError("cannot be read back from the zip file", where=broken, hint="Nothing was exported")
