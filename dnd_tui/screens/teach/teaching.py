"""From prompts without answers to a file of answers that a person has looked through.

prompts --TeachDialog--> wish --TeachRun--> answers-NAME.jsonl --TaughtDialog--> as the person left it
           ^                     |
           +--- no answer came --+
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from dnd_tui.folders import data_folder
from dnd_tui.screens.answer_dialog import free_answers_file
from dnd_tui.screens.teach.answers import TaughtDialog
from dnd_tui.screens.teach.form import TeachDialog, TeachWish
from dnd_tui.screens.teach.run import TeachRun
from engine.host import Finished
from engine.prompts.answer_sheet import read_sheet
from engine.requests import PromptChoice

if TYPE_CHECKING:
    from dnd_tui.app import DndApp

# What prompts are read from, and how: answers to others do not belong into the same file.
_Origin = tuple[PromptChoice, int, int]


class Teaching:
    """Lets models answer prompts; what was begun and is not complete goes on in its file, as long as the app runs."""

    def __init__(self, app: DndApp) -> None:
        self._app = app
        self._wish = TeachWish()
        self._unfinished: dict[_Origin, Path] = {}

    async def answers_to(self, prompts: PromptChoice) -> Path | None:
        """The file of answers; None where the person wants none of them. From a worker."""
        origin = await asyncio.to_thread(_origin, prompts)
        while True:
            begun = self._unfinished.get(origin)
            wish = await self._app.push_screen_wait(TeachDialog(self._wish, begun))
            if wish is None:
                return None
            self._wish = wish
            file = begun if begun else await asyncio.to_thread(free_answers_file, data_folder(), prompts.source)
            outcome = await self._app.push_screen_wait(TeachRun(wish.request(prompts, file, self._app.models)))
            rows = await asyncio.to_thread(read_sheet, file) or []
            if rows and not (isinstance(outcome, Finished) and all(row.response for row in rows)):
                self._unfinished[origin] = file
            else:
                self._unfinished.pop(origin, None)
            if outcome is None:
                return None  # the person has gone on to something else
            if any(row.response for row in rows):
                return file if await self._app.push_screen_wait(TaughtDialog(file, rows)) else None
            if isinstance(outcome, Finished):
                self._app.notify("The model gave no whole answer", severity="warning")


def _origin(prompts: PromptChoice) -> _Origin:
    """Touches the disk."""
    try:
        known = prompts.source.stat()
    except OSError:  # the job will say so
        return prompts, 0, 0
    return prompts, known.st_mtime_ns, known.st_size
