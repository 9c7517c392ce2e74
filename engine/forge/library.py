"""The library: what `collect` leaves on disk and `train` reads.

library.json               recipe, base, layout, tasks and their hashes
frame.safetensors          the frame: A and the multi-task adapter's B (A too in a full frame)
checkpoints/NAME.safetensors   the last checkpoints of a task, as differences from the frame:
                           by matrix name (K, rows, columns), float16
log.jsonl                  every step
*.state.safetensors        unfinished stages; gone when the stage is done
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import EngineError
from engine.files import read_json, replacing_file
from engine.forge.places import FRAME_FILE, LIBRARY_FILE, checkpoint_file, checkpoint_folder
from engine.weights.frame import Frame
from engine.weights.layout import Layout
from engine.weights.storage import read_frame, read_tensors

# Tasks of the generator that the multi-task adapter was trained on from; not there without one.
START_TASKS = "start_tasks"


@dataclass(frozen=True)
class Library:
    """A library folder that has its frame."""

    folder: Path
    about: dict[str, Any]
    frame: Frame

    @property
    def task_names(self) -> list[str]:
        """Tasks whose checkpoints are there, sorted."""
        return sorted(
            path.name.removesuffix(".safetensors") for path in checkpoint_folder(self.folder).glob("*.safetensors")
        )

    @property
    def trained_on(self) -> dict[str, str]:
        """Tasks that the frame has met, those of the generator it started from too: hashes of their rows by name."""
        return {**self.about.get(START_TASKS, {}), **self.about["tasks"]}

    def checkpoints(self, task: str) -> dict[str, Tensor]:
        """Differences from the frame by matrix name: (K, rows, columns), float32."""
        tensors = read_tensors(checkpoint_file(self.folder, task))
        return {name: tensor.float() for name, tensor in tensors.items()}

    def mean_difference(self) -> dict[str, Tensor]:
        """The mean over tasks of each task's last checkpoint, as a difference from the frame."""
        names = self.task_names
        total: dict[str, Tensor] = {}
        for task in names:
            for name, tensor in self.checkpoints(task).items():
                total[name] = total.get(name, torch.zeros_like(tensor[-1])) + tensor[-1] / len(names)
        return total


def open_library(folder: Path) -> Library:
    """Raises EngineError when `folder` is no library or has no checkpoints yet."""
    if not (folder / LIBRARY_FILE).is_file():
        raise EngineError("is not a LoRA library", where=str(folder), hint="Make one with `dnd-tui lab collect`")
    about = read_json(folder / LIBRARY_FILE)
    frame = read_frame(folder / FRAME_FILE, Layout.from_json(about["layout"]), about["kind"])
    library = Library(folder, about, frame)
    if not library.task_names:
        raise EngineError("has no checkpoints yet", where=str(folder), hint="Let `collect` finish first")
    return library


def write_checkpoints(folder: Path, task: str, differences: Mapping[str, Tensor]) -> None:
    """Store (K, rows, columns) differences of one task as float16, atomically."""
    with replacing_file(checkpoint_file(folder, task)) as part:
        save_file({name: tensor.to(torch.float16).contiguous() for name, tensor in differences.items()}, part)
