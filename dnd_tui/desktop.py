"""The desktop around the terminal: the person's own editor, and the clipboard.

    with EditedText(prompt, suffix=".md") as edited:
        with app.suspend():
            subprocess.run(edit_command(settings.editor, edited.path))
        prompt = edited.read()

Suspending the app and running the editor are the caller's.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from enum import Enum
from pathlib import Path
from types import TracebackType

from engine.errors import EngineError

_USUAL = ("nano", "vim", "vi")
_HINT = "Set editor in config.toml, or the environment variable EDITOR"


def edit_command(editor: str | None, file: Path) -> list[str]:
    """The arguments that open `file`.

    Args:
        editor: a command as a shell would read it; None takes $VISUAL, then $EDITOR, then what is installed.

    Raises:
        EngineError: there is no such program, or none at all.
    """
    command = editor or os.environ.get("VISUAL") or os.environ.get("EDITOR") or next(filter(shutil.which, _USUAL), "")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise EngineError(f"the editor's command cannot be read: {error}", where=command, hint=_HINT) from None
    if not words:
        raise EngineError("no editor was found", hint=_HINT)
    if shutil.which(words[0]) is None:
        raise EngineError("no such editor", where=words[0], hint=_HINT)
    return [*words, str(file)]


class EditedText:
    """A text as a temporary file, in a folder of its own that is removed with all that the editor put beside it.

    Args:
        suffix: ending of the file's name, by which editors choose their colours.
    """

    def __init__(self, text: str, *, suffix: str = ".txt") -> None:
        self._text = text
        self._folder = tempfile.TemporaryDirectory(prefix="dnd-tui-")
        self.path = Path(self._folder.name) / f"text{suffix}"

    def __enter__(self) -> EditedText:
        """Write the file."""
        self.path.write_bytes(self._text.encode("utf-8", "surrogatepass"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove it."""
        self._folder.cleanup()

    def read(self) -> str:
        """The text as it is now. A line end that the editor put behind the last line is not part of it.

        Raises:
            EngineError: the file is gone, or is no UTF-8 text.
        """
        try:
            text = self.path.read_bytes().decode("utf-8", "surrogatepass")
        except OSError as error:
            raise EngineError(f"the edited text cannot be read: {error.strerror}", where=str(self.path)) from error
        except UnicodeDecodeError:
            raise EngineError("the edited text is not UTF-8", hint="Save it as UTF-8") from None
        return text if self._text.endswith("\n") else text.removesuffix("\n")


PATIENCE_SECONDS = 1.0
_REMOTE_VARIABLES = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")


class LocalCopy(Enum):
    """How it went; the value is for people."""

    DONE = "copied"
    REMOTE = "over SSH only the terminal can copy"
    NO_TOOL = "no clipboard tool was found (xclip, xsel or wl-clipboard)"
    TOO_SLOW = "the clipboard tool did not answer"


def copy_locally(text: str) -> LocalCopy:
    """Put `text` on the clipboard of this machine, unless the person sits at another one.

    Waits for at most a second, so call it in a thread. `pyperclip` runs in a process of its own: its tools may
    hang, write on the terminal, or bring in a whole widget library.
    """
    if any(os.environ.get(name) for name in _REMOTE_VARIABLES):
        return LocalCopy.REMOTE
    process = subprocess.Popen(
        [sys.executable, "-X", "utf8", "-m", "pyperclip", "--copy"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that all of it can be ended, and none of it ends with the terminal
    )
    try:
        process.communicate(text.encode("utf-8", "replace"), timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return LocalCopy.TOO_SLOW
    return LocalCopy.DONE if process.returncode == 0 else LocalCopy.NO_TOOL
