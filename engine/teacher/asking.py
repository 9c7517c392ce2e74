"""What a teacher is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TeacherAnswer:
    """text: the answer; "" where there is none. by: the name of the model that wrote it.

    tokens: of prompt and answer together, as the teacher counts them; 0 where it does not.
    cut: the answer was as long as allowed, so its end is missing.
    refused: why the teacher does not take this prompt, for example because it is too long; "" where it does.
    """

    text: str
    by: str
    tokens: int = 0
    cut: bool = False
    refused: str = ""

    @property
    def whole(self) -> bool:
        """Whether it can be learned from: an answer without its end would teach that."""
        return bool(self.text) and not self.cut


@dataclass(frozen=True)
class Asking:
    """Prompts for a teacher, which answers them greedily.

    examples: (prompt, answer) turns before each prompt.
    max_new_tokens: of an answer.
    most_tokens: no further prompt is begun once so many tokens were used in all; None sets no limit.
    on_answer: called with a prompt's place and its answer, in the order in which they come.
    on_wait: called a few times a second; raises to stop.
    """

    prompts: Sequence[str]
    examples: Sequence[tuple[str, str]]
    max_new_tokens: int
    most_tokens: int | None
    on_answer: Callable[[int, TeacherAnswer], None]
    on_wait: Callable[[], None]

    def goes_on(self, used: int) -> bool:
        """Whether more may be asked after so many tokens."""
        return self.most_tokens is None or used < self.most_tokens
