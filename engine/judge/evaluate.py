"""Measuring the arms of the quality table: attach, answer, score, write down; resumable.

arm --(a task, a seed)--> adapter, examples --(the base)--> answers: task score
                                            \\-(the base)--> nats of the reference answers: bits per byte
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.attach import AttachedModel
from engine.base.chat import answers_ids, prompts_ids, stop_ids
from engine.base.device import dtype_name, explain_out_of_memory
from engine.decode import answer_all
from engine.errors import EngineError, setting
from engine.events import Reporter, Stage
from engine.files import digest_json
from engine.judge.answer_log import AnswerLog, ScoredAnswer
from engine.judge.table import Cost, QualityTable, Run, TaskRuns
from engine.tasks.metrics import score
from engine.training.losses import answer_nats, bits_per_byte
from engine.training.packing import token_rows
from engine.workers import Workers, join_workers

if TYPE_CHECKING:
    from engine.base.load import LoadedBase
    from engine.weights.lora import LoraAdapter

_ADAPTER = "judged"
# Of the lines of answers.jsonl and of what is measured.
_FORMAT = 2


@dataclass(frozen=True)
class JudgedTask:
    """A task with its test rows: (prompt, references) each. `source` is the data set it comes from.

    The first reference is the one whose likelihood is measured.
    prompts_digest: of the training rows, whose prompts condition the generated arms.
    """

    name: str
    metric: str
    rows: Sequence[tuple[str, Sequence[str]]]
    source: str
    prompts_digest: str = ""


@dataclass(frozen=True)
class Arm:
    """A way to answer tasks.

    adapter: of a task and a seed, the adapter that answers; None is the base alone. Called only for what must be run.
    seeds: measured once for each of them.
    examples: of a task and a seed, (prompt, answer) pairs that stand before each prompt.
    uses_base: making an adapter runs the base, so nothing may be attached to it meanwhile.
    prepare: called with the tasks that are left for this process, once before the first `adapter`, while nothing is
        attached, by every process if by any; returns the device seconds that went into each task's adapter, by name.
    settings: what the answers of this arm depend on besides the settings of all, as plain data.
    """

    adapter: Callable[[JudgedTask, int], LoraAdapter | None]
    seeds: Sequence[int] = (0,)
    examples: Callable[[JudgedTask, int], Sequence[tuple[str, str]]] = lambda task, seed: ()
    uses_base: bool = False
    prepare: Callable[[Sequence[JudgedTask]], Mapping[str, float]] = lambda tasks: {}
    settings: Mapping[str, Any] = field(default_factory=dict)


def evaluate_arms(
    base: LoadedBase,
    arms: Mapping[str, Arm],
    tasks: Sequence[JudgedTask],
    *,
    out: Path,
    rows: int,
    max_new_tokens: int,
    batch: int,
    settings: Mapping[str, Any],
    reporter: Reporter,
    unmeasured: Mapping[str, str] | None = None,
) -> QualityTable:
    """Answer the first `rows` test rows of every task greedily with every arm, and score the answers.

    Answers are kept in `out` (see `answer_log`); what is complete there is not run again, and arms found there that
    are not in `arms` stay in the table. Arm by arm, one adapter is attached at a time, which is faster than rows with
    different adapters in one batch; an arm that returns the same adapter again keeps it attached. Several processes
    share the tasks of each arm; all of them return the whole table.

    Args:
        arms: by name, in the order in which they are measured.
        batch: rows answered at a time.
        settings: what else the answers depend on, as plain data: digest of the generator, seed of the prompts.
        unmeasured: arms that cannot be made here, and why; for the table.

    Raises:
        EngineError: `out` holds answers of other settings, a task without rows, an unknown metric, an adapter that
            does not fit, the device is out of memory.
        Cancelled: the person asked for it; heard at every token.
    """
    judged = [_first_rows(task, rows) for task in tasks]
    own = {
        "format": _FORMAT,
        "base": base.ref.fingerprint,
        "dtype": dtype_name(base.dtype),
        "rows": rows,
        "max_new_tokens": max_new_tokens,
    }
    digests = {task.name: (len(task.rows), _digest(task)) for task in judged}
    workers = join_workers()
    with workers.main_first():
        log = AnswerLog(out, {**own, **settings}, {name: arm.settings for name, arm in arms.items()}, digests)
    with AttachedModel(base) as attached:
        judge = _Judge(base, attached, log, max_new_tokens, batch, workers)
        for name, arm in arms.items():
            judge.measure(name, arm, judged, reporter)
    if workers.count > 1:
        workers.wait()
        log.load()
    return _table(log, judged, unmeasured or {})


@dataclass
class _Judge:
    base: LoadedBase
    attached: AttachedModel
    log: AnswerLog
    max_new_tokens: int
    batch: int
    workers: Workers
    current: LoraAdapter | None = None

    def measure(self, name: str, arm: Arm, tasks: Sequence[JudgedTask], reporter: Reporter) -> None:
        """This process's share of what the log lacks of one arm, in a stage of its own."""
        wanted = [(task, seed) for seed in arm.seeds for task in tasks]
        left = [(task, seed) for task, seed in wanted if self.log.answers(task.name, name, seed) is None]
        # The longest of a seed first: dealt out in turn, about as much is left to each process.
        mine = self.workers.share(sorted(left, key=lambda pair: (pair[1], -_length(pair[0]))))
        spent: Mapping[str, float] = {}
        if left:
            self._attach(None)
            waiting = {task.name for task, _ in mine}
            spent = arm.prepare([task for task in tasks if task.name in waiting])
        with reporter.stage(f"evaluate {name}", len(wanted), "tasks") as stage:
            stage.advance(len(wanted) - len(left))
            for task, seed in mine:
                if arm.uses_base:
                    self._attach(None)
                began = time.perf_counter()
                self._attach(arm.adapter(task, seed))
                making = time.perf_counter() - began + spent.get(task.name, 0.0)
                with explain_out_of_memory(setting("batch")):
                    self.log.append(self._answers(name, arm, task, seed, making, stage))
                self.workers.advance(stage)

    def _attach(self, adapter: LoraAdapter | None) -> None:
        if adapter is self.current:
            return
        self.attached.detach()
        self.current = None
        if adapter is not None:
            self.attached.add(_ADAPTER, adapter)
            self.attached.use(_ADAPTER)
            self.current = adapter

    def _answers(
        self, name: str, arm: Arm, task: JudgedTask, seed: int, making: float, stage: Stage
    ) -> list[ScoredAnswer]:
        tokenizer = self.base.tokenizer
        began = time.perf_counter()
        prompts = prompts_ids(tokenizer, [prompt for prompt, _ in task.rows], arm.examples(task, seed))
        texts = answer_all(
            self.attached,
            tokenizer,
            prompts,
            max_new_tokens=self.max_new_tokens,
            stop_ids=stop_ids(tokenizer, self.base.model),
            batch=self.batch,
            on_step=lambda: stage.advance(0),
        )
        answering = (time.perf_counter() - began) / len(texts)
        references = [answers[0] for _, answers in task.rows]
        rows = token_rows(prompts, answers_ids(tokenizer, references))
        nats = answer_nats(self.base, rows, self.batch, lambda: stage.advance(0))
        return [
            ScoredAnswer(
                arm=name,
                seed=seed,
                task=task.name,
                row=number,
                answer=text,
                score=score(task.metric, text, answers),
                nats=round(nats[number], 6),
                size=len(references[number].encode()),
                making=round(making / len(texts), 6),
                answering=round(answering, 6),
            )
            for number, (text, (_, answers)) in enumerate(zip(texts, task.rows, strict=True))
        ]


