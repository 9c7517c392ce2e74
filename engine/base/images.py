"""Prompts with images as a base reads them: by the processor that comes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.base.hub import quiet_libraries
from engine.base.load import LoadedBase, reads_images
from engine.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

INSTALL = "pip install 'dnd-tui[images]'"
_ROLES = ("user", "assistant")
_PATIENCE = 30.0  # seconds for an image from an address


class ImagePrompts:
    """Makes what a base reads of a prompt and its images. The processor is loaded at the first one."""

    def __init__(self, base: LoadedBase, *, trust_remote_code: bool = False) -> None:
        self._base = base
        self._trusted = trust_remote_code
        self._processor: Any = None

    @property
    def possible(self) -> bool:
        """Whether the base reads images at all."""
        return reads_images(self._base.ref.config)

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
        parts: list[dict[str, Any]] = [{"type": "image", "image": _opened(name)} for name in images]
        turns = [(role, [_text(text)]) for pair in examples for role, text in zip(_ROLES, pair, strict=True)]
        turns.append((_ROLES[0], [*parts, _text(prompt)]))
        given = [{"role": role, "content": content} for role, content in turns]
        try:
            made: Mapping[str, Any] = self._processor.apply_chat_template(
                given, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        except Exception as error:  # of a processor's own code: whatever it raises is about these images
            problem = f"the base's processor cannot read it: {str(error).partition(chr(10))[0]}"
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
            raise EngineError(
                "a package for images is missing", where=ref.name, hint=f"Install it: {INSTALL}"
            ) from error
        except (OSError, ValueError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0]
            hint = f"Its folder needs preprocessor_config.json; packages for images: {INSTALL}"
            raise EngineError(
                f"its processor for images cannot be loaded: {reason}", where=ref.name, hint=hint
            ) from error


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _opened(name: str) -> Any:
    """A picture of Pillow, in RGB."""
    try:
        from transformers.image_utils import load_image
    except ImportError as error:
        raise EngineError("a package for images is missing", where=name[:200], hint=f"Install it: {INSTALL}") from error
    try:
        return load_image(name, timeout=_PATIENCE).convert("RGB")
    except ImportError as error:
        raise EngineError("a package for images is missing", where=name[:200], hint=f"Install it: {INSTALL}") from error
    except Exception as error:  # of any reader of a picture, or of the network
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise EngineError(f"this image cannot be read: {reason}", where=name[:200]) from error
