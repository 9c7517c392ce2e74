"""What reading a GGUF file through transformers needs around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.events import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def gguf_tensors_counted(stage: Stage) -> Iterator[None]:
    """transformers shows its GGUF reading only as a tqdm bar: stand in for that bar, and count for `stage`."""
    from transformers import modeling_gguf_pytorch_utils as reading

    def counted(tensors: Iterable[Any], **_: Any) -> Iterator[Any]:
        tensors = list(tensors)
        stage.total = len(tensors)
        for tensor in tensors:
            yield tensor
            stage.advance()

    bar = reading.tqdm
    reading.tqdm = counted
    try:
        yield
    finally:
        reading.tqdm = bar


def forget_quantisation(model: PreTrainedModel) -> None:
    """Take off the marks of a quantised model: the tensors read from a GGUF file are plain ones.

    Left on, they would have other libraries, and whoever loads a saved copy, look for quantised tensors.
    """
    vars(model.config).pop("quantization_config", None)
    for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
        vars(model).pop(mark, None)
