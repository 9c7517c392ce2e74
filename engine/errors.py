"""The one exception type whose text is written for the person who uses the program."""

from __future__ import annotations

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class EngineError(Exception):
    """Something a user can understand and act on.

    Args:
        problem: what is wrong, one sentence without a full stop.
        where: the file, line, field or tensor it concerns.
        hint: what to do next.
    """

    def __init__(self, problem: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.problem = problem
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f". {self.hint}" if self.hint else ""
        return f"{place}{self.problem}{advice}"

    def __reduce__(self) -> tuple[object, ...]:
        """Keyword arguments survive the way from the engine process to the app."""
        return (_rebuild, (type(self), self.problem, self.where, self.hint))


class Cancelled(Exception):
    """The person asked for the job to stop. Not an error: exit code 130 of a command."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out.

    By name and text: torch is not imported here, and on cpu and mps only the text tells it from other errors.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


def _rebuild(kind: type[EngineError], problem: str, where: str | None, hint: str | None) -> EngineError:
    return kind(problem, where=where, hint=hint)
