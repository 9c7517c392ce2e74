"""What has been answered so far, by prompt and arm: the Compare screen without its widgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dnd_tui.screens.compare.scores import ArmScore
from dnd_tui.state.adapter_record import AdapterScore
from dnd_tui.state.transcript import TranscriptRow
from engine.events import AnswerText

# A mean score this close to 1 is a right answer: scores are fractions of counted words.
_RIGHT = 1 - 1e-9


@dataclass
class Answer:
    """One arm's answer to one prompt, as far as it has come; seconds since its batch began.

    asked: tokens of the query, 0 before the first piece.
    """

    text: str = ""
    done: bool = False
    score: float | None = None
    asked: int = 0
    tokens: int = 0
    first_seconds: float | None = None
    seconds: float = 0.0

    def take(self, piece: AnswerText) -> None:
        """The next piece."""
        self.text += piece.text
        self.done = piece.done
        self.score = piece.score
        self.asked, self.tokens, self.seconds = piece.asked, piece.tokens, piece.seconds
        if self.first_seconds is None and piece.tokens:
            self.first_seconds = piece.seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Of this answer after its first token; the arms of a prompt share a batch."""
        if self.first_seconds is None or self.tokens < 2 or self.seconds <= self.first_seconds:
            return None
        return (self.tokens - 1) / (self.seconds - self.first_seconds)

    @property
    def right(self) -> bool | None:
        """Wholly right or not; None without a label."""
        return None if self.score is None else self.score >= _RIGHT


@dataclass
class ComparedPrompt:
    """A prompt with its answers by arm.

    number: as the engine counts, below 0 for one that was typed.
    pick: the arm whose answer the person liked best. tied: they found none better.
    arms, words: of answers out of the history, which are of no comparison: what answered, and when that was.
    """

    number: int
    prompt: str
    references: tuple[str, ...] = ()
    answers: dict[str, Answer] = field(default_factory=dict)
    pick: str | None = None
    tied: bool = False
    arms: tuple[str, ...] = ()
    words: str = ""

    @property
    def done(self) -> bool:
        """Whether every answer that began has ended."""
        return bool(self.answers) and all(answer.done for answer in self.answers.values())

    def sign(self, arm: str) -> str:
        """A sign for lists: right, wrong, partly right, answered, being answered, not yet."""
        answer = self.answers.get(arm)
        if answer is None:
            return "·"
        if not answer.done:
            return "…"
        if answer.score is None:
            return "•"
        return "✓" if answer.right else "✗" if answer.score == 0 else "~"

    def signs(self, arms: Iterable[str]) -> str:
        """For lists: how each arm answered, with a mark before the one that was picked, or before all in a tie."""
        return "".join(("◆" if arm == self.pick else "=" if self.tied else " ") + self.sign(arm) for arm in arms)


