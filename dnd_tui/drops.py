"""What a terminal pastes when files are dropped on it, read back into paths.

A terminal has no drop event: it pastes the paths, each terminal in its own spelling.

Notable:
- `looks_like_paths` and `readings` know the spellings and touch no disk. `find_drop` and `explain_missing` ask the
  disk: call them in a thread.
- A text is a drop only if every path in it exists; else it is text. Only absolute paths count: a word that is also
  the name of a file here stays a word.
- macOS puts U+202F into the names of screenshots, and terminals turn such a space into a plain one, or back. An accent
  may be a character of its own (NFD) or part of its letter (NFC). So what is missing is looked up once more with all
  spaces and both spellings taken as equal.
- Windows has the files of WSL under `wsl.localhost` or `wsl$`, as if a distribution were a share of a machine.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from engine.errors import EngineError

LONGEST_TEXT = 65_536  # characters
MOST_PATHS = 1_000

# Where WSL has the drives of Windows.
WINDOWS_DRIVES = "/mnt"

# C0 and C1 control characters but tab, and lone surrogates: nothing that a name should bring to the screen.
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_LIKE_A_PATH = re.compile(r"""[ \t]*["']?(?:/[^\s/]|~[^\s/'"]*/|[A-Za-z]:[\\/]|\\\\[^\s\\]|file:/)""", re.IGNORECASE)
# Between two paths stands one space; a second one belongs to the name before it.
_BETWEEN_PATHS = re.compile(r"""[ \t](?=["']?(?:/|~/|file:/))""", re.IGNORECASE)
_BETWEEN_WINDOWS_PATHS = re.compile(r"""[ \t](?=["']?(?:[A-Za-z]:[\\/]|\\\\))""")
# Not shlex: inside double quotes it would keep the backslash of \$ and \`.
_POSIX_PART = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)"|([^\\'" \t]+)|([ \t]+)""")
_ESCAPE_IN_QUOTES = re.compile(r"""\\([\\"$`])""")
_LIKE_A_WINDOWS_PATH = re.compile(r"""["']?(?:[A-Za-z]:[\\/]|\\\\)""")
_WINDOWS_PATH = re.compile(r"([A-Za-z]):[\\/](.*)")
# The distribution, and the path in it.
_WSL_PATH = re.compile(r"\\\\wsl(?:\$|\.localhost)\\([^\\/]+)[\\/](.*)", re.IGNORECASE)
_OTHER_SPACE = re.compile("[\u00a0\u202f]")


@dataclass(frozen=True)
class Drop:
    """Files and folders that exist.

    Args:
        paths: absolute, in the order in which they were pasted.
    """

    paths: tuple[Path, ...]


def looks_like_paths(text: str) -> bool:
    """Whether every line begins as an absolute path does. Cheap, touches no disk."""
    lines = _lines(text)
    return 0 < len(lines) <= MOST_PATHS and all(_LIKE_A_PATH.match(line) for line in lines)


def showable(name: str) -> bool:
    """Whether a name can be shown: it holds no control character and was decoded whole."""
    return "\t" not in name and not _UNSHOWABLE.search(name)


def readings(line: str) -> tuple[tuple[str, ...], ...]:
    """The lists of absolute paths for which one pasted line may stand, likeliest first. Touches no disk."""
    line = line.lstrip(" \t")
    # A space at the end is part of the name, or the one that a terminal adds, or one of many.
    whole = dict.fromkeys((line, re.sub(r"[ \t]\Z", "", line), line.rstrip(" \t")))
    spellings = [[text] for text in whole]  # kitty, Alacritty: as it is
    spellings.append(_posix_words(line))  # Terminal.app, iTerm2, Ghostty: a\ b; VTE: 'a b'
    for pieces in map(_pieces, whole):
        spellings.append(pieces)  # several as they are; addresses
        spellings.append([piece.replace("\\ ", " ") for piece in pieces])  # WezTerm: other backslashes mean themselves
        spellings.append([_unquoted(piece) for piece in pieces])  # Windows: "C:\a b", backslashes mean themselves
    return tuple(dict.fromkeys(row for row in map(_places, spellings) if row))


def find_drop(text: str) -> Drop | None:
    """The files and folders for which `text` stands, if all of them exist. Asks the disk."""
    if not looks_like_paths(text):
        return None
    paths: list[Path] = []
    for line in _lines(text):
        found = _existing(readings(line))
        if found is None:
            return None
        paths += found
    return Drop(tuple(paths)) if len(paths) <= MOST_PATHS else None


def explain_missing(text: str, environment: Mapping[str, str] = os.environ) -> EngineError | None:
    """Why `text`, which looks like paths, is no drop here; None if it does not look so. Asks the disk."""
    if not looks_like_paths(text):
        return None
    words = [word for line in _lines(text) for word in _words(line)]
    missing = [word for word in words if not _exists(_place(word))]
    if not missing:
        return None
    share = f" ({len(missing)} of the {len(words)} pasted paths are not)" if len(words) > 1 else ""
    hint = _hint(missing[0], environment)
    return EngineError(f"is not on this machine{share}", where=_shortened(missing[0]), hint=hint)


# -- spellings


def _lines(text: str) -> list[str]:
    """The lines that are not blank; none if the text is too long or holds what cannot be shown."""
    if len(text) > LONGEST_TEXT:
        return []
    lines = _LINE_END.split(text)
    return [] if any(map(_UNSHOWABLE.search, lines)) else [line for line in lines if line.strip(" \t")]


def _pieces(line: str) -> list[str]:
    """The line cut before each absolute path."""
    between = _BETWEEN_WINDOWS_PATHS if _LIKE_A_WINDOWS_PATH.match(line) else _BETWEEN_PATHS
    return between.split(line)


def _posix_words(line: str) -> list[str]:
    """The words a shell would see; none if a quote is not closed."""
    words: list[str] = []
    word: str | None = None
    end = 0
    for part in _POSIX_PART.finditer(line):
        if part.start() != end:
            return []
        end = part.end()
        escaped, single, double, plain, space = part.groups()
        if space is None:
            double = double and _ESCAPE_IN_QUOTES.sub(r"\1", double)
            word = (word or "") + (escaped or single or double or plain or "")
        elif word is not None:
            words.append(word)
            word = None
    return [*words, *([] if word is None else [word])] if end == len(line) else []


def _unquoted(piece: str) -> str:
    piece = piece.strip(" \t")
    quoted = len(piece) > 1 and piece[0] == piece[-1] and piece[0] in "\"'"
    return piece[1:-1] if quoted else piece


def _words(line: str) -> list[str]:
    """The likeliest words of a line, whether they are there or not."""
    words = _posix_words(line)
    if words and all(_LIKE_A_PATH.match(word) for word in words):
        return words
    return [_unquoted(piece) for piece in _pieces(line.strip(" \t"))]


def _places(words: list[str]) -> tuple[str, ...]:
    """The paths for which all words stand; none if one of them stands for no path."""
    if len(words) > MOST_PATHS:
        return ()
    places = [place for word in words if (place := _place(word)) is not None]
    return tuple(places) if len(places) == len(words) else ()


def _place(word: str) -> str | None:
    """The absolute path for which one word stands; None for anything else, and for the root."""
    place = _from_url(word) if word[:6].lower() == "file:/" else word
    if place is None or _UNSHOWABLE.search(place):
        return None
    if place.startswith("~"):
        place = os.path.expanduser(place)
    elif os.name != "nt" and (windows := _WINDOWS_PATH.fullmatch(place)):
        drive, rest = windows.groups()
        place = "/".join((WINDOWS_DRIVES, drive.lower(), rest.replace("\\", "/")))
    elif wsl := _WSL_PATH.fullmatch(place):
        place = _in_distribution(*wsl.groups())
    return place if place and os.path.isabs(place) and Path(place).name else None


def _in_distribution(name: str, rest: str) -> str | None:
    """A path of WSL as it is inside; None where it is another distribution's."""
    own = os.environ.get("WSL_DISTRO_NAME", "")
    return "/" + rest.replace("\\", "/") if own and name.lower() == own.lower() else None


def _from_url(url: str) -> str | None:
    """The path of a `file:` URL, if it names this machine."""
    place = url[len("file:") :]
    if place.startswith("//"):
        host, _, rest = place[2:].partition("/")
        if host.lower() in ("wsl$", "wsl.localhost"):
            name, _, rest = unquote(rest).partition("/")
            return _in_distribution(name, rest)
        if host.lower() not in ("", "localhost", socket.gethostname().lower()):
            return None
        place = f"/{rest}"
    try:
        place = unquote(place, errors="strict")
    except UnicodeDecodeError:
        return None
    return place[1:] if _WINDOWS_PATH.fullmatch(place[1:]) else place


# -- the disk


def _existing(rows: tuple[tuple[str, ...], ...]) -> list[Path] | None:
    """The first row of which every place exists: as it is written, else with other spaces and accents."""
    for find in (_as_written, _with_equal_names):
        for row in rows:
            if (paths := _all_found(row, find)) is not None:
                return paths
    return None


def _all_found(row: tuple[str, ...], find: Callable[[str], Path | None]) -> list[Path] | None:
    paths: list[Path] = []
    for place in row:
        if (path := find(place)) is None:
            return None
        paths.append(path)
    return paths


def _as_written(place: str) -> Path | None:
    return Path(place) if os.path.exists(place) else None


def _with_equal_names(place: str) -> Path | None:
    """The one path that differs from `place` in the kind of its spaces and the spelling of its accents only."""
    path = Path(place)
    found = Path(path.anchor)
    for name in path.parts[1:]:
        if not os.path.exists(found / name):
            wanted = _plain(name)
            if " " not in wanted and wanted.isascii():
                return None
            try:
                twins = [entry for entry in os.listdir(found) if _plain(entry) == wanted]
            except OSError:
                return None
            if len(twins) != 1:
                return None
            name = twins[0]
        found /= name
    return found if os.path.exists(found) else None


def _plain(name: str) -> str:
    return _OTHER_SPACE.sub(" ", unicodedata.normalize("NFC", name))


def _exists(place: str | None) -> bool:
    return place is not None and os.path.exists(place)


# -- help


def _hint(word: str, environment: Mapping[str, str]) -> str:
    """The likeliest reason why a path is not there, and what to do."""
    if "SSH_CONNECTION" in environment:
        return "The app runs over SSH, the file is on your own machine: copy it here first, for example with scp"
    if (wsl := _WSL_PATH.fullmatch(word)) and "WSL_DISTRO_NAME" in environment and _place(word) is None:
        return (
            f"It lies in the distribution {_shortened(wsl[1])}, and the app runs in another: copy the file here first"
        )
    if _WINDOWS_PATH.fullmatch(word) or word.startswith("\\\\"):
        if "WSL_DISTRO_NAME" not in environment:
            return f"This is a path of Windows, and the app runs on {platform.system()}: copy the file here first"
        there = _place(word) or f"{WINDOWS_DRIVES}/c/..."
        return f"Under WSL it should be {_shortened(there)}: is that drive mounted, and does the file exist?"
    if word[:6].lower() == "file:/" and _place(word) is None:
        return "The address names another machine or is not well formed: copy the file here first"
    return "It may have been moved or renamed, or may not be read by you: check the path, or choose it with Browse"


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:100]}...{text[-97:]}"
