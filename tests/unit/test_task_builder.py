"""`research/tasks`: a folder of tasks from data sets on this disk; the manifest of the released collection."""

from __future__ import annotations

import json
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from engine.errors import EngineError
from engine.files import read_json
from engine.forge.plan import plan_collect
from engine.forge.recipe import recipe_from_json
from engine.generator.about import read_about
from engine.released import released_generator
from engine.tasks.tasks import SEEN, TaskRow, read_rows, read_tasks
from research.tasks.build import COLLECTION, KEPT, MADE, MISSING, as_table, build, main
from research.tasks.manifest import EXCLUDED, UNSEEN, Caps, Manifest, read_manifest
from research.tasks.rows import _worded

FRUIT = ("apple", "pear", "plum", "quince", "medlar")
PASSAGE = "the ferry leaves the northern quay at seven and comes back before the tide turns"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def reviews(folder: Path, numbers: range, file: str = "train.parquet") -> None:
    """Sentences on fruit with a class label, as parquet."""
    folder.mkdir(exist_ok=True)
    rows = {
        "text": [f"{FRUIT[number % 5]} number {number} was fine" for number in numbers],
        "label": [number % 2 for number in numbers],
    }
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    Dataset.from_dict(rows, features=features).to_parquet(folder / file)


def lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def manifest(folder: Path, tasks: dict[str, dict[str, Any]], **caps: int) -> Manifest:
    """Of a file whose entries have what these do not name."""
    common = {"metric": "exact_match", "kind": "fruit", "source": "ours", "licence": "none", "origin": "$id"}
    common |= {"dataset": "reviews", "prompt": "{{ text }}", "answer": "label"}
    file = folder / "manifest.json"
    file.write_text(json.dumps({"caps": caps, "families": [{**common, "tasks": tasks}]}))
    return read_manifest(file)


def rows(out: Path, name: str) -> tuple[list[TaskRow], list[TaskRow]]:
    return read_rows(out / f"{name}.train.jsonl"), read_rows(out / f"{name}.test.jsonl")


def states(outcomes: list[Any]) -> dict[str, str]:
    return {outcome.entry.name: outcome.state for outcome in outcomes}


def test_a_folder_of_tasks_is_made_that_collect_takes(tmp_path: Path) -> None:
    reviews(tmp_path / "reviews", range(40))
    reviews(tmp_path / "reviews", range(100, 120), "test.parquet")
    entry = {"instruction": "Good or bad?", "test_from": "test"}
    out = tmp_path / "out"
    outcomes = build(manifest(tmp_path, {"fruit": entry, "judged": {"split": "unseen"}}), out)
    assert states(outcomes) == {"judged": MADE, "fruit": MADE}
    assert [task.name for task in read_tasks(out, UNSEEN)] == ["judged"]
    assert read_json(out / "tasks.json")["fruit"]["licence"] == "none"
    train, test = rows(out, "fruit")
    assert len(train) == 40 and len(test) == 20
    for row in train + test:
        number = int(row.prompt.split()[-3])
        assert row.prompt == f"Good or bad?\n\n{FRUIT[number % 5]} number {number} was fine"
        assert row.response == ("bad", "good")[number % 2] and (number >= 100) == (row in test)
    plan = plan_collect(out, recipe_from_json({"held_out": 0, "library": {"tasks": 1}}), None, 0)
    assert plan.tasks.used == (("fruit", 40),) and plan.refusal is None and not plan.finished


def test_without_a_split_for_testing_a_quarter_of_the_rows_is_for_testing(tmp_path: Path) -> None:
    reviews(tmp_path / "reviews", range(40))
    build(manifest(tmp_path, {"fruit": {}}), tmp_path / "out")
    train, test = rows(tmp_path / "out", "fruit")
    assert (len(train), len(test)) == (30, 10)
    assert not {row.prompt for row in train} & {row.prompt for row in test}


def test_caps_hold_for_rows_and_lengths(tmp_path: Path) -> None:
    longer = [{"text": "word " * 30, "label": "x"}, {"text": "short", "label": "answer " * 9}]
    lines(tmp_path / "a.jsonl", longer + [{"text": f"t{number}", "label": "x"} for number in range(50)])
    entry = {"dataset": "json", "data_files": "a.jsonl"}
    made = build(manifest(tmp_path, {"a": entry}, train=20, test=5, prompt=100, response=30), tmp_path / "out")
    train, test = rows(tmp_path / "out", "a")
    assert (len(train), len(test)) == (20, 5)
    assert max(len(row.prompt) for row in train + test) <= 3
    assert made[0].said == "20 train, 5 test; 2 too long"


