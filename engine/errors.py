"""The one exception type whose text is written for the person who uses the program; and how texts name settings.

    setting("max_new_tokens") in a text --named--> "--max-new-tokens", "Longest answer", "max new tokens"

The engine marks the field of a request; each front end gives it the name that its person sees.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable

Names = Callable[[str], str]
"""Field of a request -> what a person calls it."""

# Invisible, should a text ever be shown with it; no text of a person or a model has it around a word.
_MARK = "\u2063"
_MARKED = re.compile(f"{_MARK}([a-z_]+){_MARK}")

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# safetensors and tokenizers, which are Rust; numpy's `tofile`. They keep the number of the error in their text.
_OS_ERROR = re.compile(r"(?:\(os error |\bOs \{ code: )(\d+)")
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def setting(field: str) -> str:
    """The field of a request, marked in a text for people."""
    return f"{_MARK}{field}{_MARK}"


def plain(field: str) -> str:
    """`max new tokens`: the name where there is no front end."""
    return field.replace("_", " ")


def named(text: str, names: Names = plain) -> str:
    """`text` with its marked settings called by their names."""
    return _MARKED.sub(lambda found: names(found[1]), text)


ANOTHER_OUT = f"Choose another {setting('out')}"


class EngineError(Exception):
    """Something a user can understand and act on.

    The attributes and `str` name settings plainly; `parts` and `text` as a front end does.

    Args:
        problem: what is wrong, one sentence without a full stop.
        where: the file, line, field or tensor it concerns.
        hint: what to do next.
    """

    def __init__(self, problem: str, *, where: str | None = None, hint: str | None = None) -> None:
        self._marked = (problem, where, hint)
        self.problem, self.where, self.hint = self.parts()
        super().__init__(self.text())

    def __str__(self) -> str:
        return self.text()

    def parts(self, names: Names = plain) -> tuple[str, str | None, str | None]:
        """Problem, place and hint; by `setting` as they were written, to be named later."""
        problem, where, hint = self._marked
        return named(problem, names), where and named(where, names), hint and named(hint, names)

    def text(self, names: Names = plain) -> str:
        """All of it as one line."""
        problem, where, hint = self.parts(names)
        place = f"{where}: " if where else ""
        advice = f". {hint}" if hint else ""
        return f"{place}{problem}{advice}"

    def __reduce__(self) -> tuple[object, ...]:
        """Keyword arguments survive the way from the engine process to the app."""
        return (_rebuild, (type(self), *self._marked))


class NoGeneratorError(EngineError):
    """A generator was asked for, and there is none for the base: other ways lead on."""


class Cancelled(Exception):
    """The person asked for the job to stop. Not an error: exit code 130 of a command."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out.

    By name and text: torch is not imported here, and on cpu and mps only its text sets it apart from other errors.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


def is_disk_full(error: BaseException) -> bool:
    """Whether `error` means that there was no room to write, whichever library met it."""
    if isinstance(error, EngineError):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_ROOM
    found = _OS_ERROR.search(str(error))
    return bool(_CUT_SHORT.fullmatch(str(error)) if found is None else int(found[1]) in _NO_ROOM)


def disk_full(error: BaseException, where: str | None = None) -> EngineError:
    """What to say of an error that `is_disk_full`, met while `where` was written, or the file that it names."""
    where = where or getattr(error, "filename", None)
    hint = "Free some space or choose another folder; what was there before is untouched"
    return EngineError("the disk is full", where=str(where) if where else None, hint=hint)


def _rebuild(kind: type[EngineError], problem: str, where: str | None, hint: str | None) -> EngineError:
    return kind(problem, where=where, hint=hint)
