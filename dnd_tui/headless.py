"""One request, run in this process without the app.

stdout  data: lines for people, or JSON with --json
stderr  progress, remarks, errors
exit    0 done, 1 failed, 2 wrong use, 130 interrupted
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from types import FrameType, TracebackType
from typing import Any, Protocol

from dnd_tui.options import names
from dnd_tui.progress import PlainProgress, open_progress
from dnd_tui.text import one_line, printable
from engine.errors import Cancelled, EngineError, disk_full, is_disk_full, is_out_of_memory
from engine.events import AnswerText, Event, Reporter
from engine.jobs.declared import JOBS
from engine.libraries import quiet_libraries_at_start
from engine.requests import CompareRequest, Request

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
AS_JSON = "Print the data as JSON (one object a line) instead of text."
"""What `--json` does."""

_LOWER_MEMORY = {
    "batch": "a smaller --batch",
    "count": "a smaller --count",
    "max_new_tokens": "a smaller --max-new-tokens",
    "recipe": "smaller batches in --recipe",
    "dtype": "--dtype bfloat16",
    "device": "--device cpu",
}


class ReaderGone(Cancelled):
    """Whoever read our stdout has closed it (`| head`)."""


def run(request: Request, *, as_json: bool = False, debug: bool = False) -> int:
    """Run `request` to its end; returns the exit code. Every failure is printed on stderr, none is raised.

    Args:
        as_json: stdout is JSON, one object a line, instead of text for people.
        debug: failures come with their traceback; libraries may warn.
    """
    settle_stdout(as_json)
    return guarded(request, lambda progress, interrupts: _answer(request, progress, interrupts, as_json), debug=debug)


def guarded(request: Request, work: Callable[[PlainProgress, Interrupts], str | None], *, debug: bool) -> int:
    """Do `work` for a request, with progress on stderr, until a signal comes; returns the exit code, as `run` does.

    Args:
        work: returns what of it failed, if anything did and the rest is done.
    """
    with Interrupts() as interrupts:
        try:
            quiet_libraries_at_start(debug=debug)
            with open_progress(sys.stderr) as progress:
                failed = work(progress, interrupts)
            if failed:
                complain(failed)
            return FAILED if failed else DONE
        except ReaderGone:
            return FAILED
        except (KeyboardInterrupt, Cancelled):
            print(f"stopped: {_kept(request)}", file=sys.stderr)
            return INTERRUPTED
        except Exception as error:
            if debug:
                traceback.print_exc()
            complain(_error_text(error, request, debug))
            return FAILED


def complain(problem: str) -> None:
    """One error line on stderr."""
    print(f"error: {one_line(problem)}", file=sys.stderr)


def _answer(request: Request, progress: PlainProgress, interrupts: Interrupts, as_json: bool) -> str:
    """Run the request, write its result; returns what of it failed, "" where nothing did."""
    arms = request.arms if isinstance(request, CompareRequest) else ()
    answers = AnswersAsJson(write, arms) if as_json else AnswersForPeople(write)
    one_terminal = sys.stdout.isatty()
    # Of several processes (`accelerate launch`, torchrun) the first one speaks for all.
    silent = os.environ.get("RANK", "0") != "0"

    def sink(event: Event) -> None:
        if silent:
            return
        if not isinstance(event, AnswerText):
            progress.handle(event)
            return
        if one_terminal:
            progress.pause()
        answers.add(event)

    from engine.jobs import run as run_job

    flag = JOBS[type(request)].flag
    result = run_job(request, Reporter(sink, interrupts.asked, flag))
    answers.close()
    if not silent:
        write(_json_line(result.to_json()) if as_json else _lines(result.summary(flag)))
    return result.failed


def write(text: str) -> None:
    """To stdout, at once.

    Raises:
        ReaderGone: nobody reads it any more.
        EngineError: it cannot be written, such as to a file on a full disk.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()
        raise ReaderGone from None
    except OSError as error:
        drop_stdout()
        raise cannot_print(error) from error