def test_training_rows_that_stand_in_test_are_left_out(tmp_path: Path) -> None:
    reviews(tmp_path / "reviews", range(40))
    reviews(tmp_path / "reviews", range(30, 50), "test.parquet")
    made = build(manifest(tmp_path, {"fruit": {"test_from": "test"}}), tmp_path / "out")
    train, test = rows(tmp_path / "out", "fruit")
    assert len(train) == 30 and len(test) == 20
    assert made[0].said == "30 train, 20 test; 10 in test"


def test_a_prompt_that_comes_again_brings_another_right_answer(tmp_path: Path) -> None:
    pairs = [(f"t{number}", answer) for number in range(8) for answer in ("yes", "yes", "aye")]
    lines(tmp_path / "a.jsonl", [{"text": text, "label": answer} for text, answer in pairs])
    build(manifest(tmp_path, {"a": {"dataset": "json", "data_files": "a.jsonl"}}), tmp_path / "out")
    train, test = rows(tmp_path / "out", "a")
    assert len(train + test) == 8
    assert {(row.response, row.references) for row in train + test} == {("yes", ("yes", "aye"))}


def test_of_a_list_of_answers_all_are_right_and_rows_without_one_are_left_out(tmp_path: Path) -> None:
    given = [{"text": f"t{number}", "label": ["one", " ", "two"] if number % 2 else []} for number in range(16)]
    lines(tmp_path / "a.jsonl", given)
    build(manifest(tmp_path, {"a": {"dataset": "json", "data_files": "a.jsonl"}}), tmp_path / "out")
    train, test = rows(tmp_path / "out", "a")
    assert {row.references for row in train + test} == {("one", "two")} and len(train + test) == 8


def test_rows_come_from_csv_and_from_fields_of_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"t{number},x{number}\n" for number in range(8)))
    of_mapping = {"ask": "Say it", "examples": {str(n): {"text": f"t{n}", "label": f"x{n}"} for n in range(8)}}
    (tmp_path / "b.json").write_text(json.dumps(of_mapping))
    (tmp_path / "c.json").write_text(json.dumps(of_mapping | {"examples": [*of_mapping["examples"].values()]}))
    entry = {"dataset": "json", "data_files": "$id.json", "rows_in": "examples", "prompt": "{{ ask }} {{ text }}"}
    tasks = {"a": {"dataset": "csv", "data_files": "a.csv"}, "b": entry, "c": entry, "d": entry}
    tasks["d"] = entry | {"data_files": ["b.json", "c.json"], "where": "text != 't3'"}
    assert set(states(build(manifest(tmp_path, tasks), tmp_path / "out")).values()) == {MADE}
    for name, ask, there in (("a", "", 8), ("b", "Say it ", 8), ("c", "Say it ", 8), ("d", "Say it ", 7)):
        train, test = rows(tmp_path / "out", name)
        expected = {(f"{ask}t{number}", f"x{number}") for number in range(8) if there == 8 or number != 3}
        assert {(row.prompt, row.response) for row in train + test} == expected


def test_the_same_seed_draws_the_same_rows(tmp_path: Path) -> None:
    reviews(tmp_path / "reviews", range(60))
    wanted = manifest(tmp_path, {"fruit": {}}, train=10, test=5)
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        build(wanted, tmp_path / name, seed=seed)
    assert rows(tmp_path / "first", "fruit") == rows(tmp_path / "again", "fruit")
    assert rows(tmp_path / "first", "fruit") != rows(tmp_path / "other", "fruit")


