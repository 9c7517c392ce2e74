"""The parts that arms are made of: random directions, noisy prompts, neighbours, examples."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.base.chat import fitting_examples, prompts_ids
from engine.judge.arms import MAKERS, draw_examples
from engine.judge.library_arms import LibraryArms, prompt_embedding
from engine.judge.prompt_arms import noisy, other_task, random_difference
from engine.tasks.arms import ARMS, EXAMPLES
from engine.tasks.tasks import Task, read_rows
from engine.weights.frame import fresh_frame
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter
from tests.tiny import in_memory_base, tiny_config, tiny_model, write_tasks
from tests.tiny_tokenizer import tiny_tokenizer

LAYOUT = derive_layout(tiny_config("llama"), LoraSpec(rank=2, alpha=4))


def test_every_arm_has_a_maker_and_every_maker_an_arm() -> None:
    assert set(MAKERS) == set(ARMS)


@given(st.lists(st.text(), min_size=1, max_size=40), st.lists(st.just("other"), min_size=1), st.floats(0, 1))
def test_noise_replaces_its_part_and_at_least_one(texts: list[str], others: list[str], part: float) -> None:
    own = [f"own {text}" for text in texts]
    mixed = noisy(own, others, part, "0/task")
    assert len(mixed) == len(own) and mixed.count("other") == max(1, round(part * len(own)))
    assert all(after in (before, "other") for before, after in zip(own, mixed, strict=True))
    assert mixed == noisy(own, others, part, "0/task")


@pytest.mark.parametrize("kind", ["shared_a", "full"])
def test_a_random_difference_is_as_large_and_points_elsewhere(kind: str) -> None:
    frame = fresh_frame(LAYOUT, kind, seed=0)
    a = {path: matrix + (0.1 if kind == "full" else 0.0) for path, matrix in frame.a.items()}
    moved = LoraAdapter(LAYOUT, a, {path: matrix + 0.5 for path, matrix in frame.b.items()})
    drawn, again, other = (random_difference(frame, moved, place) for place in ("0/t", "0/t", "1/t"))
    for path in frame.b:
        for start, end, found in ((frame.a, moved.a, drawn.a), (frame.b, moved.b, drawn.b)):
            sizes = [(matrices[path] - start[path]).norm().item() for matrices in (found, end)]
            assert sizes[0] == pytest.approx(sizes[1], rel=1e-4, abs=1e-6)
        assert torch.equal(drawn.b[path], again.b[path]) and not torch.equal(drawn.b[path], other.b[path])
        assert not torch.allclose(drawn.b[path], moved.b[path])
        assert kind == "full" or torch.equal(drawn.a[path], frame.a[path])


@pytest.mark.parametrize("count", [2, 3, 7])
def test_other_prompts_are_a_full_round_for_every_seed(count: int) -> None:
    tasks: Any = [SimpleNamespace(name=f"task{number}") for number in range(count)]
    names = [task.name for task in tasks]
    for seed in range(5):
        others = [other_task(tasks, name, seed) for name in names]
        assert sorted(others) == names and all(name != other for name, other in zip(names, others, strict=True))


def test_an_embedding_does_not_see_padding_or_how_often_a_prompt_stands_there() -> None:
    hidden = torch.randn(3, 5, 8)
    padded = torch.cat([hidden, torch.zeros(3, 4, 8)], dim=1)
    one = prompt_embedding(hidden)
    assert one.norm() == pytest.approx(1.0)
    assert torch.allclose(one, prompt_embedding(padded), atol=1e-6)
    assert torch.allclose(one, prompt_embedding(hidden.repeat(2, 1, 1)), atol=1e-6)


def test_neighbours_are_the_most_alike_without_the_judged_task() -> None:
    library: Any = SimpleNamespace(task_names=["a", "b", "c", "judged"])
    embeddings = {name: torch.nn.functional.one_hot(torch.tensor(place), 4).float() for place, name in enumerate("abc")}
    arms = LibraryArms(library, [], frozenset({"judged"}), embeddings)
    found = arms.neighbours(torch.tensor([0.3, 0.9, 0.1, 0.0]))
    assert [name for name, _ in found] == ["b", "a", "c"]
    weights = [weight for _, weight in found]
    assert sum(weights) == pytest.approx(1.0) and weights == sorted(weights, reverse=True)


def test_examples_are_training_rows_and_fit_what_the_base_reads(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path, ["task"], rows=12)
    task = Task("task", "exact_match", "seen", "", folder)
    base: Any = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    drawn = draw_examples(task, 0)
    rows = {(row.prompt, row.response) for row in read_rows(task.train_path)}
    assert len(drawn) == EXAMPLES and set(drawn) <= rows
    assert drawn == draw_examples(task, 0)

    def fitting() -> list[tuple[str, str]]:
        return fitting_examples(base, ["task:\n\nabc"], drawn, 4)[0]

    assert fitting() == drawn
    alone = len(prompts_ids(base.tokenizer, ["task:\n\nabc"], drawn[:2])[0])
    base.ref.config.max_position_embeddings = alone + 4
    assert len(fitting()) == 2
    base.ref.config.max_position_embeddings = 1
    assert fitting() == []


def test_examples_are_turns_before_the_prompt() -> None:
    tokenizer = tiny_tokenizer()
    text = tokenizer.decode(prompts_ids(tokenizer, ["asked"], [("one", "1"), ("two", "2")])[0])
    assert text == (
        "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n1<|im_end|>\n"
        "<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
        "<|im_start|>user\nasked<|im_end|>\n<|im_start|>assistant\n"
    )
