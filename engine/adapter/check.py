"""Reload what was written and compare its logits with the adapter in memory, before anything is called exported.

adapter forms   the matrices read back, on the same base, against the matrices as they were stored
merged model    loaded anew, against base + adapter; its files against the bytes that were handed out
merged GGUF     read back by the `gguf` package, tensor by tensor (`merged.largest_difference`)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from engine.adapter.attach import check_fits
from engine.adapter.merged import check_digests, use_up
from engine.adapter.peft_folder import read_peft_folder, stored
from engine.base.device import dtype_name
from engine.base.load import load_base, resolve_base
from engine.errors import EngineError
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

TOLERANCE = 1e-5
"""Largest absolute logit difference between the reloaded adapter and the matrices as they were written.

The same matrices go through the same operations on the same base object, so the difference is 0.0 where the
kernels repeat exactly; the tolerance leaves room for those that do not. It holds for every float type, because
the comparison is with the matrices as stored; what storing them in float16 loses is reported beside it.
"""
MERGED_TOLERANCE = 1e-4
"""The same between a merged model and base + adapter, both in float32.

(W + s B A) x and W x + s B (A x) are rounded in another order, in every module; for logits beyond `_USUAL_LOGITS`, of
which a float32 holds less, it grows with them. The sums inside of a product are taken in float64: in float32 they
alone make a difference of 1.1e-4 on the default base, with them 4e-5 are left.
"""
_USUAL_LOGITS = 64.0
_ROWS_AT_ONCE = 1024
# Of the prompt, where two adapters on one base are compared: in a few tokens every matrix counts, and more of them
# only take longer.
_ADAPTER_TOKENS = 16
CHECK_PROMPT = "Which of these is a colour: run, red or rice? Answer with one word."


@dataclass(frozen=True)
class Differences:
    """What a check found; None is what that form is not checked by.

    logits: largest absolute logit difference between what was reloaded and what was meant.
    rounding: the same that storing in the chosen float type makes, and of a chain merging the adapter into its weights;
        0.0 when stored in float32, or nothing was merged.
    tensors: largest absolute difference between a tensor read back and what was meant.
    """

    logits: float | None = None
    rounding: float | None = None
    tensors: float | None = None


def check_peft_folder(folder: Path, base: LoadedBase, adapter: LoraAdapter, prompt_ids: Sequence[int]) -> float:
    """Largest absolute logit difference between `folder`, loaded by peft itself, and `adapter`, on the same base.

    The base is as before afterwards. NaN logits give NaN, which no comparison with a tolerance accepts.

    Raises:
        EngineError: the folder is broken, or it or the adapter does not fit the base.
    """
    ids = prompt_ids[:_ADAPTER_TOKENS]
    expected = _expected_logits(base, adapter, ids)
    model = base.model
    # peft would leave the base half wrapped if it failed: look first.
    check_fits(model, read_peft_folder(folder)[0])
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        reloaded = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
    try:
        return _largest_difference(_logits(reloaded, model, ids), expected)
    finally:
        reloaded.unload()


def logit_difference(base: LoadedBase, first: LoraAdapter, second: LoraAdapter, prompt_ids: Sequence[int]) -> float:
    """Largest absolute logit difference between two adapters on one base, on the first tokens of a prompt."""
    ids = prompt_ids[:_ADAPTER_TOKENS]
    return _largest_difference(_expected_logits(base, first, ids), _expected_logits(base, second, ids))


def check_merged(
    folder: Path,
    base: LoadedBase,
    adapter: LoraAdapter,
    prompt_ids: Sequence[int],
    digests: Mapping[str, str],
    float_type: str,
) -> Differences:
    """Load a merged model anew, in the base's type and place, and compare it with base + adapter.

    Never two models in memory: the base is used up.

    Raises:
        EngineError: a file is not as it was handed out, the folder cannot be loaded, or in float32 its logits differ
            by more than `MERGED_TOLERANCE`.
    """
    check_digests(folder, digests)
    with _ExactSums():
        expected = _expected_logits(base, adapter, prompt_ids)
    kind = dtype_name(base.dtype)
    use_up(base)
    merged = load_base(resolve_base(str(folder)), device=str(base.device), dtype=kind)
    with _ExactSums():
        difference = _largest_difference(_logits(merged.model, merged.model, prompt_ids), expected)
    use_up(merged)
    if float_type == kind == "float32":
        if not difference <= MERGED_TOLERANCE * max(1.0, expected.abs().max().item() / _USUAL_LOGITS):
            raise other_answers(difference)
        return Differences(logits=difference)
    if not math.isfinite(difference):
        raise other_answers(difference)
    return Differences(rounding=difference)


def as_stored(adapter: LoraAdapter, float_type: str) -> LoraAdapter:
    """The adapter after its matrices went through `float_type`, in float32 again."""
    made = stored(adapter, float_type)
    a, b = ({path: matrix.float() for path, matrix in half.items()} for half in (made.a, made.b))
    return LoraAdapter(adapter.layout, a, b)


class _ExactSums(TorchFunctionMode):
    """Products of linear modules in float64, rounded once; some rows of a matrix at a time, for memory's sake."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: torch.Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch calls in the place of each of its functions."""
        if func is not linear or args[0].device.type == "mps":  # mps has no float64
            return func(*args, **(kwargs or {}))
        inputs, weight, bias = (*args, None)[:3] if not kwargs else (args[0], args[1], kwargs.get("bias"))
        exact = inputs.double()
        output = exact.new_empty(*inputs.shape[:-1], len(weight))
        # One buffer for all: thousands of large pieces of memory, taken and given back, would leave holes.
        if self._rows is None or self._rows.device != weight.device:
            self._rows = exact.new_empty(0)
        for start in range(0, len(weight), _ROWS_AT_ONCE):
            rows = weight[start : start + _ROWS_AT_ONCE]
            self._rows.resize_(rows.shape).copy_(rows)
            output[..., start : start + _ROWS_AT_ONCE] = func(exact, self._rows)
        return (output if bias is None else output + bias.double()).to(inputs.dtype)


