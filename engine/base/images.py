"""Prompts with images as a base reads them: by the processor that comes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.base.chat import example_turns
from engine.base.hub import quiet_libraries
from engine.base.load import LoadedBase
from engine.base.templates import rendered
from engine.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

INSTALL = "pip install 'dnd-tui[images]'"
_PATIENCE = 30.0  # seconds for an image from an address


class ImagePrompts:
    """Makes what a base that reads images reads of a prompt. The processor is loaded at the first one."""

    def __init__(self, base: LoadedBase, *, trust_remote_code: bool = False) -> None:
        self._base = base
        self._trusted = trust_remote_code
        self._processor: Any = None

    def read(
        self, prompt: str, images: Sequence[str], examples: Sequence[tuple[str, str]] = ()
    ) -> tuple[list[int], dict[str, Tensor]]:
        """The token ids of a prompt, places of its images among them, and what else the model takes with it.

        Args:
            images: paths of files, http addresses or data URLs; they stand before the text.
            examples: (prompt, answer) pairs that stand before it, as turns without images.

        Raises:
            EngineError: an image is not there or is none, the base has no processor, a package is missing.
        """
        if self._processor is None:
            self._processor = self._loaded()
        pictures = [_opened(name) for name in images]
        turns = [{"role": role, "content": [_text(text)]} for role, text in example_turns(examples)]
        turns.append({"role": "user", "content": [*({"type": "image"} for _ in images), _text(prompt)]})
        text = rendered(self._processor, turns, answer_next=True)
        start = self._base.tokenizer.bos_token
        special = {"add_special_tokens": False} if start is not None and text.startswith(start) else {}
        try:
            made: Mapping[str, Any] = self._processor(text=text, images=[pictures], return_tensors="pt", **special)
        except Exception as error:  # of a processor's own code: whatever it raises is about these images
            problem = f"the base's processor cannot read it: {_first_line(error)}"
            raise EngineError(problem, where=", ".join(images)[:200]) from error
        tensors = {name: value.to(self._base.device) for name, value in made.items() if hasattr(value, "to")}
        kind, ids = self._base.dtype, tensors.pop("input_ids")
        tensors.pop("attention_mask", None)  # a single prompt has no padding
        more = {name: value.to(kind) if value.is_floating_point() else value for name, value in tensors.items()}
        return ids[0].tolist(), more

    def _loaded(self) -> Any:
        from transformers import AutoProcessor

        ref = self._base.ref
        try:
            with quiet_libraries():
                return AutoProcessor.from_pretrained(ref.folder, local_files_only=True, trust_remote_code=self._trusted)
        except ImportError as error:
            raise _missing_package(ref.name) from error
        except (OSError, ValueError, AttributeError) as error:
            problem = f"its processor for images cannot be loaded: {_first_line(error)}"
            hint = f"Its folder needs preprocessor_config.json; packages for images: {INSTALL}"
            raise EngineError(problem, where=ref.name, hint=hint) from error


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _opened(name: str) -> Any:
    """A picture of Pillow, in RGB."""
    try:
        from transformers.image_utils import load_image

        return load_image(name, timeout=_PATIENCE).convert("RGB")
    except ImportError as error:
        raise _missing_package(name[:200]) from error
    except Exception as error:  # of any reader of a picture, or of the network
        raise EngineError(f"this image cannot be read: {_first_line(error)}", where=name[:200]) from error


def _missing_package(where: str) -> EngineError:
    return EngineError("a package for images is missing", where=where, hint=f"Install it: {INSTALL}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
