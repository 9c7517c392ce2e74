"""The choices of the Forge screen: folders, recipe, base, device, seed."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Input, Select

from dnd_tui.state.forge import ForgeChoices
from dnd_tui.widgets.form_field import Form, FormField, WholeNumber
from dnd_tui.widgets.path_completion import BaseSuggester
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput
from engine.requests import ModelChoice

_DEVICES = ("auto", "cpu", "cuda", "mps")


class ForgeForm(Form):
    """Folders, recipe, base, device, seed. What is there and whether it fits is judged by the engine's plan."""

    DEFAULT_CSS = """
    ForgeForm {
        FormField .label { width: 11; }
        FormField .problem { margin-left: 11; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._tasks = PathField(kind="folder", takes_drops=True, compact=True, id="tasks")
        self._library = PathField(kind="folder", takes_drops=True, compact=True, id="library")
        self._generator = PathField(kind="folder", takes_drops=True, compact=True, id="generator")
        self._recipe = PathField(kind="file", placeholder="default recipe", takes_drops=True, compact=True, id="recipe")
        self._base = DropInput(placeholder=ModelChoice.base, suggester=BaseSuggester(), compact=True, id="base")
        self._device: Select[str] = Select(
            [(device, device) for device in _DEVICES], allow_blank=False, compact=True, id="device"
        )
        self._seed = DropInput(validators=WholeNumber(), compact=True, id="seed")

    def compose(self) -> ComposeResult:
        """Folders first, in the order in which they are needed."""
        yield FormField("Tasks", self._tasks, "Folder with tasks.json, NAME.train.jsonl and NAME.test.jsonl")
        yield FormField("LoRAs", self._library, "LoRA library: the folder that collect writes and train reads")
        yield FormField("Generator", self._generator, "Folder that train writes the new generator to")
        yield FormField("Recipe", self._recipe, "Training settings, a JSON file; empty: the default recipe")
        yield FormField("Base", self._base, '"default", a hub id, a model folder or a .gguf file')
        yield FormField("Device", self._device, "Where both runs are done")
        yield FormField("Seed", self._seed, "Seed of everything that is drawn at random")

    @property
    def choices(self) -> ForgeChoices:
        """What stands in the fields."""
        return ForgeChoices(
            tasks=self._tasks.value,
            library=self._library.value,
            generator=self._generator.value,
            recipe=self._recipe.value,
            base=self._base.value,
            device=str(self._device.value),
            seed=self._seed.value,
        )

    def show(self, choices: ForgeChoices) -> None:
        """Put choices into the fields."""
        with self.prevent(Input.Changed, Select.Changed, PathField.Changed):
            for field, text in (
                (self._tasks, choices.tasks),
                (self._library, choices.library),
                (self._generator, choices.generator),
                (self._recipe, choices.recipe),
            ):
                field.value = text
            self._base.value = choices.base
            names = dict.fromkeys((*_DEVICES, choices.device or ModelChoice.device))
            self._device.set_options((name, name) for name in names)
            self._device.value = choices.device or ModelChoice.device
            self._seed.value = choices.seed
