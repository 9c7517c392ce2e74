"""One writer at a time: two apps, or two threads of one, never lose each other's entries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import EngineError

# Writing takes milliseconds; whoever holds the lock for longer hangs.
_PATIENCE_SECONDS = 10
PLACE_HINT = "See to it that you may write there, or name another folder in DND_TUI_DATA and start again"


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made if it is not there. Not to be entered twice by one thread.

    Raises:
        EngineError: the folder cannot be written, also by what happens inside, or another program keeps the lock.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=_PATIENCE_SECONDS):
            yield
    except Timeout:
        problem = "another dnd-tui is writing there and does not finish"
        raise EngineError(problem, where=str(folder), hint="Try again, or end the other one") from None
    except OSError as error:
        problem = f"cannot be changed: {error.strerror or error}"
        raise EngineError(problem, where=str(folder), hint=PLACE_HINT) from error
