"""Where the files that come with this program are, in a checkout and in an installed package.

The build copies `assets/examples` and `assets/generator` of the checkout to `engine/assets/` of the package.
"""

from __future__ import annotations

from pathlib import Path

from engine.errors import EngineError, setting

_PACKAGE = Path(__file__).resolve().parent


def released_generator() -> Path:
    """The folder of the released generator.

    Raises:
        EngineError: this installation came without one.
    """
    folder = _asset("generator")
    if folder is None:
        raise EngineError(
            "no generator came with this installation",
            hint=f"Name one with {setting('generator')}, or train one with `dnd-tui lab train`",
        )
    return folder


def example_prompts() -> Path:
    """A file of prompts to try the program with.

    Raises:
        EngineError: this installation came without one.
    """
    file = _asset("examples/topics.jsonl")
    if file is None:
        raise EngineError("no example came with this installation", hint="Drop prompts of your own")
    return file


def _asset(name: str) -> Path | None:
    places = (_PACKAGE / "assets" / name, _PACKAGE.parent / "assets" / name)
    return next((place for place in places if place.exists()), None)
