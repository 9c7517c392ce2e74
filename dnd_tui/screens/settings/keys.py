"""Every key of the app in a list; each can be given another key, which config.toml keeps under [keys]."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from dnd_tui.bindings import KnownBinding, all_bindings, shown_keys, taken_by
from dnd_tui.services import app_of
from dnd_tui.settings import checked_keys
from dnd_tui.widgets.dialog import Dialog
from dnd_tui.widgets.lines import Cell, TableLine
from dnd_tui.widgets.path_inputs import DropInput


class KeyDialog(Dialog[str | None]):
    """The result is the key, or None if it stays as it is.

    Args:
        chosen: the keys that the settings give, by id.
    """

    DEFAULT_CSS = """
    KeyDialog {
        align: center middle; background: $background 60%;
        Vertical {
            width: 64; max-width: 95%; height: auto; padding: 1 2; border: round $primary; background: $surface;
        }
        #refused { color: $text-error; margin-top: 1; }
        .muted { margin-top: 1; }
    }
    """

    TAKES_EVERY_KEY = True

    def __init__(self, binding: KnownBinding, chosen: Mapping[str, str]) -> None:
        super().__init__()
        self._binding = binding
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """What is asked, why a key is not taken, the way out."""
        with Vertical() as frame:
            frame.border_title = "New key"
            yield Static(f"{self._binding.description} ({self._binding.where})", markup=False)
            yield Static("", id="refused", markup=False)
            yield Static("Press the new key. Esc leaves it as it is.", classes="muted", markup=False)

    def on_click(self, event: events.Click) -> None:
        """A click beside the frame leaves the key as it is."""
        if event.widget is self:
            self.dismiss(None)

    def on_key(self, event: events.Key) -> None:
        """Take the key, unless it is no key or another binding has it."""
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self.dismiss(None)
            return
        try:
            key = checked_keys(event.key)
        except ValueError as error:
            self._refuse(str(error))
            return
        other = taken_by(self._binding, key, self._chosen)
        if other:
            self._refuse(f"{shown_keys(key)} is taken: {other.description} ({other.where}, {other.id})")
        else:
            self.dismiss(key)

    def _refuse(self, why: str) -> None:
        self.query_one("#refused", Static).update(f"✗ {why}")


class KeysPane(Vertical):
    """A search field and the list."""

    # Has the focus first.
    FIRST: ClassVar[str] = "#key-lines"

    DEFAULT_CSS = """
    KeysPane {
        DropInput { border: none; height: 1; padding: 0 1; background: $panel; }
        DropInput:focus { border: none; background: $boost; }
        #key-lines { height: 1fr; text-wrap: nowrap; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", id="settings.search_keys", tooltip="Search the list of keys"),
        Binding("delete,backspace", "reset", "Default key", id="settings.reset_key",
                tooltip="Give the chosen line its default key again"),
    ]  # fmt: skip

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._known: Mapping[str, KnownBinding] = {}

    def compose(self) -> ComposeResult:
        """Search, titles, lines."""
        yield DropInput(placeholder="Search", id="search", select_on_focus=False)
        yield Static(_line("works in", "what it does", "key", "default", "name"), classes="titles")
        yield OptionList(id="key-lines", compact=True)
        yield Static("Enter, then the new key. Delete: the default again.", classes="muted", markup=False)

    async def on_mount(self) -> None:
        """The bindings are known once all screens are imported."""
        self._known = await asyncio.to_thread(all_bindings)
        if self.children:  # else the app ended meanwhile
            self.show()

    def show(self) -> None:
        """Draw the lines that hold every word that is searched for."""
        words = self.query_one("#search", Input).value.casefold().split()
        options = self.query_one("#key-lines", OptionList)
        at = options.highlighted_option.id if options.highlighted_option else None
        found = [binding for binding in self._known.values() if all(word in self._searched(binding) for word in words)]
        options.set_options(Option(self._line_of(binding), id=binding.id) for binding in found)
        ids = [binding.id for binding in found]
        options.highlighted = ids.index(at) if at in ids else 0 if ids else None

    @on(Input.Changed, "#search")
    def _search(self, event: Input.Changed) -> None:
        event.stop()
        self.show()

    @on(Input.Submitted, "#search")
    def _to_list(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one("#key-lines").focus()

    @on(OptionList.OptionSelected, "#key-lines")
    @work(exclusive=True, group="keys")
    async def _ask(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        binding = self._known[event.option_id or ""]
        key = await self.app.push_screen_wait(KeyDialog(binding, app_of(self).settings.keys))
        if key is not None:
            self._give(binding, key)

    def action_search(self) -> None:
        """To the search field."""
        self.query_one("#search").focus()

    def action_reset(self) -> None:
        """The default key again."""
        option = self.query_one("#key-lines", OptionList).highlighted_option
        if option and option.id in app_of(self).settings.keys:
            self._give(self._known[option.id or ""], None)

    def _give(self, binding: KnownBinding, key: str | None) -> None:
        """Write a key to the settings; None, or the default key, takes the setting out."""
        app_of(self).change_settings(keys={binding.id: None if key == binding.keys else key})
        self.show()

    def _searched(self, binding: KnownBinding) -> str:
        keys = app_of(self).settings.keys.get(binding.id, binding.keys)
        return f"{binding.where} {binding.description} {binding.id} {keys} {shown_keys(keys)}".casefold()

    def _line_of(self, binding: KnownBinding) -> TableLine:
        chosen = app_of(self).settings.keys.get(binding.id)
        default = shown_keys(binding.keys)
        key = f"{shown_keys(chosen)} *" if chosen else default
        return _line(binding.where, binding.description, key, default, binding.id, changed=chosen is not None)


def _line(where: str, what: str, key: str, default: str, name: str, *, changed: bool = False) -> TableLine:
    return TableLine(
        Cell(where, 14, least=70),
        Cell(what),
        Cell(key, 16, "bold $text-accent" if changed else "bold"),
        Cell(default, 16, "$foreground-muted", least=100),
        Cell(name, 22, "$foreground-muted", least=80),
    )
