"""Scores of several arms as bars, live while answers are judged.

▲ adapter  0.62  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆··················  62 of 100 right  3 picks  highest
  base     0.41  ▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆····························  41 of 100 right  1 pick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from dnd_tui.text import one_line
from dnd_tui.widgets.cells import fitted

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
    """

    label: str
    mean: float | None
    judged: int
    right: int | None = None
    picks: int | None = None

    @property
    def told(self) -> list[str]:
        """`62 of 100 right`, `3 picks`."""
        judged = f"{self.right} of {self.judged} right" if self.right is not None else f"{self.judged} judged"
        parts = [judged if self.judged else "not judged yet"]
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
        columns = [max(map(len, column)) for column in zip(*map(_told, self._scores), strict=True)]
        told_width = sum(column + 2 for column in columns) + len("  highest")
        widest = max(cell_len(one_line(arm.label)) for arm in self._scores)
        label = max(min(widest, _WIDEST_LABEL, width - told_width - 8), 8)
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
            told = "".join(f"  {text:<{size}}" for text, size in zip(_told(arm), columns, strict=True))
            end = Content.assemble((told, "$foreground-muted"), ("  highest" if highest else "", f"bold {style}"))
            if width >= _ONE_LINE:
                room = width - name.cell_length - told_width - 2
                lines.append(Content.assemble(name, "  ", _bar(arm.mean, room, style), end))
            else:
                lines += [name + end, "  " + _bar(arm.mean, width - 2, style)]
        return Content("\n").join(lines)


def _told(arm: ArmScore) -> list[str]:
    return [*arm.told, *([""] if arm.picks is None else [])]


def _bar(share: float | None, width: int, style: str) -> Content:
    """Full up to `share`; the rest of the way to 1 is dotted."""
    full = round(min(max(share or 0.0, 0.0), 1.0) * width)
    return Content.assemble(("▆" * full, style), ("·" * (width - full), "$foreground-disabled"))
