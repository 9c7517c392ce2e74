"""What the Forge screen was set to when it was last used: one small JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnd_tui.state.plain import DamagedError, from_plain, read_line, to_plain, write_line
from engine.errors import EngineError
from engine.files import replacing_file
from engine.requests import CollectRequest, ModelChoice, TrainRequest

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

    def collect_request(self, models: ModelChoice) -> CollectRequest:
        """The request of the first run. `models`: number format, trusted code.

        Raises:
            EngineError: a field is empty or holds no number.
        """
        return CollectRequest(
            models=self._models(models),
            tasks=_path(self.tasks, "the folder of tasks"),
            out=_path(self.library, "the folder for the library"),
            recipe=self._recipe,
            seed=self._seed,
        )

    def train_request(self, models: ModelChoice) -> TrainRequest:
        """The request of the second run; see `collect_request`."""
        return TrainRequest(
            models=self._models(models),
            tasks=_path(self.tasks, "the folder of tasks"),
            library=_path(self.library, "the folder of the library"),
            out=_path(self.generator, "the folder for the generator"),
            recipe=self._recipe,
            seed=self._seed,
        )

    def _models(self, models: ModelChoice) -> ModelChoice:
        return ModelChoice(
            base=self.base.strip() or ModelChoice.base,
            device=self.device.strip() or ModelChoice.device,
            dtype=models.dtype,
            trust_remote_code=models.trust_remote_code,
        )

    @property
    def _recipe(self) -> Path | None:
        return _path(self.recipe, "the recipe") if self.recipe.strip() else None

    @property
    def _seed(self) -> int:
        try:
            return int(self.seed.strip() or "0")
        except ValueError:
            raise EngineError(f"the seed must be a whole number, not {self.seed.strip()!r}") from None


class RememberedChoices:
    """The choices in `folder`, which is made at the first change. Touches the disk: not for the event loop."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE_NAME

    def load(self) -> ForgeChoices | None:
        """What was chosen last; None at the first time, or when the file is not ours to read."""
        try:
            return from_plain(ForgeChoices, read_line(VERSION, self._file.read_bytes()))
        except (OSError, DamagedError):
            return None

    def save(self, choices: ForgeChoices) -> None:
        """Raises EngineError when the file cannot be written."""
        with replacing_file(self._file) as part:
            part.write_text(write_line(VERSION, to_plain(choices), indent=2) + "\n", encoding="utf-8")


def _path(text: str, what: str) -> Path:
    if not text.strip():
        raise EngineError(f"{what} is not named", hint="Fill in its field")
    try:
        return Path(text.strip()).expanduser().absolute()
    except RuntimeError:
        raise EngineError("names a home folder that does not exist", where=text) from None
