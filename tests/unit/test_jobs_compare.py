"""The job behind `compare`: which prompts, which adapters, and what is left when it is stopped."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judge_parts import random_adapter

from engine.base.chat import fitting_examples, prompts_ids, stop_ids
from engine.decode import answer_all
from engine.errors import Cancelled, EngineError
from engine.events import AnswersScored, AnswerText, Event, Note, Reporter, StageFinished, StageStarted
from engine.jobs import run
from engine.pipeline import load_chosen_base
from engine.requests import CompareRequest, ModelChoice, PromptChoice
from tests.tiny import tiny_config
from tests.unit.adapter_parts import write_peft_folder


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters for the tiny Llama, in folders of the same name."""
    folders = [tmp_path_factory.mktemp(name) / "lo.ra" for name in ("first", "second")]
    for seed, folder in enumerate(folders):
        write_peft_folder(folder, random_adapter(tiny_config("llama"), seed), "tiny")
    return folders


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """90 labelled prompts, then a line that cannot be read."""
    lines = [json.dumps({"prompt": f"question {number}", "response": "a b"}) for number in range(1, 91)]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join([*lines, "broken"]) + "\n")
    return path


@pytest.fixture
def ask(tiny_llama_folder: Path) -> Any:
    def make(file: Path | None = None, **changed: Any) -> CompareRequest:
        prompts = None if file is None else PromptChoice(source=file)
        models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
        return CompareRequest(**({"models": models, "prompts": prompts, "max_new_tokens": 5} | changed))

    return make


def answer(request: CompareRequest, sink: Any = lambda event: None, cancelled: Any = lambda: False) -> dict[str, Any]:
    return run(request, Reporter(sink, cancelled)).to_json()


def of_rows(result: dict[str, Any]) -> list[tuple[int, str]]:
    return [(row["number"], row["prompt"]) for row in result["rows"]]


@pytest.mark.parametrize(
    ("folders", "arms"),
    [
        ([], ("base", "adapted")),
        (["x/lora"], ("base", "adapted")),
        (["x/one", "x/two"], ("base", "one", "two")),
        (["x/lora", "y/lora/", "z/../lora"], ("base", "lora", "lora 2", "lora 3")),
        (["lora", "lora 2", "x/lora"], ("base", "lora", "lora 2", "lora 3")),
        (["x/base", "adapted"], ("base", "base 2", "adapted")),
        (["x/examples", "adapted"], ("base", "examples", "adapted")),
    ],
)
def test_arms_have_names_of_their_own(folders: list[str], arms: tuple[str, ...]) -> None:
    assert CompareRequest(models=ModelChoice(), adapters=tuple(map(Path, folders))).arms == arms


def test_examples_in_the_prompt_come_after_the_base() -> None:
    request = CompareRequest(models=ModelChoice(), adapters=(Path("examples"), Path("two")), examples=8)
    assert request.arms == ("base", "examples", "examples 2", "two")
    assert request.adapted_arms == ("examples 2", "two")
    chained = CompareRequest(models=ModelChoice(), adapters=(Path("one"),), chain="0", examples=1)
    assert chained.arms == ("base", "examples", "adapted", "chain")


def test_the_arms_of_here_and_above_are_named_after_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    request = CompareRequest(models=ModelChoice(), adapters=(Path(".."), Path(".")))
    assert request.arms == ("base", "outer", "inner")


def test_several_adapters_answer_as_each_alone(ask: Any, file: Path, adapters: list[Path]) -> None:
    both = answer(ask(file, adapters=tuple(adapters), rows=3))
    assert both["arms"] == ["base", "lo.ra", "lo.ra 2"]
    assert set(both["means"]) == set(both["timings"]) == set(both["arms"])
    alone = [answer(ask(file, adapters=(folder,), rows=3)) for folder in adapters]
    for row, one, two in zip(both["rows"], alone[0]["rows"], alone[1]["rows"], strict=True):
        assert row["answers"] == {
            "base": one["answers"]["base"],
            "lo.ra": one["answers"]["adapted"],
            "lo.ra 2": two["answers"]["adapted"],
        }
        assert len(set(row["answers"].values())) == 3


def test_the_first_rows_by_default_and_their_number_is_known(ask: Any, file: Path, adapters: list[Path]) -> None:
    events: list[Event] = []
    result = answer(ask(file, adapters=(adapters[0],), max_new_tokens=1), events.append)
    assert of_rows(result) == [(number, f"question {number}") for number in range(1, 5)]
    [started] = [event for event in events if isinstance(event, StageStarted) and event.stage == "answer"]
    assert started.total == 4


