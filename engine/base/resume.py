"""Goes on with a download that was cut off: `python -I resume.py URL FILE` appends to FILE what it lacks.

Run as a process of its own, so that a stop ends it at once, whatever the network does; it also ends when the process
that started it is gone, so that no two write to one file. Standard library alone, and the certificates of `certifi`
beside the system's where they are installed.

Exit code: 0 the file is whole, 1 no connection or too short a one, 2 this address has no rest for this file.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

WHOLE, CUT_OFF, REFUSED = 0, 1, 2

_ATTEMPTS = 5
_SECONDS_OF_SILENCE = 30
_PARTIAL, _RANGE_NOT_SATISFIABLE, _SERVER_TROUBLE = 206, 416, 500


def complete(url: str, file: Path, parent: int) -> bool:
    """Ask for the rest of `file`; True once it is whole, False when the connection or the `parent` process ended.

    Raises:
        HTTPError: the server refuses.
        OSError, HTTPException: it cannot be reached.
        ValueError: what it sends is not the rest of this file.
    """
    begun = file.stat().st_size
    request = Request(url, headers={"Range": f"bytes={begun}-"})
    try:
        with urlopen(request, timeout=_SECONDS_OF_SILENCE, context=_context()) as answer:
            rest = answer.status == _PARTIAL
            first, total = _place(answer.headers) if rest else (0, int(answer.headers.get("Content-Length", -1)))
            if first != (begun if rest else 0):
                raise ValueError(f"asked for the bytes from {begun}, got those from {first}")
            with open(file, "ab" if rest else "wb") as target:
                while os.getppid() == parent and (piece := answer.read(1 << 16)):
                    target.write(piece)
    except HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE and _place(error.headers)[1] == begun:
            return True
        raise
    return file.stat().st_size == total


def _place(headers: Message) -> tuple[int, int]:
    """First byte and size of the whole file, from `Content-Range: bytes 100-999/1000` or `bytes */1000`."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", headers.get("Content-Range", ""))
    if not found:
        raise ValueError("the server does not name the part of the file it sends")
    return int(found[1] or 0), int(found[2])


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def main(url: str, file: Path) -> int:
    """The exit code."""
    parent = os.getppid()
    for _ in range(_ATTEMPTS):
        try:
            if complete(url, file, parent):
                return WHOLE
            if os.getppid() != parent:
                break
        except ValueError as error:
            print(error)
            return REFUSED
        except (OSError, HTTPException) as error:
            print(error)
            if isinstance(error, HTTPError) and error.code < _SERVER_TROUBLE:
                return REFUSED
    return CUT_OFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
