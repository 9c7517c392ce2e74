"""A chat on the terminal: a line is a message, the answers come below it, until the lines end.

    stdin   messages: a line each, or what stands between the lines !multi and !end; exit or quit ends the chat
    stdout  answers, or JSON with --json: a line for each message
    stderr  progress, remarks, errors

Ctrl-C stops an answer; between answers it ends the chat.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from dnd_tui.headless import (
    DONE,
    INTERRUPTED,
    AnswersAsJson,
    AnswersForPeople,
    Interrupts,
    guarded,
    settle_stdout,
    write,
)
from dnd_tui.progress import PlainProgress
from dnd_tui.text import one_line
from engine.adapter.peft_folder import CONFIG_FILE
from engine.events import AnswerText, Event, Note, Reporter, TurnsLeftOut
from engine.jobs.declared import JOBS
from engine.requests import ChatRequest, Exchange, LoadRequest, ModelChoice

_LEAVE = ("exit", "quit")
_SEVERAL, _END = "!multi", "!end"
_PROMPT = "> "


def chat(request: ChatRequest, *, as_json: bool = False, debug: bool = False) -> int:
    """Talk until the person leaves; returns the exit code. Every failure is printed on stderr, none is raised."""
    request = naming_base(request)
    settle_stdout(as_json)
    code = guarded(request, lambda progress, interrupts: _begin(request, progress, interrupts), debug=debug)
    if code != DONE:
        return code
    talks = sys.stdin.isatty()
    if talks:
        print(f"{', '.join(request.arms)}: exit, quit or Ctrl-D ends the chat, {_SEVERAL} begins a message of several "
              f"lines and {_END} ends it", file=sys.stderr)  # fmt: skip
    try:
        for message in messages(_lines(asking=talks and sys.stdout.isatty())):
            answers: dict[str, str] = {}
            asked = replace(request, message=message)

            def say(progress: PlainProgress, interrupts: Interrupts, asked: ChatRequest = asked) -> None:
                answers.update(_answered(asked, progress, interrupts, as_json))  # noqa: B023, called before the next

            code = guarded(asked, say, debug=debug)
            if code == DONE:
                request = replace(request, earlier=(*request.earlier, Exchange(message=message, answers=answers)))
            elif not talks:
                return code
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    return DONE


def naming_base(request: ChatRequest) -> ChatRequest:
    """A single name that is no adapter's folder is a base's: the same request with it as the base."""
    if len(request.adapters) != 1 or request.models.base != ModelChoice.base:
        return request
    [name] = request.adapters
    if (name / CONFIG_FILE).exists():
        return request
    return replace(request, adapters=(), models=replace(request.models, base=str(name)))


def messages(lines: Iterator[str]) -> Iterator[str]:
    """The messages in lines that a person types; empty ones are none."""
    for line in lines:
        if line.strip() in _LEAVE:
            return
        if line.strip() == _SEVERAL:
            parts = []
            for part in lines:
                if part.strip() == _END:
                    break
                parts.append(part)
            line = "\n".join(parts)
        if line.strip():
            yield line.strip()


def _lines(*, asking: bool) -> Iterator[str]:
    if asking:
        with suppress(ImportError):
            import readline  # noqa: F401, `input` has its keys and its history then
        with suppress(EOFError):
            while True:
                yield input(_PROMPT)
        print()
        return
    if reconfigure := getattr(sys.stdin, "reconfigure", None):
        reconfigure(errors="replace")
    for line in sys.stdin:
        yield line.rstrip("\n")


def _begin(request: ChatRequest, progress: PlainProgress, interrupts: Interrupts) -> None:
    """What cannot be is reported before anything is typed; the base is in memory then."""
    from pkgutil import resolve_name

    from engine.jobs import run

    resolve_name(JOBS[ChatRequest].check)(request)
    run(LoadRequest(models=request.models, with_generator=False), Reporter(progress.handle, interrupts.asked))


def _answered(request: ChatRequest, progress: PlainProgress, interrupts: Interrupts, as_json: bool) -> dict[str, str]:
    """Write the answers as they come; all of them by arm."""
    from engine.jobs import run

    several = len(request.arms) > 1
    people = AnswersForPeople(write, lambda row, arm: f"{one_line(arm)}:\n" if several else "")
    answers = AnswersAsJson(write, request.arms) if as_json else people

    def sink(event: Event) -> None:
        if isinstance(event, AnswerText):
            progress.pause()
            answers.add(event)
        elif isinstance(event, Note | TurnsLeftOut):
            progress.handle(event)

    result = run(request, Reporter(sink, interrupts.asked, JOBS[ChatRequest].flag))
    answers.close()
    found: dict[str, str] = result.to_json()["answers"]
    return found
