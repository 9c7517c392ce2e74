"""What the Forge screen was set to when it was last used: one small JSON file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from dnd_tui.state.stored import Remembered
from engine.errors import EngineError
from engine.requests import CollectRequest, ModelChoice, PlanRequest, TrainRequest

FILE_NAME = "forge.json"
VERSION = 1


@dataclass(frozen=True)
class ForgeChoices:
    """What stands in the fields of the screen, as the person typed it.

    tasks: folder of labelled tasks.
    library: what `collect` writes and `train` reads.
    generator: what `train` writes.
    recipe: a JSON file; empty is the default recipe.
    """

    tasks: str = ""
    library: str = ""
    generator: str = ""
    recipe: str = ""
    base: str = ModelChoice.base
    device: str = ModelChoice.device
    seed: str = "0"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Library and generator, as far as they are named; they need not exist."""
        return tuple(Path(os.path.expanduser(text)) for text in (self.library.strip(), self.generator.strip()) if text)

    @property
    def missing(self) -> tuple[str, ...]:
        """What has to be named before both runs can be done, in words."""
        named = {
            "the folder of tasks": self.tasks,
            "a folder for the LoRA library": self.library,
            "a folder for the generator": self.generator,
        }
        return tuple(words for words, text in named.items() if not text.strip())

    def request(self, kind: str, models: ModelChoice) -> CollectRequest | TrainRequest:
        """The request of one run.

        Args:
            kind: "collect" or "train".
            models: number format and whether a model's code is trusted.

        Raises:
            EngineError: a field is empty or holds what cannot be.
        """
        chosen, recipe, seed = self.models(models), self._recipe, self._seed
        tasks = named_path(self.tasks, "the folder of tasks")
        library = named_path(self.library, "the folder of the library")
        if kind == "collect":
            return CollectRequest(models=chosen, tasks=tasks, out=library, recipe=recipe, seed=seed)
        out = named_path(self.generator, "the folder for the generator")
        return TrainRequest(models=chosen, tasks=tasks, library=library, out=out, recipe=recipe, seed=seed)

    def plan_requests(self, models: ModelChoice) -> dict[str, PlanRequest]:
        """What can be planned with the fields that are filled in, by "collect" and "train".

        Raises:
            EngineError: a field holds what cannot be.
        """
        if not self.tasks.strip():
            return {}
        library = named_path(self.library, "library") if self.library.strip() else None
        generator = named_path(self.generator, "generator") if self.generator.strip() else None
        common = PlanRequest(
            kind="collect",
            models=self.models(models),
            tasks=named_path(self.tasks, "tasks"),
            out=library,
            recipe=self._recipe,
            seed=self._seed,
        )
        if library is None:
            return {"collect": common}
        return {"collect": common, "train": replace(common, kind="train", library=library, out=generator)}

    def models(self, models: ModelChoice) -> ModelChoice:
        """The base of these choices, with number format and trust of `models`."""
        return ModelChoice(
            base=self.base.strip() or ModelChoice.base,
            device=self.device.strip() or ModelChoice.device,
            dtype=models.dtype,
            trust_remote_code=models.trust_remote_code,
        )

    @property
    def _recipe(self) -> Path | None:
        return named_path(self.recipe, "the recipe") if self.recipe.strip() else None

    @property
    def _seed(self) -> int:
        try:
            return int(self.seed.strip() or "0")
        except ValueError:
            raise EngineError(f"the seed must be a whole number, not {self.seed.strip()!r}") from None


class RememberedChoices(Remembered[ForgeChoices]):
    """The choices in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FILE_NAME, ForgeChoices, VERSION)


def named_path(text: str, what: str) -> Path:
    """The absolute path of a field. Raises EngineError when it is empty or cannot be."""
    if not text.strip():
        raise EngineError(f"{what} is not named", hint="Fill in its field")
    try:
        return Path(text.strip()).expanduser().absolute()
    except RuntimeError:
        raise EngineError("names a home folder that does not exist", where=text) from None
