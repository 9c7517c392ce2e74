"""The app in a real terminal, and what it leaves behind there however it ends."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.requests import ModelChoice
from tests.tui.processes import processes, running, wait_for
from tests.tui.terminal import Terminal

APP = (sys.executable, "-m", "dnd_tui")


@pytest.fixture
def terminal(app_folders: Path, tiny_models: ModelChoice) -> Iterator[Terminal]:
    """A shell in an empty folder; the settings choose the tiny models."""
    config = app_folders / "config"
    config.mkdir()
    lines = (f'base = "{tiny_models.base}"', f'generator = "{tiny_models.generator}"', 'device = "cpu"')
    (config / "config.toml").write_text("\n".join(lines))
    (app_folders / "here").mkdir()
    variables = {name: os.environ[name] for name in ("DND_TUI_CONFIG", "DND_TUI_DATA")}
    with Terminal(100, 30, variables) as terminal:
        terminal.run("cd", str(app_folders / "here"))
        yield terminal
    wait_for(lambda: not processes(), "the end of all processes")


def check_clean(terminal: Terminal) -> None:
    """The terminal is as it was before, the shell takes a line, and only the shell is left."""
    wait_for(lambda: not terminal.in_alternate_screen, "the screen of the shell")
    wait_for(lambda: [process.pid for process in processes()] == [terminal.shell], "the end of all processes")
    assert terminal.shows_cursor and not terminal.reports_mouse
    terminal.paste("echo pas''ted")  # without the marks around it that the app had asked for
    terminal.press("Enter")
    terminal.wait("pasted")  # what echo prints; the line before it has two quotes in the word
    terminal.run("stty")
    terminal.wait("speed")
    assert "-echo" not in terminal.screen() and "-icanon" not in terminal.screen()


def generating(terminal: Terminal, prompts: Path) -> None:
    """Open prompts and begin with an adapter."""
    terminal.run(*APP, str(prompts))
    terminal.wait("All rows 12")
    terminal.press("g")
    terminal.wait("→ adapter")


def test_the_whole_way(terminal: Terminal, app_folders: Path, prompt_file: Path) -> None:
    terminal.run(*APP)
    terminal.wait("Drop a prompt file")
    wait_for(lambda: terminal.in_alternate_screen and terminal.reports_mouse, "the app's screen")
    terminal.paste(f"'{prompt_file}' ")
    terminal.wait("All rows 12")
    terminal.press("g")
    terminal.wait(f"{prompt_file.name} → {prompt_file.stem}")
    terminal.press("Enter")
    terminal.wait("…cat?")
    terminal.press("Down", "Enter")
    terminal.wait("to first")
    terminal.click("4 Exp")
    terminal.wait("take the newest")
    terminal.press("n")
    terminal.wait("yes, reads")
    terminal.press("Enter")
    terminal.wait("Exported, reloaded and compared")
    assert (app_folders / "data" / "exports" / "animals-and-legs-float32" / "adapter_model.safetensors").is_file()
    terminal.press("C-q")
    check_clean(terminal)


def test_a_path_as_argument_without_colours_and_a_drop_that_is_typed(
    terminal: Terminal, app_folders: Path, prompt_file: Path
) -> None:
    terminal.run("env", "NO_COLOR=1", str(Path(sys.executable).with_name("dnd-tui")), str(prompt_file))
    terminal.wait("All rows 12")
    colours = re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", terminal.styled_screen())
    assert all(red == green == blue for red, green, blue in colours)
    assert not re.search(r"\x1b\[(?:\d+;)*[34][1-6]m", terminal.styled_screen())
    other = app_folders / "two words.txt"
    other.write_text("first\nsecond\nthird\n")
    terminal.type(f"'{other}'")  # as the terminal of VS Code does
    terminal.wait("All rows 3")
    terminal.press("C-q")  # models that are loaded ahead are no reason to ask
    check_clean(terminal)


def test_leaving_in_mid_job_asks_and_leaves_nothing_behind(terminal: Terminal, prompt_file: Path) -> None:
    generating(terminal, prompt_file)
    for process in running("engine.host"):
        process.suspend()  # so it is still under way when the question comes, and hears nothing
    terminal.press("C-q")
    terminal.wait("Stop and leave")
    terminal.press("y")
    check_clean(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_mid_job_leaves_nothing_behind(
    terminal: Terminal, prompt_file: Path, number: signal.Signals
) -> None:
    generating(terminal, prompt_file)
    for process in running("engine.host"):
        process.suspend()
    (app,) = running("dnd_tui")
    app.send_signal(number)
    check_clean(terminal)


def test_a_terminal_that_is_closed_ends_the_app_and_its_job(terminal: Terminal, prompt_file: Path) -> None:
    generating(terminal, prompt_file)
    for process in running("engine.host"):
        process.suspend()
    terminal.close()
    wait_for(lambda: not processes(), "the end of all processes")


def test_the_engine_ends_when_the_app_is_killed(terminal: Terminal, prompt_file: Path) -> None:
    generating(terminal, prompt_file)
    (app,) = running("dnd_tui")
    assert running("engine.host")
    app.kill()
    wait_for(lambda: not running("engine.host"), "the end of the engine")
