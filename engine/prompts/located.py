"""A row and where it is: what every reader gives."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple


class Located(NamedTuple):
    """A row and its place in the file: `unit` number `number` ("line 3", "row 3", "item 3")."""

    unit: str
    number: int
    row: Any


Rows = Generator[Located, None, None]
