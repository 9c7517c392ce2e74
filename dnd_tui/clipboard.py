"""Copying to the clipboard of this machine.

Textual's `App.copy_to_clipboard` asks the terminal to do it (OSC 52), which also works over SSH, but not in
every terminal; the app does both.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from enum import Enum

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