def test_more_rows_than_there_are(ask: Any, file: Path, tmp_path: Path, adapters: list[Path]) -> None:
    short = tmp_path / "short.txt"
    short.write_text("one\n\ntwo\n")
    events: list[Event] = []
    result = answer(ask(short, adapters=(adapters[0],), rows=10**9, max_new_tokens=1), events.append)
    assert [prompt for _, prompt in of_rows(result)] == ["one", "two"]
    assert [e.total for e in events if isinstance(e, StageStarted) and e.stage == "answer"] == [2]


def test_many_rows_are_read_as_they_are_answered(ask: Any, file: Path, adapters: list[Path]) -> None:
    request = ask(file, adapters=(adapters[0],), rows=1000, max_new_tokens=1)
    seen: list[Event] = []
    with pytest.raises(EngineError, match="line 91"):
        answer(request, seen.append)
    assert {event.row for event in seen if isinstance(event, AnswerText)} >= set(range(1, 81))


def test_free_texts_need_no_file(ask: Any, adapters: list[Path]) -> None:
    result = answer(ask(texts=("hello", "hello", "you"), adapters=(adapters[0],)))
    assert of_rows(result) == [(-1, "hello"), (-2, "hello"), (-3, "you")]
    assert result["rows"][0]["answers"] == result["rows"][1]["answers"]
    assert result["means"] == {}


def test_texts_and_numbers_together(ask: Any, file: Path, adapters: list[Path]) -> None:
    result = answer(ask(file, texts=("hello",), numbers=(70, 2), adapters=(adapters[0],)))
    assert [number for number, _ in of_rows(result)] == [-1, 2, 70]
    assert set(result["means"]) == {"base", "adapted"}


def test_a_chain_answers_beside_the_base_and_the_adapter(ask: Any, file: Path, adapters: list[Path]) -> None:
    alone = answer(ask(file, adapters=(adapters[0],), rows=6))
    pieces: list[Event] = []
    own = answer(ask(file, adapters=(adapters[0],), chain="0-1", rows=6), pieces.append)
    assert own["arms"] == ["base", "adapted", "chain"] and set(own["timings"]) == set(own["means"]) == set(own["arms"])
    for row, before in zip(own["rows"], alone["rows"], strict=True):
        # The base's own chain, with the adapter: it answers as the adapted base does.
        assert row["answers"] == before["answers"] | {"chain": before["answers"]["adapted"]}
    arms = [event.arm for event in pieces if isinstance(event, AnswerText) and event.row == 1]
    assert set(arms[:3]) == {"base", "adapted", "chain"}, "side by side, not one after the other"
    other = answer(ask(file, chain="1,0,0", rows=6))
    assert other["arms"] == ["base", "chain"]
    assert any(row["answers"]["base"] != row["answers"]["chain"] for row in other["rows"])
    assert [row["answers"]["base"] for row in other["rows"]] == [row["answers"]["base"] for row in own["rows"]]
    assert answer(ask(texts=("hello",), chain="1"))["rows"][0]["answers"].keys() == {"base", "chain"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"chain": "0-2"}, "there is no layer 2. The base has the layers 0 to 1"),
        ({"chain": "2-0"}, "the range 2-0 runs backwards"),
        ({"chain": "missing"}, "missing: no such file"),
        ({"chain": "0", "adapters": (Path("a"), Path("b"))}, "goes with one adapter at most, not with 2"),
    ],
)
def test_a_chain_that_cannot_be_is_told(ask: Any, file: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError) as failed:
        answer(ask(file, **changed))
    assert told in str(failed.value)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"texts": ("hello",)},
        {"adapters": (Path("a"),)},
        {"texts": ("hello",), "adapters": (Path("a"),), "numbers": (1,)},
    ],
)
def test_no_prompts_where_they_are_needed(ask: Any, changed: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="no prompts are named"):
        answer(ask(**changed))


def test_drawn_answers_come_again_with_the_same_seed(ask: Any, file: Path, adapters: list[Path]) -> None:
    def drawn(seed: int) -> list[dict[str, str]]:
        result = answer(ask(file, adapters=tuple(adapters), temperature=1.5, sampling_seed=seed))
        return [row["answers"] for row in result["rows"]]

    assert drawn(0) == drawn(0) != drawn(1)


