"""The last model that a process loaded stays in memory: the next job finds it warm."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from engine.events import Reporter

T = TypeVar("T")

WARM_NOTE = "already in memory"


class Kept(Generic[T]):
    """One loaded thing and the key it was loaded by. Never two: the old one goes before the new one comes."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: T | None = None

    def get(self, key: Hashable, load: Callable[[], T], reporter: Reporter) -> T:
        """What was loaded by `key`, or else what `load` gives now; warm, it is told as a stage "load" of no time."""
        if self._value is not None and self._key == key:
            with reporter.stage("load") as stage:
                stage.note = WARM_NOTE
            return self._value
        self.forget()
        value = load()
        self._key, self._value = key, value
        return value

    def forget(self) -> None:
        """Keep nothing."""
        self._key = self._value = None
