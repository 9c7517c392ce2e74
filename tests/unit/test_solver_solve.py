"""The two streams: a solved adapter moves the base without the context towards the base with it."""

from __future__ import annotations

import random
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from engine.adapter.attach import AttachedModel
from engine.errors import EngineError
from engine.solver.matching import MOST_MATCHED, ContextRow, lay_out, matched_places, matched_tokens
from engine.solver.solve import SolveSettings, read_context, solve
from engine.training.packing import TokenRow
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import in_memory_base, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.unit.adapter_parts import random_adapter
from tests.unit.test_solver_residual import other

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "phi3", "gemma2", "gemma3", "granite", "gpt_neox"]


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared here are formulas, not the rounding of some CPUs."""
    monkeypatch.setattr("engine.solver.solve.short_products", nullcontext)


def tokens(chance: random.Random, count: int) -> tuple[int, ...]:
    return tuple(chance.randrange(3, 300) for _ in range(count))


def made_groups(groups: int = 2, rows: int = 6, seed: int = 0, context: int = 20) -> list[list[ContextRow]]:
    """Rows with a context of random tokens, the end of every prompt the same five tokens."""
    chance = random.Random(seed)
    start, end = tokens(chance, 2), tokens(chance, 5)
    made = []
    for _ in range(groups):
        before = tokens(chance, context)
        queries = [
            (tokens(chance, chance.randrange(3, 8)), tokens(chance, chance.randrange(1, 4))) for _ in range(rows)
        ]
        made.append(
            [ContextRow(TokenRow(start + before + q + end, a), TokenRow(start + q + end, a)) for q, a in queries]
        )
    return made


def base_of(model: Any) -> Any:
    return in_memory_base(model, tiny_tokenizer())


def solved(model: Any, groups: Any, settings: SolveSettings, on_context: Any = lambda share: None) -> Any:
    base = base_of(model)
    return solve(base, read_context(base, groups, on_layer=on_context), settings)


def ends(model: Any, rows: list[TokenRow], count: int) -> torch.Tensor:
    """The last hidden states (rows, count, hidden) of each row by itself."""
    hidden = [model.base_model(torch.tensor([row.prompt + row.answer])).last_hidden_state[0, -count:] for row in rows]
    return torch.stack(hidden)


def distances(model: Any, adapter: Any, groups: list[list[ContextRow]]) -> tuple[float, float]:
    """How far the student's last states are from the teacher's, without and with the adapter."""
    rows = [row for group in groups for row in group]
    teacher, student = ends(model, [r.teacher for r in rows], 1), ends(model, [r.student for r in rows], 1)
    with AttachedModel(model) as attached:
        attached.add("solved", adapter)
        attached.use("solved")
        moved = ends(model, [row.student for row in rows], 1)
    return float((teacher - student).norm()), float((teacher - moved).norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_student_comes_near_the_teacher(family: str) -> None:
    model, groups = other(family), made_groups()
    adapter = solved(model, groups, SolveSettings(rank=16, ridges=(1e-4,)))
    before, after = distances(model, adapter, groups)
    assert after < 0.5 * before
    assert not any(part._forward_hooks for part in model.modules())


def test_on_rows_it_never_saw_it_helps_where_the_context_is_the_same() -> None:
    model = tiny_model("llama", num_hidden_layers=4)
    (rows,) = made_groups(groups=1, rows=40)
    adapter = solved(model, [rows[:30]], SolveSettings(rank=8))
    before, after = distances(model, adapter, [rows[30:]])
    assert after < 0.9 * before


def test_rows_in_one_line_and_each_in_its_own_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, groups = tiny_model("llama"), made_groups()
    together = solved(model, groups, SolveSettings(rank=4, ridges=(0.3,)))
    monkeypatch.setattr("engine.solver.matching._can_pack", lambda base, rows: False)
    apart = solved(model, groups, SolveSettings(rank=4, ridges=(0.3,)))
    for path in together.a:
        one, other_update = together.b[path] @ together.a[path], apart.b[path] @ apart.a[path]
        assert torch.allclose(one, other_update, atol=2e-3 * one.abs().max().item())


def test_a_context_beyond_the_window_changes_nothing() -> None:
    """Mistral with a window of 24: rows get lines of their own, under the model's own mask."""
    model = other("mistral")
    chance = random.Random(0)
    near = tokens(chance, 60)
    rows = []
    for _ in range(6):
        query, answer = tokens(chance, 5), tokens(chance, 2)
        teacher = TokenRow(tokens(chance, 30) + near + query, answer)
        rows.append(ContextRow(teacher, TokenRow((1, *near, *query), answer)))
    adapter = solved(model, [rows], SolveSettings())
    assert max(float((adapter.b[path] @ adapter.a[path]).abs().max()) for path in adapter.a) < 1e-3


def test_it_is_told_which_answers_the_teacher_gives() -> None:
    model, groups = tiny_model("llama"), made_groups(groups=2, rows=4)
    greedy = []
    for group in groups:
        for row in group:
            given = model.generate(torch.tensor([row.teacher.prompt]), max_new_tokens=3, do_sample=False)
            greedy.append(tuple(given[0, len(row.teacher.prompt) :].tolist()))
    answers = iter(greedy)
    right = [[(row, next(answers)) for row in group] for group in groups]
    asked = [
        [ContextRow(TokenRow(row.teacher.prompt, a), TokenRow(row.student.prompt, a)) for row, a in group]
        for group in right
    ]
    # One answer that it does not give.
    wrong = (*asked[0][0].teacher.answer[:-1], (asked[0][0].teacher.answer[-1] + 1) % 300)
    asked[0][0] = ContextRow(TokenRow(asked[0][0].teacher.prompt, wrong), TokenRow(asked[0][0].student.prompt, wrong))
    read = read_context(base_of(model), asked)
    assert [row for row, hit in zip(read.rows, read.right, strict=True) if not hit] == [asked[0][0]]


