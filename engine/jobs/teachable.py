"""Where a teacher's answers go, looked at before the heavy imports."""

from __future__ import annotations

from engine.errors import EngineError
from engine.files import refuse_folder, refuse_occupied
from engine.prompts.answer_sheet import SheetRow, read_sheet
from engine.requests import TeachRequest


def sheet_there(request: TeachRequest) -> list[SheetRow]:
    """The rows of a file that an earlier run began, with what was changed in it since; empty without one.

    Raises:
        EngineError: something else is there and may not be replaced, or a setting is out of range.
    """
    refuse_folder(request.out)
    if request.out.exists() and request.out.resolve() == request.source.resolve():
        raise EngineError("is the file of the prompts", where=str(request.out), hint="Choose another --out")
    if request.tries < 0 or request.at_once < 1 or request.timeout <= 0:
        raise EngineError("no request can be made so", hint="Check --tries, --at-once and --timeout")
    rows = None if request.replace else read_sheet(request.out)
    if rows is None:
        refuse_occupied(request.out, request.replace)
    return rows or []
