"""A generator on disk: three files, none of them executable.

generator.safetensors   decoder and frame (float16), scales (float32)
generator.json          format, layout, frame, condition, cascade, base, recipe, data hashes, scores, file hash
README.md               the card
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from engine.condition import ConditionSpec
from engine.errors import EngineError, NoGeneratorError
from engine.files import digest_file, replacing_file, write_json, write_text
from engine.generator.about import ABOUT, CARD, DAMAGED_HINT, FORMAT, GARBLED, TENSORS, garbled, read_about
from engine.generator.generator import Generator, GeneratorSpec
from engine.weights.layout import Layout, LoraSpec, derive_layout
from engine.weights.storage import frame_from_tensors, frame_tensors, read_tensors

if TYPE_CHECKING:
    from engine.base.load import BaseRef


def save_generator(folder: Path, generator: Generator, card: str) -> None:
    """Write the artifact's files into `folder`, each whole or not at all, the description after the tensors.

    The decoder is stored in float16; judge the artifact, not the trained module.
    """
    tensors = {
        f"decoder.{name}": value.to(torch.float16).contiguous()
        for name, value in generator.decoder.state_dict().items()
    }
    tensors |= {f"frame.{name}": value for name, value in frame_tensors(generator.frame).items()}
    tensors["scales"] = generator.scales.float().contiguous()
    spec = generator.spec
    with replacing_file(folder / TENSORS) as part:
        save_file({name: value.cpu() for name, value in tensors.items()}, part)
    about = {
        "format": FORMAT,
        "sha256": digest_file(folder / TENSORS),
        "base": dict(spec.base),
        "layout": generator.frame.layout.to_json(),
        "frame": generator.frame.kind,
        "condition": spec.condition.to_json(),
        "cascade": [list(shape) for shape in spec.cascade],
        "kernel": spec.kernel,
        "tokens": [generator.grid.tokens, generator.grid.height, generator.grid.width],
        "history": dict(spec.history),
    }
    write_json(folder / ABOUT, about)
    write_text(folder / CARD, card)


def record_history(folder: Path, history: Mapping[str, Any], card: str) -> None:
    """Give the artifact in `folder` another history and card; its tensors, and so its hash, stay."""
    about = read_about(folder) | {"history": dict(history)}
    write_json(folder / ABOUT, about)
    write_text(folder / CARD, card)


def load_generator(folder: Path, device: torch.device | str = "cpu") -> Generator:
    """Read and check an artifact.

    Raises:
        EngineError: not an artifact, a newer format, damaged or tampered tensors.
    """
    about = read_about(folder)
    path = folder / TENSORS
    tensors = read_tensors(path)
    if digest_file(path) != about["sha256"]:
        raise EngineError("differs from the hash in generator.json", where=str(path), hint=DAMAGED_HINT)
    try:
        layout = Layout.from_json(about["layout"])
        condition = ConditionSpec(**about["condition"])
        cascade = tuple((int(n), int(length), int(channels)) for n, length, channels in about["cascade"])
        spec = GeneratorSpec(condition, cascade, int(about["kernel"]), about["base"], about["history"])
        frame = frame_from_tensors(_part(tensors, "frame."), layout, about["frame"], str(path))
        # Built without memory, then given the tensors of the file: no time goes into a random start.
        with torch.device("meta"):
            generator = Generator(spec, frame)
    except GARBLED as error:
        raise garbled(folder, error) from error
    state = {f"decoder.{name}": value.float() for name, value in _part(tensors, "decoder.").items()}
    try:
        generator.load_state_dict(state | {"scales": tensors["scales"]}, assign=True)
    except (RuntimeError, KeyError) as error:
        raise EngineError(f"does not fit generator.json: {error}", where=str(path), hint=DAMAGED_HINT) from error
    return generator.to(device).eval().requires_grad_(False)


def check_base(about: dict[str, Any], ref: BaseRef) -> None:
    """Refuse a base that the generator was not made for.

    A base fits when its layout is the generator's and it has either the same id or the same weights.
    """
    made_for = about["base"]
    try:
        layout = Layout.from_json(about["layout"])
        lora = LoraSpec(layout.lora.rank, layout.lora.alpha, layout.lora.target_modules)
        same = ref.id == made_for["id"] or ref.fingerprint == made_for["fingerprint"]
    except GARBLED as error:
        raise EngineError(
            f"the generator's description lacks or garbles a field: {error}", hint=DAMAGED_HINT
        ) from error
    try:
        fits = same and derive_layout(ref.config, lora).digest == layout.digest
    except EngineError:
        fits = False
    if not fits:
        raise NoGeneratorError(
            f"the generator was made for {made_for['id']}, not for {ref.id}",
            hint="Choose that base; or give answered rows or an instruction, which need no generator; or make a "
            "generator for yours with `collect` and `train`",
        )


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
