"""The bars of every screen: screens by name and key and the job under way on top, buttons and keys at the bottom."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from rich.cells import cell_len
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

Form = Literal["full", "short", "keys"]
FORMS: tuple[Form, ...] = get_args(Form)

# What a job's sign takes in its longest form, "● generate stopping ■ stop", and without verb and word.
_SIGN_WIDTH, _SHORT_SIGN_WIDTH = 27, 17
# Cells of a terminal in which a row of buttons has room for their keys.
_WIDTH_FOR_KEYS = 80


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

    def text(self, form: Form) -> str:
        """A cell for the sign of the open screen, key, name; without names, only the open screen has its short one."""
        name = {"full": self.place.name, "short": self.place.short, "keys": self.place.short if self.here else ""}[form]
        return f"{'▸' if self.here else ' '}{self.key} {name}".rstrip()

    def fit(self, form: Form) -> None:
        """Show the name, or a shorter one, or the key alone."""
        sign, name = self.text(form)[: 1 + len(self.key)], self.text(form)[1 + len(self.key) :]
        shown = Content.assemble((sign, "bold"), name)
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
        self.short = False

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
        state = "stopping" if job.stopping else duration(job.seconds) if job.began else "starting"
        words, stop = (f"{state} ", "■") if self.short else (f"{verb} {state} ", "■ stop")
        shown = Content.assemble(("● ", "bold"), words, (stop, "underline"))
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
        height: 1; background: $panel; color: $foreground;
        NavigationItem { width: auto; color: $text-muted; }
        NavigationItem:hover { background: $boost; color: $text; }
        NavigationItem.-here { background: $primary; color: $background; text-style: bold; }
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
        """All names in the longest form for which there is room, beside a job's sign in its longer one if possible."""
        width = self.content_size.width
        if not width:
            return  # not laid out yet: `on_resize` follows
        items, sign = list(self.query(NavigationItem)), self.query_one(JobSign)
        needed = {form: sum(cell_len(item.text(form)) for item in items) for form in FORMS}
        if sign.display:
            short = width < needed["full"] + _SIGN_WIDTH
            if short != sign.short:
                sign.short = short
                sign.refresh_job()
            width -= _SHORT_SIGN_WIDTH if short else _SIGN_WIDTH
        form = next((form for form in FORMS if needed[form] <= width), FORMS[-1])
        for item in items:
            item.fit(form)


class KeyButton(Button):
    """A button that does what a key does, and shows that key; the bar of keys leaves it out then.

    Args:
        title: what it does, without the key.
        binding: id of the key's binding, on the screen or on what the button stands in.
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
    def shows_key(self) -> bool:
        """Whether a person can read its key on it."""
        return self._with_key and self.display and all(node.display for node in self.ancestors_with_self)

    def on_mount(self) -> None:
        """What the key does, in more words."""
        self.tooltip = self.tooltip or self._bound.tooltip
        self.fit()

    def fit(self) -> None:
        """Show the key beside the title, or the title alone where there is little room."""
        self._with_key = self.app.size.width >= _WIDTH_FOR_KEYS
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
        keys = app_of(self).settings.keys.get(self.binding, self._bound.key)
        return shown_keys(keys.split(",")[0])

    @property
    def _bound(self) -> Binding:
        around = (each for node in self.ancestors for each in type(node).BINDINGS)
        known = (each for each in around if isinstance(each, Binding))
        return next(each for each in known if each.id == self.binding)


class KeyBar(Footer):
    """Textual's footer with as many keys as there is room for, none cut; help and the palette are always there.

    A key that a button of the screen shows does not stand in it as well. Made anew only where other keys are to be
    shown: every move of the focus asks for that.
    """

    DEFAULT_CSS = """
    KeyBar {
        .always { dock: right; width: auto; height: 1; border-left: vkey $foreground 20%; }
        .always FooterKey { margin: 0; padding-right: 1; }
    }
    """
    ALWAYS = ("help", "command_palette")

    _shown: tuple[Any, ...] | None = None

    def compose(self) -> ComposeResult:
        """The keys that fit, then those that are always there."""
        there = self._on_buttons
        actions = {each.binding.action for each in self.screen.active_bindings.values() if each.binding.id in there}
        keys: list[Any] = [key for key in super().compose() if getattr(key, "action", None) not in actions]
        always = [key for action in self.ALWAYS for key in keys if key.action == action]
        room = self.size.width - sum(map(_width, always))
        for key in keys:
            if key not in always:
                room -= _width(key)
                if room < 0:
                    break
                yield key
        if always:
            always[-1].remove_class("-command-palette")  # it would stand at the edge, over the others
            yield Horizontal(*always, classes="always")

    async def recompose(self) -> None:
        """Show the keys that work now."""
        there = self._on_buttons
        active = [each for each in self.screen.active_bindings.values() if each.binding.id not in there]
        shown = (self.size.width, *((each.binding, each.enabled, each.tooltip) for each in active if each.binding.show))
        if shown != self._shown:
            self._shown = shown
            await super().recompose()

    def on_resize(self) -> None:
        """Another width."""
        self.call_after_refresh(self.recompose)

    @property
    def _on_buttons(self) -> set[str]:
        # Not by a query, which would match all of the screen by its style sheet at every move of the focus.
        return {button.binding for button in self.screen.walk_children(KeyButton) if button.shows_key}


def _width(key: Any) -> int:
    """Cells of a key of the footer, its words, and the blank behind them."""
    return cell_len(f"{key.key_display} {key.description} ")
