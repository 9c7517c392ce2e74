"""A drop reaches the app as `Dropped` in every spelling, whatever has the focus; text stays with the inputs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from textual import events, on
from textual._xterm_parser import XTermParser
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Button, DataTable, Input, Label, ListItem, ListView, Select, TextArea

import dnd_tui.widgets.path_inputs as drop_app
import dnd_tui.widgets.path_inputs as path_inputs
from dnd_tui.drops import Drop, find_drop
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropApp, DropInput, DropMissing, Dropped, DropTextArea
from engine.errors import EngineError
from tests.spellings import SPELLINGS
from tests.tui.conftest import until


class Host(DropApp[None]):
    """One of everything that can have the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [("x", "note_key", "A key of the app")]

    def __init__(self) -> None:
        super().__init__()
        self.drops: list[tuple[Path, ...]] = []
        self.missing: list[EngineError] = []
        self.keys = 0

    def compose(self) -> ComposeResult:
        yield DropInput(id="input")
        yield DropTextArea(id="text")
        yield DropTextArea(id="read-only", read_only=True)
        yield Button("A button", id="button")
        yield DataTable(id="table")
        yield ListView(ListItem(Label("a row")), id="list")
        yield Select([("one", 1), ("two", 2)], id="select")
        yield PathField(id="field")

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns("a", "b")
        self.query_one(DataTable).add_row(1, 2)

    def action_note_key(self) -> None:
        self.keys += 1

    @on(Dropped)
    def _keep(self, message: Dropped) -> None:
        self.drops.append(message.paths)

    @on(DropMissing)
    def _keep_missing(self, message: DropMissing) -> None:
        self.missing.append(message.error)

    @property
    def texts(self) -> list[str]:
        """Everything that inputs hold."""
        return [widget.value for widget in self.query(Input)] + [widget.text for widget in self.query(TextArea)]


async def paste(pilot: Pilot[Any], text: str) -> None:
    """As the driver does; the paste has reached its last handler afterwards."""
    pilot.app.post_message(events.Paste(text))
    await pilot.pause()


async def focus(pilot: Pilot[Any], target: str) -> None:
    app = pilot.app
    if target == "nothing":
        app.set_focus(None)
    elif target == "open select":
        app.query_one(Select).focus()
        app.query_one(Select).expanded = True
    elif target == "dialog":
        await app.push_screen(Dialog())
    else:
        app.query_one(target).focus()
    await pilot.pause()


class Dialog(ModalScreen[None]):
    def compose(self) -> ComposeResult:
        yield Button("Close")


FOCI = [
    "nothing", "#button", "#input", "#text", "#read-only", "#table", "#list", "#select", "open select", "#field",
    "#field Button", "dialog",
]  # fmt: skip


@pytest.mark.parametrize("target", FOCI)
async def test_every_spelling_in_every_focus(tmp_path: Path, target: str) -> None:
    folder, *files = paths = (tmp_path / "a folder", tmp_path / "it's 1.jsonl", tmp_path / "prompts é.txt")
    folder.mkdir()
    for file in files:
        file.touch()
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, target)
        for number, (name, spelling) in enumerate(SPELLINGS.items(), 1):
            await paste(pilot, spelling(paths))
            await until(pilot, lambda count=number: len(app.drops) == count, f"{name} at {target}")
        assert app.drops == [paths] * len(SPELLINGS)
        assert not any(app.texts)
        assert not app.missing


@pytest.mark.parametrize(("target", "holder"), [("#input", "#input"), ("#text", "#text"), ("#field", "#field Input")])
@pytest.mark.parametrize("text", ["plain words", "/help me", "/nowhere/a b.txt", "~/x and y", "a/b", "C:\\x", "'/x'"])
async def test_text_goes_into_the_input(target: str, holder: str, text: str) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, target)
        await paste(pilot, text)
        widget = app.query_one(holder)
        await until(pilot, lambda: text in (getattr(widget, "value", None), getattr(widget, "text", None)))
        assert [held for held in app.texts if held] == [text]
        await pilot.pause()
        assert not app.drops and not app.missing


async def test_an_input_takes_the_first_line_of_a_text_and_a_text_area_all() -> None:
    app = Host()
    async with app.run_test() as pilot:
        for target in ("#input", "#text"):
            await focus(pilot, target)
            await paste(pilot, "one\ntwo")
        await until(pilot, lambda: app.query_one("#text", TextArea).text)
        assert app.query_one("#text", TextArea).text == "one\ntwo"
        assert app.query_one("#input", Input).value == "one"


