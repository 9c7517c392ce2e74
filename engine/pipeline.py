"""Everything that turns prompts into an adapter, loaded once and used any number of times.

texts --encode--> hidden (n, L, C) --decode--> weight tokens (T, h, w) --detokenise--> LoraAdapter

The last base and the last generator stay in memory, one of each, for the next job of the same process.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from engine.adapter.formats import NUMBER_SIZES
from engine.base.device import device_memory, dtype_name, explain_out_of_memory, pick_device
from engine.base.fetch import cache_folder, resolve_encoder
from engine.base.load import BaseRef, LoadedBase, load_base, resolve_base
from engine.condition import TextEncoder
from engine.errors import EngineError, setting
from engine.events import Reporter, UpdateNorms
from engine.generator.artifact import check_base, load_generator, read_about
from engine.generator.generator import Generator
from engine.released import released_generator
from engine.requests import ModelChoice
from engine.weights.lora import LoraAdapter, norms_by_layer

T = TypeVar("T")

WARM_NOTE = "already in memory"


class Kept(Generic[T]):
    """One loaded thing and the key it was loaded by. Never two: the old one goes before the new one comes."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: T | None = None

    def get(self, key: Hashable, load: Callable[[], T], reporter: Reporter) -> T:
        """What was loaded by `key`, or else what `load` gives now; warm, it is shown as a stage "load" of no time."""
        if self._value is not None and self._key == key:
            with reporter.stage("load") as stage:
                stage.note = WARM_NOTE
            return self._value
        self.forget()
        value = load()
        self._key, self._value = key, value
        return value

    def forget(self) -> None:
        """Keep nothing."""
        self._key = self._value = None


_base: Kept[LoadedBase] = Kept()
_generator: Kept[tuple[TextEncoder, Generator]] = Kept()


@dataclass(frozen=True)
class Pipeline:
    """A loaded base, encoder and generator that fit one another. `about` describes the generator's artifact."""

    base: LoadedBase
    encoder: TextEncoder
    generator: Generator
    folder: Path
    about: dict[str, Any]

    def adapter(self, texts: Sequence[str], reporter: Reporter) -> LoraAdapter:
        """A prompt batch of any size -> adapter, in the stages encode, decode, detokenise.

        Emits `UpdateNorms` layer by layer as the matrices are made.
        """
        spec = self.generator.spec.condition
        device = self.generator.scales.device
        with reporter.stage("encode", len(texts), "prompts") as stage, explain_out_of_memory(setting("count")):
            hidden = self.encoder.encode(texts, spec.tokens, stage=stage)
            stage.memory = device_memory(device)
        with reporter.stage("decode") as stage, explain_out_of_memory(f"{setting('device')} to cpu"):
            tokens = self.generator.decode(hidden).cpu()
            stage.memory = device_memory(device)
        with reporter.stage("detokenise"):
            adapter = self.generator.detokenise(tokens)
            for norms in norms_by_layer(adapter, self.generator.frame.base_adapter):
                reporter.emit(UpdateNorms(norms))
        return adapter


def find_chosen_base(choice: ModelChoice, reporter: Reporter) -> BaseRef:
    """What the base of `choice` is and where; its weights are not loaded."""
    return resolve_base(choice.base, trust_remote_code=choice.trust_remote_code, reporter=reporter)


def load_chosen_base(
    choice: ModelChoice, reporter: Reporter, found: BaseRef | None = None, *, stream_layers: bool | None = False
) -> LoadedBase:
    """The base of `choice`; `found`, if it is given, is what `find_chosen_base` found.

    stream_layers: as of `load_base`. A base whose layers are not in memory does not stay for the next job.
    """
    trusted = choice.trust_remote_code
    ref = found or find_chosen_base(choice, reporter)

    def load() -> LoadedBase:
        return load_base(
            ref, device=choice.device, dtype=choice.dtype, trust_remote_code=trusted, stream_layers=stream_layers,
            reporter=reporter,
        )  # fmt: skip

    key = (
        ref.id,
        ref.folder,
        ref.gguf_file,
        ref.fingerprint,
        choice.device,
        choice.dtype,
        trusted,
        bool(stream_layers),
    )
    base = _base.get(key, load, reporter)
    if base.streamed:
        _base.forget()
    return base


def load_base_alone(choice: ModelChoice, reporter: Reporter) -> LoadedBase:
    """The base of `choice` for one caller, who may use it up; no other base stays in memory.

    An "auto" dtype is the one that its weights are stored in: no larger than on disk, and nothing is rounded.
    """
    _base.forget()
    trusted = choice.trust_remote_code
    ref = find_chosen_base(choice, reporter)
    stored = dtype_name(getattr(ref.config, "dtype", None))
    dtype = choice.dtype
    if dtype == "auto":
        dtype = stored if stored in NUMBER_SIZES and not ref.gguf_file else "float32"
    return load_base(ref, device=choice.device, dtype=dtype, trust_remote_code=trusted, reporter=reporter)


def load_pipeline(choice: ModelChoice, reporter: Reporter, *, cached: bool = True) -> Pipeline:
    """Load everything that `choice` names, after checking that it fits together.

    Args:
        cached: keep conditions in the user's cache, by content.
    """
    folder = choice.generator or released_generator()
    about = read_about(folder)
    ref = find_chosen_base(choice, reporter)
    check_base(about, ref)
    base = load_chosen_base(choice, reporter, ref)
    device = pick_device(choice.device)

    def load() -> tuple[TextEncoder, Generator]:
        source = resolve_encoder(reporter)
        with reporter.stage("load") as stage:
            encoder = TextEncoder(source, device, cache_folder() / "conditions" if cached else None)
            generator = load_generator(folder, device)
            stage.memory = device_memory(device)
        return encoder, generator

    encoder, generator = _generator.get((folder.absolute(), about["sha256"], device, cached), load, reporter)
    if encoder.fingerprint != generator.spec.condition.encoder:
        raise EngineError("the generator was trained with another text encoder", where=str(folder))
    return Pipeline(base, encoder, generator, folder, about)
