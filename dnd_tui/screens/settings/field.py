"""Settings on the screen: one with its control; those of the engine and of how the app looks.

A value is written to config.toml as soon as it is decided on: by Enter, by leaving the field, in a list.
An empty text is the default, which the field shows in grey.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast, get_args, get_type_hints

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.events import DescendantBlur
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Select, Static

from dnd_tui.screens.settings.model_rows import folder_looked_up
from dnd_tui.screens.theme_dialog import ThemeList
from dnd_tui.services import app_of
from dnd_tui.settings import Settings, about, checked_value
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.form_field import FormField
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput

LookUp = Callable[[str], tuple[str, str]]


class SettingField(FormField):
    """One setting.

    Args:
        name: of a field of `Settings`.
        look_up: for a path; called in a thread with the text, it returns the text to keep and what is wrong with it.
    """

    DEFAULT_CSS = """
    SettingField {
        margin-bottom: 1;
        .about { margin-left: 15; color: $text-muted; }
        Input { border: none; height: 1; padding: 0 1; width: 1fr; max-width: 80; background: $panel; }
        Input:focus { border: none; background: $boost; }
        SelectCurrent { padding: 0 1; }
        Select { width: 1fr; max-width: 40; }
    }
    .-narrow SettingField .about { margin-left: 2; }
    """

    class Kept(Message):
        """A new value was written to the file."""

        def __init__(self, field: SettingField) -> None:
            super().__init__()
            self.field = field

        @property
        def control(self) -> SettingField:
            """The field, for selectors."""
            return self.field

    def __init__(self, name: str, *, look_up: LookUp | None = None) -> None:
        self.setting = name
        self._about = about()[name]
        kind = get_type_hints(Settings)[name]
        self._type = kind if isinstance(kind, type) else get_args(kind)[0]
        self._default = getattr(Settings, name)
        self._look_up = look_up
        super().__init__(name.replace("_", " "), self._path_field() if look_up else self._made(), self._about.help)
        self.id = f"setting-{name}"

    def compose(self) -> ComposeResult:
        """What the setting is for stands below."""
        yield from super().compose()
        yield Static(self._about.help, classes="about", markup=False)

    def on_mount(self) -> None:
        """The value of now."""
        self._fill()

    def show(self) -> None:
        """The value that the settings have, unless the person is about to change it."""
        if not self.has_pseudo_class("focus-within") and not self.problem:
            self._fill()

    def _fill(self) -> None:
        value = getattr(app_of(self).settings, self.setting)
        with self.prevent(Input.Changed, PathField.Changed, Select.Changed):
            if isinstance(self._control, Select):
                self._control.value = Select.NULL if value is None else value
            elif isinstance(self._control, Input | PathField):
                self._control.value = "" if value == self._default else str(value)

    def _made(self) -> Widget:
        default = "" if self._default is None else str(self._default)
        # What happens without it is in the help already, where the default is not a value.
        placeholder = f"{default} (default)" if default else "default"
        # A switch of the library shows its state by colour; words show it to everybody.
        words = {"yes": True, "no": False} if self._type is bool else {each: each for each in self._about.choices}
        if words:
            blank = self._default is None
            return Select[Any](
                words.items(),
                allow_blank=blank,
                value=Select.NULL if blank else self._default,
                prompt="default",
                compact=True,
            )
        return DropInput(placeholder=placeholder, select_on_focus=False)

    def _path_field(self) -> Widget:
        folder = self._type is Path
        placeholder = "the default" if self._default in (None, "default") else str(self._default)
        return PathField(kind="folder" if folder else "either", placeholder=placeholder, takes_drops=True)

    # -- a value is decided on

    @on(Input.Submitted)
    @on(PathField.Submitted)
    async def _submitted(self, event: Message) -> None:
        event.stop()
        await self._take_text()

    async def on_descendant_blur(self, event: DescendantBlur) -> None:
        """Leaving a text is as good as Enter."""
        if isinstance(self._control, Input | PathField):
            await self._take_text()

    @on(Select.Changed)
    def _chosen(self, event: Select.Changed) -> None:
        event.stop()
        self._take(None if event.value is Select.NULL else event.value)

    @on(Input.Changed)
    @on(PathField.Changed)
    def _being_typed(self, event: Message) -> None:
        """Show at once what would be wrong."""
        event.stop()
        self.complain(self._checked(self._typed())[1])

    def _typed(self) -> Any:
        """The text as a TOML file would hold it; None is the default."""
        text = cast(Input | PathField, self._control).value.strip()
        if self._type is int and text:
            try:
                return int(text)
            except ValueError:
                return text
        return text or None

    async def _take_text(self) -> None:
        value = self._typed()
        if value is not None and self._look_up:
            try:
                value, problem = await ask_disk(partial(self._look_up, value))
            except TimeoutError:
                problem = "the disk does not answer"
            if problem:
                self.complain(problem)
                return
        self._take(value)

    def _take(self, value: Any) -> None:
        checked, problem = self._checked(value)
        self.complain(problem)
        if not problem and checked != getattr(app_of(self).settings, self.setting):
            app_of(self).change_settings(**{self.setting: None if value is None else checked})
            self._fill()
            self.post_message(self.Kept(self))

    def _checked(self, value: Any) -> tuple[Any, str]:
        """The value as `Settings` holds it, and what is wrong with it."""
        if value is None:
            return self._default, ""
        try:
            return checked_value(self.setting, value, app_of(self).settings_file.parent), ""
        except ValueError as error:
            return None, str(error)


_NAMES = ("device", "dtype", "load_ahead", "count", "seed", "max_new_tokens", "metric")


class EnginePane(VerticalScroll, can_focus=False):
    """One field a setting."""

    # Has the focus first.
    FIRST: ClassVar[str] = "#setting-device Input"

    def compose(self) -> ComposeResult:
        """In the order of their use."""
        for name in _NAMES:
            yield SettingField(name)
        yield SettingField("exports", look_up=folder_looked_up)

    def show(self) -> None:
        """Show the settings as they are now."""
        for field in self.query(SettingField):
            field.show()


class LookPane(Vertical):
    """Animations, and the list of themes."""

    # Has the focus first.
    FIRST: ClassVar[str] = "#themes"

    DEFAULT_CSS = """
    LookPane {
        ThemeList { max-width: 60; }
    }
    """

    def compose(self) -> ComposeResult:
        """The list takes the room that is left."""
        yield SettingField("animations")
        yield Static("Theme: the arrows try one on, Enter keeps it", classes="muted")
        yield ThemeList(id="themes", compact=True)

    def show(self) -> None:
        """Show the settings as they are now."""
        self.query_one(SettingField).show()
        self.query_one(ThemeList).fill()
