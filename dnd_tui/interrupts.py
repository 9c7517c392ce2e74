"""Ctrl-C and SIGTERM: the first asks the job to stop and tidy up, the second ends the process at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """While it is entered, the first signal raises KeyboardInterrupt and makes `asked` True for good.

    Both are needed: the exception leaves a long computation at once; the flag stops the job at its
    next event when library code swallowed the exception.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def asked(self) -> bool:
        """Whether the person wants to stop."""
        return self._asked

    def __enter__(self) -> Interrupts:
        """Take over the signals, except those that the parent process has us ignore (nohup, a shell's &)."""
        for number in self._SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt
