"""Training on answered rows from any adapter on, watched by rows that are kept out of it.

Every few steps the watched rows are read with the running mean of the adapter (`engine.solver.fit`). The best state is
kept; training ends by itself once they gain no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.base.device import short_products
from engine.errors import Cancelled
from engine.solver.fit import LEARNING_RATE, Fit
from engine.training.loop import TrainingState
from engine.training.losses import answer_figures
from engine.training.packing import TokenRow
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

CHECK_EVERY = 8
"""Steps between two looks at the watched rows."""
PATIENCE = 4
"""Looks in a row without a gain after which training ends."""
FEWEST_TO_WATCH = 16
"""Rows below which all are trained on: two or three watched rows would show nothing."""
MOST_WATCHED = 64
NO_GAIN, ALL_STEPS, OUT_OF_TIME, ASKED = "no more gain", "all steps taken", "out of time", "stopped"

_BATCH = 16


@dataclass(frozen=True)
class RefineSettings:
    """When training ends, and how it goes.

    steps, seconds: training ends after so many at the latest. rate: of Adam, constant. seed: order of the rows.
    start_knows: the start was made from watched rows, too. They flatter it, so the first look after steps beats it,
        whatever they show.
    """

    steps: int = 400
    seconds: float = 60.0
    rate: float = LEARNING_RATE
    seed: int = 0
    start_knows: bool = False


@dataclass(frozen=True)
class Check:
    """What the watched rows show after `step` steps.

    nats: negative log-likelihood of a token of their answers, mean. right: answers of which every token is the
    likeliest one.
    """

    step: int
    nats: float
    right: int

    @property
    def worth(self) -> tuple[int, float]:
        """More is better: answers that are right, then their likelihood."""
        return self.right, -self.nats


@dataclass(frozen=True)
class Refined:
    """adapter: the best state. best: what it was worth. start: what the start was worth. steps: taken in all.

    ended: why, one of `NO_GAIN`, `ALL_STEPS`, `OUT_OF_TIME`, `ASKED`. Without watched rows `best` and `start` are None
    and the last state is the adapter.
    """

    adapter: LoraAdapter
    steps: int
    ended: str
    start: Check | None = None
    best: Check | None = None


def refine(
    base: LoadedBase,
    start: LoraAdapter,
    rows: Sequence[TokenRow],
    watched: Sequence[TokenRow],
    settings: RefineSettings,
    *,
    state: Path | None = None,
    identity: str = "",
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    on_check: Callable[[Check], None] = lambda check: None,
) -> Refined:
    """Train `start` on `rows` until the `watched` rows gain no more.

    Args:
        state: file in which the run is kept while it goes on; what it holds of the same `identity` is continued, so
            that a run that was killed gives the same adapter as one that was not.
        on_step: called after each step with how many were taken and its mean loss in nats a token. `Cancelled`, raised
            in it, ends training like any other reason, as does Ctrl-C: the best state is returned.
        on_check: called after each look at the watched rows, the one before the first step too.

    Raises:
        EngineError: `state` belongs to another run, or is damaged.
    """
    training = Fit(base, start, rows, rate=settings.rate, seed=settings.seed)
    run = _Run({name: value.clone() for name, value in training.mean.items()})
    kept = _state(state, training, run, identity) if state else None
    try:
        if kept and (taken := kept.restore()):
            training.skip(taken)
        began = time.perf_counter() - run.seconds
        if watched and not training.steps:
            run.add(_look(base, training, watched), training, settings)
            on_check(run.best)
        ended = run.ended(training.steps, settings)
        while not ended:
            loss = training.step()
            if watched and training.steps % CHECK_EVERY == 0:
                check = _look(base, training, watched)
                run.add(check, training, settings)
                on_check(check)
            run.seconds = time.perf_counter() - began
            if kept:
                kept.save(training.steps)
            on_step(training.steps, loss)
            ended = run.ended(training.steps, settings)
    except (Cancelled, KeyboardInterrupt):
        # Ctrl-C leaves a step anywhere; only while the best state is written would there be none.
        if run.between_states:
            raise
        ended = ASKED
    if not watched:
        return Refined(training.adapter, training.steps, ended)
    if ended != ASKED and training.steps % CHECK_EVERY:
        run.add(_look(base, training, watched), training, settings)
    run.keep(training.mean)
    return Refined(training.adapter, training.steps, ended, run.start, run.best)


def watched_count(rows: int) -> int:
    """How many of `rows` are kept out of training to see when to stop."""
    return 0 if rows < FEWEST_TO_WATCH else min(MOST_WATCHED, rows // 5)


class _Run:
    """What is known of a run besides the training itself: in tensors, so that it can be stored with it.

    best: by name, the running mean at its best.
    """

    def __init__(self, best: dict[str, Tensor]) -> None:
        self.values = best
        # Seconds so far, looks without a gain; then step, nats and right answers of the start and of the best.
        self.figures = torch.zeros(8, dtype=torch.float64)
        self.between_states = False

    @property
    def seconds(self) -> float:
        """Of training so far, those before an interrupt too."""
        return float(self.figures[0])

    @seconds.setter
    def seconds(self, value: float) -> None:
        self.figures[0] = value

    @property
    def start(self) -> Check:
        """The look before the first step."""
        return self._check(2)

    @property
    def best(self) -> Check:
        """The best look."""
        return self._check(5)

    def add(self, check: Check, training: Fit, settings: RefineSettings) -> None:
        """Take in a look; the state of `training` is kept if it is the best."""
        flattered = settings.start_knows and self.best.step == 0
        found = torch.tensor([check.step, check.nats, check.right], dtype=torch.float64)
        if not training.steps:
            self.figures[2:5] = found
        if not training.steps or flattered or check.worth > self.best.worth:
            self.between_states = True
            self.figures[5:8] = found
            self.figures[1] = 0
            for name, value in training.mean.items():
                self.values[name].copy_(value)
            self.between_states = False
        else:
            self.figures[1] += 1

    def keep(self, mean: Mapping[str, Tensor]) -> None:
        """Put the best state in the place of the running mean."""
        for name, value in self.values.items():
            mean[name].copy_(value)

    def ended(self, steps: int, settings: RefineSettings) -> str:
        """Why training is over; "" while it is not."""
        if self.figures[1] >= PATIENCE:
            return NO_GAIN
        if steps >= settings.steps:
            return ALL_STEPS
        return OUT_OF_TIME if self.seconds > settings.seconds else ""

    def _check(self, place: int) -> Check:
        step, nats, right = self.figures[place : place + 3].tolist()
        return Check(int(step), nats, int(right))


def _state(path: Path, training: Fit, run: _Run, identity: str) -> TrainingState:
    extra = {f"running.{name}": value for name, value in training.mean.items()}
    extra |= {f"best.{name}": value for name, value in run.values.items()}
    return TrainingState(path, training.parameters, training.optimizer, identity, extra | {"figures": run.figures})


def _look(base: LoadedBase, training: Fit, watched: Sequence[TokenRow]) -> Check:
    with training.with_mean(), short_products():
        found = answer_figures(base, watched, _BATCH)
    nats, tokens = sum(nats for nats, _, _ in found), sum(count for _, count, _ in found)
    return Check(training.steps, nats / tokens, sum(right for _, _, right in found))
