"""Where `collect` and `train` keep things. Light: plans and curves look there without loading anything.

LIBRARY/library.json, frame.safetensors, checkpoints/TASK.safetensors, log.jsonl, curve.svg, *.state.safetensors
GENERATOR/curve.svg, run/log.jsonl, conditions/, *.state.safetensors
"""

from __future__ import annotations

from pathlib import Path

LIBRARY_FILE, FRAME_FILE, LOG_FILE, CURVE_FILE = "library.json", "frame.safetensors", "log.jsonl", "curve.svg"

WARM_START, LANGUAGE_LOSS, DISTILLATION = "warm start", "language loss", "distillation"
"""The stages of training, in their order."""


def checkpoint_folder(library: Path) -> Path:
    """Where the checkpoints of the tasks lie."""
    return library / "checkpoints"


def checkpoint_file(library: Path, task: str) -> Path:
    """The checkpoints of one task."""
    return checkpoint_folder(library) / f"{task}.safetensors"


def run_folder(generator: Path) -> Path:
    """What training needs beside the artifact itself."""
    return generator / "run"


def condition_folder(run: Path) -> Path:
    """The encoded prompts of the training tasks; gone when training is done."""
    return run / "conditions"


def state_name(stage: str) -> str:
    """The name of a training stage's state."""
    return stage.replace(" ", "-")


def state_file(folder: Path, name: str) -> Path:
    """An unfinished stage; gone when the stage, in training the whole run, is done."""
    return folder / f"{name}.state.safetensors"
