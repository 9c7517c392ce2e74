"""What training stages share: schedule, clipping, a log, states on disk that survive kill -9."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import ANOTHER_OUT, EngineError
from engine.files import replacing_file

# A state is written after every step unless that would take more than this part of the time; on a CPU,
# where steps take seconds, nothing but the current step is ever lost.
SAVING_SHARE = 0.05


def cosine(step: int, steps: int, peak: float, warmup_steps: int) -> float:
    """Learning rate of `step` (0-based): linear warm-up, then half a cosine to zero at `steps`."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def clip_each(gradients: list[Tensor], limit: float = 1.0) -> Tensor:
    """Scale the gradients (E, ...) of each adapter to a joint norm of at most `limit`; returns the norms (E,)."""
    norms = torch.stack([gradient.flatten(1).float().pow(2).sum(1) for gradient in gradients]).sum(0).sqrt()
    scale = (limit / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))
    return norms


def apply_update(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One optimizer step at this learning rate, times a group's `rate_factor`; the gradients are gone afterwards."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class TrainingState:
    """Parameters, optimizer moments and the number of finished steps, in one safetensors file.

    Args:
        path: where the state lives.
        parameters: by name; restored in place.
        optimizer: an AdamW over exactly these parameters, in this order.
        identity: what must be the same for a state to be continued (recipe, data, seed).
        extra: further tensors by name that belong to the state; restored in place.
    """

    def __init__(
        self,
        path: Path,
        parameters: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        identity: str,
        extra: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.path, self.parameters, self.optimizer, self.identity = path, parameters, optimizer, identity
        self.extra = extra or {}
        self._saved_at = -math.inf
        self._cost = 0.0

    def restore(self) -> int:
        """Load the state if there is one of the same identity; returns the number of finished steps.

        Raises:
            EngineError: the state belongs to another run.
        """
        if not self.path.is_file():
            return 0
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("identity") != self.identity:
                    raise EngineError(
                        "belongs to a run with another recipe, data, base or seed",
                        where=str(self.path),
                        hint=f"{ANOTHER_OUT}, or delete the folder to start anew",
                    )
                step = int(about["step"])
                for name, parameter in self.parameters.items():
                    parameter.data.copy_(file.get_tensor(f"value.{name}"))
                    self.optimizer.state[parameter] = {
                        "step": torch.tensor(float(about["updates"])),
                        "exp_avg": file.get_tensor(f"mean.{name}").to(parameter.device),
                        "exp_avg_sq": file.get_tensor(f"square.{name}").to(parameter.device),
                    }
                for name, tensor in self.extra.items():
                    tensor.copy_(file.get_tensor(name))
        except SafetensorError as error:
            raise EngineError(f"is damaged: {error}", where=str(self.path), hint="Delete it to start anew") from error
        return step

    def save(self, step: int, *, last: bool = False) -> None:
        """Write the state after `step` finished steps, unless it is too soon (see SAVING_SHARE)."""
        now = time.perf_counter()
        if not last and (now - self._saved_at) * SAVING_SHARE < self._cost:
            return
        tensors: dict[str, Tensor] = dict(self.extra)
        updates = float(step)
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state[parameter]
            updates = float(moments["step"])
            tensors[f"value.{name}"] = parameter.detach().contiguous().cpu()
            tensors[f"mean.{name}"] = moments["exp_avg"].contiguous().cpu()
            tensors[f"square.{name}"] = moments["exp_avg_sq"].contiguous().cpu()
        about = {"step": str(step), "updates": str(updates), "identity": self.identity}
        with replacing_file(self.path) as part:
            save_file(tensors, part, metadata=about)
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - now


class BestState:
    """The parameters as they were at the lowest loss so far, in one safetensors file.

    Args:
        path: where they live.
        parameters: by name; restored in place.
        identity: as of `TrainingState`; what another run left there counts for nothing.
    """

    def __init__(self, path: Path, parameters: Mapping[str, Tensor], identity: str) -> None:
        self.path, self.parameters, self.identity = path, parameters, identity

    def offer(self, step: int, loss: float) -> None:
        """Keep the parameters after `step` finished steps if `loss` is lower than all before."""
        if not loss < float(self._about().get("loss", "inf")):  # nor one that is no number
            return
        tensors = {name: parameter.detach().contiguous().cpu() for name, parameter in self.parameters.items()}
        about = {"step": str(step), "loss": repr(loss), "identity": self.identity}
        with replacing_file(self.path) as part:
            save_file(tensors, part, metadata=about)

    def restore(self) -> int | None:
        """Load what is kept; returns after how many steps that was, None where nothing was offered."""
        kept = self._about()
        if not kept:
            return None
        with safe_open(self.path, framework="pt") as file:
            for name, parameter in self.parameters.items():
                parameter.data.copy_(file.get_tensor(name))
        return int(kept["step"])

    def _about(self) -> dict[str, str]:
        try:
            with safe_open(self.path, framework="pt") as file:
                about: dict[str, str] = file.metadata() or {}
        except (OSError, SafetensorError):
            return {}
        return about if about.get("identity") == self.identity else {}


class RunLog:
    """One JSON object a line, flushed at once: stage, step, loss, tokens/s, seconds."""

    def __init__(self, path: Path, write: bool = True) -> None:
        self.path = path
        self.write = write
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, **figures: Any) -> None:
        """Append a line; `time` (Unix seconds) is added."""
        if not self.write:
            return
        rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in figures.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 1)} | rounded) + "\n")
