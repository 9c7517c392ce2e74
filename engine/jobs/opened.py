"""The adapter that is to be imported, opened: light, so that what is wrong with it is told before heavy imports."""

from __future__ import annotations

import shlex
from typing import Literal

from engine.adapter.foreign import Foreign
from engine.adapter.foreign_gguf import open_foreign_gguf
from engine.adapter.foreign_peft import open_foreign_peft
from engine.adapter.kind import adapter_path, known_kind
from engine.base.catalog import DEFAULT_BASE, means_default_base
from engine.errors import EngineError
from engine.requests import ImportRequest, ModelChoice


def opened_adapter(request: ImportRequest) -> tuple[Literal["peft", "gguf"], Foreign]:
    """Its kind, and what its config and header say.

    Raises:
        EngineError: it is no adapter, more than LoRA, broken, or names another base than the one chosen by default.
    """
    kind = known_kind(request.source)
    open_foreign = open_foreign_peft if kind == "peft" else open_foreign_gguf
    foreign: Foreign = open_foreign(adapter_path(request.source))
    _check_named(foreign.named_base, request.models.base, str(request.source))
    return kind, foreign


def _check_named(named: str | None, chosen: str, where: str) -> None:
    """Nothing is fetched because a file names it: the base of an adapter is the default one, or said by the person.

    Raises:
        EngineError: no base was chosen and the adapter names another than the default.
    """
    if chosen != ModelChoice.base or named is None or means_default_base(named):
        return
    hint = (
        f"Say --base {shlex.quote(named[:200])}, or the folder or .gguf file of it; "
        f"--base {DEFAULT_BASE.name} takes the default one all the same"
    )
    raise EngineError(f"names {named[:200]} as its base, not {DEFAULT_BASE.hub_id}", where=where, hint=hint)
