"""The lower part of the Compare screen: scores as bars, what they show, the buttons.

▲ adapter  0.62  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆··················  62 of 100 right  3 picks  highest
  base     0.41  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆····························  41 of 100 right  1 pick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Static

from dnd_tui.text import one_line
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.lines import fitted

# From this width on, an arm is one line; below it the bar stands under its figures.
_ONE_LINE = 90
_WIDEST_LABEL = 24


@dataclass(frozen=True)
class ArmScore:
    """What is known of one arm.

    mean: mean score so far, 0 to 1; None before anything is judged.
    judged: answers judged so far.
    right: answers that are wholly right; None where the metric knows no right and wrong.
    picks: how often a person preferred this arm; None where nobody was asked.
    answered: prompts that it has answered, those without known answers too.
    """

    label: str
    mean: float | None
    judged: int
    right: int | None = None
    picks: int | None = None
    answered: int = 0

    @property
    def words(self) -> list[str]:
        """`62 of 100 right`, `3 picks`; `5 answered` where nothing is known to be right."""
        judged = f"{self.right} of {self.judged} right" if self.right is not None else f"{self.judged} judged"
        parts = [judged if self.judged else f"{self.answered} answered"]
        if self.picks is not None:
            parts.append(f"{self.picks} pick{'' if self.picks == 1 else 's'}")
        return parts


class ScoreBars(Widget):
    """A bar an arm, the highest marked by a sign and a word."""

    DEFAULT_CSS = """
    ScoreBars { width: 1fr; height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._scores: tuple[ArmScore, ...] = ()

    def show(self, scores: Sequence[ArmScore]) -> None:
        """Show these arms, in this order."""
        if tuple(scores) != self._scores:
            changed = len(scores) != len(self._scores)
            self._scores = tuple(scores)
            self.refresh(layout=changed)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """One or two lines an arm."""
        return max(len(self._scores), 1) * (1 if width >= _ONE_LINE or not self._scores else 2)

    def render(self) -> Content:
        """All arms."""
        if not self._scores:
            return Content.styled("No scores yet", "$foreground-muted")
        width = self.size.width
        columns = [max(map(len, column)) for column in zip(*map(_words, self._scores), strict=True)]
        taken_width = sum(column + 2 for column in columns) + len("  highest")
        widest = max(cell_len(one_line(arm.label)) for arm in self._scores)
        label = max(min(widest, _WIDEST_LABEL, width - taken_width - 8), 8)
        means = {arm.mean for arm in self._scores if arm.mean is not None}
        lines: list[Content] = []
        for arm in self._scores:
            # One arm alone, or all the same: nothing is highest.
            highest = len(means) > 1 and arm.mean == max(means)
            style = "$primary" if highest else "$secondary"
            name = Content.assemble(
                ("▲ " if highest else "  ", f"bold {style}"),
                (fitted(one_line(arm.label), label), "bold" if highest else ""),
                ("     -" if arm.mean is None else f"  {arm.mean:.2f}", f"bold {style}" if highest else ""),
            )
            words = "".join(f"  {text:<{size}}" for text, size in zip(_words(arm), columns, strict=True))
            end = Content.assemble((words, "$foreground-muted"), ("  highest" if highest else "", f"bold {style}"))
            if width >= _ONE_LINE:
                room = width - name.cell_length - taken_width - 2
                lines.append(Content.assemble(name, "  ", _bar(arm.mean, room, style), end))
            else:
                lines += [name + end, "  " + _bar(arm.mean, width - 2, style)]
        return Content("\n").join(lines)


def _words(arm: ArmScore) -> list[str]:
    return [*arm.words, *([""] if arm.picks is None else [])]


def _bar(share: float | None, width: int, style: str) -> Content:
    """Full up to `share`; the rest of the way to 1 is dotted."""
    full = round(min(max(share or 0.0, 0.0), 1.0) * width)
    return Content.assemble(("▆" * full, style), ("·" * (width - full), "$foreground-disabled"))


class CompareFoot(Vertical):
    """Scores, verdict, buttons. A button does an action of the screen. Remarks of the app stand above it."""

    DEFAULT_CSS = """
    CompareFoot {
        height: auto;
        #scores { height: auto; padding: 0 1; }
        #verdict { height: auto; padding: 0 1; color: $text-muted; display: none; }
    }
    """

    def compose(self) -> ComposeResult:
        """From the bars down."""
        yield ScoreBars(id="scores")
        yield Static(id="verdict", markup=False)
        with Horizontal(id="buttons"):
            yield KeyButton("Run", "compare.run", id="run", variant="primary", action="screen.run")
            yield KeyButton("Run all", "compare.all", id="all", action="screen.run_all")
            yield KeyButton("Stop", "compare.stop", id="stop", variant="error", action="screen.stop")
            yield KeyButton("Pick base", "compare.base", id="pick-base", action="screen.pick('base')")
            yield KeyButton("Pick adapted", "compare.adapted", id="pick-next", action="screen.pick('next')")
            yield KeyButton("Chat", "compare.chat", id="to-chat", action="screen.chat")
            yield KeyButton("Save", "compare.save", id="save", action="screen.save")
            yield KeyButton("Export", "compare.export", id="export", action="screen.export")

    def on_resize(self, event: events.Resize) -> None:
        """The scores are read while remarks come: these keep off them."""
        for remarks in self.screen.query("#textual-toastrack"):
            remarks.styles.margin = (0, 0, event.size.height + 1, 0)

    def show_scores(self, scores: Sequence[ArmScore]) -> None:
        """A bar an arm."""
        self.query_one(ScoreBars).show(scores)

    def show_verdict(self, text: str) -> None:
        """Sentences below the bars; no line without any."""
        line = self.query_one("#verdict", Static)
        line.update(text)
        line.display, line.tooltip = bool(text), text or None

    def settle(self, *, chosen: bool, running: bool, exported: bool) -> None:
        """Which buttons can be pressed.

        Args:
            chosen: it is known what is compared. running: answers are coming. exported: there is something to export.
        """
        for name in ("run", "all", "save", "export"):
            self.query_one(f"#{name}", Button).disabled = not chosen or running
        self.query_one("#export").display = exported
        # One stands where the others do: all buttons have room in a narrow terminal.
        self.query_one("#stop", Button).display = running
        for name in ("run", "all"):
            self.query_one(f"#{name}", Button).display = not running
        for name in ("pick-base", "pick-next", "to-chat"):
            self.query_one(f"#{name}", Button).disabled = not chosen