def test_an_adapter_for_another_base_is_named_with_the_base(
    ask: Any, file: Path, adapters: list[Path], tmp_path: Path, tiny_llama_folder: Path
) -> None:
    other = tmp_path / "other"
    write_peft_folder(other, random_adapter(tiny_config("llama", hidden_size=64)), "large")
    with pytest.raises(EngineError, match="does not fit the base") as told:
        answer(ask(file, adapters=(adapters[0], other)))
    assert told.value.where == str(other) and tiny_llama_folder.name in told.value.problem
    assert answer(ask(file, adapters=(adapters[0],), rows=1))["rows"]


@pytest.mark.parametrize("last", ["attach", "answer", "a token"])
def test_stopped_anywhere_the_next_job_of_the_process_is_as_fresh(
    ask: Any, file: Path, adapters: list[Path], last: str
) -> None:
    """The base stays in memory between jobs: nothing may be left on it."""
    request = ask(file, adapters=tuple(adapters))
    fresh = answer(request)["rows"]

    def reached(event: Event) -> bool:
        if last == "a token":
            return isinstance(event, AnswerText) and event.tokens == 3
        return isinstance(event, StageStarted | StageFinished) and event.stage == last

    seen: list[Event] = []
    with pytest.raises(Cancelled):
        answer(request, seen.append, lambda: any(map(reached, seen)))
    assert reached(seen[-1])
    assert answer(request)["rows"] == fresh


# -- how answers are scored, and examples in the prompt


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    """20 prompts: two labels in turns, and a third one at the end."""
    answers = [*["Sport", "food"] * 8, *["music."] * 4]
    rows = [{"prompt": f"question {number}", "response": answer} for number, answer in enumerate(answers, 1)]
    path = tmp_path / "topics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_metric_that_fits_the_answers_is_chosen_and_told(ask: Any, topics: Path, adapters: list[Path]) -> None:
    events: list[Event] = []
    result = run(ask(topics, adapters=(adapters[0],), rows=4, max_new_tokens=1), Reporter(events.append))
    data, lines = result.to_json(), result.summary()
    assert (data["metric"], data["labels"]) == ("label", ["sport", "food", "music"])
    assert [event for event in events if isinstance(event, AnswersScored)] == [
        AnswersScored("label", ("sport", "food", "music"))
    ]
    # Of the four rows that were answered, two are of either label; the first of the whole set goes first.
    assert (data["chance"], data["majority"]) == (pytest.approx(1 / 3), 0.5)
    assert data["verdict"]["baselines"]["majority_label"] == "sport"
    right = round(4 * data["means"]["adapted"])
    assert data["verdict"]["sentence"].startswith(f"{right} of 4 right; the base alone ")
    assert data["verdict"]["sentence"].endswith("; always answering 'sport' 2")
    told = [value for label, value in lines if label == "verdict"]
    assert told == [data["verdict"]["sentence"], *data["verdict"]["differences"]]
    assert dict(lines)["chance"] == "0.333 (3 labels)"


def test_a_metric_that_is_asked_for_stays(ask: Any, topics: Path, adapters: list[Path]) -> None:
    data = answer(ask(topics, adapters=(adapters[0],), metric="rouge_l", rows=1, max_new_tokens=1))
    assert data["metric"] == "rouge_l" and data["verdict"]["sentence"].startswith("mean score ")


def test_without_answers_there_is_nothing_to_judge(ask: Any, tmp_path: Path, adapters: list[Path]) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("one\ntwo\n")
    data = answer(ask(plain, adapters=(adapters[0],), max_new_tokens=1))
    assert [data[name] for name in ("labels", "chance", "majority", "verdict")] == [[], None, None, None]


