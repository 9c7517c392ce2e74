"""The whole quality table on a tiny base: every arm, stopped and taken up, and what no arm may look at."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.errors import Cancelled, EngineError
from engine.events import Event, Note, Reporter, StageAdvanced
from engine.generator.artifact import load_generator
from engine.jobs import run
from engine.requests import CollectRequest, EvaluateRequest, LeaveOneOutRequest, ModelChoice, TrainRequest
from engine.tasks.arms import ARMS, GROUPS, chosen_arms
from tests.tiny import write_tasks
from tests.two_processes import lab_in_two

RECIPE = {
    "frame": {"lora": {"rank": 2, "alpha": 4}},
    "data": {"row_tokens": 120, "task_rows": 8, "pack_tokens": 160, "pack_rows": 3},
    "multi_task": {"steps": 3, "packs": 2, "warmup_steps": 1},
    "library": {"adapters": 2, "steps": 3, "keep": 1, "learning_rate": 0.02},
    "decoder": {"prompts": 16, "prompt_tokens": 16, "cascade": [[4, 4, 8], [6, 4, 8]]},
    "warm_start": {"steps": 2, "tasks": 2, "warmup_steps": 1},
    "language_loss": {"steps": 2, "tasks": 2, "warmup_steps": 1, "judge_every": 2, "swap_every": 2},
    "held_out": 1,
}
EVERYTHING = ("table", "prompts", "library")


def make_generator(base: Path, tasks: Path, folder: Path, **changes: object) -> ModelChoice:
    """A library and a generator in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(RECIPE | changes))
    models = ModelChoice(base=str(base), device="cpu")
    library = folder / "library"
    run(CollectRequest(models=models, tasks=tasks, out=library, recipe=folder / "recipe.json"), Reporter())
    run(TrainRequest(models=models, tasks=tasks, library=library, out=folder / "generator"), Reporter())
    return replace(models, generator=folder / "generator")