def _first_rows(task: JudgedTask, rows: int) -> JudgedTask:
    if not task.rows:
        raise EngineError("has no test rows", where=task.name)
    score(task.metric, "", ())  # an unknown metric should be reported before hours of answers
    return JudgedTask(task.name, task.metric, task.rows[:rows], task.source, task.prompts_digest)


def _length(task: JudgedTask) -> int:
    """Characters of all prompts."""
    return sum(len(prompt) for prompt, _ in task.rows)


def _digest(task: JudgedTask) -> str:
    rows = [[prompt, list(references)] for prompt, references in task.rows]
    return digest_json([task.metric, rows, task.prompts_digest])


def _table(log: AnswerLog, tasks: Sequence[JudgedTask], unmeasured: Mapping[str, str]) -> QualityTable:
    making: dict[str, list[float]] = {}
    answering: dict[tuple[str, int], float] = {}
    found = []
    for task in tasks:
        runs: dict[str, list[Run]] = {}
        for arm, seed in log.runs():
            answers = log.answers(task.name, arm, seed)
            if answers is None:
                continue
            bits = bits_per_byte([answer.nats for answer in answers], [answer.size for answer in answers])
            runs.setdefault(arm, []).append(Run(seed, [answer.score for answer in answers], bits))
            making.setdefault(arm, []).append(sum(answer.making for answer in answers))
            answering[arm, seed] = answering.get((arm, seed), 0.0) + sum(answer.answering for answer in answers)
        found.append(TaskRuns(task.name, task.metric, task.source, runs))
    costs = {}
    for arm, seconds in making.items():
        rounds = [total for (name, _), total in answering.items() if name == arm]
        costs[arm] = Cost(sum(seconds) / len(seconds), sum(rounds) / len(rounds))
    return QualityTable(found, costs, unmeasured, log.arm_settings)
