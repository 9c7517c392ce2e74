"""Completion of what is being typed: paths, and base models.

The `PathAutoComplete` of textual-autocomplete lists folders on the event loop, keeps them for good, knows no `~` and
no root, hides that it cannot read a folder, and marks entries with emoji. So this builds on its `AutoComplete`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial

from textual import work
from textual.suggester import Suggester
from textual.widgets import Input
from textual_autocomplete import AutoComplete, DropdownItem, TargetState

from dnd_tui.drops import showable
from dnd_tui.widgets.disk import ask_disk
from engine.base.catalog import BASES
from engine.requests import ModelChoice

# More rows than this nobody reads; typing on narrows them.
MOST_ROWS = 100


class PathCompletion(AutoComplete):
    """Completes the path in an `Input`; folders end with a slash, hidden entries show once a dot is typed.

    What keeps a folder from being listed stands on the lower edge of the input.

    Args:
        target: the input.
        folders_only: leave files out.
    """

    # Of itself the list is no higher than the field.
    DEFAULT_CSS = "PathCompletion AutoCompleteList { max-height: 12; }"

    def __init__(self, target: Input, *, folders_only: bool = False) -> None:
        super().__init__(target)
        self._folders_only = folders_only
        self._folder: str | None = None
        self._entries: tuple[str, ...] = ()
        self._settled = target.value

    def on_mount(self) -> None:
        """List anew whenever the input gets the focus: files come and go."""
        self.watch(self.target, "has_focus", self._forget, init=False)

    def settle(self) -> None:
        """Offer nothing until the text changes: it is what the person chose."""
        self._settled = self.target.value
        self.action_hide()

    def get_search_string(self, target_state: TargetState) -> str:
        """The name that is being typed."""
        return _split(target_state)[1]

    def get_candidates(self, target_state: TargetState) -> list[DropdownItem]:
        """What is in the folder and fits the name: first what begins with it, then what holds it."""
        prefix, typed = _split(target_state)
        folder = os.path.expanduser(prefix) or os.curdir
        if folder != self._folder:
            self._folder, self._entries = folder, ()
            self._list(folder)
        wanted = typed.casefold()
        names = [name for name in self._entries if typed.startswith(".") or not name.startswith(".")]
        begins = [name for name in names if name.casefold().startswith(wanted)]
        holds = [name for name in names if wanted in name.casefold() and not name.casefold().startswith(wanted)]
        return [DropdownItem(name) for name in (begins + holds)[:MOST_ROWS]]

    def get_matches(
        self, target_state: TargetState, candidates: list[DropdownItem], search_string: str
    ) -> list[DropdownItem]:
        """All of them: they are chosen already."""
        return candidates

    def should_show_dropdown(self, search_string: str) -> bool:
        """Only while the person types, and if there is more to offer than what stands there."""
        value = self.target.value
        options = self.option_list.options
        if value == self._settled or not options:
            return False
        only = options[0].value if len(options) == 1 and isinstance(options[0], DropdownItem) else None
        return only != search_string and (bool(search_string) or value.endswith(os.sep))

    def apply_completion(self, value: str, state: TargetState) -> None:
        """Put the entry in the place of the name that was being typed."""
        self.target.value = _split(state)[0] + value
        self.target.cursor_position = len(self.target.value)

    def post_completion(self) -> None:
        """A folder opens, a file settles it. `AutoComplete` kept the change of the text to itself: post it."""
        value = self.target.value
        if not value.endswith(os.sep):
            self.settle()
        self.target.post_message(Input.Changed(self.target, value))

    @work(exclusive=True, group="listing")
    async def _list(self, folder: str) -> None:
        try:
            self._entries = await ask_disk(partial(list_folder, folder, folders_only=self._folders_only))
        except (OSError, ValueError) as error:
            self.target.border_subtitle = _reason(error)
        else:
            self.target.border_subtitle = ""
        self._handle_target_update()

    def _forget(self) -> None:
        self._folder = None
        self._settled = self.target.value


def list_folder(folder: str, *, folders_only: bool) -> tuple[str, ...]:
    """The names in a folder, sorted without regard to case; folders end with a slash. Asks the disk."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not showable(entry.name):
                continue
            if _is_folder(entry):
                names.append(entry.name + os.sep)
            elif not folders_only:
                names.append(entry.name)
    return tuple(sorted(names, key=str.casefold))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, a network folder that is gone
        return False


def _split(state: TargetState) -> tuple[str, str]:
    """The text up to the cursor: all up to the last slash, and the name being typed."""
    text = state.text[: state.cursor_position]
    name = os.path.basename(text)
    return text[: len(text) - len(name)], name


def _reason(error: Exception) -> str:
    reasons: dict[type[Exception], str] = {
        FileNotFoundError: "no such folder",
        NotADirectoryError: "not a folder",
        PermissionError: "this folder may not be read",
        TimeoutError: "the disk does not answer",
    }
    return reasons.get(type(error), "this folder cannot be read")


# Bases of the catalogue, as they can be typed.
CATALOGUE = (ModelChoice.base, *(base.name for base in BASES))
_PATH_STARTS = ("/", "~", ".")


class BaseSuggester(Suggester):
    """Completes a base: paths from the disk, other names from those known.

    Args:
        names: hub ids and paths used before.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._names = (*CATALOGUE, *sorted(set(names)))

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