@pytest.fixture(scope="module")
def made(tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluateRequest:
    """Tasks, library and generator, and the request that measures everything."""
    folder = tmp_path_factory.mktemp("evaluate")
    tasks = write_tasks(folder / "tasks", ["seen0", "seen1", "seen2", "seen3"])
    write_tasks(tasks, ["judged0", "judged1", "judged2"], split="unseen")
    models = make_generator(tiny_llama_folder, tasks, folder)
    return EvaluateRequest(
        models=models, tasks=tasks, library=folder / "library", out=folder / "table", arms=EVERYTHING, rows=3,
        seeds=2, max_new_tokens=4, batch=4, oracle_steps=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(made: EvaluateRequest) -> EvaluateRequest:
    """The same, done in one go."""
    run(made, Reporter())
    return made


def answers_in(out: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in ("making", "answering")} for line in lines]


def test_every_arm_is_measured_in_both_figures(whole: EvaluateRequest) -> None:
    table = json.loads((whole.out / "table.json").read_text())
    library = [f"lora:{name}" for name in json.loads((whole.library / "library.json").read_text())["tasks"]]  # type: ignore[operator]
    assert set(table["arms"]) == {*GROUPS["table"], *GROUPS["prompts"], *library}
    for arm, figures in table["arms"].items():
        assert figures["tasks_measured"] == 3 and figures["not_measured"] is None
        assert 0 <= figures["score"]["mean"] <= 1 and figures["bits_per_byte"]["mean"] > 0
        assert len(figures["bits_per_byte"]["by_seed"]) == (2 if arm in ARMS and ARMS[arm].drawn else 1)
        assert figures["making_seconds"] >= 0 and figures["answering_seconds"] > 0
    bits = {arm: figures["bits_per_byte"]["mean"] for arm, figures in table["arms"].items()}
    chosen = json.loads((whole.out / "best_single.json").read_text())["name"]
    assert bits["best_single"] == bits[f"lora:{chosen}"]
    assert bits["prompts_16"] == bits["generated"], "as many as this generator reads"
    assert bits["no_prompts"] == bits["multi_task"], "the frame was not trained along"
    assert bits["prompts_64"] == bits["prompts_128"], "a task has 24 prompts"
    twice = ("best_single", "nearest", "prompts_16", "prompts_128", "no_prompts")
    others = [value for arm, value in bits.items() if arm not in twice]
    assert len(set(others)) == len(others), "no two arms answer with the same adapter and prompt"
    assert bits["oracle"] < bits["multi_task"]
    assert table["arms"]["oracle"]["making_seconds"] > table["arms"]["base"]["making_seconds"]
    assert table["recovery"]["generated"]["bits_per_byte"]["tasks"] == 3


def test_rows_can_be_judged_without_their_instruction(made: EvaluateRequest, whole: EvaluateRequest) -> None:
    """The prompts that an adapter is made from keep it."""
    tasks = made.out.parent / "tasks too"
    shutil.copytree(made.tasks, tasks)
    write_tasks(tasks, ["plain"], split="unseen")
    for part in ("train", "test"):
        file = tasks / f"plain.{part}.jsonl"
        file.write_text(file.read_text().replace("plain:\\n\\n", ""))
    arms = ("base", "examples", "multi_task", "generated", "oracle")
    request = replace(made, tasks=tasks, arms=arms, seeds=1, out=made.out.parent / "hidden", hide_instruction=True)
    notes: list[str] = []
    run(request, Reporter(lambda event: notes.append(event.text) if isinstance(event, Note) else None))
    assert "1 tasks whose prompts are one paragraph are left out" in notes
    table = json.loads((request.out / "table.json").read_text())
    assert table["hide_instruction"] and [task["name"] for task in table["tasks"]] == ["judged0", "judged1", "judged2"]
    before = json.loads((whole.out / "table.json").read_text())
    for arm in arms:
        bits, other = (found["arms"][arm]["bits_per_byte"]["by_seed"]["0"] for found in (table, before))
        assert bits != other, f"{arm} saw other rows"
    assert (request.out / "table.md").read_text().startswith("The judged rows lost their instruction")
    assert "rows without their instruction" in (request.out / "table.svg").read_text()
    with pytest.raises(EngineError, match="another hide_instruction"):
        run(replace(request, hide_instruction=False, only=("judged*",)), Reporter())
    with pytest.raises(EngineError, match="card has the table of whole prompts"):
        run(replace(request, record=True), Reporter())
    with pytest.raises(EngineError, match="no task's prompts have a first paragraph"):
        run(replace(request, only=("plain",)), Reporter())


def test_table_and_plot_are_written_for_people(whole: EvaluateRequest) -> None:
    text = (whole.out / "table.md").read_text()
    for arm in GROUPS["table"]:
        assert f"| {ARMS[arm].title} |" in text and f"- {ARMS[arm].title}: " in text
    assert "± " in text and "Sign test p" in text
    picture = ElementTree.parse(whole.out / "table.svg")
    words = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Generated", "Oracle LoRA", "Score", "Bits per byte", "lower is better"} <= words


def test_a_complete_run_measures_nothing_again(whole: EvaluateRequest) -> None:
    before = {path.name: path.read_bytes() for path in whole.out.iterdir() if path.is_file()}
    events: list[Event] = []
    run(whole, Reporter(events.append))
    assert {path.name: path.read_bytes() for path in whole.out.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("stage", "step", "asked"),
    [
        ("evaluate examples", 2, ["base", "examples", "nearest_mix"]),
        ("choose best single", 1, ["mean", "best_single", "nearest"]),
        ("evaluate generated", 4, ["table"]),
        ("train oracle", 2, ["multi_task", "oracle"]),
    ],
)
def test_a_stopped_run_goes_on_and_ends_the_same(
    whole: EvaluateRequest, tmp_path: Path, stage: str, step: int, asked: list[str]
) -> None:
    seen: list[Event] = []

    def reached() -> bool:
        return any(isinstance(e, StageAdvanced) and e.stage == stage and e.step >= step for e in seen)

    request = replace(whole, out=tmp_path / "table", arms=tuple(asked))
    with pytest.raises(Cancelled):
        run(request, Reporter(seen.append, reached))
    run(request, Reporter())
    assert answers_in(request.out) == [line for line in answers_in(whole.out) if line["arm"] in chosen_arms(asked)]


def test_two_processes_share_the_tasks_and_make_the_same_table(whole: EvaluateRequest, tmp_path: Path) -> None:
    out, models = tmp_path / "table", whole.models
    words: list[object] = [
        "--base",
        models.base,
        "--generator",
        models.generator,
        "--device",
        "cpu",
        "--tasks",
        whole.tasks,
    ]
    words += ["--library", whole.library, "--rows", 3, "--seeds", 2, "--max-new-tokens", 4, "--oracle-steps", 3]
    arms = [word for arm in EVERYTHING for word in ("--arm", arm)]
    lines = lab_in_two("evaluate", *words, *arms, "--out", out)
    assert lines[-1].split() == ["table", str(out / "table.md")] and lines[0].startswith("Base ")

    def nats(folder: Path) -> dict[tuple[object, ...], object]:
        found = answers_in(folder)
        by_row = {tuple(line[key] for key in ("arm", "seed", "task", "row")): line["nats"] for line in found}
        assert len(by_row) == len(found), "no row is answered twice"
        return by_row

    assert nats(out) == pytest.approx(nats(whole.out), rel=1e-3)
    chosen, alone = (json.loads((folder / "best_single.json").read_text())["gains"] for folder in (out, whole.out))
    assert chosen == pytest.approx(alone, rel=1e-3, abs=1e-5)
    made, before = (json.loads((folder / "table.json").read_text()) for folder in (out, whole.out))
    assert {arm: figures["tasks_measured"] for arm, figures in made["arms"].items()} == {
        arm: figures["tasks_measured"] for arm, figures in before["arms"].items()
    }


def test_what_is_unseen_does_not_choose_the_best_single_adapter(whole: EvaluateRequest, tmp_path: Path) -> None:
    """Other unseen tasks, which are copies of a seen one, so that its own adapter would look best: same choice."""
    chosen = json.loads((whole.out / "best_single.json").read_text())
    loser = min(chosen["gains"], key=chosen["gains"].get)
    assert loser != chosen["name"]
    tasks = tmp_path / "tasks"
    shutil.copytree(whole.tasks, tasks)
    for name in ("judged0", "judged1", "judged2"):
        for part in ("train", "test"):
            shutil.copy(tasks / f"{loser}.{part}.jsonl", tasks / f"{name}.{part}.jsonl")
    request = replace(whole, tasks=tasks, out=tmp_path / "table", arms=("best_single",))
    run(request, Reporter())
    again = json.loads((request.out / "best_single.json").read_text())
    assert (again["name"], again["gains"]) == (chosen["name"], chosen["gains"])


def test_texts_that_training_rows_share_with_judged_rows_are_told(
    whole: EvaluateRequest, tiny_llama_folder: Path, tmp_path: Path
) -> None:
    story = "once there was a fox who crossed the river by night to see the other side"
    tasks = write_tasks(tmp_path / "tasks", ["seen0", "seen1", "seen2"])
    write_tasks(tasks, ["judged0", "judged1"], split="unseen")
    for file, row in (
        ("seen0.train", {"prompt": f"How does it end?\n\n{story}", "response": "well"}),
        ("judged1.test", {"prompt": "Sum it up.\n\nA fox story", "response": f"{story.title()}!"}),
    ):
        path = tasks / f"{file}.jsonl"
        path.write_text(json.dumps(row) + "\n" + path.read_text())
    models = make_generator(tiny_llama_folder, tasks, tmp_path, held_out=0)
    request = replace(whole, models=models, tasks=tasks, library=None, out=tmp_path / "table", arms=("base",), rows=1)
    events: list[Event] = []
    run(request, Reporter(events.append))
    told = "\n".join(event.text for event in events if isinstance(event, Note) and event.warning)
    assert "training rows of 1 tasks share passages with judged rows, as 1 of 25 rows of seen0 with judged1" in told
    pair = {"trained": "seen0", "judged": "judged1", "rows": 1, "of": 25}
    assert json.loads((request.out / "table.json").read_text())["shared_passages"] == [pair]
    assert "| seen0 | judged1 | 1 of 25 |" in (request.out / "table.md").read_text()
    untouched = json.loads((whole.out / "table.json").read_text())
    assert untouched["shared_passages"] == [] and "Shares passages" not in (whole.out / "table.md").read_text()


def test_a_judged_task_is_left_out_of_what_the_library_offers(whole: EvaluateRequest, tmp_path: Path) -> None:
    """Judging a seen task: neither its adapter nor its rows take part in the choice among the others."""
    library = sorted(json.loads((whole.library / "library.json").read_text())["tasks"])  # type: ignore[operator]
    request = replace(
        whole, out=tmp_path / "table", split="seen", only=(library[0],), arms=("best_single", "nearest", "library")
    )
    events: list[Event] = []
    table = run(request, Reporter(events.append)).to_json()
    told = "\n".join(map(str, events))
    assert "the generator was trained on 1 of these tasks" in told
    assert "the library was trained on 1 of these tasks" in told
    assert library[0] not in json.loads((request.out / "best_single.json").read_text())["gains"]
    measured = {arm for arm, figures in table["arms"].items() if figures["tasks_measured"]}
    assert measured == {"best_single", "nearest", *(f"lora:{name}" for name in library[1:])}


def test_without_a_library_its_arms_say_so(whole: EvaluateRequest, tmp_path: Path) -> None:
    request = replace(whole, out=tmp_path / "table", library=None, arms=("mean", "nearest", "library", "base"), rows=1)
    table = run(request, Reporter()).to_json()
    assert {table["arms"][arm]["not_measured"] for arm in ("mean", "nearest", "library")} == {"needs a LoRA library"}
    assert table["arms"]["oracle"]["not_measured"] == "was not asked for"
    assert "| Mean adapter | not measured: needs a LoRA library |" in (request.out / "table.md").read_text()


def test_further_arms_and_seeds_join_an_existing_folder(whole: EvaluateRequest, tmp_path: Path) -> None:
    first = replace(whole, out=tmp_path / "table", library=None, arms=("generated",), seeds=1)
    run(first, Reporter())
    table = run(replace(first, library=whole.library, arms=("generated", "mean"), seeds=2), Reporter()).to_json()
    assert len(table["arms"]["generated"]["score"]["by_seed"]) == 2 and table["arms"]["mean"]["tasks_measured"] == 3
    with pytest.raises(EngineError, match="answers of arm oracle here belong to another steps: 3, not 4"):
        for steps in (3, 4):
            run(replace(first, arms=("oracle",), oracle_steps=steps), Reporter())


def test_record_gives_the_figures_to_the_generator(whole: EvaluateRequest, tmp_path: Path) -> None:
    scored = tmp_path / "scored"
    assert whole.models.generator
    shutil.copytree(whole.models.generator, scored)
    run(replace(whole, models=replace(whole.models, generator=scored), record=True), Reporter())
    scores = load_generator(scored).spec.history["scores"]
    assert scores["means"].keys() == scores["bits_per_byte"].keys() and "oracle" in scores["means"]
    assert "| Oracle LoRA | " in (scored / "README.md").read_text()


@pytest.mark.parametrize(
    ("changed", "said"), [({"only": ("nothing*",)}, "is named nothing"), ({"arms": ("x",)}, "arm 'x'")]
)
def test_what_is_not_there_is_told(made: EvaluateRequest, changed: dict[str, object], said: str) -> None:
    with pytest.raises(EngineError, match=said):
        run(replace(made, **changed), Reporter())  # type: ignore[arg-type]


def test_leave_one_out_over_sets(tiny_llama_folder: Path, tmp_path: Path) -> None:
    """As the README says: a recipe a set that excludes it, judged on it alone, put together."""
    sets = ["cs_a", "cs_b", "cs_c"]
    tasks = write_tasks(tmp_path / "sets", sets)
    for held_out in sets:
        folder = tmp_path / held_out
        models = make_generator(tiny_llama_folder, tasks, folder, exclude=[held_out], held_out=0)
        request = EvaluateRequest(
            models=models, tasks=tasks, library=folder / "library", out=folder / "table", split="seen",
            only=(held_out,), arms=("base", "multi_task", "generated", "library"), rows=2, seeds=1, max_new_tokens=4,
        )  # fmt: skip
        run(request, Reporter())
    tables = tuple(tmp_path / name / "table" for name in sets)
    found = run(LeaveOneOutRequest(tables=tables, out=tmp_path / "all"), Reporter()).to_json()
    assert [one["name"] for one in found["sets"]] == sets
    assert all(one["best_of"] in set(sets) - {one["name"]} for one in found["sets"])
    assert "| Held-out set | Rows | Base |" in (tmp_path / "all" / "leave_one_out.md").read_text()
    with pytest.raises(EngineError, match="judges cs_a a second time"):
        run(LeaveOneOutRequest(tables=(tables[0], tables[0]), out=tmp_path / "all"), Reporter())
