"""The two themes of our own, beside every theme of Textual, and the stylesheet as it is read."""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet
from textual.theme import Theme

DARK = Theme(
    name="drop-dark",
    primary="#5fb3b3",
    secondary="#7aa2f7",
    accent="#e8b566",
    foreground="#d8dee9",
    background="#12161c",
    surface="#1a2029",
    panel="#222a35",
    success="#8fbf7f",
    warning="#e8b566",
    error="#e0707a",
    dark=True,
    variables={"footer-key-foreground": "#e8b566", "input-selection-background": "#5fb3b3 35%"},
)
LIGHT = Theme(
    name="drop-light",
    primary="#1f7a7a",
    secondary="#3355bb",
    accent="#9a5b00",
    foreground="#1c232b",
    background="#f6f4ee",
    surface="#fffdf8",
    panel="#e8e4d9",
    success="#3c7a2c",
    warning="#9a5b00",
    error="#b3323d",
    dark=False,
    variables={"footer-key-foreground": "#9a5b00", "input-selection-background": "#1f7a7a 25%"},
)
OURS = (DARK, LIGHT)


_SOURCES = 1000


class KeptStylesheet(Stylesheet):
    """Parsed rules are kept until the colours change."""

    def __init__(self, *, variables: dict[str, str] | None = None) -> None:
        super().__init__(variables=variables)
        self._parse_cache.grow(_SOURCES)

    def set_variables(self, variables: dict[str, str]) -> None:
        """Use these variables; other ones than before make all rules be parsed again."""
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        """Put the rules together."""
        self.parse()
