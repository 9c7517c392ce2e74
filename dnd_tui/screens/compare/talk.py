"""A chat with base and adapters, as far as it has come: the Compare screen's chat without its widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dnd_tui.screens.compare.arms import Compared, CompareOptions
from dnd_tui.screens.compare.rows import Answer
from dnd_tui.state.histories import AskedPrompt
from dnd_tui.state.stored import now
from dnd_tui.state.transcript import Transcript, TranscriptRow
from engine.events import AnswersBy, AnswerText, TurnsLeftOut
from engine.requests import ChatRequest, Exchange


@dataclass
class Said:
    """A message and its answers by arm. left_out: by arm, what it no longer read before it answered, in words."""

    message: str
    answers: dict[str, Answer] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """Answers by arm; one that was stopped counts as far as it came."""
        return {arm: answer.text for arm, answer in self.answers.items() if answer.done or answer.text.strip()}


class Talk:
    """A chat.

    Args:
        arms: what answers, as the screen names them.
    """

    def __init__(self, arms: Sequence[str]) -> None:
        self.arms = tuple(arms)
        self.system = ""
        self.said: list[Said] = []
        self.decoder = ""
        self._names: dict[str, str] = {}

    def ask(self, message: str, compared: Compared, options: CompareOptions) -> ChatRequest:
        """The request for answers to a message; `take` knows their pieces from now on."""
        request = ChatRequest(
            models=compared.models,
            adapters=compared.adapters,
            chain=compared.chain,
            with_base=True,
            system=self.system,
            message=message,
            max_new_tokens=options.chat_tokens,
            temperature=options.temperature,
            sampling_seed=options.seed,
        )
        self._names = dict(zip(request.arms, self.arms, strict=True))
        named = {arm: name for name, arm in self._names.items()}
        earlier = tuple(
            Exchange(message=said.message, answers={named[arm]: text for arm, text in said.texts.items()})
            for said in self.said
        )
        self.said.append(Said(message))
        return replace(request, earlier=earlier)

    def take(self, event: AnswerText | TurnsLeftOut | AnswersBy) -> str:
        """What the engine reports of the last message; the arm that it is about, "" for all."""
        if isinstance(event, AnswersBy):
            self.decoder = str(event)
            return ""
        arm = self._names[event.arm]
        if isinstance(event, TurnsLeftOut):
            self.said[-1].left_out[arm] = str(event)
        else:
            self.said[-1].answers.setdefault(arm, Answer()).take(event)
        return arm

    def take_back(self) -> str:
        """The last message was not answered: as if it had never been sent. Its text."""
        return self.said.pop().message

    def asked(self, compared: Compared) -> AskedPrompt:
        """For the history: the last message."""
        return AskedPrompt(
            prompt=self.said[-1].message,
            answers=self.said[-1].texts,
            when=now(),
            base=compared.base_id,
            adapters=self.arms[1:],
            turn=len(self.said),
            system=self.system,
        )

    def transcript(self, compared: Compared, options: CompareOptions) -> Transcript:
        """What was said so far."""
        settings = {"base": compared.base_id, **options.lines(), "longest answer": f"{options.chat_tokens} tokens"}
        settings |= {"system": self.system} if self.system else {}
        settings |= {"decoder": self.decoder} if self.decoder else {}
        rows = [
            TranscriptRow(number=number, prompt=said.message, references=(), answers=said.texts)
            for number, said in enumerate(self.said, 1)
        ]
        return Transcript(made=now(), settings={"kind": "chat", **settings}, rows=rows)
