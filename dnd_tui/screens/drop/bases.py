"""What can be typed as a base model: "default", models used before, and paths on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

from textual.suggester import Suggester

from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_completion import list_folder
from engine.base.catalog import DEFAULT_BASE
from engine.requests import ModelChoice

# Both name the base that comes with the program.
DEFAULTS = (ModelChoice.base, DEFAULT_BASE.name)
_PATH_STARTS = ("/", "~", ".")


class BaseSuggester(Suggester):
    """Completes a base: paths from the disk, other names from those known.

    Args:
        names: hub ids and paths used before.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._names = (*DEFAULTS, *sorted(set(names)))

    async def get_suggestion(self, value: str) -> str | None:
        """The whole text that `value` may become."""
        if value.startswith(_PATH_STARTS):
            return await _path(value)
        typed = value.casefold()
        return next((name for name in self._names if name.casefold().startswith(typed)), None)


async def _path(value: str) -> str | None:
    """The first entry of the folder that is a folder or a .gguf file and begins as `value` does."""
    folder, typed = os.path.split(value)
    try:
        names = await ask_disk(partial(list_folder, os.path.expanduser(folder) or os.curdir, folders_only=False))
    except (OSError, ValueError):
        return None
    fitting = (name for name in names if name.startswith(typed) and name.endswith((os.sep, ".gguf")))
    name = next((name for name in fitting if typed or not name.startswith(".")), None)
    return None if name is None else os.path.join(folder, name)
