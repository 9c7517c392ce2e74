"""GGUF files: what they are read by, and what reading one through transformers needs around it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError
from engine.events import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def open_gguf(file: Path) -> Any:
    """A `gguf.GGUFReader` of the file, its tensors mapped and not read yet.

    Raises:
        EngineError: it is no whole GGUF file.
    """
    try:
        return _reader_class(lambda: None)(file)
    except FileNotFoundError:
        raise EngineError("no such file", where=str(file)) from None
    except Exception as error:  # whatever the parser makes of bytes that are none of its own
        hint = "The file is truncated or was changed: copy it again from its source"
        raise EngineError(f"is not a whole GGUF file ({error})", where=str(file), hint=hint) from error


def gguf_field(reader: Any, name: str) -> Any:
    """The value of a metadata field of a `gguf.GGUFReader`; None where there is none of that name."""
    field = reader.get_field(name)
    return None if field is None else field.contents()


def close_gguf(writer: Any, file: Path) -> None:
    """Close a `gguf.GGUFWriter` of one file.

    Raises:
        OSError: the disk was full. numpy, which writes the tensors, does not always report it itself.
    """
    expected = writer.fout[0].tell()
    writer.close()
    if file.stat().st_size < expected:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


@contextmanager
def reading_gguf(stage: Stage) -> Iterator[None]:
    """Inside of the block transformers reads a GGUF file at twice its speed, heard and counted by `stage`.

    transformers parses the whole file anew for the config, the tokenizer and the weights, and builds the table of
    tensor names anew for every module; here each is done once. What it shows only as a tqdm bar is counted, and a
    wish to stop is heard at every field and every tensor.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    reader_class = _reader_class(lambda: stage.advance(0))

    @cache
    def read_once(path: Any) -> Any:
        reader = reader_class(path)
        stage.total = len(reader.tensors)
        return reader

    def counted(tensors: Iterable[Any], **_: Any) -> Iterator[Any]:
        for tensor in tensors:
            yield tensor
            stage.advance()

    stand_ins = (
        (gguf, "GGUFReader", read_once),
        (gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map)),
        (reading, "tqdm", counted),
    )
    before = [(library, name, getattr(library, name)) for library, name, _ in stand_ins]
    for library, name, stand_in in stand_ins:
        setattr(library, name, stand_in)
    try:
        yield
    finally:
        for library, name, own in before:
            setattr(library, name, own)


def _reader_class(at_field: Callable[[], None]) -> Any:
    """A `gguf.GGUFReader` of twice the speed, which calls `at_field` at every field of metadata."""
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):
        @property
        def data(self) -> Any:
            return self._bytes

        @data.setter
        def data(self, mapped: Any) -> None:
            # Hundreds of thousands of small pieces are cut out of it: from a plain array at a third of the cost.
            self._bytes = mapped.view(np.ndarray)

        def _push_field(self, *field: Any, **options: Any) -> Any:
            at_field()
            return super()._push_field(*field, **options)

    return Reader


def forget_quantisation(model: PreTrainedModel) -> None:
    """Take off the marks of a quantised model: the tensors read from a GGUF file are plain ones.

    Left on, they would have other libraries, and whoever loads a saved copy, look for quantised tensors.
    """
    vars(model.config).pop("quantization_config", None)
    for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
        vars(model).pop(mark, None)
