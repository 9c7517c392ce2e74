"""Questions to the disk that do not stop the event loop, nor the app when it ends.

A network folder may answer late or never. So a question waits in a daemon thread: the threads of asyncio and of
Textual's workers would be waited for at the end of the program.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Answer = TypeVar("Answer")

PATIENCE = 2.0  # seconds


async def ask_disk(question: Callable[[], Answer], patience: float = PATIENCE) -> Answer:
    """The answer to `question`, asked in a thread of its own.

    Args:
        question: called once; what it raises is raised here.
        patience: seconds to wait.

    Raises:
        TimeoutError: there was no answer in time.
    """
    future: Future[Answer] = Future()
    future.set_running_or_notify_cancel()  # from here on it cannot be cancelled, so the thread can always set it

    def ask() -> None:
        try:
            future.set_result(question())
        except Exception as error:
            future.set_exception(error)

    Thread(target=ask, daemon=True, name="disk").start()
    return await asyncio.wait_for(asyncio.wrap_future(future), patience)
