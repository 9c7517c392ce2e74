"""Help on the screen that is open: what it is for, and every key that works there, as the keys are set now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Markdown, Static

from dnd_tui.bindings import shown_keys
from dnd_tui.widgets.dialog import Dialog


class HelpDialog(Dialog[None]):
    """The screen's own text, then its keys, then those that work everywhere."""

    DEFAULT_CSS = """
    HelpDialog {
        align: center middle; background: $background 60%;
        VerticalScroll {
            width: 90; max-width: 95%; height: auto; max-height: 95%;
            border: round $primary; background: $surface; padding: 0 1;
        }
        Markdown { background: transparent; padding: 0 1; }
        MarkdownH1 { margin: 0 0 1 0; }
        .title { padding: 0 1; text-style: bold; color: $primary; }
        .keys { padding: 0 1; margin-bottom: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,question_mark,q", "close", "Close", id="help.close", tooltip="Close the help"),
    ]

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        texts = [node.HELP for node in (screen.focused, screen) if node is not None and node.HELP]
        self._text = "\n\n".join(texts)
        active = [each for each in screen.active_bindings.values() if each.enabled and each.binding.description]
        named = [each for each in active if each.binding.id]
        # Of those without a name, which come with the library, only moving the focus and copying are listed.
        general = [each for each in active if not each.binding.id and isinstance(each.node, Screen)]
        self._keys = {
            "Keys here": dict(_keys(each for each in named if each.node is not screen.app)),
            "Keys everywhere": dict(_keys([each for each in named if each.node is screen.app] + general)),
        }

    def compose(self) -> ComposeResult:
        """One scrollable text."""
        with VerticalScroll() as frame:
            frame.border_title = "Help"
            frame.border_subtitle = "Esc closes"
            yield Markdown(self._text)
            for title, keys in self._keys.items():
                if keys:
                    yield Static(title, classes="title")
                    yield Static(_table(keys), classes="keys")

    def action_close(self) -> None:
        """Back."""
        self.dismiss()


def _keys(bindings: Iterable[ActiveBinding]) -> Iterator[tuple[str, str]]:
    """What a binding does and all keys for it."""
    found: dict[str, list[str]] = {}
    for active in bindings:
        text = active.binding.tooltip or active.binding.description
        found.setdefault(text, []).append(shown_keys(active.binding.key))
    return ((text, " ".join(keys)) for text, keys in found.items())


def _table(keys: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(ratio=1)
    for text, shown in keys.items():
        table.add_row(Text(shown), Text(text))
    return table
