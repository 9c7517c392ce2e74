"""A real terminal for tests: tmux, driven by keys and pastes, read by its captured screen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType

import pytest

PATIENCE = 300.0
# Looks at the screen, a twentieth of a second apart, between which what is clicked must not have moved.
_STILL = 5


class Terminal:
    """One tmux server with one window that runs a shell.

    The shell stays when the command ends, so that the state of the terminal afterwards can be looked at.
    """

    def __init__(self, columns: int, lines: int, environment: Mapping[str, str]) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed")
        self._socket = f"dnd-{uuid.uuid4().hex[:8]}"
        variables = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
        self._tmux(
            "-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(lines), *variables, "sh",
        )  # fmt: skip
        # The app must not depend on escape sequences arriving one by one.
        self._tmux("set-option", "-g", "escape-time", "50")

    def __enter__(self) -> Terminal:
        """The terminal itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the window, if it is still there."""
        self.close()

    def close(self) -> None:
        """Close the window, as a person does: what runs in it gets SIGHUP."""
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True)

    def run(self, *command: str) -> None:
        """Type a command line and Enter."""
        self._tmux("send-keys", "-l", shlex.join(command))
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: "Enter", "Escape", "F2", "C-q", "g"."""
        for key in keys:
            self._tmux("send-keys", key)

    def type(self, text: str) -> None:
        """Text, key by key."""
        self._tmux("send-keys", "-l", text)

    def paste(self, text: str) -> None:
        """As a terminal does when a file is dropped on it: a bracketed paste."""
        self._tmux("set-buffer", "-b", "drop", text)
        self._tmux("paste-buffer", "-p", "-b", "drop")

    def click(self, text: str) -> None:
        """Press and release the left button on the first place that shows `text`, once that stands still."""
        seen: list[tuple[int, int] | None] = []

        def stands_still(screen: str) -> bool:
            seen.append(_place(screen, text))
            return seen[-1] is not None and seen[-_STILL:] == [seen[-1]] * _STILL

        self.wait(stands_still)
        assert seen[-1] is not None
        line, column = seen[-1]
        for kind in ("M", "m"):
            self._tmux("send-keys", "-l", f"\x1b[<0;{column};{line}{kind}")

    def screen(self) -> str:
        """What the terminal shows."""
        return self._tmux("capture-pane", "-p")

    def styled_screen(self) -> str:
        """The same with the escape sequences of its colours."""
        return self._tmux("capture-pane", "-p", "-e")

    def wait(self, condition: str | Callable[[str], bool]) -> str:
        """Until a text is shown, or the screen fulfils a condition; the screen then."""
        holds = (lambda screen: condition in screen) if isinstance(condition, str) else condition
        began = time.monotonic()
        while True:
            screen = self.screen()
            if holds(screen):
                return screen
            if time.monotonic() - began > PATIENCE:
                raise AssertionError(f"waited in vain for {condition!r}; the screen:\n{screen}")
            time.sleep(0.05)

    @property
    def in_alternate_screen(self) -> bool:
        """Whether an app has taken over the screen."""
        return self._says("alternate_on")

    @property
    def shows_cursor(self) -> bool:
        """Whether the cursor is visible."""
        return self._says("cursor_flag")

    @property
    def reports_mouse(self) -> bool:
        """Whether clicks are sent to what runs in it."""
        return self._says("mouse_any_flag")

    @property
    def shell(self) -> int:
        """The process of the shell."""
        return int(self._tmux("display-message", "-p", "#{pane_pid}"))

    def _says(self, flag: str) -> bool:
        return self._tmux("display-message", "-p", f"#{{{flag}}}").strip() == "1"

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, *arguments],
            capture_output=True,
            encoding="utf-8",
            # Not what libraries have put there, for this or a parent process: readline sets LINES and COLUMNS.
            env={name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")},
        )
        if done.returncode:
            raise AssertionError(f"tmux {shlex.join(arguments)}: {done.stderr}")
        return done.stdout


def _place(screen: str, text: str) -> tuple[int, int] | None:
    """Line and column, from 1, of the middle of the first place that shows `text`."""
    for line, shown in enumerate(screen.splitlines(), 1):
        if text in shown:
            return line, shown.index(text) + 1 + len(text) // 2
    return None