def test_a_source_on_both_sides_is_refused_unless_one_side_is_excluded(tmp_path: Path) -> None:
    reviews(tmp_path / "reviews", range(40))
    tasks = {"a": {"origin": ["market", "orchard"]}, "b": {"origin": "orchard", "split": "unseen"}, "c": {}}
    with pytest.raises(EngineError, match=r"a: is seen, and b is unseen: both are over 'orchard'.*excluded"):
        manifest(tmp_path, tasks)
    tasks["a"]["split"] = EXCLUDED
    build(manifest(tmp_path, tasks), tmp_path / "out")
    assert [task.name for task in read_tasks(tmp_path / "out", SEEN)] == ["c"]
    assert [task.name for task in read_tasks(tmp_path / "out", UNSEEN)] == ["b"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"promt": "x"}, "unknown field 'promt'.*Fields: name, dataset, prompt"),
        ({"origin": []}, "origin should be a text, or a list of them"),
        ({"prompt": ""}, "the field 'prompt' is missing"),
        ({"metric": "f1"}, "'f1' is unknown.*One of exact_match"),
        ({"split": "test"}, "'test' is unknown.*One of seen, unseen, excluded"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path: Path, entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(EngineError, match=f"manifest.json, fruit: {problem}"):
        manifest(tmp_path, {"fruit": entry})


def test_seen_rows_that_share_a_passage_with_an_unseen_test_row_are_left_out(tmp_path: Path) -> None:
    asked = [f"no {number}" for number in range(12)]
    lines(tmp_path / "unseen.jsonl", [{"text": "Where does it go?", "label": PASSAGE}])
    lines(tmp_path / "some.jsonl", [{"text": each, "label": "x"} for each in asked])
    shared = [{"text": f"no {number}: {PASSAGE.upper()}!", "label": "x"} for number in range(30, 33)]
    lines(tmp_path / "seen.jsonl", [{"text": each, "label": "x"} for each in asked] + shared)
    entry = {"dataset": "json", "data_files": {}}
    tasks = {
        "seen": entry | {"data_files": "seen.jsonl", "test_from": "train[:4]"},
        "excluded": entry | {"data_files": "seen.jsonl", "test_from": "train[:4]", "split": EXCLUDED},
        "unseen": entry | {"data_files": ["some.jsonl", "unseen.jsonl"], "test_from": "train[12:]", "split": "unseen"},
    }
    out = tmp_path / "out"
    made = build(manifest(tmp_path, tasks), out)
    assert {row.text for row in rows(out, "unseen")[1]} == {f"Where does it go? {PASSAGE}"}
    assert "3 shares a passage" in next(each.said for each in made if each.entry.name == "seen")
    assert len(rows(out, "seen")[0]) == 8 and len(rows(out, "excluded")[0]) == 11


def test_a_task_that_is_there_is_kept_until_its_settings_or_the_judged_rows_change(tmp_path: Path) -> None:
    reviews(tmp_path / "reviews", range(40))
    reviews(tmp_path / "market", range(40, 80))
    tasks = {"a": {}, "b": {"instruction": "Good or bad?"}, "judged": {"split": "unseen", "dataset": "market"}}
    out = tmp_path / "out"
    build(manifest(tmp_path, tasks), out)
    before = {file.name: file.stat().st_ino for file in out.glob("*.jsonl")}
    assert set(states(build(manifest(tmp_path, tasks), out)).values()) == {KEPT}
    assert {file.name: file.stat().st_ino for file in out.glob("*.jsonl")} == before
    tasks["b"] = {"instruction": "Which?"}
    assert states(build(manifest(tmp_path, tasks), out)) == {"judged": KEPT, "a": KEPT, "b": MADE}
    (out / "a.test.jsonl").unlink()
    assert states(build(manifest(tmp_path, tasks), out)) == {"judged": KEPT, "a": MADE, "b": KEPT}
    tasks["judged"]["instruction"] = "Which?"
    tasks["judged"]["answer"] = "text"
    assert states(build(manifest(tmp_path, tasks), out)) == {"judged": MADE, "a": MADE, "b": MADE}
    del tasks["a"]
    build(manifest(tmp_path, tasks), out)
    assert set(read_json(out / "tasks.json")) == {"b", "judged"}


def test_what_cannot_be_made_is_reported_and_the_rest_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reviews(tmp_path / "reviews", range(40))
    (tmp_path / "one.csv").write_text("text,label\na,b\n")
    tasks = {
        "absent": {"dataset": "json", "data_files": "absent.jsonl", "unverified": "whether there is such a file"},
        "column": {"prompt": "{{ sentence }}"},
        "small": {"dataset": "csv", "data_files": "one.csv"},
        "good": {},
    }
    wanted = manifest(tmp_path, tasks)
    outcomes = build(wanted, tmp_path / "out")
    assert states(outcomes) == {"absent": MISSING, "column": MISSING, "small": MISSING, "good": MADE}
    table = as_table(outcomes)
    assert "absent.jsonl" in table and "whether there is such a file: absent" in table
    assert "'sentence' is undefined. Columns: text, label: column" in table
    assert "1 training and 0 test rows are no task" in table
    assert [task.name for task in read_tasks(tmp_path / "out", None)] == ["good"]
    file = str(tmp_path / "manifest.json")
    assert main([str(tmp_path / "out"), "--manifest", file]) == 0
    assert main([str(tmp_path / "out"), "--manifest", file, "--only", "col*"]) == 1
    assert "kept      good: 30 train, 10 test" in capsys.readouterr().out


def test_a_folder_of_other_tasks_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviews(tmp_path / "reviews", range(40))
    manifest(tmp_path, {"fruit": {}})
    (tmp_path / "tasks.json").write_text('{"fruit": {"metric": "exact_match", "split": "seen"}}')
    (tmp_path / "fruit.train.jsonl").write_text("mine")
    assert main([str(tmp_path), "--manifest", str(tmp_path / "manifest.json")]) == 1
    assert "fruit was made otherwise. Choose another folder" in capsys.readouterr().err
    assert (tmp_path / "fruit.train.jsonl").read_text() == "mine"


def test_a_template_reaches_nothing_but_the_row(tmp_path: Path) -> None:
    reviews(tmp_path / "reviews", range(40))
    wanted = manifest(tmp_path, {"fruit": {"prompt": "{{ text.__class__.__mro__ }}"}})
    assert "is unsafe" in build(wanted, tmp_path / "out")[0].said


def test_the_released_collection_keeps_out_what_its_recipe_keeps_out() -> None:
    entries = read_manifest(COLLECTION).entries
    assert Counter(entry.split for entry in entries.values()) == {SEEN: 220, UNSEEN: 24, EXCLUDED: 40}
    kept_out = read_json(released_generator() / "recipe.json")["exclude"]
    assert not [
        name for name in entries if entries[name].split == SEEN and any(fnmatch(name, each) for each in kept_out)
    ]
    history = read_about(released_generator())["history"]
    trained_on = {*history["tasks"], *history["held_out"]}
    assert trained_on <= set(entries) and not [name for name in trained_on if entries[name].split == UNSEEN]


# Rows of our own in the columns of the data sets; the prompt's end and the answers that are to come of them.
MADE_UP: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "sni_task1582_bless_hypernym_generation": (
        {"task_name": "task1582_bless_hypernym_generation", "definition": "Do.", "inputs": "x", "targets": "y"},
        "Do.\n\nx",
        ("y",),
    ),
    "sni_task203_mnli_sentence_generation": (
        {"Definition": ["Do."], "input": "x", "output": ["y", "z"]},
        "x",
        ("y", "z"),
    ),
    "bbh_navigate": ({"input": "Turn?", "target": "No"}, "Turn?", ("No",)),
    "agi_sat-math": (
        {"query": "Q: Two and two? Answer Choices: (A)3 (B)4\nA: Among", "choices": ["(A)3", "(B)4"], "gold": [1]},
        "Two and two?\n(A)3\n(B)4",
        ("B",),
    ),
    "cs_arc_c": (
        {"question": "Hot?", "choices": {"text": ["ice", "fire"], "label": ["1", "2"]}, "answerKey": "2"},
        "Hot?\n1: ice\n2: fire",
        ("[2]",),
    ),
    "cs_obqa": (
        {"question_stem": "Hot is", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]}, "answerKey": "B"},
        "Hot is\nA: ice\nB: fire",
        ("[B]",),
    ),
    "cs_boolq": ({"question": "is ice hot", "answer": False}, "is ice hot?", ("[False]",)),
    "cs_piqa": ({"goal": "Cool it", "sol1": "ice", "sol2": "fire", "label": 0}, "Cool it\nA: ice\nB: fire", ("[A]",)),
    "cs_winogrande": (
        {"sentence": "_ is hot", "option1": "ice", "option2": "fire", "answer": "2"},
        "_ is hot\nA: ice\nB: fire",
        ("[B]",),
    ),
    "cs_science": (
        {
            "question": "Hot?",
            "correct_answer": "fire",
            "distractor1": "ice",
            "distractor2": "air",
            "distractor3": "sea",
        },
        "Hot?\nA: air\nB: fire\nC: ice\nD: sea",
        ("[B]",),
    ),
    "code_alpaca": ({"instruction": "Add.", "input": "1 2", "output": "3"}, "Add.\nInput: 1 2", ("3",)),
    "evo_cr": ({"text": "it works", "label": 1}, "it works", ("positive",)),
    "evo_mr": ({"text": "dull", "label": "neg"}, "dull", ("negative",)),
    "evo_sst-5": ({"text": "so so", "label": 2}, "so so", ("okay",)),
    "fs_cb": ({"premise": "a", "hypothesis": "b", "label": "neutral"}, "Premise: a\nHypothesis: b", ("neutral",)),
    "lt_nq_open": ({"question": "who", "answer": ["he", "him"]}, "who", ("he", "him")),
}


@pytest.mark.parametrize("name", MADE_UP)
def test_an_entry_of_the_collection_puts_a_row_into_words(name: str) -> None:
    row, prompt, answers = MADE_UP[name]
    (made,) = _worded(read_manifest(COLLECTION).entries[name], [row], Caps(), Counter())
    assert made.prompt.endswith(prompt) and made.references == answers


def test_the_manifest_that_the_docs_show_is_one(tmp_path: Path) -> None:
    page = (COLLECTION.parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    file = tmp_path / "shown.json"
    file.write_text(page.split("```json\n")[1].split("```")[0])
    shown = read_manifest(file)
    assert set(shown.entries) == {"news_topic", "shop_spring", "shop_autumn"}
    assert shown.entries["shop_autumn"].data_files == ("autumn.csv",) and shown.caps.prompt == Caps().prompt
