"""Comparisons of this run of the app: what was answered is still there when one is opened again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dnd_tui.screens.compare.arms import Compared, CompareOptions
from dnd_tui.screens.compare.prompts import Listed, ListedPrompt
from dnd_tui.screens.compare.rows import Answer, ComparedPrompt, Comparison
from dnd_tui.screens.compare.scores import ArmScore
from dnd_tui.screens.compare.talk import Talk
from dnd_tui.state.adapter_record import AdapterScore
from dnd_tui.state.histories import AskedPrompt
from dnd_tui.state.stored import now
from engine.events import AnswersScored, AnswerText
from engine.requests import CompareRequest, PromptChoice


@dataclass(eq=False)
class Session:
    """One comparison with all that has come of it.

    before: picks by arm that the library held when this run of the app first compared these.
    scored: how its answers are scored, once that is known. typed: how many prompts were typed.
    shown: the prompt whose answers are shown. past: by number, prompts out of the history, with their answers.
    talk: the chat; its arms are there from `begin_talk` on.
    """

    compared: Compared
    comparison: Comparison
    before: Mapping[str, int]
    listed: Listed
    sessions: Sessions
    scored: AnswersScored | None = None
    typed: int = 0
    shown: ComparedPrompt | None = None
    past: dict[int, ComparedPrompt] = field(default_factory=dict)
    talk: Talk = field(default_factory=lambda: Talk(()))
    # What the engine calls prompts and arms of the last request.
    _prompts: dict[int, ComparedPrompt] = field(default_factory=dict)
    _arms: dict[str, str] = field(default_factory=dict)

    def begin_talk(self) -> None:
        """Begin a new chat; the system text stays."""
        system = self.talk.system
        self.talk = Talk(self.compared.labels)
        self.talk.system = system

    @property
    def answered(self) -> bool:
        """Whether there is an answer to show."""
        return bool(self.past) or any(prompt.answers for prompt in self.comparison.prompts.values())

    def type(self, text: str) -> ComparedPrompt:
        """A prompt that was typed, numbered below 0."""
        self.typed += 1
        return self.comparison.prompt(-self.typed, text)

    def recall(self, asked: AskedPrompt) -> ComparedPrompt:
        """A prompt out of the history, numbered as if it had been typed; it counts for nothing here."""
        self.typed += 1
        self.past[-self.typed] = recalled(asked, -self.typed)
        return self.past[-self.typed]

    def prompt(self, row: ListedPrompt) -> ComparedPrompt:
        """The prompt of a row."""
        return self.past.get(row.number) or self.comparison.prompt(row.number, row.prompt, row.references)

    @property
    def asked(self) -> list[AskedPrompt]:
        """For the history: the prompts of the last request that were answered."""
        source = self.compared.prompts.source.name if self.compared.prompts else ""
        return [
            AskedPrompt(
                prompt=prompt.prompt,
                answers={arm: prompt.answers[arm].text for arm in self.comparison.arms if arm in prompt.answers},
                when=now(),
                base=self.compared.base_id,
                adapters=self.compared.labels[1:],
                source=source if prompt.number > 0 else "",
            )
            for prompt in self._prompts.values()
            if prompt.done
        ]

    def ask(self, prompts: Sequence[ComparedPrompt], options: CompareOptions) -> CompareRequest:
        """The request that answers these anew; `take` knows its pieces from now on."""
        self.comparison.begin(prompt.number for prompt in prompts)
        typed = [prompt for prompt in prompts if prompt.number < 0]
        listed = {prompt.number: prompt for prompt in prompts if prompt.number > 0}
        request = self.compared.request(list(listed), [prompt.prompt for prompt in typed], options)
        # The engine numbers typed prompts -1, -2 in every job; here they go on through all jobs.
        self._prompts = listed | {-place: prompt for place, prompt in enumerate(typed, 1)}
        self._arms = dict(zip(request.arms, self.comparison.arms, strict=True))
        return request

    def asks(self, prompt: ComparedPrompt) -> bool:
        """Whether the last request was for answers to it."""
        return any(asked is prompt for asked in self._prompts.values())

    def take(self, piece: AnswerText) -> tuple[ComparedPrompt, str]:
        """The next piece of an answer; the prompt and the arm that it is of."""
        prompt, arm = self._prompts[piece.row], self._arms[piece.arm]
        prompt.answers.setdefault(arm, Answer()).take(piece)
        return prompt, arm

    @property
    def earlier_picks(self) -> dict[str, int]:
        """Picks by arm outside of this one: those of before, and those of the same adapters on other prompts."""
        others = [each.comparison.picks({}) for each in self.sessions.of(self.compared) if each is not self]
        return {arm: sum(picks.get(arm, 0) for picks in (self.before, *others)) for arm in self.comparison.arms}

    @property
    def scores(self) -> list[ArmScore]:
        """The bars."""
        return self.comparison.scores(self.earlier_picks)

    @property
    def verdict(self) -> str:
        """What the scores show, and what wrote the answers; "" before there are any."""
        shown = self.compared.verdict(self.comparison, self.scored) if self.scored else ""
        return " ".join([*filter(None, [shown]), *self.comparison.answered_by])

    def kept(self) -> tuple[str, list[AdapterScore], dict[str, int]] | None:
        """What the library keeps of it, as of `Compared.kept`."""
        measured = self.comparison.measured(self.scored.metric) if self.scored else []
        return self.compared.kept(measured, self.comparison.picks(self.earlier_picks))


def recalled(asked: AskedPrompt, number: int = 0) -> ComparedPrompt:
    """A prompt out of the history with its answers."""
    answers = {arm: Answer(text, done=True) for arm, text in asked.answers.items()}
    return ComparedPrompt(number, asked.prompt, answers=answers, arms=tuple(answers), words=asked.words)


class Sessions:
    """All of them, the one that was opened last at the end."""

    def __init__(self) -> None:
        self._all: list[Session] = []

    def open(self, compared: Compared, examples: int) -> Session:
        """The one of these adapters, or this chain, with the prompts that it had; a new one where there is none."""
        same = self.of(compared)
        if not same:
            return self._begin(compared, examples)
        # Records may have changed; prompts that the person chose stay chosen, and arms keep their names.
        found = same[-1]
        found.compared = replace(compared, prompts=found.compared.prompts, labels=found.compared.labels)
        return self._opened(found, examples)

    def choose(self, compared: Compared, prompts: PromptChoice, examples: int) -> Session:
        """The one of these adapters on other prompts."""
        compared = replace(compared, prompts=prompts)
        for each in self.of(compared):
            if each.compared.prompts == prompts:
                return self._opened(each, examples)
        return self._begin(compared, examples)

    def of(self, compared: Compared) -> list[Session]:
        """Those of the same adapters, or the same chain, on whatever prompts."""
        return [each for each in self._all if each.compared.key == compared.key]

    def _begin(self, compared: Compared, examples: int) -> Session:
        before = next((each.before for each in self.of(compared)), compared.earlier_picks)
        comparison = Comparison(compared.arms(examples))
        self._all.append(Session(compared, comparison, before, Listed(compared.prompts), self))
        self._all[-1].begin_talk()
        return self._all[-1]

    def _opened(self, session: Session, examples: int) -> Session:
        self._all.remove(session)
        self._all.append(session)
        arms = session.compared.arms(examples)
        if session.comparison.arms != arms:
            session.comparison.change_arms(arms)
        return session
