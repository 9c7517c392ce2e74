"""Answers of base and adapters side by side, on a tiny random model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from judge_parts import random_adapter, tiny_base

from engine.adapter.attach import BASE_ROW, AttachedModel, attach
from engine.base.chat import prompt_ids, prompts_ids, stop_ids
from engine.decode import answer_all
from engine.errors import Cancelled, EngineError
from engine.events import AnswerText, Event, Note, Reporter, StageAdvanced, StageStarted
from engine.judge.compare import Comparison, compare
from engine.prompts import PromptRow
from engine.tasks.metrics import normalised, score
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

ROWS = [PromptRow(number, f"question {number}", ("a",) if number != 2 else ()) for number in range(10)]
TWO = {"base": BASE_ROW, "adapted": "adapted"}


def run(base: Any, attached: AttachedModel, rows: Any = ROWS, **changed: Any) -> Comparison:
    given: dict[str, Any] = {"arms": TWO, "max_new_tokens": 6, "metric": "rouge_l", "reporter": Reporter()}
    given |= changed
    return compare(base, attached, given.pop("arms"), rows, **given)


def answers_alone(base: Any, adapter: LoraAdapter | None) -> list[str]:
    """To all of ROWS, by one arm with nothing else attached."""
    ids = [prompt_ids(base.tokenizer, row.prompt) for row in ROWS]
    stops = stop_ids(base.tokenizer, base.model)
    with AttachedModel(base) as attached:
        if adapter is not None:
            attached.add("alone", adapter)
            attached.use("alone")
        return answer_all(attached, base.tokenizer, ids, max_new_tokens=6, stop_ids=stops, batch=4)


def of(events: list[Event], row: int, arm: str) -> list[AnswerText]:
    return [event for event in events if isinstance(event, AnswerText) and (event.row, event.arm) == (row, arm)]


def other_kind(config: Any, rank: int, targets: tuple[str, ...], seed: int) -> LoraAdapter:
    """An adapter of another rank on other modules."""
    layout = derive_layout(config, LoraSpec(rank=rank, alpha=rank, target_modules=targets))
    generator = torch.Generator().manual_seed(seed)
    a = {one.path: torch.randn(rank, one.in_features, generator=generator) for one in layout.modules}
    b = {one.path: torch.randn(one.out_features, rank, generator=generator) for one in layout.modules}
    return LoraAdapter(layout, a, b)


def test_both_arms_are_streamed_and_equal_their_own_answers() -> None:
    base = tiny_base()
    adapter = random_adapter(base.model.config)
    events: list[Event] = []
    plain, adapted = answers_alone(base, None), answers_alone(base, adapter)
    with attach(base, adapter) as attached:
        found = run(base, attached, reporter=Reporter(events.append), total=10)

    assert plain != adapted
    assert [row.answers for row in found.rows] == [
        {"base": one, "adapted": other} for one, other in zip(plain, adapted, strict=True)
    ]
    for number, row in enumerate(found.rows):
        for arm in TWO:
            own = of(events, number, arm)
            assert "".join(event.text for event in own) == row.answers[arm]
            assert [event.done for event in own] == [False] * (len(own) - 1) + [True]
    started, *_, last = [event for event in events if isinstance(event, StageStarted | StageAdvanced)]
    assert isinstance(started, StageStarted) and started.total == 10
    assert isinstance(last, StageAdvanced) and (last.step, last.total) == (10, 10)


def test_adapters_of_different_rank_and_modules_share_a_batch() -> None:
    base = tiny_base()
    config = base.model.config
    adapters = {
        "one": random_adapter(config),
        "two": other_kind(config, 5, ("q_proj", "down_proj"), 1),
        "three": other_kind(config, 1, ("gate_proj",), 2),
    }
    # The last one on a single layer: its modules are listed by their paths.
    layout = adapters["three"].layout
    adapters["three"] = replace(adapters["three"], layout=replace(layout, modules=layout.modules[:1]))
    alone = {"base": answers_alone(base, None)} | {arm: answers_alone(base, one) for arm, one in adapters.items()}
    assert len({tuple(texts) for texts in alone.values()}) == 4

    with AttachedModel(base) as attached:
        for name, adapter in adapters.items():
            attached.add(name, adapter)
        arms = {"base": BASE_ROW} | {name: name for name in adapters}
        found = run(base, attached, arms=arms)

    assert {arm: [row.answers[arm] for row in found.rows] for arm in arms} == alone
    assert set(found.means) == set(found.timings) == set(arms)


def test_every_piece_tells_tokens_and_seconds_and_the_last_one_the_score() -> None:
    base = tiny_base()
    events: list[Event] = []
    with attach(base, random_adapter(base.model.config)) as attached:
        found = run(base, attached, reporter=Reporter(events.append))
    for row in found.rows:
        for arm in TWO:
            own = of(events, row.number, arm)
            assert own[0].tokens == min(1, own[-1].tokens)
            assert [event.tokens for event in own] == sorted(event.tokens for event in own)
            seconds = [event.seconds for event in own]
            assert seconds == sorted(seconds) and seconds[0] > 0
            assert {event.score for event in own[:-1]} <= {None}
            assert own[-1].score == row.scores.get(arm)
    assert found.rows[2].scores == {} and found.rows[3].scores.keys() == TWO.keys()


def test_timings_are_each_arms_own_and_means_over_its_answers() -> None:
    base = tiny_base()
    events: list[Event] = []
    with attach(base, random_adapter(base.model.config)) as attached:
        found = run(base, attached, reporter=Reporter(events.append))
    for arm in TWO:
        answers = [of(events, row.number, arm) for row in found.rows]
        timing = found.timings[arm]
        assert timing.first_token_seconds == pytest.approx(sum(own[0].seconds for own in answers) / len(ROWS))
        assert timing.seconds == pytest.approx(sum(own[-1].seconds for own in answers) / len(ROWS))
        assert timing.tokens == sum(own[-1].tokens for own in answers)
        after_first = sum(own[-1].seconds - own[0].seconds for own in answers)
        # Six tokens are five steps after the first one; an answer that ends before has spent one on its end.
        steps = sum(min(5, own[-1].tokens) for own in answers)
        assert timing.tokens_per_second == pytest.approx(steps / after_first)


def test_an_arm_that_stops_early_is_not_timed_by_the_other() -> None:
    base = tiny_base()
    with attach(base, random_adapter(base.model.config)) as attached:
        first = {arm: run(base, attached, ROWS[:1], max_new_tokens=1).rows[0].answers[arm] for arm in TWO}
        assert first["base"] != first["adapted"]
        [stop] = base.tokenizer(first["base"])["input_ids"]
        base.model.generation_config.eos_token_id = stop
        found = run(base, attached, ROWS[:1])
    assert found.timings["base"].tokens == 0 and found.timings["adapted"].tokens > 0
    assert found.timings["base"].seconds == found.timings["base"].first_token_seconds
    assert found.timings["base"].tokens_per_second == 0
    assert found.timings["base"].seconds < found.timings["adapted"].seconds


def test_rows_with_references_are_scored() -> None:
    base = tiny_base()
    with attach(base, random_adapter(base.model.config)) as attached:
        first = run(base, attached, ROWS[:3], metric="exact_match")
        wanted = PromptRow(0, ROWS[0].prompt, ("no", first.rows[0].answers["adapted"]))
        found = run(base, attached, [wanted, ROWS[1], ROWS[2]], metric="exact_match")
        unlabelled = run(base, attached, [ROWS[2]], metric="exact_match")

    assert found.rows[0].scores["adapted"] == 1.0
    assert found.rows[2].scores == {}
    assert found.means["adapted"] == (1.0 + found.rows[1].scores["adapted"]) / 2
    assert unlabelled.means == {}


def without_effect(adapter: LoraAdapter) -> LoraAdapter:
    return replace(adapter, b={path: torch.zeros_like(matrix) for path, matrix in adapter.b.items()})


def test_drawn_answers_depend_on_seed_and_prompt_and_are_shared_by_equal_arms() -> None:
    base = tiny_base()
    adapter = random_adapter(base.model.config)

    def drawn(attached: AttachedModel, arms: Mapping[str, str] = TWO, **how: Any) -> list[dict[str, str]]:
        return [row.answers for row in run(base, attached, arms=arms, temperature=2.0, **how).rows]

    with attach(base, without_effect(adapter)) as attached:
        equal = drawn(attached)
    assert all(answers["base"] == answers["adapted"] for answers in equal)
    assert [answers["base"] for answers in equal] != answers_alone(base, None)

    with attach(base, adapter) as attached:
        once, again, other = drawn(attached), drawn(attached), drawn(attached, seed=1)
        alone = drawn(attached, {"adapted": "adapted"})
    assert once == again != other
    assert any(answers["base"] != answers["adapted"] for answers in once)
    assert [answers["base"] for answers in once] == [answers["base"] for answers in equal]
    assert [answers["adapted"] for answers in alone] == [answers["adapted"] for answers in once]


def test_rows_are_read_as_they_are_answered() -> None:
    base = tiny_base()
    read: list[int] = []

    def endless() -> Iterator[PromptRow]:
        while True:
            read.append(len(read) + 1)
            yield PromptRow(read[-1], f"question {read[-1]}")

    done: list[int] = []

    def sink(event: Event) -> None:
        if isinstance(event, AnswerText) and event.done:
            done.append(event.row)

    with attach(base, random_adapter(base.model.config)) as attached, pytest.raises(Cancelled):
        run(base, attached, endless(), reporter=Reporter(sink, cancelled=lambda: 20 in done))
    assert len(read) < 40


@pytest.mark.parametrize("events", [1, 5, 40])
def test_a_cancelled_comparison_leaves_a_clean_base(events: int) -> None:
    """Before the prompts are read, and between tokens: the next job with the same base object starts fresh."""
    base = tiny_base()
    adapter = random_adapter(base.model.config)
    modules = [(path, id(module)) for path, module in base.model.named_modules()]
    with attach(base, adapter) as attached:
        fresh = run(base, attached).rows
    seen: list[Event] = []
    with pytest.raises(Cancelled), attach(base, adapter) as attached:
        run(base, attached, max_new_tokens=50, reporter=Reporter(seen.append, cancelled=lambda: len(seen) >= events))
    assert len(seen) == events
    assert [(path, id(module)) for path, module in base.model.named_modules()] == modules
    with attach(base, adapter) as attached:
        assert run(base, attached).rows == fresh


@pytest.mark.parametrize(
    ("wrong", "said"), [({"metric": "bleu"}, "unknown metric"), ({"temperature": -1.0}, "temperature -1.0")]
)
def test_what_cannot_be_done_is_told_before_anything_is_answered(wrong: dict[str, Any], said: str) -> None:
    base = tiny_base()
    seen: list[Event] = []
    with attach(base, random_adapter(base.model.config)) as attached, pytest.raises(EngineError, match=said):
        run(base, attached, reporter=Reporter(seen.append), **wrong)
    assert not seen


EXAMPLES = [("first example", "one"), ("second", "two"), ("3rd", "three")]


def test_examples_that_do_not_fit_are_left_out_and_told() -> None:
    base = tiny_base()
    base.ref.config = base.model.config
    events: list[Event] = []
    rows = [PromptRow(number, "question") for number in (1, 2)] + [PromptRow(3, "question " * 12)]
    asked = [len(ids) for ids in prompts_ids(base.tokenizer, [row.prompt for row in rows], EXAMPLES)]
    # With all three, the longest prompt would leave no room for the last token of its answer.
    base.model.config.max_position_embeddings = asked[2] + 6 - 1
    with attach(base, random_adapter(base.model.config)) as attached:
        found = run(base, attached, rows[:2], examples={"shown": EXAMPLES}, reporter=Reporter(events.append))
        assert found.examples == {"shown": 3} and not [event for event in events if isinstance(event, Note)]
        assert list(found.timings) == ["base", "shown", "adapted"] and found.timings["shown"].asked == asked[0]
        found = run(base, attached, rows, examples={"shown": EXAMPLES}, reporter=Reporter(events.append))
    assert found.examples == {"shown": 2}
    [note] = [event.text for event in events if isinstance(event, Note)]
    assert note == "2 of 3 examples, the shorter ones, fit into what the base reads, from prompt 1 on"
    fit = [len(ids) for ids in prompts_ids(base.tokenizer, [row.prompt for row in rows], EXAMPLES[1:])]
    assert [of(events, row.number, "shown")[-1].asked for row in rows] == fit


def test_the_first_label_of_an_answer_is_scored_against_all_labels() -> None:
    base = tiny_base()
    with attach(base, random_adapter(base.model.config)) as attached:
        answer = run(base, attached, ROWS[:1]).rows[0].answers["base"]
        row = PromptRow(0, ROWS[0].prompt, (answer[-1],))
        alone = run(base, attached, [row], metric="label")
        among = run(base, attached, [row], metric="label", labels=(normalised(answer),))
    assert normalised(answer) != normalised(answer[-1])
    assert among.scores()["base"] == [0.0]
    assert alone.scores()["base"] == [score("label", answer, row.references)]
