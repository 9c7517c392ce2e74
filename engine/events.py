"""What a long job reports while it runs, and how it hears that it should stop.

Every front end (headless run, app, tests) consumes the same events:

    StageStarted -> StageAdvanced* -> StageFinished     once per stage, stages follow one another
    AnswersBy                                           what writes the answers that follow
    AnswersScored                                       how the answers that follow are scored
    TurnsLeftOut                                        what of a chat its answers no longer read
    AnswerText                                          a piece of streamed text
    UpdateNorms                                         how large the update of some modules came out
    ChainScored                                         a chain of layers that a search has looked at
    Note                                                a remark for the person
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine.errors import Cancelled, Names, named, plain


@dataclass(frozen=True)
class StageStarted:
    """A stage begins; `total` is the number of steps when it is known, `unit` names a step."""

    stage: str
    total: int | None = None
    unit: str = "steps"


@dataclass(frozen=True)
class StageAdvanced:
    """`step` of `total` steps are done after `seconds`; `figures` holds loss, tokens/s and the like.

    memory: device memory in use, in bytes, if known.
    """

    stage: str
    step: int
    total: int | None
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None


@dataclass(frozen=True)
class StageFinished:
    """A stage ended after `seconds`; `memory` is the device memory in use then, in bytes, if known."""

    stage: str
    seconds: float
    memory: int | None = None
    note: str = ""


@dataclass(frozen=True)
class AnswersScored:
    """How the answers that follow are scored: sent once, before the first, where there are known answers.

    metric: as in `engine.tasks.metrics`.
    labels: all answers that there are, the most frequent first; empty where the answers are no labels.
    examples: how many answered rows stand before each prompt of the arm "examples"; None without that arm.
    """

    metric: str
    labels: tuple[str, ...] = ()
    examples: int | None = None


@dataclass(frozen=True)
class AnswersBy:
    """What writes the answers that follow, said once before the first.

    decoder: "transformers" or "llama.cpp".
    float_type: the numbers that it computes with.
    reason: why it is transformers, where llama.cpp would have been taken.
    """

    decoder: str
    float_type: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.decoder}, {self.float_type}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class TurnsLeftOut:
    """The first `turns` messages of a chat no longer fit into the `window` tokens that the base reads of it.

    So the answer that follows by `arm` does not know them. Sent before every such answer.
    """

    arm: str
    turns: int
    window: int

    def __str__(self) -> str:
        first = "the first message is" if self.turns == 1 else f"the first {self.turns} messages are"
        return f"{first} no longer read: the base reads {self.window:,} tokens"


@dataclass(frozen=True)
class AnswerText:
    """A piece of the answer to prompt number `row` by one arm (`CompareRequest.arms`); the first may be without text.

    tokens: tokens of this answer so far.
    seconds: since its batch began to be read; the arms of a prompt share a batch, or take turns.
    score: on the last piece of an answer to a prompt with labels.
    asked: tokens of the query that is answered: the prompt as the model reads it, with all that stands before it.
    """

    row: int
    arm: str
    text: str
    done: bool = False
    tokens: int = 0
    seconds: float = 0.0
    score: float | None = None
    asked: int = 0


@dataclass(frozen=True)
class Note:
    """A remark for the person, one line; `warning` asks for more attention."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class UpdateNorms:
    """Modules whose matrices have just been made: by path, the norm of the adapter's update and of the frame's own.

    Frobenius norms of (alpha / rank) B·A; the frame's own adapter is what an empty condition would give.
    """

    norms: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class ChainScored:
    """A search of chains has looked at one, or looked at it again on more rows; the base's own comes first.

    chain: in words (`engine.depth.chain.format_chain`), of `layers` layers.
    rows, right: rows of the search it was scored on so far, and how many of them it answers exactly.
    value: what the search maximises (`engine.depth.scores`), on these rows.
    round: 0 in the tree, 1 and 2 in the rounds of halving.
    best: the best chain so far, of those scored on most rows.
    share: layers run so far, of those that a naive search would have run; None where that is not known.
    """

    chain: str
    layers: int
    rows: int
    right: int
    value: float
    round: int
    best: str
    share: float | None = None


Event = (
    StageStarted
    | StageAdvanced
    | StageFinished
    | AnswersBy
    | AnswersScored
    | TurnsLeftOut
    | AnswerText
    | Note
    | UpdateNorms
    | ChainScored
)


class Stage:
    """The running stage, handed out by `Reporter.stage`."""

    def __init__(self, reporter: Reporter, name: str, total: int | None) -> None:
        self._reporter = reporter
        self._name = name
        self._began = time.perf_counter()
        self.total = total
        self.step = 0
        self.note = ""
        self.memory: int | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.perf_counter() - self._began

    def advance(self, steps: int = 1, **figures: float) -> None:
        """Count `steps` more as done, report it, and stop here if the person asked for it."""
        self.step += steps
        self._reporter.emit(StageAdvanced(self._name, self.step, self.total, self.seconds, figures, self.memory))


class Reporter:
    """Carries events to one sink and the wish to stop back into the job.

    Args:
        sink: called with every event, in the job's own thread.
        cancelled: asked at every event; once it is True, the job is left by `Cancelled`.
        names: what the front end calls settings in notes.
    """

    def __init__(
        self,
        sink: Callable[[Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        names: Names = plain,
    ) -> None:
        self._sink = sink
        self._names = names
        self._cancelled = cancelled
        self.timings: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        """Hand on `event`. Raises `Cancelled` when the job should stop."""
        if self._cancelled():
            raise Cancelled
        self._sink(event)

    def quiet(self, sink: Callable[[Event], None] = lambda event: None) -> Reporter:
        """One for a part of the job whose events nobody needs but `sink`; the wish to stop is heard all the same."""
        return Reporter(sink, self._cancelled, self._names)

    def note(self, text: str, *, warning: bool = False) -> None:
        """A remark for the person."""
        self.emit(Note(named(text, self._names), warning))

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "steps") -> Iterator[Stage]:
        """Time a stage; its seconds are added up in `timings[name]`."""
        self.emit(StageStarted(name, total, unit))
        stage = Stage(self, name, total)
        yield stage
        self.timings[name] = self.timings.get(name, 0.0) + stage.seconds
        self.emit(StageFinished(name, stage.seconds, stage.memory, stage.note))
