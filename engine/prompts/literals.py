"""Lists and objects written as text, as cells of tables hold them: JSON, Python's way, numpy's way."""

from __future__ import annotations

import ast
import io
import json
import token
import tokenize
from typing import Any

_LONGEST = 2**20
# All that stands in such texts outside of quotes, but for what follows `dtype=`.
_WORDS = frozenset({"None", "True", "False", "nan", "null", "array", "dtype"})
_OPENING, _CLOSING = frozenset("[{("), frozenset("]})")
_LAYOUT = frozenset({tokenize.NL, token.NEWLINE, token.INDENT, token.DEDENT, token.ENDMARKER})


def held_value(text: str) -> Any:
    """The list or object that a text writes; None when it is no such text.

    Known ways: `["a", "b"]`, `['a', 'b']`, and what pandas makes of arrays: `['a' 'b']`, `array(['a'], dtype=object)`.
    Nothing is run: `ast.literal_eval` takes literals only.
    """
    text = text.strip()
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if len(text) > _LONGEST:
        return None
    try:
        return ast.literal_eval(_with_commas(text))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def _with_commas(text: str) -> str:
    """`text` as a Python literal: numpy's arrays become lists, and commas come between their items.

    Without commas Python would take two strings in a row for one. Raises ValueError at the first word that is none of
    a literal.
    """
    written: list[str] = []
    ended = skipping = False
    for each in tokenize.generate_tokens(io.StringIO(text).readline):
        if each.type in _LAYOUT:
            continue
        if each.type == token.NAME and each.string not in _WORDS and not skipping:
            raise ValueError("is no literal")
        word = {"nan": "None", "null": "None"}.get(each.string, each.string)
        if word == "array" or (skipping and word != ")"):
            continue
        skipping = word == "dtype" and written[-1:] == [","]
        if skipping:
            written.pop()
            continue
        value = each.type in (token.STRING, token.NUMBER, token.NAME)
        if ended and (value or word in _OPENING):
            written.append(",")
        written.append(word)
        ended = value or word in _CLOSING
    return " ".join(written)
