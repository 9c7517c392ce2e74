"""A stylesheet that parses every source once.

Textual's own keeps what it parsed of 64 sources, and each class of widget is one. This app has more, so that each new
class on a screen had all of them parsed anew: 0.1 s each time. It also starts afresh at the first visit of a screen.
"""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet

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
