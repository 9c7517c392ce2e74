"""Measuring the arms of the quality table: attach, answer, score, write down; resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.adapter.attach import AttachedModel
from engine.base.chat import prompt_ids, stop_ids
from engine.base.device import out_of_memory_told
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json
from engine.judge.answer_log import AnswerLog, ScoredAnswer
from engine.judge.answers import answer_all
from engine.judge.metrics import score
from engine.judge.table import QualityTable, TaskScores

if TYPE_CHECKING:
    from engine.adapter.lora import LoraAdapter
    from engine.base.load import LoadedBase

_ADAPTER = "judged"


@dataclass(frozen=True)
class JudgedTask:
    """A task with its test rows: (prompt, references) each. `source` is the data set it comes from."""

    name: str
    metric: str
    rows: Sequence[tuple[str, Sequence[str]]]
    source: str


def evaluate_arms(
    base: LoadedBase,
    arms: Mapping[str, Callable[[JudgedTask], LoraAdapter | None]],
    tasks: Sequence[JudgedTask],
    *,
    out: Path,
    rows: int,
    max_new_tokens: int,
    batch: int,
    settings: Mapping[str, Any],
    reporter: Reporter,
) -> QualityTable:
    """Answer the first `rows` test rows of every task greedily with every arm, and score the answers.

    Answers are kept in `out` (see `answer_log`); what is complete there is not run again, and arms found there that
    are not in `arms` stay in the table. Arm by arm, one adapter is attached at a time, which is faster than rows with
    different adapters in one batch; an arm that returns the same adapter again keeps it attached.

    Args:
        arms: by name, the adapter that answers a task; None is the base alone. Called only for what must be run.
        batch: rows answered at a time.
        settings: what else the answers depend on, as plain data: digest of the generator, seed of the prompts.

    Raises:
        EngineError: `out` holds answers of other settings, a task without rows, an unknown metric, an adapter that
            does not fit, the device is out of memory.
        Cancelled: the person asked for it; heard at every token.
    """
    judged = [_first_rows(task, rows) for task in tasks]
    own = {
        "base": base.ref.fingerprint,
        "dtype": str(base.dtype).removeprefix("torch."),
        "rows": rows,
        "max_new_tokens": max_new_tokens,
    }
    digests = {task.name: (len(task.rows), _digest(task)) for task in judged}
    log = AnswerLog(out, {**own, **settings}, digests)
    with reporter.stage("evaluate", len(arms) * len(judged), "tasks") as stage, AttachedModel(base) as attached:
        current: LoraAdapter | None = None
        for arm, adapter_of in arms.items():
            for task in judged:
                if log.pair(task.name, arm) is None:
                    began = time.perf_counter()
                    adapter = adapter_of(task)
                    if adapter is not current:
                        attached.detach()
                        current = None
                    if adapter is not None and current is None:
                        attached.add(_ADAPTER, adapter)
                        attached.use(_ADAPTER)
                        current = adapter
                    with out_of_memory_told("--batch"):
                        texts = _answers(base, attached, task, max_new_tokens, batch, lambda: stage.advance(0))
                    log.append(_scored(arm, task, texts, time.perf_counter() - began))
                stage.advance(1)
    return _table(log, judged)


def _first_rows(task: JudgedTask, rows: int) -> JudgedTask:
    if not task.rows:
        raise EngineError("has no test rows", where=task.name)
    score(task.metric, "", ())  # an unknown metric should be told before hours of answers
    return JudgedTask(task.name, task.metric, task.rows[:rows], task.source)


def _digest(task: JudgedTask) -> str:
    return digest_json([task.metric, [[prompt, list(references)] for prompt, references in task.rows]])


def _answers(
    base: LoadedBase,
    attached: AttachedModel,
    task: JudgedTask,
    max_new_tokens: int,
    batch: int,
    on_step: Callable[[], None],
) -> list[str]:
    return answer_all(
        attached,
        base.tokenizer,
        [prompt_ids(base.tokenizer, prompt) for prompt, _ in task.rows],
        max_new_tokens=max_new_tokens,
        stop_ids=stop_ids(base.tokenizer, base.model),
        batch=batch,
        on_step=on_step,
    )


def _scored(arm: str, task: JudgedTask, texts: Sequence[str], seconds: float) -> list[ScoredAnswer]:
    share = round(seconds / len(texts), 6)
    return [
        ScoredAnswer(arm, task.name, number, text, score(task.metric, text, references), share)
        for number, (text, (_, references)) in enumerate(zip(texts, task.rows, strict=True))
    ]


def _table(log: AnswerLog, tasks: Sequence[JudgedTask]) -> QualityTable:
    seconds: dict[str, float] = {}
    scored = []
    for task in tasks:
        by_arm: dict[str, list[float]] = {}
        for arm in log.arms():
            answers = log.pair(task.name, arm)
            if answers is not None:
                by_arm[arm] = [answer.score for answer in answers]
                seconds[arm] = seconds.get(arm, 0.0) + sum(answer.seconds for answer in answers)
        scored.append(TaskScores(task.name, task.metric, task.source, by_arm))
    return QualityTable(scored, seconds)