def shown_examples(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """The examples of every part that is answered, as they come."""
    seen: list[list[tuple[str, str]]] = []

    def told(base: Any, prompts: list[str], pairs: list[tuple[str, str]], most: int) -> Any:
        seen.append(list(pairs))
        return fitting_examples(base, prompts, pairs, most)

    monkeypatch.setattr("engine.judge.compare.fitting_examples", told)
    return seen


def test_examples_are_other_rows_balanced_and_drawn_by_the_seed(
    ask: Any, topics: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = shown_examples(monkeypatch)

    def shown(seed: int = 0, **how: Any) -> list[tuple[str, str]]:
        seen.clear()
        request = ask(topics, adapters=(adapters[0],), examples=6, max_new_tokens=1, **how)
        assert request.prompts
        answer(replace(request, prompts=replace(request.prompts, seed=seed)))
        return seen[0]

    own = shown(numbers=(1, 2, 20))
    assert Counter(reference for _, reference in own) == {"Sport": 2, "food": 2, "music.": 2}
    assert not {prompt for prompt, _ in own} & {"question 1", "question 2", "question 20"}
    assert own == shown(numbers=(1, 2, 20)) != shown(1, numbers=(1, 2, 20))
    # A prompt that is typed and stands in the file too would see its own answer.
    assert all(prompt != "question 17" for seed in range(4) for prompt, _ in shown(seed, texts=("question 17",)))


def test_rows_that_are_read_as_they_are_answered_are_no_examples(
    ask: Any, tmp_path: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = shown_examples(monkeypatch)
    many = tmp_path / "many.jsonl"
    # Past the rows that are answered, a prompt of theirs comes again.
    prompts = [*(f"question {number}" for number in range(80)), "question 3", "free"]
    many.write_text("".join(json.dumps({"prompt": text, "response": "x y"}) + "\n" for text in prompts))
    events: list[Event] = []
    request = ask(many, adapters=(adapters[0],), examples=2, rows=80, max_new_tokens=1)
    data = answer(request, events.append)
    assert len(data["rows"]) == 80 and data["examples"] == 1
    assert all(pairs == [("free", "x y")] for pairs in seen)
    assert [event.text for event in events if isinstance(event, Note)] == [
        "1 of 2 examples: no more rows with answers are left"
    ]


def test_the_base_with_examples_answers_as_it_does_with_these_turns_before(
    ask: Any, topics: Path, adapters: list[Path], monkeypatch: pytest.MonkeyPatch, tiny_llama_folder: Path
) -> None:
    seen = shown_examples(monkeypatch)
    request = ask(topics, adapters=tuple(adapters), examples=3, rows=3)
    data = answer(request)
    assert data["arms"] == ["base", "examples", "lo.ra", "lo.ra 2"]
    assert list(data["timings"]) == list(data["means"]) == data["arms"]
    base = load_chosen_base(request.models, Reporter())
    asked = prompts_ids(base.tokenizer, [row["prompt"] for row in data["rows"]], seen[0])
    alone = answer_all(
        base.model, base.tokenizer, asked, max_new_tokens=5, stop_ids=stop_ids(base.tokenizer, base.model), batch=1
    )
    assert [row["answers"]["examples"] for row in data["rows"]] == alone
    assert data["timings"]["examples"]["asked"] == pytest.approx(sum(map(len, asked)) / 3)
    assert data["timings"]["base"]["asked"] == data["timings"]["lo.ra"]["asked"] < data["timings"]["examples"]["asked"]
    without = answer(ask(topics, adapters=tuple(adapters), rows=3))
    for row, before in zip(data["rows"], without["rows"], strict=True):
        assert {arm: row["answers"][arm] for arm in before["answers"]} == before["answers"]


@pytest.mark.parametrize(
    ("lines", "changed", "told"),
    [
        (["one", "two"], {}, "there are no answers in it"),
        (['{"prompt": "one", "response": "1"}'] * 3, {}, "every row with an answer is to be answered itself"),
        (None, {"texts": ("hello",)}, "no prompts are named to take examples from"),
    ],
)
def test_examples_that_cannot_be_are_told(
    ask: Any, tmp_path: Path, adapters: list[Path], lines: list[str] | None, changed: dict[str, Any], told: str
) -> None:
    path = tmp_path / ("rows.jsonl" if lines and lines[0].startswith("{") else "rows.txt")
    path.write_text("\n".join(lines or []))
    with pytest.raises(EngineError, match=told) as failed:
        answer(ask(path if lines else None, adapters=(adapters[0],), examples=8, **changed))
    assert failed.value.hint


def test_the_answers_are_in_the_column_that_is_named(ask: Any, tmp_path: Path, adapters: list[Path]) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"question {n}", "response": "a long one", "topic": "ab"[n % 2]} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = ask(path, adapters=(adapters[0],), rows=1, max_new_tokens=1)
    assert answer(request)["rows"][0]["references"] == ("a long one",)
    data = answer(replace(request, prompts=replace(request.prompts, label="topic")))
    assert data["rows"][0]["references"] == ("a",) and set(data["labels"]) == {"a", "b"}
