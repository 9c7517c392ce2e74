"""The front end's handle on its engine process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from engine.host.messages import Cancel, Failed, JobEnded, JobStarted, Message, Stopped, Submit
from engine.requests import Request

# After a wish to stop: seconds until a computation is interrupted, and until the process is killed.
_INTERRUPT_AFTER, _KILL_AFTER = 0.2, 0.4
_LAST_WORDS = 4000


class EngineProcess:
    """Jobs in a process of its own, one after the other. Started by the first job, and anew after a crash.

    Args:
        on_message: called with every message, from a thread of this object; it must not block.
        log: file that takes what the process and its libraries print; None drops it.
    """

    def __init__(self, on_message: Callable[[Message], None], log: Path | None = None) -> None:
        self._on_message = on_message
        self._log = log
        self._lock = threading.RLock()
        self._waiting: dict[int, Submit] = {}
        self._running: int | None = None
        self._cancelled: set[int] = set()
        self._number = 0
        self._closed = False
        self._heard = False
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @property
    def running(self) -> int | None:
        """The job under way, if any."""
        return self._running

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process else None

    def submit(self, request: Request) -> int:
        """Queue `request`; the number of its job."""
        with self._lock:
            if self._closed:
                raise ValueError("the engine process is closed")
            self._number += 1
            submitted = Submit(self._number, request)
            self._waiting[submitted.job] = submitted
            if self._process is None:
                self._start()
            else:
                self._send(submitted)
            return submitted.job

    def cancel(self, job: int) -> None:
        """Stop `job`; it ends as `Stopped` within half a second. Nothing happens when it has ended already."""
        with self._lock:
            if job not in self._waiting or job in self._cancelled:
                return
            self._cancelled.add(job)
            if job != self._running:
                self._end(job)
                self._send(Cancel(job))
                return
            process = self._process
            self._send(Cancel(job))
        for delay, number in ((_INTERRUPT_AFTER, signal.SIGINT), (_KILL_AFTER, signal.SIGKILL)):
            timer = threading.Timer(delay, self._insist, (job, process, number))
            timer.daemon = True
            timer.start()

    def close(self) -> None:
        """End the process now; jobs under way get no message any more."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process:
            _signal_group(process, signal.SIGKILL)
            process.wait()

    def _start(self) -> None:
        ours, theirs = Pipe()
        command = [sys.executable, "-m", "engine.host", str(theirs.fileno())]
        with _open_log(self._log) as output:
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A group of its own: what is typed into our terminal does not reach it, and a kill takes all of it.
                process_group=0,
            )
        theirs.close()
        self._connection = ours
        self._heard = False
        for submitted in self._waiting.values():
            self._send(submitted)
        threading.Thread(target=self._listen, args=(self._process, ours), daemon=True).start()

    def _send(self, message: Submit | Cancel) -> None:
        # Where the process is gone, the thread that listens reports it.
        with suppress(OSError):
            if self._connection:
                self._connection.send(message)

    def _listen(self, process: subprocess.Popen[bytes], connection: Connection) -> None:
        try:
            while True:
                self._take(connection.recv())
        except (EOFError, OSError):
            pass
        with self._lock:
            # By this thread and no other: a number that is free again may be another connection's before a read that
            # is under way has begun.
            connection.close()
        self._gone(process)

    def _take(self, message: Message) -> None:
        with self._lock:
            if self._closed or message.job not in self._waiting:
                return
            self._heard = True
            if isinstance(message, JobStarted):
                self._running = message.job
            if isinstance(message, JobEnded):
                self._end(message.job, message)
            elif message.job not in self._cancelled:
                self._on_message(message)

    def _end(self, job: int, message: JobEnded | None = None) -> None:
        """The job's last message goes out; a cancelled job is stopped, however it ended."""
        self._waiting.pop(job, None)
        if self._running == job:
            self._running = None
        stopped = job in self._cancelled or message is None
        self._cancelled.discard(job)
        self._on_message(JobEnded(job, Stopped()) if stopped or message is None else message)

    def _insist(self, job: int, process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
        with self._lock:
            if process is not None and process is self._process and self._running == job:
                _signal_group(process, number)

    def _gone(self, process: subprocess.Popen[bytes]) -> None:
        """The process ended: by a wish to stop, by a crash, or because we closed it."""
        code = process.wait()
        with self._lock:
            if self._closed or process is not self._process:
                return
            self._process = self._connection = None
            # One that ended between two jobs takes none with it. One that never sent a word is not started again and
            # again for the same job.
            job = self._running if self._heard else next(iter(self._waiting), None)
            if job is not None:
                self._end(job, JobEnded(job, self._crash(code)))
            if self._waiting:
                self._start()

    def _crash(self, code: int) -> Failed:
        if code == -signal.SIGKILL:
            hint = "Use fewer prompts, shorter answers or another device, then try again"
            problem = "the engine process was killed, most likely because memory ran out"
        elif code == -signal.SIGBUS:
            # Weights are mapped into memory; whoever cuts the file off takes them away.
            hint = "See that no program writes to them and their disk is there, then try again"
            problem = "the engine process ended: weights that it reads were cut off meanwhile"
        else:
            hint = "Try again; the log has the details for a bug report"
            how = signal.Signals(-code).name if code < 0 else f"code {code}"
            problem = f"the engine process ended unexpectedly ({how})"
        return Failed(problem, hint=hint, details=self._last_words(), crashed=True)

    def _last_words(self) -> str:
        try:
            return self._log.read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace") if self._log else ""
        except OSError:
            return ""


def _open_log(log: Path | None):  # type: ignore[no-untyped-def]
    """A binary file to append to; nowhere when the log cannot be written, for that must not stop a job."""
    if log is not None:
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            return open(log, "ab")
        except OSError:
            pass
    return open(os.devnull, "wb")


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may have ended in the meantime
        os.killpg(process.pid, number)
