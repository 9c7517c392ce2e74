"""The frozen sentence encoder (arXiv 2506.16406, section 3.3): last hidden state of every token of every prompt.

texts (N) --tokenise, cut to L--> ids (N, L) --encoder--> hidden (N, L, C), zero where there is no token
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import EngineError
from engine.events import Stage
from engine.files import digest_bytes, digest_json, replacing_file

# Texts are cut before tokenising: the tokenizer would spend seconds on a line of megabytes, of which only the
# first tokens count. No tokenizer in use needs more than this many characters for a token on average.
CHARACTERS_A_TOKEN = 16


@dataclass(frozen=True)
class ConditionSpec:
    """Shape of the condition: `prompts` N, `tokens` L, `channels` C, and which encoder makes it."""

    prompts: int
    tokens: int
    channels: int
    encoder: str

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def answered_text(prompt: str, answer: str) -> str:
    """How an answered row stands in a condition: the answer first, since the end of a long text is cut."""
    return f"Answer: {answer}\n\n{prompt}"


class TextEncoder:
    """A sentence encoder with its tokenizer, frozen.

    Args:
        folder: the encoder in sentence-transformers' layout.
        device: where it runs; always in float32, so that conditions do not depend on the base's dtype.
        cache: folder for conditions by content hash; None keeps none.
    """

    def __init__(self, folder: Path, device: torch.device, cache: Path | None = None) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            self._model = SentenceTransformer(str(folder), device=str(device), local_files_only=True)
        except (OSError, ValueError, SafetensorError) as error:
            raise EngineError(f"cannot be loaded as a sentence encoder: {error}", where=str(folder)) from error
        self._model.eval().requires_grad_(False)
        self._device = device
        self._cache = cache
        self.name = folder.name
        config = self._model[0].auto_model.config
        self.channels: int = config.hidden_size
        self.max_tokens: int = config.max_position_embeddings

    def spec(self, prompts: int, tokens: int) -> ConditionSpec:
        """The spec of conditions made by this encoder."""
        if tokens > self.max_tokens:
            raise EngineError(f"the encoder reads at most {self.max_tokens} tokens, not {tokens}")
        return ConditionSpec(prompts, tokens, self.channels, self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the encoder's config and its normalisation weights: equal encoders, equal conditions."""
        tensors = [value for name, value in self._model.state_dict().items() if "LayerNorm" in name]
        return digest_bytes(*(tensor.float().cpu().numpy().tobytes() for tensor in tensors))

    def encode(self, texts: Sequence[str], tokens: int, batch: int = 32, stage: Stage | None = None) -> Tensor:
        """Texts -> (N, L, C) float32 on the CPU; positions without a token are zero. Cached by content."""
        key = digest_json([self.fingerprint, tokens, list(texts)])
        path = self._cache / f"{key}.safetensors" if self._cache else None
        if path and path.is_file():
            try:
                hidden = load_file(path)["hidden"].float()
            except (SafetensorError, KeyError, OSError):
                path.unlink(missing_ok=True)
            else:
                if stage:
                    stage.advance(len(texts))
                    stage.note = "from the cache"
                return hidden
        hidden = self._encode(texts, tokens, batch, stage)
        if path:
            with replacing_file(path) as part:
                save_file({"hidden": hidden}, part)
        return hidden

    @torch.no_grad()
    def _encode(self, texts: Sequence[str], tokens: int, batch: int, stage: Stage | None) -> Tensor:
        transformer = self._model[0].auto_model
        tokenizer = self._model.tokenizer
        hidden = torch.zeros(len(texts), tokens, self.channels)
        # Longest first, so that a batch holds texts of like length; results go back to their own places.
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            short = [texts[place][: tokens * CHARACTERS_A_TOKEN] for place in places]
            features = tokenizer(short, padding=True, truncation=True, max_length=tokens, return_tensors="pt")
            mask = features["attention_mask"].to(self._device)
            states = transformer(
                input_ids=features["input_ids"].to(self._device), attention_mask=mask
            ).last_hidden_state
            states = (states * mask[..., None]).float().cpu()
            hidden[torch.tensor(places), : states.shape[1]] = states
            if stage:
                stage.advance(len(places))
        return hidden


def prompt_directions(hidden: Tensor) -> Tensor:
    """Encoded prompts (n, L, C) -> (n, C): each prompt's mean over its tokens, of length 1.

    Positions without a token are zero and do not count.
    """
    tokens = (hidden != 0).any(-1).sum(1).clamp_min(1)
    return torch.nn.functional.normalize(hidden.sum(1) / tokens[:, None], dim=1)


def fill_condition(hidden: Tensor, prompts: int) -> Tensor:
    """(n, L, C) of any n ≥ 1 -> (N, L, C): fewer prompts are repeated in turn, more are cut.

    The decoder sees the place of a prompt as a channel; repeating keeps every channel filled, as in training.
    """
    if hidden.shape[0] == 0:
        raise EngineError("a condition needs at least one prompt")
    return hidden[torch.arange(prompts) % hidden.shape[0]]
