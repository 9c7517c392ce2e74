"""A chat with a base and adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.requests.adapters import arm_names
from engine.requests.choices import ModelChoice


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A message that was answered. answers: by arm; an arm without one does not read the message later."""

    message: str
    answers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """The next message of a chat -> an answer of each arm, streamed side by side; each goes on from its own answers.

    adapters: PEFT folders. chain: a chain of the base's layers, as in `CompareRequest`.
    with_base: the base alone answers too; where nothing else does, it answers anyway.
    system: what every arm reads first; "" leaves that to the base's chat template.
    message: what is asked now. earlier: what was said before it, the oldest first.
    temperature: 0 takes the likeliest token; above it tokens are drawn, in all arms with the same random numbers.
    sampling_seed: seed of the drawn tokens.
    decoder: one of `DECODERS`: what writes the answers.
    """

    models: ModelChoice
    adapters: tuple[Path, ...] = ()
    chain: str | None = None
    with_base: bool = False
    system: str = ""
    message: str = ""
    earlier: tuple[Exchange, ...] = ()
    max_new_tokens: int = 256
    temperature: float = 0.0
    sampling_seed: int = 0
    decoder: str = "auto"

    @property
    def base_arm(self) -> str | None:
        """What the base alone is called, where it answers."""
        return "base" if self.with_base or (not self.adapters and self.chain is None) else None

    @property
    def arms(self) -> tuple[str, ...]:
        """What answers: "base", then "adapted" or the folder name of each of several adapters, then "chain"."""
        return arm_names(
            [self.base_arm] if self.base_arm else [], self.adapters, self.chain, adapted=bool(self.adapters)
        )

    @property
    def adapted_arms(self) -> tuple[str, ...]:
        """Those of `arms` that are not the base: the adapters, then the chain."""
        return self.arms[1 if self.base_arm else 0 :]

    @property
    def number(self) -> int:
        """Of the message, from 1."""
        return len(self.earlier) + 1
