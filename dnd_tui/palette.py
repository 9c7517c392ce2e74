"""What the command palette offers: what can be done on the open screen, every screen, and what works everywhere."""

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

# Adapters, and prompts, that are offered by name.
_NEWEST = 8


@dataclass(frozen=True)
class Command:
    """One entry. `name` is short, `about` explains it and names the key; both are searched."""

    name: str
    about: str
    run: Callable[[], Any]


class Commands(Provider):
    """Entries for the screen that was open when the palette was called."""

    async def startup(self) -> None:
        """Find out once, as the palette opens, what can be done."""
        app = cast("DndApp", self.app)
        self._commands = list(_commands_now(app, self.screen))
        with suppress(TimeoutError):
            self._commands += await ask_disk(partial(_commands_on_disk, app))

    async def discover(self) -> Hits:
        """All of them, before anything is typed."""
        for command in self._commands:
            yield DiscoveryHit(command.name, command.run, help=command.about)

    async def search(self, query: str) -> Hits:
        """Those that are like `query`."""
        matcher = self.matcher(query)
        for command in self._commands:
            # The name of an entry counts more than what is written about it.
            score = max(matcher.match(command.name), matcher.match(command.about) / 2)
            if score > 0:
                yield Hit(score, matcher.highlight(command.name), command.run, text=command.name, help=command.about)


def _commands_now(app: DndApp, screen: Screen[Any]) -> Iterator[Command]:
    """What can be done here, elsewhere, everywhere."""
    if app.engine.jobs:
        yield Command("Stop the job", app.engine.jobs[0].title, app.action_stop_job)
    yield from _commands_here(app, screen)
    for mode, place in PLACES.items():
        if mode != getattr(screen, "MODE", None):
            keys = app.settings.keys.get(f"go.{mode}", place.key)
            yield Command(f"Go to {place.name}", f"Key {shown_keys(keys)}", partial(app.action_go, mode))
    yield Command("Change theme", "Colours of the app; kept in the settings", app.action_change_theme)
    yield Command("Jump", "Put a letter on everything that can have the focus", app.action_jump)
    yield Command("Help", "What this screen does, and its keys", app.action_help)
    yield Command("Copy bug report", "Versions, terminal, settings, the end of the logs", partial(_copy_report, app))
    yield Command("Quit", "Leave the app; asks while a job runs", app.action_leave)


def _commands_on_disk(app: DndApp) -> list[Command]:
    """The newest adapters and the prompts used last."""
    found = []
    with suppress(EngineError):
        records = [entry for entry in app.library.entries() if isinstance(entry, AdapterRecord)]
        for record in records[:_NEWEST]:
            about = f"Compare this adapter with its base; from {one_line(record.source_words)}"
            found.append(Command(f"Compare {one_line(record.name)}", about, partial(app.compare, [record])))
    with suppress(EngineError):
        for source in app.recent.newest_first()[:_NEWEST]:
            drop = partial(app.post_message, Dropped((source.path,)))
            found.append(Command(f"Drop {one_line(source.path.name)}", f"Again; {one_line(str(source.path))}", drop))
    return found


async def _copy_report(app: DndApp) -> None:
    await app.go("log")
    await app.run_action("copy_report", default_namespace=app.screen)


def _commands_here(app: DndApp, screen: Screen[Any]) -> Iterator[Command]:
    """The keys of the open screen and of the widget that has the focus; moving a cursor is no command."""
    known = set()
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
        yield Command(binding.description, about, run)
