"""The forms of an export of a chain, by name, and which cannot be whatever the base. Light."""

from __future__ import annotations

from engine.errors import EngineError

FORMATS = ("mergekit", "dense", "peft", "json")


def form_refusal(form: str, *, with_adapter: bool) -> EngineError | None:
    """Why a form cannot be, as far as that is known without the base; None where it may be."""
    if form == "mergekit" and with_adapter:
        problem = "a passthrough merge takes layers of a base, not an adapter"
        return EngineError(problem, where=form, hint="Choose --format dense, which merges the adapter")
    return None