def other_answers(difference: float) -> EngineError:
    """That what was read back is not what was meant."""
    problem = f"the reloaded export gives other answers (largest logit difference {difference:.3g})"
    return EngineError(problem, hint="Nothing was exported")


def _expected_logits(base: LoadedBase, adapter: LoraAdapter, prompt_ids: Sequence[int]) -> Any:
    """Of base + adapter by the definition of LoRA, y + alpha / rank · B (A x), and not by peft: a second opinion.

    Hooks take no time to put on, where peft needs half a second for the 210 modules of the default base.
    """
    model: Any = base.model
    with ExitStack() as hooks:
        for module in adapter.layout.modules:
            hook = _adding(adapter, module.path, model.device)
            hooks.callback(model.get_submodule(module.path).register_forward_hook(hook).remove)
        return _logits(model, model, prompt_ids)


def _adding(adapter: LoraAdapter, path: str, device: torch.device) -> Callable[[Any, Any, Any], Any]:
    a, b = adapter.a[path].to(device), adapter.b[path].to(device)

    def add(module: Any, inputs: Any, output: Any) -> Any:
        # In peft's order and types: in float32, rounded once to the base's.
        update = linear(linear(inputs[0].to(a.dtype), a), b) * adapter.layout.lora.scaling
        return (output + update).to(output.dtype)

    return add


def _logits(call: Any, model: Any, prompt_ids: Sequence[int]) -> Any:
    """(tokens, vocabulary), float32, on the CPU."""
    ids = torch.tensor([list(prompt_ids)], device=model.device)
    with torch.inference_mode():
        return call(input_ids=ids).logits[0].float().cpu()


def _largest_difference(first: Any, second: Any) -> float:
    return (first - second).abs().max().item()