def test_an_adapter_may_be_taken_off_between_the_passes() -> None:
    model, groups = tiny_model("llama"), made_groups()
    base = base_of(model)
    start = random_adapter(derive_layout(model.config, LoraSpec(2, 2, ("o_proj", "q_proj", "down_proj"))))
    with AttachedModel(base) as attached:
        attached.add("start", start)
        attached.use("start")
        context = read_context(base, groups)
        once = solve(base, context, SolveSettings())
    with AttachedModel(base) as attached:
        attached.add("start", start)
        attached.use("start")
        again = solve(base, context, SolveSettings())
    assert again.a and all(torch.equal(once.a[path], again.a[path]) for path in once.a)
    alone = solved(model, groups, SolveSettings())
    assert not any(torch.equal(once.a[path], alone.a[path]) for path in once.a)


def test_no_context_asks_for_no_change() -> None:
    model = tiny_model("qwen2")
    rows = [[ContextRow(row.student, row.student) for row in group] for group in made_groups()]
    adapter = solved(model, rows, SolveSettings())
    # What is left are differences of rounding between lines of other lengths.
    assert max(float((adapter.b[path] @ adapter.a[path]).abs().max()) for path in adapter.a) < 1e-4


def test_only_the_modules_that_are_asked_for() -> None:
    model = tiny_model("llama")
    adapter = solved(model, made_groups(), SolveSettings(modules=("down_proj",), rank=3))
    assert adapter.layout.kinds == ("down_proj",) and adapter.layout.lora.rank == 3
    with pytest.raises(EngineError, match="q_proj") as error:
        solved(model, made_groups(), SolveSettings(modules=("q_proj",)))
    assert "o_proj" in str(error.value.hint)


@pytest.mark.parametrize("rank", [0, 65])
def test_a_rank_out_of_range_is_refused(rank: int) -> None:
    with pytest.raises(EngineError, match="rank"):
        SolveSettings(rank=rank)


def test_tokens_that_differ_before_the_answer_are_not_matched() -> None:
    """A tokenizer may join characters across the seam: what is matched ends where the ids differ."""
    teacher = TokenRow((1, 9, 9, 50, 7, 8), (20, 21))
    assert matched_tokens(ContextRow(teacher, TokenRow((1, 51, 7, 8), (20, 21))), tail=5) == 4
    with pytest.raises(EngineError, match="answer"):
        matched_tokens(ContextRow(teacher, TokenRow((1, 51, 7, 8), (20,))), tail=5)
    # The first token is never matched: it is where attention rests, with a norm beyond all others.
    assert matched_tokens(ContextRow(TokenRow((7, 8), (20,)), TokenRow((7, 8), (20,))), tail=5) == 2


def test_a_row_that_goes_on_where_another_ends_keeps_its_own_tokens() -> None:
    """The common beginning of a line may reach into the tokens that are matched."""
    from engine.solver.solve import _shared

    end = (60, 61, 62, 63, 64)
    prompts = [(1, 50, *end), (1, 50, *end, 70, *end), (1, 50, *end, 71, *end)]
    context = (1, 40, 41, 42)
    rows = [ContextRow(TokenRow(context + p[1:], (80,)), TokenRow(p, (80,))) for p in prompts]
    counts = {row: matched_tokens(row, 5) for row in rows}
    students = lay_out(base_of(tiny_model("llama")), rows, counts)
    assert students.lines.ids.flatten()[students.places].tolist() == [*end, 80] * 3
    # What the teacher reads once for all rows ends before that.
    start = _shared(rows, counts)
    assert start == len(context) + 1
    for row in rows:
        rest = (row.teacher.prompt + row.teacher.answer)[start:]
        assert [rest[place] for place in matched_places(row, counts, start)] == [*end, 80]


def test_of_a_long_answer_the_first_tokens_are_matched() -> None:
    answer = tuple(range(100, 190))
    rows = [ContextRow(TokenRow((1, 40, 41, n, 60, 61), answer), TokenRow((1, n, 60, 61), answer)) for n in (50, 51)]
    students = lay_out(base_of(tiny_model("llama")), rows, {row: matched_tokens(row, 5) for row in rows})
    ids = students.lines.ids.flatten()[students.places].tolist()
    assert len(ids) == len(students.owners) == 2 * MOST_MATCHED
    assert ids[:6] == [50, 60, 61, 100, 101, 102] and ids[MOST_MATCHED] == 51


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt_neox"])
def test_rows_read_a_few_at_a_time_give_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, groups = other(family), made_groups()
    shares: list[float] = []
    once = solved(model, groups, SolveSettings(rank=4, ridges=(0.3,)), shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0
    monkeypatch.setattr("engine.base.prefix._CACHED_TOKENS", 90)
    often = solved(model, groups, SolveSettings(rank=4, ridges=(0.3,)))
    for path in once.a:
        one, other_update = once.b[path] @ once.a[path], often.b[path] @ often.a[path]
        assert torch.allclose(one, other_update, atol=2e-3 * one.abs().max().item())


def test_the_same_rows_give_the_same_adapter() -> None:
    model = tiny_model("llama")
    one, again = (solved(model, made_groups(), SolveSettings()) for _ in range(2))
    assert all(torch.equal(one.a[path], again.a[path]) and torch.equal(one.b[path], again.b[path]) for path in one.a)
