"""The engine process: `python -m engine.host FILE_DESCRIPTOR`, started by `EngineProcess`.

One thread listens for requests, the main thread does the jobs: only there can a signal interrupt a computation.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from types import FrameType

from engine.errors import Cancelled, EngineError, NoGeneratorError, disk_full, is_disk_full, is_out_of_memory, setting
from engine.events import Event, Reporter
from engine.host.messages import Cancel, Failed, Finished, JobEnded, JobEvent, JobStarted, Outcome, Stopped, Submit
from engine.libraries import quiet_libraries_at_start

# The screen is drawn by another process on the same cores: it goes first.
_NICENESS = 5


class Server:
    """Does the jobs that come through `connection`, one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jobs: queue.SimpleQueue[Submit] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._running: int | None = None
        self._interrupted = False
        self._done = 0

    def listen(self) -> None:
        """Take messages until the front end is gone; then end at once, whatever the main thread does."""
        try:
            while True:
                message = self._connection.recv()
                if isinstance(message, Submit):
                    self._jobs.put(message)
                elif isinstance(message, Cancel):
                    self._cancelled.add(message.job)
        except (EOFError, OSError):
            os._exit(0)

    def work(self) -> None:
        """Do jobs until the process ends."""
        while True:
            submitted = self._jobs.get()
            self._running = submitted.job
            self._send(JobStarted(submitted.job, warm=self._done > 0))
            outcome = self._outcome(submitted)
            self._running = None
            self._done += 1
            self._send(JobEnded(submitted.job, outcome))
            if self._interrupted:
                # Anywhere: a library may be half imported, a model half loaded or half adapted. That holds too where
                # a library made another error of the interrupt.
                return

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """SIGINT: leave a computation that has not heard the wish to stop. Without such a wish it means nothing."""
        if self._running in self._cancelled:
            self._interrupted = True
            raise KeyboardInterrupt

    def _outcome(self, submitted: Submit) -> Outcome:
        """How the job ended."""
        from engine.jobs import run

        def sink(event: Event) -> None:
            self._send(JobEvent(submitted.job, event))

        def cancelled() -> bool:
            return submitted.job in self._cancelled

        try:
            return Finished(run(submitted.request, Reporter(sink, cancelled, names=setting)))
        except (Cancelled, KeyboardInterrupt):
            return Stopped()
        except EngineError as error:
            details, none = traceback.format_exc(), isinstance(error, NoGeneratorError)
            return Failed(*error.parts(setting), details=details, no_generator=none)
        except BaseException as error:
            return _unexpected(error)

    def _send(self, message: JobStarted | JobEvent | JobEnded) -> None:
        try:
            self._connection.send(message)
        except OSError:
            os._exit(0)


def _unexpected(error: BaseException) -> Failed:
    details = traceback.format_exc()
    if is_out_of_memory(error):
        hint = "Use fewer prompts, shorter answers, another number format or another device"
        return Failed("out of memory", hint=hint, details=details)
    if is_disk_full(error):
        return Failed(*disk_full(error).parts(), details=details)
    hint = "The log has the details for a bug report"
    return Failed(f"unexpected failure: {type(error).__name__}: {error}", hint=hint, details=details)


def main() -> None:
    """Serve the front end at the other end of the file descriptor until it is gone."""
    faulthandler.enable()
    os.nice(_NICENESS)
    # Threads that wait by spinning would hold the cores that the screen, and other programs, need.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    quiet_libraries_at_start()
    server = Server(Connection(int(sys.argv[1])))
    signal.signal(signal.SIGINT, server.interrupt)
    threading.Thread(target=server.listen, daemon=True).start()
    server.work()
    # Threads of libraries must not delay the end.
    os._exit(0)


if __name__ == "__main__":
    main()
