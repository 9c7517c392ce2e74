"""Where the generator that comes with this program is, in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

from engine.errors import EngineError

_PACKAGE = Path(__file__).resolve().parent


def released_generator() -> Path:
    """The folder of the released generator.

    The build copies `assets/` of the checkout to `engine/assets/` of the package.

    Raises:
        EngineError: this installation came without one.
    """
    for assets in (_PACKAGE / "assets", _PACKAGE.parent / "assets"):
        if (assets / "generator").is_dir():
            return assets / "generator"
    raise EngineError(
        "no generator came with this installation",
        hint="Name one with --generator, or train one with `dnd-tui --headless train`",
    )
