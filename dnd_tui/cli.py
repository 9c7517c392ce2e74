"""The command `dnd-tui`: the app, or one subcommand a request; none of the work.

    dnd-tui [PATH]           --> launch.py, the terminal app
    dnd-tui COMMAND ...      --(options.py)--> request --(headless.py)--> engine.jobs.run --> stdout, exit code
    dnd-tui lab COMMAND ...  the same, for those who train generators and judge arms
    dnd-tui library ...      library_commands.py, the library of the app

Which commands there are stands in `engine.jobs.declared`. Nothing heavy is imported here, so that `--help` answers at
once.
"""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Sequence
from functools import wraps
from typing import Annotated, Any

import typer

from dnd_tui import __version__, library_commands
from dnd_tui.headless import AS_JSON, FAILED, WRONG_USE, cannot_print, complain, drop_stdout, run
from dnd_tui.options import build_asked, parameters
from engine.jobs.command_line import LAB, NAME
from engine.jobs.declared import JOBS
from engine.requests import ChatRequest, Request

_LOOK: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    # Help by rich costs 0.1 s more at every start.
    "rich_markup_mode": None,
    "subcommand_metavar": "COMMAND [ARGS]...",
    "options_metavar": "",
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(**_LOOK, epilog=f"Help on a command: {NAME} COMMAND --help")
LIBRARY = library_commands.NAME
lab = typer.Typer(**_LOOK, epilog=f"Help on a command: {NAME} {LAB} COMMAND --help")


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    headless: Annotated[
        bool, typer.Option("--headless", help="Never open the app; commands need it no more.", show_default=False)
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", show_default=False)] = False,
) -> None:
    """Drop prompts, get a LoRA adapter: examples or an instruction go into the weights once, in seconds.

    Without a command: `dnd-tui [PATH]` opens the app (options: `dnd-tui open --help`), `dnd-tui serve` serves it to
    a browser.
    """
    if version:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        complain(f"--headless needs a command: {', '.join([*_commands(lab=False), LIBRARY, LAB])}")
        raise typer.Exit(WRONG_USE)


@lab.callback(invoke_without_command=True)
def laboratory(ctx: typer.Context) -> None:
    """Train generators, measure arms over tasks, time and plan it."""
    if ctx.invoked_subcommand is None:
        complain(f"{LAB} needs a command: {', '.join(_commands(lab=True))}")
        raise typer.Exit(WRONG_USE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if _is_for_app(given):
        if meant := _mistyped(given):
            complain(f"there is no file {given[0]}, and no such command. Did you mean {NAME} {meant}?")
            sys.exit(WRONG_USE)
        from dnd_tui.launch import launch

        launch(given)
    try:
        app(args=given, prog_name=NAME)
    except OSError as error:
        # Of what is printed without a job: help, version, the library. Jobs report their own.
        drop_stdout()
        complain(cannot_print(error).text())
        sys.exit(FAILED)


def _is_for_app(given: Sequence[str]) -> bool:
    """Whether the app is asked for: no --headless, no command, no help on all of it."""
    first = given[0] if given else None
    words = {"-h", "--help", "--version", LAB, LIBRARY, *_commands(lab=False), *_commands(lab=True)}
    return "--headless" not in given and first not in words


def _mistyped(given: Sequence[str]) -> str | None:
    """The command that the first word is close to; None where it may well be a file for the app."""
    if not given or given[0].startswith("-") or os.path.lexists(given[0]):
        return None
    names = {name: name for name in ("open", "serve", LIBRARY, *_commands(lab=False))}
    names |= {name: f"{LAB} {name}" for name in _commands(lab=True)}
    if given[0] in names:
        return None
    return next((names[name] for name in difflib.get_close_matches(given[0], names, 1, 0.8)), None)


def _commands(*, lab: bool) -> list[str]:
    return [job.command for job in JOBS.values() if job.command and not job.switch and job.lab == lab]


def _add(request_type: type[Request]) -> None:
    job = JOBS[request_type]

    def body(**values: Any) -> None:
        as_json, debug = values.pop("json"), values.pop("debug")
        try:
            request = build_asked(request_type, values)
        except ValueError as error:
            complain(str(error))
            raise typer.Exit(WRONG_USE) from None
        if isinstance(request, ChatRequest):
            from dnd_tui.chat import chat

            raise typer.Exit(chat(request, as_json=as_json, debug=debug))
        raise typer.Exit(run(request, as_json=as_json, debug=debug))

    flags = [
        _flag("json", AS_JSON),
        _flag("debug", "Show the traceback of an error and the warnings of libraries."),
    ]
    body.__signature__ = inspect.Signature(parameters(request_type) + flags)  # type: ignore[attr-defined]
    look: dict[str, Any] = {"help": job.help, "options_metavar": "[OPTIONS]"}
    if not job.lab:
        app.command(job.command, **look)(body)
        return

    @wraps(body)
    def moved(**values: Any) -> None:
        # Of several processes the first one speaks for all.
        if os.environ.get("RANK", "0") == "0":
            now = f"{NAME} {LAB} {job.command}"
            print(f'warning: "{NAME} {job.command}" is now "{now}"; the old name goes in 0.2', file=sys.stderr)
        body(**values)

    lab.command(job.command, **look)(body)
    app.command(job.command, hidden=True, **look)(moved)


def _flag(name: str, text: str) -> inspect.Parameter:
    info = typer.Option(f"--{name}", help=text, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, info])


for _request_type, _job in JOBS.items():
    if _job.command and not _job.switch:
        _add(_request_type)
library_commands.add_to(app, **_LOOK)
app.add_typer(lab, name=LAB)
