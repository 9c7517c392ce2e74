"""The bars of every screen: screens by name and key and the job under way on top, buttons and keys at the bottom."""

from __future__ import annotations

from typing import Any, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Button, Footer, Static

from dnd_tui.bindings import shown_keys
from dnd_tui.places import PLACES, Place
from dnd_tui.services import app_of
from dnd_tui.text import duration

# What a job's sign takes in its longest form, "● generate stopping ■ stop".
_SIGN_WIDTH = 27


class NavigationItem(Static):
    """One screen's name; a click goes there."""

    def __init__(self, place: Place, *, here: bool) -> None:
        super().__init__(classes="-here" if here else "")
        self.place, self.here = place, here
        self._shown = Content()

    @property
    def key(self) -> str:
        """The first of its keys, as the settings have it."""
        chosen = app_of(self).settings.keys.get(f"go.{self.place.mode}", self.place.key)
        return shown_keys(chosen.split(",")[0])

    @property
    def full_width(self) -> int:
        """Cells that key and name take."""
        return len(f"{self.key} {self.place.name} ") + (len("▸  ") if self.here else 0)

    @property
    def key_width(self) -> int:
        """Cells that the key alone takes."""
        return len(f"{self.key} ")

    def fit(self, *, full: bool) -> None:
        """Show the name, or the key alone; the screen that is open keeps its name."""
        mark = "▸" if self.here else ""
        name = f" {self.place.name}" if full or self.here else ""
        shown = Content.assemble((f"{mark}{self.key}", "bold"), name)
        if shown != self._shown:
            self._shown = shown
            self.tooltip = f"{self.place.name} (key {self.key})"
            self.update(shown)

    async def on_click(self) -> None:
        """Go there."""
        await app_of(self).go(self.place.mode)


class JobSign(Static):
    """The job under way on the device and its time; a click stops it."""

    def __init__(self) -> None:
        super().__init__()
        self._timer: Timer | None = None
        self._width = 0

    def on_mount(self) -> None:
        """Follow the engine; the time is drawn only while a job runs."""
        self._timer = self.set_interval(0.5, self.refresh_job, pause=True)
        self.refresh_job()

    def refresh_job(self) -> None:
        """Draw anew."""
        if self._timer is None:
            return  # not mounted yet: mounting draws it
        app = app_of(self)
        job = app.engine.running or next(iter(app.engine.jobs), None)
        if self.display != (job is not None):
            self.display = job is not None
            cast(NavigationBar, self.parent).fit()
        if job is None:
            self._timer.pause()
            return
        self._timer.resume()
        verb = job.title.split(maxsplit=1)[0]
        state = "stopping" if job.stopping else duration(job.seconds) if job.began else "waiting"
        shown = Content.assemble(("● ", "bold"), f"{verb} {state} ", ("■ stop", "underline"))
        # A layout is one of the whole screen: only where the width is another one.
        self.update(shown, layout=shown.cell_length != self._width)
        self._width = shown.cell_length
        self.tooltip = Content(f"{job.title}; click to stop")

    def on_click(self) -> None:
        """Stop the job."""
        app_of(self).action_stop_job()


class NavigationBar(Horizontal):
    """Names of all screens, the open one marked by a sign besides its colour."""

    DEFAULT_CSS = """
    NavigationBar {
        height: 1; padding-left: 1; background: $panel; color: $foreground;
        NavigationItem { width: auto; padding: 0 1 0 0; color: $text-muted; }
        NavigationItem:hover { background: $boost; color: $text; }
        NavigationItem.-here {
            padding: 0 1; margin-right: 1; background: $primary; color: $background; text-style: bold;
        }
        .spacer { width: 1fr; }
        JobSign { width: auto; padding: 0 1; background: $warning-muted; color: $text-warning; }
    }
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def compose(self) -> ComposeResult:
        """The names, the job."""
        for mode, place in PLACES.items():
            yield NavigationItem(place, here=mode == self._mode)
        yield Static(classes="spacer")
        yield JobSign()

    def on_resize(self) -> None:
        """Another width."""
        self.fit()

    def fit(self) -> None:
        """Beside a job's sign, as many names from the left on as there is room for, and keys only after them."""
        if not self.content_size.width:
            return  # not laid out yet: `on_resize` follows
        items = list(self.query(NavigationItem))
        room = self.content_size.width - (_SIGN_WIDTH if self.query_one(JobSign).display else 0)
        room -= sum(item.full_width if item.here else item.key_width for item in items)
        for item in items:
            room -= 0 if item.here else item.full_width - item.key_width
            item.fit(full=room >= 0)


class KeyButton(Button):
    """A button that does what a key of its screen does, and shows that key; the bar of keys leaves it out then.

    Args:
        title: what it does, without the key.
        binding: id of the key's binding on the screen.
    """

    def __init__(self, title: str, binding: str, **settings: Any) -> None:
        super().__init__(title, **settings)
        self.binding = binding
        self._title = title
        self._with_key = False

    @property
    def title(self) -> str:
        """What it does, in words."""
        return self._title

    @title.setter
    def title(self, title: str) -> None:
        self._title = title
        self._show()

    @property
    def tells_key(self) -> bool:
        """Whether a person can read its key on it."""
        return self._with_key and self.display and all(node.display for node in self.ancestors_with_self)

    def on_mount(self) -> None:
        """What the key does, in more words."""
        self.tooltip = self.tooltip or self._of_screen.tooltip

    def show_key(self, shown: bool) -> None:
        """Show the key beside the title, or the title alone where there is little room."""
        self._with_key = shown
        self._show()

    def _show(self) -> None:
        key = self._key if self._with_key else ""
        label = Content.assemble(self._title, (f" {key}" if key else "", "not bold"))
        if label != self.label:
            self.label = label
            self.refresh(layout=True)

    @property
    def _key(self) -> str:
        """The first of its keys, as the settings have it."""
        keys = app_of(self).settings.keys.get(self.binding, self._of_screen.key)
        return shown_keys(keys.split(",")[0])

    @property
    def _of_screen(self) -> Binding:
        known = (each for each in type(self.screen).BINDINGS if isinstance(each, Binding))
        return next(each for each in known if each.id == self.binding)


class KeyBar(Footer):
    """Textual's footer, made anew only where other keys are to be shown: every move of the focus asks for that.

    A key that a button of the screen shows does not stand in it as well.
    """

    DEFAULT_CSS = """
    KeyBar.-compact FooterKey.-command-palette { margin-right: 0; padding-right: 1; }
    """

    _shown: list[tuple[Any, ...]] | None = None

    async def recompose(self) -> None:
        """Show the keys that work now."""
        told = self._told_by_buttons
        active = self.screen.active_bindings.values()
        shown = [
            (each.binding, each.enabled, each.tooltip)
            for each in active
            if each.binding.show and each.binding.id not in told
        ]
        if shown != self._shown:
            self._shown = shown
            await super().recompose()

    def compose(self) -> ComposeResult:
        """Textual's keys, without those of buttons."""
        told = self._told_by_buttons
        actions = {each.binding.action for each in self.screen.active_bindings.values() if each.binding.id in told}
        yield from [key for key in super().compose() if getattr(key, "action", None) not in actions]

    @property
    def _told_by_buttons(self) -> set[str]:
        return {button.binding for button in self.screen.query(KeyButton) if button.tells_key}
