"""A failure shown in its place, not in a dialog: what is wrong, where, what to do. The screen stays usable."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from dnd_tui.text import printable, sentence
from engine.host import Failed


class FailureCard(Static):
    """A frame with the failure; not there while there is none."""

    DEFAULT_CSS = """
    FailureCard {
        display: none; height: auto; max-height: 9; margin: 0 1; padding: 0 1; border: round $error;
        &.-shown { display: block; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)

    def show(self, failure: Failed | None, after: str) -> None:
        """Show a failure, or none.

        Args:
            after: what the person can do on this screen.
        """
        self.set_class(failure is not None, "-shown")
        if failure is None:
            return
        lines = [Content.styled(f"✗ {sentence(printable(failure.problem))}", "bold")]
        if failure.where:
            lines.append(Content.styled(printable(failure.where), "dim"))
        if failure.hint:
            lines.append(Content(sentence(printable(failure.hint))))
        lines.append(Content.styled(after, "dim"))
        self.update(Content("\n").join(lines))
