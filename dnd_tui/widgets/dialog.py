"""What all dialogs share: each closes itself, once.

Textual's own `dismiss` takes away whatever is on top, so a second Enter, a resize or the end of a job that comes when
the dialog is closed already, or covered by another one, would close what the person is looking at.
"""

from __future__ import annotations

from typing import TypeVar

from textual import events, on
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, Screen

Result = TypeVar("Result")


class ClosesOnce(Screen[Result]):
    """For dialogs of other packages, in front of their class."""

    _is_dismissed = False
    _due_result: tuple[Result | None] | None = None

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Close this dialog: now, or when what covers it is closed; nothing happens when it is closed already."""
        if self._is_dismissed:
            return AwaitComplete()
        if not self.is_active:
            self._due_result = (result,)
            return AwaitComplete()
        self._is_dismissed = True
        return super().dismiss(result)

    @on(events.ScreenResume)
    def _close_now(self) -> None:
        if self._due_result is not None:
            self.dismiss(*self._due_result)


class Dialog(ClosesOnce[Result], ModalScreen[Result]):
    """A dialog of the app."""
