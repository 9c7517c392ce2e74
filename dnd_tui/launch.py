"""Opening the app: in this terminal, or in a browser by textual-serve."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from dnd_tui.headless import DONE, FAILED, WRONG_USE, complain
from engine.requests import ModelChoice

# Names the class that stands in for a terminal; textual-serve sets it for the apps it starts.
_DRIVER = "TEXTUAL_DRIVER"
_Dtype = Literal["auto", "float32", "bfloat16", "float16"]

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command("open")
def open_app(
    path: Annotated[Path | None, typer.Argument(help="Prompt file, dataset folder or adapter to begin with.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model.", metavar="MODEL")] = None,
    generator: Annotated[Path | None, typer.Option(help="Folder of a generator.", metavar="DIR")] = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs.", metavar="DEVICE")] = None,
    dtype: Annotated[_Dtype | None, typer.Option(help="Number format of the base model.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="End with a traceback when the app itself fails.")] = False,
) -> None:
    """Open the terminal app, with a dropped file or folder if one is named."""
    if not _has_screen():
        complain("the app needs a terminal. For scripts there is: dnd-tui COMMAND, see dnd-tui --help")
        raise typer.Exit(WRONG_USE)
    if os.environ.get(_DRIVER) == "textual.drivers.web_driver:WebDriver":
        os.environ[_DRIVER] = "dnd_tui.browser:PageDriver"  # read when Textual is imported
    chosen = {"base": base, "generator": generator, "device": device, "dtype": dtype}
    given = {name: value for name, value in chosen.items() if value is not None}
    from dnd_tui.app import DndApp

    running = DndApp(path.absolute() if path else None, ModelChoice(**given) if given else None, debug=debug)  # type: ignore[arg-type]
    running.run()
    raise typer.Exit(running.return_code or DONE)


@app.command("serve")
def serve(
    path: Annotated[Path | None, typer.Argument(help="Prompt file, dataset folder or adapter to begin with.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.", min=1, max=65535)] = 8000,
) -> None:
    """Serve the app to a browser; every page that is opened is an app of its own."""
    from dnd_tui.browser import AppServer
    from engine.loopback import is_loopback

    # Where others could reach it, only who has the address with the key gets the app.
    key = "" if is_loopback(host) else secrets.token_urlsafe(24)
    if key:
        problem = "whoever has this address can read and write your files through the app"
        print(f"warning: {problem}: http://{host}:{port}/?key={key}", file=sys.stderr)
    command = [sys.executable, "-m", "dnd_tui", *([str(path.absolute())] if path else [])]
    try:
        AppServer(shlex.join(command), host, port, key).serve()
    except OSError as error:
        complain(f"cannot listen at {host}:{port}: {error.strerror or error}. Choose another --port or --host")
        raise typer.Exit(FAILED) from None


def launch(arguments: Sequence[str]) -> None:
    """`[PATH] [OPTIONS]` or `serve ...` -> the app."""
    given = list(arguments)
    app(args=given if given[:1] in (["open"], ["serve"]) else ["open", *given], prog_name="dnd-tui")


def _has_screen() -> bool:
    """A terminal on both ends, or a driver that stands in for one (the browser's)."""
    return _DRIVER in os.environ or (sys.stdin.isatty() and sys.stdout.isatty())