class Comparison:
    """All prompts that were answered or picked, and the figures over them.

    Args:
        arms: what answers, the base first.
    """

    def __init__(self, arms: tuple[str, ...] = ()) -> None:
        self.arms = arms
        self.prompts: dict[int, ComparedPrompt] = {}
        # What wrote the last answers: "llama.cpp, float16"; "" before any.
        self.decoder = ""

    @property
    def answered_by(self) -> list[str]:
        """What wrote the answers, as a sentence; none before any."""
        return [f"Answers by {self.decoder}."] if self.decoder else []

    def prompt(self, number: int, text: str, references: tuple[str, ...] = ()) -> ComparedPrompt:
        """The prompt of this number, taken in if it is new."""
        return self.prompts.setdefault(number, ComparedPrompt(number, text, references))

    def change_arms(self, arms: tuple[str, ...]) -> None:
        """Other arms answer from now on: answers without them do not stand side by side with theirs."""
        self.arms = arms
        self.begin(self.prompts)

    def begin(self, numbers: Iterable[int]) -> None:
        """These will be answered (anew)."""
        for number in numbers:
            if number in self.prompts:
                self.prompts[number].answers = {}

    def forget_unfinished(self) -> None:
        """A run was stopped: half an answer is none."""
        for prompt in self.prompts.values():
            if not prompt.done:
                prompt.answers = {}

    def scores(self, earlier_picks: Mapping[str, int]) -> list[ArmScore]:
        """The bars: mean score, right answers and picks of each arm."""
        picks = self.picks(earlier_picks)
        return [self._arm_score(arm, picks) for arm in self.arms]

    def pick(self, prompt: ComparedPrompt, which: str) -> None:
        """Whose answer is best: that of the "base", of the "next" arm after the one that is picked, or of "none"."""
        base, *others = self.arms
        if which == "next":
            at = others.index(prompt.pick) if prompt.pick in others else -1
            prompt.pick = others[(at + 1) % len(others)]
        else:
            prompt.pick = base if which == "base" else None
        prompt.tied = which == "none"

    def picks(self, earlier: Mapping[str, int]) -> dict[str, int]:
        """How often each arm was picked, earlier comparisons included."""
        now = [prompt.pick for prompt in self.prompts.values()]
        return {arm: earlier.get(arm, 0) + now.count(arm) for arm in self.arms}

    def measured(self, metric: str) -> list[AdapterScore]:
        """Mean scores by arm over the prompts that every arm has answered and that have labels."""
        rows = [scores for _, scores in self.judged()]
        if not rows:
            return []
        return [
            AdapterScore(arm=arm, metric=metric, rows=len(rows), mean=sum(row[arm] for row in rows) / len(rows))
            for arm in self.arms
        ]

    def transcript_rows(self) -> list[TranscriptRow]:
        """All that were answered, in order of their numbers."""
        return [
            TranscriptRow(
                number=prompt.number,
                prompt=prompt.prompt,
                references=prompt.references,
                answers={arm: answer.text for arm, answer in prompt.answers.items()},
                scores={arm: answer.score for arm, answer in prompt.answers.items() if answer.score is not None},
                pick=prompt.pick,
            )
            for _, prompt in sorted(self.prompts.items())
            if prompt.done
        ]

    def timings(self) -> dict[str, dict[str, float]]:
        """By arm: mean tokens and seconds of a query, seconds to the first token, tokens a second of an answer."""
        found = {}
        for arm in self.arms:
            answers = [p.answers[arm] for p in self.prompts.values() if p.done and arm in p.answers]
            first = [answer.first_seconds for answer in answers if answer.first_seconds is not None]
            rates = [answer.tokens_per_second for answer in answers if answer.tokens_per_second is not None]
            if first:
                found[arm] = {
                    "tokens_a_query": sum(answer.asked for answer in answers) / len(answers),
                    "seconds_a_query": sum(answer.seconds for answer in answers) / len(answers),
                    "first_token_seconds": sum(first) / len(first),
                }
            if rates:
                found[arm]["tokens_per_second"] = sum(rates) / len(rates)
        return found

    def judged(self) -> list[tuple[tuple[str, ...], dict[str, float]]]:
        """Known answers and scores by arm of the prompts that every arm has answered and that have labels."""
        rows = []
        for prompt in self.prompts.values():
            scores = {arm: a.score for arm, a in prompt.answers.items() if a.done and a.score is not None}
            if all(arm in scores for arm in self.arms):
                rows.append((prompt.references, scores))
        return rows

    def _arm_score(self, arm: str, picks: Mapping[str, int]) -> ArmScore:
        scores = [own[arm] for _, own in self.judged()]
        answered = sum(arm in prompt.answers and prompt.answers[arm].done for prompt in self.prompts.values())
        mean = sum(scores) / len(scores) if scores else None
        right = sum(score >= _RIGHT for score in scores)
        asked = any(picks.values())
        return ArmScore(arm, mean, len(scores), right if scores else None, picks[arm] if asked else None, answered)
