"""What the command palette offers, in groups, the likeliest first.

    Library    what the keys of the open screen do
    Screens    the other screens
    App        theme, help, the bug report, leaving
    Again      the newest adapters and the prompts used last

Before anything is typed, only what is likely is listed: no key that the bar below does not show either, and three of
the last group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.screen import Screen
from textual.widget import Widget

from dnd_tui.bindings import shown_keys
from dnd_tui.places import PLACES
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_inputs import Dropped
from engine.errors import EngineError

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

# Adapters, and prompts, that are found by name; and those that are listed before anything is typed.
_NEWEST, _LISTED = 8, 3
_SCREENS, _APP, _AGAIN = "Screens", "App", "Again"
# What a match in the words about an entry counts, beside one in its name.
_ABOUT = 0.2


@dataclass(frozen=True)
class Command:
    """One entry. `name` is short, `about` explains it and names the key; both are searched.

    listed: it is shown before anything is typed.
    """

    group: str
    name: str
    about: str
    run: Callable[[], Any]
    listed: bool = True

    @property
    def help(self) -> str:
        """What stands below the name."""
        return f"{self.group}: {self.about}"


class Commands(Provider):
    """Entries for the screen that was open when the palette was called."""

    async def startup(self) -> None:
        """Find out once, as the palette opens, what can be done."""
        app = cast("DndApp", self.app)
        self._commands = list(_commands_now(app, self.screen))
        with suppress(TimeoutError):
            self._commands += await ask_disk(partial(_commands_on_disk, app))

    async def discover(self) -> Hits:
        """The likely ones, before anything is typed."""
        for command in self._commands:
            if command.listed:
                yield DiscoveryHit(command.name, command.run, help=command.help)

    async def search(self, query: str) -> Hits:
        """Those whose name is like `query`; behind them those that every word of it is written about."""
        matcher, words = self.matcher(query), query.casefold().split()
        for command in self._commands:
            score = matcher.match(command.name)
            if score <= 0 and all(word in command.help.casefold() for word in words):
                score = _ABOUT
            if score > 0:
                yield Hit(score, matcher.highlight(command.name), command.run, text=command.name, help=command.help)


def _commands_now(app: DndApp, screen: Screen[Any]) -> Iterator[Command]:
    """What can be done here, elsewhere, everywhere."""
    if app.engine.jobs:
        yield Command(_APP, "Stop the job", app.engine.jobs[0].title, app.action_stop_job)
    yield from _commands_here(app, screen)
    for mode, place in PLACES.items():
        if mode != getattr(screen, "MODE", None):
            keys = app.settings.keys.get(f"go.{mode}", place.keys)
            yield Command(_SCREENS, f"Go to {place.name}", f"key {shown_keys(keys)}", partial(app.action_go, mode))
    yield Command(_APP, "Help", "what this screen does, and its keys", app.action_help)
    yield Command(_APP, "Change theme", "colours; kept in the settings", app.action_change_theme)
    yield Command(_APP, "Jump", "put a letter on everything that can have the focus", app.action_jump)
    yield Command(_APP, "Copy bug report", "versions, settings, the end of the logs", partial(_copy_report, app))
    yield Command(_APP, "Quit", "leave; asks while a job runs", app.action_leave)


def _commands_on_disk(app: DndApp) -> list[Command]:
    """The newest adapters and the prompts used last."""
    found = []
    with suppress(EngineError):
        records = [entry for entry in app.library.entries() if isinstance(entry, AdapterRecord)]
        for number, record in enumerate(records[:_NEWEST]):
            name, about = f"Compare {one_line(record.name)}", f"with its base; from {one_line(record.source_words)}"
            found.append(Command(_AGAIN, name, about, partial(app.compare, [record]), number < _LISTED))
    with suppress(EngineError):
        for number, source in enumerate(app.recent.newest_first()[:_NEWEST]):
            drop = partial(app.post_message, Dropped((source.path,)))
            name = f"Drop {one_line(source.path.name)}"
            found.append(Command(_AGAIN, name, one_line(str(source.path)), drop, number < _LISTED))
    return found


async def _copy_report(app: DndApp) -> None:
    await app.go("log")
    await app.run_action("copy_report", default_namespace=app.screen)


def _commands_here(app: DndApp, screen: Screen[Any]) -> Iterator[Command]:
    """The keys of the open screen and of the widget that has the focus; moving a cursor is no command."""
    known = set()
    place = PLACES.get(getattr(screen, "MODE", ""))
    for active in screen.active_bindings.values():
        binding, node = active.binding, active.node
        hidden = isinstance(node, Widget) and not isinstance(node, Screen) and not binding.show
        if node is app or hidden or not binding.description or not active.enabled or binding.system:
            continue
        if binding.id is None or binding.id in known:
            continue
        known.add(binding.id)
        run = partial(app.run_action, binding.action, default_namespace=node)
        about = f"{binding.tooltip or binding.description}; key {shown_keys(binding.key)}"
        yield Command(place.name if place else "Here", binding.description, about, run, binding.show)