@pytest.mark.parametrize("target", ["nothing", "#button", "#table", "open select", "#read-only"])
async def test_a_path_that_is_missing_is_told(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.2 50000 10.0.0.1 22")
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, target)
        await paste(pilot, "plain words")
        await paste(pilot, "'/Users/me/my prompts.jsonl' ")
        await until(pilot, lambda: app.missing)
        (error,) = app.missing
        assert error.where == "/Users/me/my prompts.jsonl"
        assert error.hint and "SSH" in error.hint
        assert not app.drops


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The disk answers once this is set."""
    answers = threading.Event()

    def slowly(text: str) -> Drop | None:
        answers.wait()
        return find_drop(text)

    for module in (path_inputs, drop_app):
        monkeypatch.setattr(module, "find_drop", slowly)
    return answers


@pytest.mark.parametrize(("target", "get"), [("#input", "value"), ("#text", "text")])
async def test_what_is_typed_after_a_paste_stands_after_it(slow_disk: threading.Event, target: str, get: str) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, target)
        for event in (events.Paste("/nowhere/a"), events.Key("b", "b"), events.Paste("/c"), events.Key("d", "d")):
            app.post_message(event)
        app.query_one("#table").focus()  # the rest of the app goes on meanwhile
        await until(pilot, lambda: app.focused is app.query_one("#table"))
        assert not any(app.texts)
        slow_disk.set()
        await until(pilot, lambda: getattr(app.query_one(target), get) == "/nowhere/ab/cd")


async def test_a_drop_at_a_slow_disk_lets_the_app_go_on(slow_disk: threading.Event, tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, "#button")
        await paste(pilot, str(tmp_path))
        await pilot.press("x")
        assert app.keys == 1
        assert not app.drops
        slow_disk.set()
        await until(pilot, lambda: app.drops == [(tmp_path,)])


async def test_a_disk_that_never_answers(slow_disk: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text goes in, the app tells it."""
    impatient: Callable[..., Any] = lambda question: ask_disk(question, 0.01)  # noqa: E731
    for module in (path_inputs, drop_app):
        monkeypatch.setattr(module, "ask_disk", impatient)
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, "#input")
        await paste(pilot, "/nowhere/a")
        await until(pilot, lambda: app.query_one("#input", Input).value == "/nowhere/a")
        await focus(pilot, "#button")
        await paste(pilot, "/nowhere/a")
        await until(pilot, lambda: app.missing)
        assert "does not answer" in app.missing[0].problem
    slow_disk.set()


async def test_the_app_ends_while_the_disk_does_not_answer(slow_disk: threading.Event) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, "#button")
        await paste(pilot, "/nowhere/a")
        app.exit()
    assert not slow_disk.is_set()
    slow_disk.set()


async def test_a_drop_for_a_widget_that_is_gone_reaches_the_app(slow_disk: threading.Event, tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, "#button")
        await paste(pilot, str(tmp_path))
        await app.query_one("#button").remove()
        slow_disk.set()
        await until(pilot, lambda: app.drops == [(tmp_path,)])


# -- what terminals send as keys


async def feed(pilot: Pilot[Any], data: str) -> None:
    """What the driver makes of bytes that arrive at once."""
    for message in XTermParser().feed(data):
        pilot.app.post_message(message)
    await pilot.pause()


@pytest.mark.parametrize("data", ["\x1b[32u", "\x1b[32;1u", "\x1b[32;2u", "\x1b[32;65u", "\x1b[32;1;32u", " "])
async def test_the_space_bar_of_every_terminal(data: str) -> None:
    app = Host()
    async with app.run_test() as pilot:
        for target, get in (("#input", "value"), ("#text", "text")):
            await focus(pilot, target)
            await feed(pilot, "a" + data + "b")
            await until(pilot, lambda target=target, get=get: getattr(app.query_one(target), get) == "a b")


async def test_control_and_space_is_no_text() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, "#input")
        await feed(pilot, "a\x1b[32;5ub")
        await until(pilot, lambda: app.query_one("#input", Input).value == "ab")


@pytest.mark.parametrize("name", ["plain, with spaces between", "kitty at a prompt"])
@pytest.mark.parametrize("target", ["nothing", "#button", "#table", "open select", "dialog"])
async def test_a_drop_that_the_terminal_types(tmp_path: Path, target: str, name: str) -> None:
    """The `x` in it is no key of the app."""
    file = tmp_path / "prompts x.jsonl"
    file.touch()
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, target)
        await feed(pilot, SPELLINGS[name]([file]))
        await until(pilot, lambda: app.drops == [(file,)])
        assert app.keys == 0


async def test_a_drop_that_the_terminal_types_into_an_input_is_text_there(tmp_path: Path) -> None:
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, "#input")
        await feed(pilot, str(tmp_path))
        await until(pilot, lambda: app.query_one("#input", Input).value == str(tmp_path))
        assert not app.drops


async def test_keys_that_are_no_path_stay_keys() -> None:
    app = Host()
    async with app.run_test() as pilot:
        await focus(pilot, "#button")
        await feed(pilot, "/xx")
        await until(pilot, lambda: app.keys == 2)
        await feed(pilot, "'x\x1b[B")
        await until(pilot, lambda: app.keys == 3)
        assert not app.drops and not app.missing
