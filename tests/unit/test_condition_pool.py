"""The pool of encoded prompts: how many a task has, and what is drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.condition import answered_text
from engine.events import Event, Reporter, StageAdvanced
from engine.forge.rows import ConditionPool, TaskTokens
from engine.tasks.tasks import Task

PROMPTS, TOKENS, CHANNELS = 4, 6, 3


class LengthEncoder:
    """Each prompt as its length in every channel of its first tokens; remembers what it was asked for."""

    fingerprint = "lengths"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode(self, texts: Sequence[str], tokens: int) -> torch.Tensor:
        self.asked.append(list(texts))
        hidden = torch.zeros(len(texts), tokens, CHANNELS)
        for place, text in enumerate(texts):
            hidden[place, : tokens - 1] = len(text)
        return hidden


def tokens_of(name: str, prompts: int) -> TaskTokens:
    texts = tuple("x" * (length + 1) for length in range(prompts))
    return TaskTokens(Task(name, "rouge_l", "seen", "", Path()), texts, (), ())


def filled(folder: Path, encoder: Any, *data: TaskTokens) -> ConditionPool:
    pool = ConditionPool(folder, PROMPTS, TOKENS)
    pool.fill(encoder, data, 0, Reporter())
    return pool


def test_a_task_has_prompts_for_fresh_batches(tmp_path: Path) -> None:
    encoder = LengthEncoder()
    filled(tmp_path, encoder, tokens_of("many", 50), tokens_of("few", 3))
    assert list(map(len, encoder.asked)) == [2 * PROMPTS, 3]
    assert all(len(set(texts)) == len(texts) for texts in encoder.asked)


def test_what_is_on_disk_is_not_encoded_again(tmp_path: Path) -> None:
    first, again = LengthEncoder(), LengthEncoder()
    one = filled(tmp_path, first, tokens_of("many", 50)).draw("many", "place")
    assert torch.equal(filled(tmp_path, again, tokens_of("many", 50)).draw("many", "place"), one)
    assert first.asked and not again.asked


def test_a_batch_is_drawn_by_place_and_few_prompts_are_repeated(tmp_path: Path) -> None:
    pool = filled(tmp_path, LengthEncoder(), tokens_of("many", 50), tokens_of("few", 3))
    batches = [pool.draw("many", f"place {number}") for number in range(20)]
    assert all(batch.shape == (PROMPTS, TOKENS, CHANNELS) for batch in batches)
    assert torch.equal(batches[0], pool.draw("many", "place 0"))
    assert any(not torch.equal(batches[0], batch) for batch in batches)
    lengths = pool.draw("few", "place")[:, 0, 0].tolist()
    assert sorted(lengths[:3]) == [1, 2, 3] and lengths[3] == lengths[0]
    drawn = {len(pool.draw("many", f"place {number}", few=1.0)[:, 0, 0].unique()) for number in range(20)}
    assert drawn == set(range(1, PROMPTS + 1))


def test_answered_rows_come_first_and_count_as_prompts(tmp_path: Path) -> None:
    rows = replace(tokens_of("many", 50), answers=tuple("y" * (length + 100) for length in range(50)))
    steps: list[Event] = []
    encoder: Any = LengthEncoder()
    pool = ConditionPool(tmp_path, PROMPTS, TOKENS)
    pool.fill(encoder, [rows], 0, Reporter(steps.append), answered=True)
    lengths = pool.draw("many", "place", answered=[7, 2])[:, 0, 0].tolist()
    assert lengths[:2] == [len(answered_text(rows.prompts[place], rows.answers[place])) for place in (7, 2)]
    assert all(length <= 50 for length in lengths[2:]) and len(lengths) == PROMPTS
    assert len(list(tmp_path.iterdir())) == 1, "one file a task, as plans count them"
    assert max(event.step for event in steps if isinstance(event, StageAdvanced)) == 1
