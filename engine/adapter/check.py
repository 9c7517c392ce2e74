"""Before anything is called exported: reload what was written and compare its logits with the adapter in memory.

    source folder -> adapter -> files in a folder beside the target -> reloaded by peft, compared -> target

Nothing takes the target's place unless the comparison holds, so a failed export leaves what was there.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel

from engine.adapter.attach import attach, check_fits
from engine.adapter.card import Provenance, card_files, read_provenance
from engine.adapter.lora import LoraAdapter
from engine.adapter.peft_folder import peft_files, read_peft_folder, stored_state, write_files
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import replacing_folder
from engine.weights.layout import Layout

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

TOLERANCE = 1e-5
"""Largest absolute logit difference between the reloaded folder and the matrices as they were written.

The same matrices go through the same operations of the same base object, so the difference is 0.0 where the
kernels repeat exactly; the tolerance leaves room for those that do not. It holds for every float type, because
the comparison is with the matrices as stored; what storing them in float16 loses is reported beside it.
"""
CHECK_PROMPT = "Which of these is a colour: run, red or rice? Answer with one word."


@dataclass(frozen=True)
class ExportResult:
    """A finished export.

    folder: where it is.
    layout: of the adapter in it.
    bytes: size of all its files.
    logit_difference: largest absolute logit difference between the reloaded folder and the matrices as stored.
    rounding_difference: the same between the matrices as stored and in float32; 0.0 when stored in float32.
    """

    folder: Path
    layout: Layout
    bytes: int
    logit_difference: float
    rounding_difference: float


def export_adapter(
    source: Path,
    target: Path,
    base: LoadedBase,
    prompt_ids: Sequence[int],
    *,
    float_type: str = "float32",
    replace: bool = False,
    reporter: Reporter | None = None,
) -> ExportResult:
    """Any plain LoRA folder of peft -> a checked one with a card at `target`.

    Args:
        source: the adapter folder; may be `target` itself when `replace` is set.
        base: the model to check on; it is as before afterwards.
        prompt_ids: tokens of the prompt whose logits are compared, for example of `CHECK_PROMPT`.
        float_type: of the written matrices, "float32" or "float16".
        replace: whether a folder that is there may be replaced.
        reporter: hears the stages "read", "write", "check".

    Raises:
        EngineError: the source is broken or not plain LoRA, it does not fit the base, the target is there or cannot
            be written, or the reloaded folder differs; `target` is then as before.
    """
    reporter = reporter or Reporter()
    with reporter.stage("read"):
        adapter, config = read_peft_folder(source)
        provenance = read_provenance(source)
    named = config.get("base_model_name_or_path")
    base_id = named if isinstance(named, str) and named else base.ref.id
    if base_id != base.ref.id:
        reporter.note(f"The adapter names {base_id} as its base; it is checked on {base.ref.id}", warning=True)
    return write_checked_folder(
        target,
        adapter,
        base,
        prompt_ids,
        base_id=base_id,
        provenance=provenance,
        float_type=float_type,
        replace=replace,
        reporter=reporter,
    )


def write_checked_folder(
    target: Path,
    adapter: LoraAdapter,
    base: LoadedBase | torch.nn.Module,
    prompt_ids: Sequence[int],
    *,
    base_id: str,
    provenance: Provenance | None,
    float_type: str = "float32",
    replace: bool = False,
    reporter: Reporter | None = None,
) -> ExportResult:
    """An adapter in memory -> a checked PEFT folder with a card at `target`.

    Arguments, stages ("write", "check") and errors as in `export_adapter`; `base_id` goes into the config and the card.
    """
    reporter = reporter or Reporter()
    with replacing_folder(target, replace=replace) as part:
        with reporter.stage("write"):
            files = peft_files(adapter, base_id, float_type=float_type)
            write_files(part, files, card_files(provenance, base_id=base_id, layout=adapter.layout))
        with reporter.stage("check"):
            stored = as_stored(adapter, float_type)
            difference = check_peft_folder(part, base, stored, prompt_ids)
            if not difference <= TOLERANCE:
                problem = f"the reloaded adapter gives other answers (largest logit difference {difference:.3g})"
                raise EngineError(problem, where=str(target), hint="Nothing was exported")
            rounding = 0.0
            if float_type != "float32":
                exact = _attached_logits(base, adapter, prompt_ids)
                rounding = _largest_difference(_attached_logits(base, stored, prompt_ids), exact)
    size = sum(file.stat().st_size for file in target.iterdir())
    return ExportResult(target, adapter.layout, size, difference, rounding)


def check_peft_folder(
    folder: Path, base: LoadedBase | torch.nn.Module, adapter: LoraAdapter, prompt_ids: Sequence[int]
) -> float:
    """Largest absolute logit difference between `folder`, loaded by peft itself, and `adapter`, on the same base.

    The base is as before afterwards. NaN logits give NaN, which no comparison with a tolerance accepts.

    Raises:
        EngineError: the folder is broken, or it or the adapter does not fit the base.
    """
    expected = _attached_logits(base, adapter, prompt_ids)
    model: Any = base if isinstance(base, torch.nn.Module) else base.model
    # peft would leave the base half wrapped if it failed: look first.
    check_fits(model, read_peft_folder(folder)[0])
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        reloaded = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
    try:
        return _largest_difference(_logits(reloaded, model, prompt_ids), expected)
    finally:
        reloaded.unload()


def as_stored(adapter: LoraAdapter, float_type: str) -> LoraAdapter:
    """The adapter after its matrices went through `float_type`, in float32 again."""
    state = {key: matrix.float() for key, matrix in stored_state(adapter, float_type).items()}
    paths = [module.path for module in adapter.layout.modules]
    return LoraAdapter(
        adapter.layout,
        {path: state[f"base_model.model.{path}.lora_A.weight"] for path in paths},
        {path: state[f"base_model.model.{path}.lora_B.weight"] for path in paths},
    )


def _attached_logits(base: LoadedBase | torch.nn.Module, adapter: LoraAdapter, prompt_ids: Sequence[int]) -> Any:
    with attach(base, adapter) as attached:
        return _logits(attached, attached.model, prompt_ids)


def _logits(call: Any, model: Any, prompt_ids: Sequence[int]) -> Any:
    """(tokens, vocabulary), float32, on the CPU."""
    ids = torch.tensor([list(prompt_ids)], device=model.device)
    with torch.inference_mode():
        return call(input_ids=ids).logits[0].float().cpu()


def _largest_difference(first: Any, second: Any) -> float:
    return (first - second).abs().max().item()
