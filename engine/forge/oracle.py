"""The oracle: what a LoRA trained on the task's own labels reaches, from the same start as everything else.

Training rows only, a fixed budget, several tasks' adapters side by side in one batch.

    OUT/checkpoints/NAME.safetensors   the trained adapter, as a difference from the frame, (1, rows, columns) a matrix
    OUT/log.jsonl                      every step
    OUT/*.state.safetensors            unfinished groups; gone when their adapters are done
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.base.device import device_memory
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json
from engine.forge.collect import as_matrices, trainable
from engine.forge.library import write_checkpoints
from engine.forge.places import LOG_FILE, checkpoint_file, state_file
from engine.forge.recipe import DataRecipe
from engine.forge.rows import TaskTokens, draw_batch, tokenize_tasks
from engine.tasks.tasks import Task
from engine.training.loop import RunLog, TrainingState, apply_update, clip_each, cosine
from engine.training.losses import adapters_in_batch, token_losses
from engine.weights.frame import Frame
from engine.weights.lora import LoraAdapter
from engine.weights.storage import read_tensors

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

# Longer rows are left out; the oracle should see what the judge asks, so the limit of training does not hold.
_ROW_TOKENS = 1024
# Adapters side by side: with the packs of each, as many lines a step as a multi-task step has by default.
_TOGETHER = 4


@dataclass(frozen=True)
class Budget:
    """Of each adapter: `steps` optimizer steps of `packs` packed sequences; cosine from `learning_rate` to zero."""

    steps: int
    packs: int = 2
    learning_rate: float = 1e-3
    warmup_steps: int = 5

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Oracle:
    """Trains adapters of tasks from `frame` and keeps them in `folder`.

    data: how rows are packed. identity: what must be the same for a kept adapter to count (base, generator).
    hidden: the rows it is trained on lose their instruction, as those that are judged do.
    """

    base: LoadedBase
    frame: Frame
    data: DataRecipe
    budget: Budget
    folder: Path
    identity: str
    seed: int
    hidden: bool = False

    def train(self, tasks: Sequence[Task], reporter: Reporter) -> dict[str, float]:
        """Train what is not there yet; returns the device seconds of each task's adapter, earlier ones too.

        Raises:
            EngineError: a task has no row that is short enough.
            Cancelled: the person asked for it; the same call goes on from there.
        """
        left = [task for task in tasks if not checkpoint_file(self.folder, self._key(task)).is_file()]
        if left:
            recipe = replace(self.data, row_tokens=_ROW_TOKENS, task_rows=1)
            data = tokenize_tasks(self.base, left, recipe, reporter)
            if without := sorted({task.name for task in left} - {tokens.task.name for tokens in data}):
                problem = f"has no training row of at most {_ROW_TOKENS} tokens"
                raise EngineError(problem, where=without[0], hint="Leave out the arm oracle")
            groups = [data[start : start + _TOGETHER] for start in range(0, len(data), _TOGETHER)]
            with reporter.stage("train oracle", len(groups) * self.budget.steps) as stage:
                for group in groups:
                    self._train(group, recipe, stage)
            # A kill between two adapters of a group leaves its state, and the rest makes a group of its own.
            for state in self.folder.glob(state_file(self.folder, "*").name):
                state.unlink()
        spent = _seconds(self.folder / LOG_FILE)
        return {task.name: spent.get(self._key(task), 0.0) for task in tasks}

    def adapter(self, task: Task) -> LoraAdapter:
        """The trained adapter of a task."""
        kept = read_tensors(checkpoint_file(self.folder, self._key(task)))
        differences = {name: value[-1].float() for name, value in kept.items()}
        return LoraAdapter(self.frame.layout, *self.frame.shifted(differences))

    def _key(self, task: Task) -> str:
        """A name that changes with everything the adapter depends on."""
        return f"{task.name}-{digest_json([self.identity, task.digest, self.budget.to_json(), self.seed])[:12]}"

    def _train(self, group: Sequence[TaskTokens], recipe: DataRecipe, stage: Any) -> None:
        frame, device = self.frame, self.base.device
        keys = [self._key(tokens.task) for tokens in group]
        parameters = trainable(frame, len(group), device)
        start = {name: parameter.detach()[:1].clone() for name, parameter in parameters.items()}
        optimizer = torch.optim.AdamW(parameters.values(), lr=self.budget.learning_rate, weight_decay=0.0)
        mark = digest_json(keys)
        state = TrainingState(state_file(self.folder, f"oracle-{mark[:12]}"), parameters, optimizer, mark)
        first = state.restore()
        stage.advance(first)
        log = RunLog(self.folder / LOG_FILE)
        a, b = as_matrices(frame, parameters)
        with adapters_in_batch(self.base.model, frame.layout, a, b):
            for step in range(first, self.budget.steps):
                place = f"{self.seed}/oracle/{step}"
                batch = draw_batch(self.base, group, self.budget.packs, recipe, place, [self.hidden] * len(group))
                began = time.perf_counter()
                losses = token_losses(self.base.model, batch, len(group))
                losses.sum().backward()
                self._update(optimizer, parameters, step)
                loss = losses.mean().item()
                seconds = time.perf_counter() - began
                log.add(stage="oracle", step=step + 1, loss=loss, tokens=batch.tokens, seconds=seconds, adapters=keys)
                state.save(step + 1)
                stage.memory = device_memory(device)
                stage.advance(loss=loss, tokens_per_second=batch.tokens / seconds)
        moved = {name: (value.detach() - start[name]).cpu() for name, value in parameters.items()}
        for index, key in enumerate(keys):
            write_checkpoints(self.folder, key, {name: value[index : index + 1] for name, value in moved.items()})
        state.path.unlink(missing_ok=True)

    def _update(self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], step: int) -> None:
        clip_each([value.grad for value in parameters.values() if value.grad is not None])
        budget = self.budget
        apply_update(optimizer, cosine(step, budget.steps, budget.learning_rate, budget.warmup_steps))


def _seconds(log: Path) -> dict[str, float]:
    """Device seconds by adapter, steps that a kill made necessary again included; torn lines do not count."""
    spent: dict[str, float] = {}
    for text in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        for key in line["adapters"]:
            spent[key] = spent.get(key, 0.0) + line["seconds"] / len(line["adapters"])
    return spent
