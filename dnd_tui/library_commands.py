"""The library of the app without the app: what is in it, and notes.

    dnd-tui library                       every adapter: name, score, when it was made, folder
    dnd-tui library note NAME "a text"    write a note; without a text print it

A folder that is printed is what `--adapter` of the other commands takes.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dnd_tui.headless import AS_JSON, FAILED, complain

if TYPE_CHECKING:
    from dnd_tui.state.adapter_record import AdapterRecord
    from dnd_tui.state.library import Library
    from engine.errors import EngineError

_Json = Annotated[bool, typer.Option("--json", help=AS_JSON, show_default=False)]


def show(ctx: typer.Context, as_json: _Json = False) -> None:
    """List the adapters of the app's library, the newest first; write notes on them."""
    if ctx.invoked_subcommand is None:
        from engine.errors import EngineError

        try:
            lines = list(map(_as_json if as_json else _as_text, _records(_library())))
        except EngineError as error:
            _fail(error)
        for line in lines if lines or as_json else ["The library is empty: generate an adapter in the app"]:
            typer.echo(line)


def note(
    name: Annotated[str, typer.Argument(help="Name of an adapter of the library.", metavar="NAME")],
    text: Annotated[
        str | None, typer.Argument(help='The note; "" takes it away. Without it the note is printed.', metavar="TEXT")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Write a note on an adapter, or print it; the app shows and finds it, and cards of exports hold it."""
    from dnd_tui.text import printable
    from engine.errors import EngineError

    try:
        library = _library()
        record = _named(library, name)
        if text is not None:
            record = library.set_note(record.id, text.strip())
        typer.echo(_as_json(record) if as_json else printable(record.note) or f"no note on {printable(record.name)}")
    except EngineError as error:
        _fail(error)


def add_to(app: typer.Typer, **look: Any) -> None:
    """Add the command `library`."""
    library = typer.Typer(**look)
    library.callback(invoke_without_command=True)(show)
    library.command("note", options_metavar="[OPTIONS]")(note)
    app.add_typer(library, name=NAME)


NAME = "library"


def _library() -> Library:
    from dnd_tui.config import data_folder
    from dnd_tui.state.library import Library

    return Library(data_folder() / "library")


def _records(library: Library) -> list[AdapterRecord]:
    """All adapters that are not damaged."""
    from dnd_tui.state.adapter_record import AdapterRecord

    return [entry for entry in library.entries() if isinstance(entry, AdapterRecord)]


def _named(library: Library, name: str) -> AdapterRecord:
    """The adapter of that name or id.

    Raises:
        EngineError: there is none.
    """
    from engine.errors import EngineError

    records = _records(library)
    for record in records:
        if name.casefold() == record.name.casefold() or name == record.id:
            return record
    near = difflib.get_close_matches(name, [record.name for record in records], 1, 0.5)
    hint = f'The nearest is "{near[0]}"' if near else "dnd-tui library lists all of them"
    raise EngineError("no adapter of this name is in the library", where=name, hint=hint)


def _as_text(record: AdapterRecord) -> str:
    """Name, scores, when, folder; the note below."""
    from dnd_tui.text import one_line, short_path

    when = record.made[:16].replace("T", " ")
    words = "  ".join([one_line(record.name), record.score_words, when, one_line(short_path(record.folder))])
    return words + (f"\n    {one_line(record.note)}" if record.note else "")


def _as_json(record: AdapterRecord) -> str:
    from dnd_tui.state.stored import to_plain

    return json.dumps(to_plain(record), ensure_ascii=False)


def _fail(error: EngineError) -> NoReturn:
    complain(error.text())
    raise typer.Exit(FAILED)
