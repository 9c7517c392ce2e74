"""Where the parts of a row are: what `columns.find_shape` finds and `rows` reads by."""

from __future__ import annotations

from dataclasses import dataclass

from engine.prompts.options import Options
from engine.prompts.templates import Template


class RowError(ValueError):
    """A row that cannot be read; whoever knows file and line makes an EngineError of it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


@dataclass(frozen=True)
class RowShape:
    """Where the parts of a row are.

    column: the prompt column; None for rows that are plain text.
    before, after: text columns put in front of the prompt and after it, a blank line between.
    options: the options of a multiple-choice row, put under the prompt.
    labels: columns whose values become the references.
    listed: those of them whose text may write a list of answers.
    turns: the prompt column holds chat turns.
    marked: the prompt column, or the plain text, holds chats with their roles written into the text.
    answered: the assistant turn after the prompt is the label.
    teacher: the column that names the model which wrote the labels; None without one.
    inside: the column whose value is an object that holds the others; None where rows hold them themselves.
    role: the column that says who speaks, where each row is one turn: only a user's rows are prompts.
    template: the prompt is what it makes of the row; `column` is then the first that it takes.
    images: columns that name images; those that chat turns name come with them.
    verdict: the column that says by true and false whether the answer of a row is a good one; others are no labels.
    unread: columns with something in them that are not read.
    """

    column: str | None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    options: Options | None = None
    labels: tuple[str, ...] = ()
    listed: frozenset[str] = frozenset()
    turns: bool = False
    marked: bool = False
    answered: bool = False
    teacher: str | None = None
    inside: str | None = None
    role: str | None = None
    template: Template | None = None
    images: tuple[str, ...] = ()
    verdict: str | None = None
    unread: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        right = self.options.right if self.options else None
        single = (self.inside, self.column, self.teacher, self.role, self.verdict, right)
        options = self.options.columns if self.options else ()
        template = self.template.columns if self.template else ()
        named = (*self.before, *self.after, *options, *self.labels, *template, *self.images)
        return tuple(dict.fromkeys((*(name for name in single if name is not None), *named)))

    @property
    def prompt_words(self) -> str:
        """The prompt column for people, for example "instruction + input"."""
        if self.template is not None:
            return f'template "{self.template}"'
        if self.column is None:
            return "plain text (user's part)" if self.marked else "plain text"
        main = f"{self.inside}.{self.column}" if self.inside is not None else self.column
        if self.turns or self.marked:
            main += " (last user turn)"
        if self.role is not None:
            main += f" (rows whose {self.role} is the user's)"
        options = (self.options.words,) if self.options is not None and not self.options.standing else ()
        return " + ".join((*self.before, main, *self.after, *options))

    @property
    def label_words(self) -> str | None:
        """The label columns for people; None when there are none."""
        if self.column is None:
            return "plain text (assistant's part)" if self.answered else None
        if not self.labels and not self.answered:
            return None
        inside = f"{self.inside}." if self.inside is not None else ""
        words = " + ".join(self.labels) or f"{inside}{self.column} (assistant turn)"
        return words if self.verdict is None else f"{words} (where {self.verdict} is true)"
