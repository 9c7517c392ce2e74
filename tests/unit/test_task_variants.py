"""Further tasks made of a task's rows: whoever reads only the instruction and the input can give the answer."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Reporter
from engine.forge.recipe import DataRecipe
from engine.forge.rows import TaskTokens, add_variants, tokenize_tasks, with_variants
from engine.forge.variants import instructed, task_variants
from engine.tasks.tasks import TaskRow, read_tasks, without_instruction
from tests.tiny import in_memory_base, tiny_model, write_tasks
from tests.tiny_tokenizer import tiny_tokenizer

seeds = st.integers(0, 500)


def row(prompt: str, response: str) -> TaskRow:
    return TaskRow(prompt, response, (response,))


def reviews(count: int = 40) -> list[TaskRow]:
    """A classification with an instruction; some inputs are longer than others."""
    chance = random.Random(1)
    return [
        row(
            f"Is the review good?\n\nreview {number} of{' very' * (number % 3)} many",
            chance.choice(["good", "bad", "so so"]),
        )
        for number in range(count)
    ]


def questions(count: int = 40) -> list[TaskRow]:
    """Many different answers, inputs of several words, an instruction."""
    return [row(f"Say who it was\n\nwho wrote book number {n} then", f"writer number {n}") for n in range(count)]


def kinds_of(rows: list[TaskRow], seed: int, count: int = 12) -> dict[str, list[TaskRow]]:
    return {name.split("-")[0]: made for name, made in task_variants("task", rows, count, seed)}


def test_variants_are_drawn_by_name_and_seed_and_none_comes_twice() -> None:
    made = task_variants("task", questions(), 8, 3)
    assert made == task_variants("task", questions(), 8, 3)
    assert made != task_variants("task", questions(), 8, 4)
    assert made != task_variants("other", questions(), 8, 3)
    assert len({tuple(rows) for _, rows in made}) == len(made) == len({name for name, _ in made})
    assert task_variants("task", questions(), 0, 3) == []


def test_every_kind_that_suits_comes_before_one_comes_again() -> None:
    kinds = [name.split("-")[0] for name, _ in task_variants("task", questions(), 5, 0)]
    assert sorted(kinds) == ["check", "choice", "form", "inverse", "text"]
    kinds = [name.split("-")[0] for name, _ in task_variants("task", reviews(), 5, 0)]
    assert sorted(kinds) == ["form", "labels", "names", "sort", "text"]


@given(seeds)
def test_new_labels_stand_in_the_instruction_and_stand_for_one_old_label_each(seed: int) -> None:
    rows = reviews()
    by_input = {without_instruction(one.prompt): one.response for one in rows}
    pairs = set()
    for one in kinds_of(rows, seed)["labels"]:
        said = one.prompt.partition("\n\n")[0]
        old = by_input[without_instruction(one.prompt)]
        assert said.startswith("Is the review good? ") and f'"{old}"' in said and f'"{one.response}"' in said
        pairs.add((old, one.response))
    assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs}) == 3


@given(seeds)
def test_named_labels_all_stand_in_the_instruction_and_an_answer_is_one_of_them(seed: int) -> None:
    by_input = {without_instruction(one.prompt): one.response for one in reviews()}
    made = kinds_of(reviews(), seed)["names"]
    names = re.findall(r'"(.*?)"', made[0].prompt.partition("\n\n")[0])
    assert len(names) == 3 and {one.response for one in made} == set(names)
    for one in made:
        assert one.prompt.startswith("Is the review good? ")
        assert by_input[without_instruction(one.prompt)] in one.response.lower()


@given(seeds)
def test_labels_that_differ_in_capitals_only_stay_apart(seed: int) -> None:
    rows = [row(f"Which letter?\n\nthe letter at {number}", "aA"[number % 2]) for number in range(20)]
    assert len({one.response for one in kinds_of(rows, seed)["names"]}) == 2


@given(seeds)
def test_sorted_texts_fall_into_two_named_classes_by_what_the_instruction_says(seed: int) -> None:
    inputs = {without_instruction(one.prompt) for one in reviews()}
    made = kinds_of(reviews(), seed)["sort"]
    said = made[0].prompt.partition("\n\n")[0]
    assert {one.response for one in made} == set(re.findall(r'"(.*?)"', said)) and "Is the review" not in said
    # Only their length tells these texts apart.
    middle = int(re.findall(r"at least (\d+) words", said)[0])
    longer = {one.response for one in made if len(without_instruction(one.prompt).split()) >= middle}
    assert len(longer) == 1 and {without_instruction(one.prompt) for one in made} == inputs
    assert all(len(without_instruction(one.prompt).split()) >= middle for one in made if one.response in longer)


@given(seeds)
def test_an_answer_to_be_checked_is_right_when_the_verdict_says_so(seed: int) -> None:
    rows = questions()
    answers = {one.prompt.partition("\n\n")[2]: one.response for one in rows}
    made = kinds_of(rows, seed)["check"]
    right, wrong = re.findall(r'"(.*?)"', made[0].prompt.partition("\n\n")[0])
    for one in made:
        asked, _, shown = without_instruction(one.prompt).partition("\nAnswer: ")
        assert one.response == (right if answers[asked] == shown else wrong)
    assert {one.response for one in made} == {right, wrong}


@given(seeds)
def test_the_chosen_option_is_the_answer_and_the_others_are_not(seed: int) -> None:
    rows = questions()
    answers = {without_instruction(one.prompt): one.response for one in rows}
    for one in kinds_of(rows, seed)["choice"]:
        asked, *options = without_instruction(one.prompt).split("\n")
        shown = {line[: line.index(" writer")]: line[line.index("writer") :] for line in options}
        assert shown[one.response] == answers[asked] and len(set(shown.values())) == 3
        assert all(letter in one.prompt.partition("\n\n")[0] for letter in shown)


@given(seeds)
def test_the_inverse_asks_for_the_input(seed: int) -> None:
    inputs = {one.response: without_instruction(one.prompt) for one in questions()}
    for one in kinds_of(questions(), seed)["inverse"]:
        assert one.prompt.startswith("Say who it was. ")
        assert inputs[without_instruction(one.prompt)] == one.response


@given(seeds)
def test_a_text_is_asked_for_something_that_stands_in_it(seed: int) -> None:
    inputs = {without_instruction(one.prompt) for one in questions()}
    for one in kinds_of(questions(), seed)["text"]:
        text = without_instruction(one.prompt)
        assert text in inputs and "Say who" not in one.prompt
        letters = set(text.lower()) | set(",")
        assert one.response in ("odd", "even") or set(one.response.lower()) <= letters


@given(seeds)
def test_another_form_changes_most_answers_and_says_how(seed: int) -> None:
    rows = questions()
    answers = {without_instruction(one.prompt): one.response for one in rows}
    made = kinds_of(rows, seed)["form"]
    assert len(made) == len(rows)
    assert sum(answers[without_instruction(one.prompt)] != one.response for one in made) * 2 > len(rows)
    assert {one.prompt.partition("\n\n")[0] for one in made} == {made[0].prompt.partition("\n\n")[0]}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Do it.\n\ntext", "Do it. More.\n\ntext"),
        ("Do it\n\ntext\n\nrest", "Do it. More.\n\ntext\n\nrest"),
        ("only a text", "More.\n\nonly a text"),
    ],
)
def test_a_sentence_joins_the_instruction(prompt: str, expected: str) -> None:
    assert instructed(prompt, "More.") == expected
    assert without_instruction(expected) == expected.partition("\n\n")[2]


def test_a_task_of_long_texts_has_no_variants() -> None:
    rows = [row(f"Sum up.\n\n{'word ' * 100}{number}", f"{'long ' * 40}{number}") for number in range(20)]
    assert task_variants("task", rows, 4, 0) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["Do it.\n\nwith all these words", "a", " \n\n "]), st.text(max_size=5)), max_size=30
    ),
    seeds,
)
def test_odd_tasks_have_variants_or_none(rows: list[tuple[str, str]], seed: int) -> None:
    for _, made in task_variants("task", [row(prompt, response) for prompt, response in rows], 6, seed):
        assert made and 2 * len(made) >= len(rows) and all(one.response for one in made)


def test_rare_answers_that_are_not_drawn_are_no_reason_to_wait_for_them() -> None:
    rows = [row("Say it.\n\na", "same")] * 5000 + [row("Say it.\n\na", f"rare {number}") for number in range(9)]
    kinds = {name.split("-")[0] for name, _ in task_variants("task", rows, 5, 0)}
    assert "choice" not in kinds and "form" in kinds


def test_tokens_of_variants_hang_on_their_task(tmp_path: Path) -> None:
    base: Any = in_memory_base(tiny_model("llama"), tiny_tokenizer())
    tasks = read_tasks(write_tasks(tmp_path, ["one", "two"]), "seen")
    plain = tokenize_tasks(base, tasks, DataRecipe(task_rows=8), Reporter())
    made = add_variants(base, plain, DataRecipe(task_rows=8, variants=3), 5, Reporter())
    assert [(t.rows, t.hidden, t.prompts) for t in made] == [(t.rows, t.hidden, t.prompts) for t in plain]
    assert all(not t.variants for t in plain) and all(t.variants for t in made)
    names = [t.name for t in made] + [variant.name for t in made for variant in t.variants]
    assert len(set(names)) == len(names) and {"one", "two"} < set(names)
    assert all(variant.task == t.task and variant.rows != t.rows for t in made for variant in t.variants)


def test_a_part_of_a_steps_tasks_is_exchanged_for_variants() -> None:
    def tokens(name: str, variants: tuple[TaskTokens, ...] = ()) -> TaskTokens:
        return TaskTokens(None, (), (), (), name, variants)  # type: ignore[arg-type]

    alone = tokens("alone")
    tasks = [tokens("a", (tokens("a1"), tokens("a2"))), alone]
    assert with_variants(tasks, 0.0, "step") == tasks
    drawn = [with_variants(tasks, 0.5, str(step)) for step in range(400)]
    assert drawn == [with_variants(tasks, 0.5, str(step)) for step in range(400)]
    assert all(second is alone for _, second in drawn)
    count = {name: sum(first.variant == name for first, _ in drawn) for name in ("a", "a1", "a2")}
    assert 160 < count["a"] < 240 and min(count["a1"], count["a2"]) > 60