def drop_stdout() -> None:
    """Python flushes stdout once more at exit; it must find something that takes what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def cannot_print(error: OSError) -> EngineError:
    """What to say when stdout takes no more."""
    problem = f"cannot be written: {(error.strerror or str(error)).lower()}"
    return EngineError(problem, where="standard output", hint="Free some space, or send it elsewhere")


def _json_line(data: Any) -> str:
    return json.dumps(_finite(data), ensure_ascii=False, default=str) + "\n"


def _finite(data: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _lines(summary: list[tuple[str, str]]) -> str:
    """Labels in one column, values in the next; a value of several lines stands under its label."""
    width = max((len(label) for label, value in summary if "\n" not in value), default=0)
    lines = [f"{label}\n{value}" if "\n" in value else f"{label:<{width}}  {value}" for label, value in summary]
    return "".join(f"{printable(line)}\n" for line in lines)


def settle_stdout(as_json: bool) -> None:
    """JSON is UTF-8 whatever the locale; text a locale cannot show is escaped instead of failing."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(encoding="utf-8" if as_json else None, errors="backslashreplace")


def _kept(request: Request) -> str:
    return JOBS[type(request)].kept.format(out=getattr(request, "out", None))


def _error_text(error: Exception, request: Request, debug: bool) -> str:
    if isinstance(error, EngineError):
        return error.text(JOBS[type(request)].flag)
    if is_out_of_memory(error):
        settings = [text for name, text in _LOWER_MEMORY.items() if name in names(type(request))]
        return "out of memory" + (f". Try {', or '.join(settings)}" if settings else "")
    if is_disk_full(error):
        return disk_full(error).text()
    advice = "" if debug else ". Add --debug for the traceback"
    return f"unexpected failure: {type(error).__name__}: {error}{advice}"


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


Write = Callable[[str], None]


class Answers(Protocol):
    """Takes the pieces of all answers, in any order of rows and arms."""

    def add(self, piece: AnswerText) -> None:
        """The next piece of one answer."""

    def close(self) -> None:
        """No piece will follow."""


class AnswersForPeople:
    """One answer after the other under a heading; the first one that is not done is written as it comes.

    Pieces of the answers behind it wait, for a terminal line has one place to write at.

    Args:
        heading: of the answer to a row by an arm, with its line break.
    """

    def __init__(
        self, write: Write, heading: Callable[[int, str], str] = lambda row, arm: f"[{row}] {one_line(arm)}\n"
    ) -> None:
        self._write = write
        self._heading = heading
        self._waiting: dict[tuple[int, str], tuple[str, bool]] = {}
        self._open: tuple[int, str] | None = None

    def add(self, piece: AnswerText) -> None:
        """Write what can be written now."""
        key = (piece.row, piece.arm)
        text, _ = self._waiting.get(key, ("", False))
        self._waiting[key] = (text + piece.text, piece.done)
        self._write_front()

    def close(self) -> None:
        """Write what is left, also of answers that never ended."""
        self._waiting = {key: (text, True) for key, (text, _) in self._waiting.items()}
        self._write_front()

    def _write_front(self) -> None:
        while self._waiting:
            key, (text, done) = next(iter(self._waiting.items()))
            heading = "" if key == self._open else self._heading(*key)
            self._open = key
            if heading or text:
                self._write(heading + printable(text))
            if not done:
                self._waiting[key] = ("", False)
                return
            self._write("\n\n")
            del self._waiting[key]


class AnswersAsJson:
    """One line `{"row": 1, "answers": {"base": ..., "adapted": ...}}`, as soon as all `arms` of the row are done."""

    def __init__(self, write: Write, arms: Iterable[str]) -> None:
        self._write = write
        self._arms = frozenset(arms)
        self._rows: dict[int, dict[str, str]] = {}
        self._done: dict[int, set[str]] = {}

    def add(self, piece: AnswerText) -> None:
        """Write the row if it is complete now."""
        answers = self._rows.setdefault(piece.row, {})
        answers[piece.arm] = answers.get(piece.arm, "") + piece.text
        done = self._done.setdefault(piece.row, set())
        if piece.done:
            done.add(piece.arm)
        if done >= self._arms:
            self._write_row(piece.row)

    def close(self) -> None:
        """Write the rows that lack an arm."""
        for row in list(self._rows):
            self._write_row(row)

    def _write_row(self, row: int) -> None:
        self._write(json.dumps({"row": row, "answers": self._rows.pop(row)}, ensure_ascii=False) + "\n")
        del self._done[row]
