"""The dnd-tui engine: prompts in, a LoRA adapter out.

From a notebook or a script, the functions of `engine.api` (an example: `docs/library.py`):

    import engine
    models = engine.load()
    adapter = engine.solve(models, "tickets.csv", "my-adapter")

Notable:
- no terminal code here;
- every job is a request (`engine.requests`) plus a stream of events (`engine.events`);
- heavy libraries (torch, transformers, peft) are imported at first use, never by this file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.api import Adapter, Answers, Prompts, compare, export, generate, load, read_prompts, solve

__all__ = ["Adapter", "Answers", "Prompts", "compare", "export", "generate", "load", "read_prompts", "solve"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("engine.api"), name)
