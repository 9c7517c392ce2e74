"""The text that a person sends when something went wrong: versions, machine, terminal, settings, log.

No prompt and no answer is in it, unless an error quotes one; the home folder is written as ~.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dnd_tui import __version__
from dnd_tui.journal import Entry
from dnd_tui.settings import Settings, about
from dnd_tui.text import printable

JOURNAL_LINES = 200
LOG_BYTES = 16_000

_PACKAGES = ("textual", "torch", "transformers", "peft", "sentence-transformers")
_TERMINAL = ("TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "COLORTERM", "NO_COLOR", "TMUX", "WSL_DISTRO_NAME")
_SSH = ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")


def bug_report(settings: Settings, journal: Sequence[Entry], engine_log: str, size: tuple[int, int]) -> str:
    """The whole text, Markdown.

    Args:
        engine_log: the end of the engine's log file.
        size: columns and lines of the terminal.
    """
    lines = "\n".join(entry.line() for entry in journal).splitlines()[-JOURNAL_LINES:]
    parts = [
        _section("Versions", _versions()),
        _section("Machine", _machine(os.environ, size)),
        _section("Settings that differ from the defaults", _differing(settings)),
        _section("Journal", lines),
        _section("Engine log", engine_log.splitlines()),
    ]
    return without_home(printable("\n".join(parts)))


def without_home(text: str, home: Path | None = None) -> str:
    """`text` with ~ for the home folder of the person."""
    folder = str(home or Path.home()).rstrip(os.sep)
    # Not in the middle of another path, and not at the beginning of another name.
    return re.sub(rf"(?<![\w.~-]){re.escape(folder)}(?![\w.-])", "~", text) if folder else text


def tail(file: Path, size: int = LOG_BYTES) -> str:
    """The last whole lines of a file, at most `size` bytes; nothing if it cannot be read."""
    try:
        with open(file, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            length = stream.tell()
            stream.seek(max(0, length - size))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text if length <= size else text.partition("\n")[2]


def _section(title: str, lines: Iterable[str]) -> str:
    body = "\n".join(lines) or "none"
    # The fence must be longer than any in the text.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", body)), default=0))
    return f"### {title}\n\n{fence}\n{body}\n{fence}\n"


def _versions() -> Iterator[str]:
    yield f"dnd-tui {__version__}"
    yield f"python {platform.python_version()}"
    for package in _PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} is not installed"


def _machine(environment: Mapping[str, str], size: tuple[int, int]) -> Iterator[str]:
    yield f"system {platform.platform()}, {os.cpu_count()} processors"
    yield f"terminal {size[0]} x {size[1]}"
    for name in _TERMINAL:
        if name in environment:
            # What TMUX holds is a path of no interest.
            yield f"{name} is set" if name in ("TMUX", "NO_COLOR") else f"{name} {environment[name]}"
    yield "over SSH" if any(name in environment for name in _SSH) else "not over SSH"


def _differing(settings: Settings) -> Iterator[str]:
    default = Settings()
    for name in about():
        value = getattr(settings, name)
        if value != getattr(default, name):
            yield f"{name} = {dict(value) if isinstance(value, Mapping) else value}"
