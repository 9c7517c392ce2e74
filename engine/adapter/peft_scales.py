"""How peft scales the LoRA of each module, by any config: alpha / r, or alpha / sqrt(r) of rsLoRA, with patterns.

A key of rank_pattern or alpha_pattern stands for every module whose path, or the end of it after a dot, it matches as a
regular expression; the first that matches counts (`get_pattern_key` of peft). The keys come out of somebody's file, and
an expression can take years to match: those that could are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from engine.adapter.peft_config import LARGEST_ALPHA, LARGEST_RANK
from engine.errors import EngineError

_KEY_LETTERS = re.compile(r"[\w.^$\\|()\[\]*+?:-]{1,400}", re.ASCII)
# With one repetition, not of a group, and one group of a few alternatives, a base's path is matched at once.
_MOST_REPETITIONS = _MOST_GROUPS = 1
_MOST_ALTERNATIVES = 16
_MOST_EXPRESSIONS, _MOST_KEYS = 2**10, 2**14
_LITERAL = re.compile(r"\w+(\.\w+)*", re.ASCII)
_HINT = "Only what peft itself writes is read"


@dataclass(frozen=True)
class PeftScales:
    """Ranks and scales of a config.

    rank_of, alpha_of: by the module's path in the adapter's own file; ask only for paths that a base has.
    root: whether the scale is alpha / sqrt(r) instead of alpha / r.
    """

    rank_of: Callable[[str], int]
    alpha_of: Callable[[str], Fraction]
    root: bool

    def scale_of(self, path: str) -> Fraction:
        """What B A of a module is multiplied by; of rsLoRA, the float that peft has."""
        rank, alpha = self.rank_of(path), self.alpha_of(path)
        return Fraction(float(alpha) / math.sqrt(rank)) if self.root else alpha / rank


def peft_scales(config: Mapping[str, Any], where: str) -> PeftScales:
    """Read the settings.

    Raises:
        EngineError: one of them is none that peft writes.
    """
    rank, alpha = _rank(config.get("r"), f"{where}, r"), _alpha(config.get("lora_alpha"), f"{where}, lora_alpha")
    ranks = {key: _rank(value, place) for key, value, place in _pattern(config, "rank_pattern", where)}
    alphas = {key: _alpha(value, place) for key, value, place in _pattern(config, "alpha_pattern", where)}
    rank_key, alpha_key = _matcher(ranks, f"{where}, rank_pattern"), _matcher(alphas, f"{where}, alpha_pattern")
    return PeftScales(
        lambda path: ranks.get(rank_key(path) or "", rank),
        lambda path: alphas.get(alpha_key(path) or "", alpha),
        bool(config.get("use_rslora")),
    )


def _pattern(config: Mapping[str, Any], name: str, where: str) -> list[tuple[str, Any, str]]:
    pattern = config.get(name) or {}
    if not isinstance(pattern, dict) or len(pattern) > _MOST_KEYS:
        raise EngineError("is not a JSON object, or a very long one", where=f"{where}, {name}", hint=_HINT)
    return [(key, value, f"{where}, {name}, {key[:100]}") for key, value in pattern.items()]


def _rank(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_RANK:
        problem = f"{repr(value)[:40]} is not a rank, a whole number from 1 to {LARGEST_RANK}"
        raise EngineError(problem, where=where, hint=_HINT)
    return value


def _alpha(value: Any, where: str) -> Fraction:
    # Not so small either that its float32 would be none.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 2**-20 <= value <= LARGEST_ALPHA:
        problem = f"{repr(value)[:40]} is not an alpha, a number above 0 and up to {LARGEST_ALPHA}"
        raise EngineError(problem, where=where, hint=_HINT)
    return Fraction(value)


def _matcher(pattern: Mapping[str, Any], where: str) -> Callable[[str], str | None]:
    """The first key that matches a path; None for none."""
    # Nearly always the keys are paths, or ends of paths: thousands of them are looked up, not tried.
    literal = {key: place for place, key in enumerate(pattern) if _LITERAL.fullmatch(key)}
    others = [
        (place, key, _compiled(key, f"{where}, {key[:100]}")) for place, key in enumerate(pattern) if key not in literal
    ]
    if len(others) > _MOST_EXPRESSIONS:
        raise EngineError(f"has {len(others)} patterns that are no paths", where=where, hint=_HINT)

    def key_of(path: str) -> str | None:
        parts = path.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts)))
        found = [(literal[end], end) for end in ends if end in literal]
        found += [(place, key) for place, key, expression in others if expression.match(path)]
        return min(found)[1] if found else None

    return key_of


def _compiled(key: str, where: str) -> re.Pattern[str]:
    plain = key.replace("(?:", "(")
    safe = (
        _KEY_LETTERS.fullmatch(key)
        and sum(plain.count(sign) for sign in "*+?") <= _MOST_REPETITIONS
        and plain.count("(") <= _MOST_GROUPS
        and plain.count("|") < _MOST_ALTERNATIVES
        and not re.search(r"\)[*+?]", key)
    )
    if not safe:
        raise EngineError("is a pattern that is not tried", where=where, hint=_HINT)
    try:
        return re.compile(rf"(.*\.)?({key})$")
    except re.error as error:
        raise EngineError(f"is no pattern ({error})", where=where, hint=_HINT) from None
