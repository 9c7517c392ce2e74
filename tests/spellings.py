"""How terminals spell the paths of dropped files. Each takes paths without line breaks and gives the pasted text."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

Spelling = Callable[[Sequence[Path]], str]


def _escaped(path: Path) -> str:
    return re.sub(r"""([\\ \t()\[\]{}<>"'`!#$&;|*?~=^%,])""", r"\\\1", str(path))


def _in_single_quotes(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def _in_double_quotes(path: Path) -> str:
    return '"' + re.sub(r'([\\"$`])', r"\\\1", str(path)) + '"'


def _spaces_escaped(path: Path) -> str:
    return str(path).replace(" ", "\\ ")


def _mixed(paths: Sequence[Path]) -> str:
    ways = (_escaped, _in_single_quotes, Path.as_uri)
    between = (" ", "\n", "\r\n")
    return "".join(ways[at % 3](path) + between[(at // 2) % 3] for at, path in enumerate(paths))


# Any number of files.
SPELLINGS: dict[str, Spelling] = {
    "Terminal.app, iTerm2": lambda paths: " ".join(map(_escaped, paths)) + " ",
    "Ghostty on GTK": lambda paths: "\n".join(map(_escaped, paths)),
    "kitty": lambda paths: "\n".join(map(str, paths)),
    "kitty at a prompt": lambda paths: " ".join(shlex.quote(str(path)) for path in paths),
    "GNOME Terminal": lambda paths: " ".join(map(_in_single_quotes, paths)) + " ",
    "WezTerm": lambda paths: " ".join(map(_spaces_escaped, paths)) + " ",
    "WezTerm, posix": lambda paths: " ".join(map(_in_double_quotes, paths)) + " ",
    "plain, with spaces between": lambda paths: " ".join(map(str, paths)),
    "addresses, in lines": lambda paths: "".join(f"{path.as_uri()}\r\n" for path in paths),
    "addresses with host": lambda paths: " ".join(path.as_uri().replace("://", "://localhost", 1) for path in paths),
    "carriage returns": lambda paths: "\r".join(map(_escaped, paths)) + "\r",
    "mixed": _mixed,
}


def on_windows(paths: Sequence[str]) -> str:
    """Windows Terminal and WezTerm there: quotes only where there are spaces, backslashes as they are."""
    return " ".join(f'"{path}"' if " " in path else path for path in paths)
