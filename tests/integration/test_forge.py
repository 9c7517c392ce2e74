"""Collect and train on a tiny base: what they leave, and that kill -9 at any moment loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from engine.errors import Cancelled, EngineError
from engine.events import Event, Note, Reporter, StageAdvanced
from engine.forge.collect import collect
from engine.forge.library import Library, open_library
from engine.forge.places import LOG_FILE, run_folder
from engine.forge.recipe import recipe_from_json
from engine.generator.artifact import load_generator
from engine.jobs import run
from engine.requests import CollectRequest, ModelChoice, TrainRequest
from engine.tasks.tasks import read_tasks
from tests.tiny import write_tasks
from tests.two_processes import lab_in_two

RECIPE = {
    "frame": {"lora": {"rank": 2, "alpha": 4}},
    "data": {"row_tokens": 120, "task_rows": 8, "pack_tokens": 160, "pack_rows": 3},
    "multi_task": {"steps": 4, "packs": 2, "warmup_steps": 1},
    "library": {"adapters": 2, "steps": 4, "keep": 2},
    "decoder": {"prompts": 4, "prompt_tokens": 16, "cascade": [[4, 4, 8], [6, 4, 8]]},
    "warm_start": {"steps": 4, "tasks": 2, "warmup_steps": 1},
    "language_loss": {"steps": 4, "tasks": 2, "warmup_steps": 1, "judge_every": 2, "swap_every": 2},
    "held_out": 2,
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks", [f"task{number}" for number in range(6)])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(RECIPE))
    return path


def requests(
    base: Path, tasks: Path, recipe: Path, folder: Path, device: str = "cpu"
) -> tuple[CollectRequest, TrainRequest]:
    models = ModelChoice(base=str(base), device=device, dtype="float32")
    library = folder / "library"
    return (
        CollectRequest(models=models, tasks=tasks, out=library, recipe=recipe),
        TrainRequest(models=models, tasks=tasks, library=library, out=folder / "generator"),
    )


def carried_out(base: Path, tasks: Path, recipe: Path, folder: Path) -> tuple[CollectRequest, TrainRequest]:
    """The same requests, carried out."""
    collecting, training = requests(base, tasks, recipe, folder)
    run(collecting, Reporter())
    run(training, Reporter())
    return collecting, training


def stop_after(stage: str, step: int) -> Reporter:
    """Asks to stop once `step` steps of `stage` are done."""
    seen: list[Event] = []

    def reached() -> bool:
        return any(isinstance(e, StageAdvanced) and e.stage == stage and e.step >= step for e in seen)

    return Reporter(seen.append, reached)


def same_library(one: Library, other: Library) -> bool:
    return one.task_names == other.task_names and all(
        torch.equal(tensor, other.checkpoints(task)[name])
        for task in one.task_names
        for name, tensor in one.checkpoints(task).items()
    )


def test_collect_leaves_a_frame_and_checkpoints_of_every_seen_task(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    write_tasks(tasks, ["judged"], split="unseen")
    request, _ = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    events: list[Event] = []
    result = run(request, Reporter(events.append))
    library = open_library(request.out)
    assert len(library.task_names) == 4 and len(library.about["held_out"]) == 2
    used = set(library.about["tasks"]) | set(library.about["held_out"])
    assert "judged" not in used and result.to_json()["tasks"] == library.task_names
    checkpoints = library.checkpoints(library.task_names[0])
    assert all(tensor.shape[0] == 2 and torch.isfinite(tensor).all() for tensor in checkpoints.values())
    assert any(tensor.any() for tensor in checkpoints.values())
    log = [json.loads(line) for line in (request.out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if line["stage"] == "multi-task"] == [1, 2, 3, 4]
    assert all({"loss", "tokens_per_second", "seconds"} <= set(line) for line in log)
    assert not list(request.out.glob("*.state.safetensors"))


def test_training_lowers_the_loss(tiny_llama_folder: Path, tasks: Path, tmp_path: Path) -> None:
    from engine.base.load import load_base, resolve_base

    settings = RECIPE | {"multi_task": {"steps": 40, "packs": 2, "learning_rate": 0.02, "warmup_steps": 2}}
    base = load_base(resolve_base(str(tiny_llama_folder)), device="cpu")
    collect(base, read_tasks(tasks, "seen"), recipe_from_json(settings), tmp_path / "library", 0, Reporter())
    log = [json.loads(line) for line in (tmp_path / "library" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if line["stage"] == "multi-task"]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.parametrize(("stage", "step"), [("multi-task", 2), ("library", 3), ("library", 6)])
def test_a_stopped_collection_goes_on_and_ends_the_same(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path, stage: str, step: int
) -> None:
    whole, _ = requests(tiny_llama_folder, tasks, recipe, tmp_path / "whole")
    run(whole, Reporter())
    parts, _ = requests(tiny_llama_folder, tasks, recipe, tmp_path / "parts")
    with pytest.raises(Cancelled):
        run(parts, stop_after(stage, step))
    run(parts, Reporter())
    assert same_library(open_library(whole.out), open_library(parts.out))


def test_a_library_of_other_tasks_is_not_continued(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    request, _ = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    run(request, Reporter())
    write_tasks(tasks, ["task0"], seed=1)
    with pytest.raises(EngineError, match="another tasks|another held_out"):
        run(request, Reporter())


def test_the_generator_is_taken_as_it_was_where_the_held_out_loss_was_lowest(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    # Trained far too hard, so that it gets worse on what it does not see.
    hard = {"steps": 6, "learning_rate": 0.8, "frame_learning_rate": 0.8, "warmup_steps": 0, "drop_condition": 0.5}
    recipe.write_text(json.dumps(RECIPE | {"language_loss": RECIPE["language_loss"] | hard | {"judge_every": 1}}))  # type: ignore[operator]
    collecting, training = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    run(collecting, Reporter())
    heard: list[Event] = []
    run(training, Reporter(heard.append))
    log = [json.loads(line) for line in (training.out / "run" / "log.jsonl").read_text().splitlines()]
    watched = {line["step"]: line["generated"] for line in log if line["stage"] == "held-out"}
    best = min(watched, key=lambda step: watched[step])
    assert list(watched) == [1, 2, 3, 4, 5, 6]
    assert load_generator(training.out).spec.history["losses"]["generated"] == pytest.approx(watched[best], rel=1e-3)
    assert any(isinstance(event, Note) and f"after step {best}:" in event.text for event in heard) == (best != 6)


@pytest.mark.parametrize(("stage", "step"), [("warm start", 2), ("language loss", 3)])
def test_a_stopped_training_goes_on_and_ends_the_same(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path, stage: str, step: int
) -> None:
    collecting, whole = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    run(collecting, Reporter())
    run(whole, Reporter())
    parts = TrainRequest(models=whole.models, tasks=tasks, library=whole.library, out=tmp_path / "parts")
    with pytest.raises(Cancelled):
        run(parts, stop_after(stage, step))
    run(parts, Reporter())
    one, other = load_generator(whole.out), load_generator(parts.out)
    assert one.spec.history["losses"].keys() == {"multi_task", "generated", "other_prompts"}
    state, again = one.decoder.state_dict(), other.decoder.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in state.items())
    assert any(tensor.any() for name, tensor in state.items() if name.endswith("over_n.weight"))
    assert sorted(path.name for path in whole.out.iterdir()) == [
        "README.md",
        "curve.svg",
        "generator.json",
        "generator.safetensors",
        "run",
    ]
    assert [path.name for path in (whole.out / "run").iterdir()] == ["log.jsonl"]
    with pytest.raises(EngineError, match="already holds a generator"):
        run(whole, Reporter())


def test_kill_9_in_the_middle_loses_at_most_the_current_step(
    tiny_llama_folder: Path, tasks: Path, tmp_path: Path
) -> None:
    """A real process, really killed, again and again, until one run gets through."""
    settings = RECIPE | {"multi_task": {"steps": 30, "packs": 2, "warmup_steps": 1}}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(settings))
    request, _ = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    words = ["--base", str(tiny_llama_folder), "--tasks", str(tasks), "--out", str(request.out)]
    command = [sys.executable, "-m", "dnd_tui", "lab", "collect", *words, "--recipe", str(recipe)]
    log = request.out / "log.jsonl"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) >= 5):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = [json.loads(line)["step"] for line in log.read_text().splitlines() if line.endswith("}")]
    run(request, Reporter())
    after = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    steps = [line["step"] for line in after if line["stage"] == "multi-task"]
    resumed_at = steps[len(done)]
    # Where steps take milliseconds not each of them is written; the state is ahead of the log by one step at most.
    assert 1 <= resumed_at <= done[-1] + 2
    fresh, _ = requests(tiny_llama_folder, tasks, recipe, tmp_path / "fresh")
    run(fresh, Reporter())
    assert same_library(open_library(request.out), open_library(fresh.out))


def test_two_processes_share_the_work(tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path) -> None:
    """Gradients are averaged, groups of tasks are divided."""
    request, training = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    words = ["--base", tiny_llama_folder, "--tasks", tasks, "--device", "cpu", "--dtype", "float32"]
    lines = lab_in_two("collect", *words, "--out", request.out, "--recipe", recipe)
    assert [line.split()[0] for line in lines] == ["tasks", "library", "log"], "one process speaks for both"
    lab_in_two("train", *words, "--out", training.out, "--library", request.out)
    steps = [json.loads(line) for line in (run_folder(training.out) / LOG_FILE).read_text().splitlines()]
    assert [entry["step"] for entry in steps if entry["stage"] == "language loss"] == [1, 2, 3, 4]
    lowest = min((entry for entry in steps if entry["stage"] == "held-out"), key=lambda entry: entry["generated"])
    told = load_generator(training.out).spec.history["losses"]
    assert {arm: round(loss, 5) for arm, loss in told.items()} == {arm: round(lowest[arm], 5) for arm in told}
    shared = open_library(request.out)
    alone, _ = requests(tiny_llama_folder, tasks, recipe, tmp_path / "alone")
    run(alone, Reporter())
    expected = open_library(alone.out)
    assert shared.task_names == expected.task_names
    for path, matrix in expected.frame.b.items():
        # Half of the rows in each process: the same mean but for rounding, which Adam's first steps magnify.
        assert torch.allclose(shared.frame.b[path], matrix, atol=2e-3)


def train_on_top(library_of: CollectRequest, trained: TrainRequest, settings: dict[str, object], folder: Path) -> Path:
    """Another generator on the same library, with these settings of the language loss."""
    folder.mkdir(exist_ok=True)
    recipe = folder / "other.json"
    recipe.write_text(json.dumps(RECIPE | {"language_loss": RECIPE["language_loss"] | settings}))  # type: ignore[operator]
    request = replace(trained, out=folder / "other", recipe=recipe, library=library_of.out)
    run(request, Reporter())
    return request.out


def test_the_frame_stays_unless_it_is_trained_along_with_the_decoder(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    collecting, training = carried_out(tiny_llama_folder, tasks, recipe, tmp_path)
    library, kept = open_library(collecting.out).frame, load_generator(training.out).frame
    assert all(torch.equal(library.b[path], kept.b[path]) for path in library.b)
    folder = train_on_top(collecting, training, {"frame_learning_rate": 1e-2, "drop_condition": 0.5}, tmp_path)
    moved = load_generator(folder)
    assert all(torch.equal(library.a[path], moved.frame.a[path]) for path in library.a)
    assert any(not torch.equal(library.b[path], moved.frame.b[path]) for path in library.b)
    assert "trained along with the decoder" in (folder / "README.md").read_text()
    empty = moved.generate(None)
    assert all(torch.equal(empty.b[path], moved.frame.b[path]) for path in empty.b)


def test_a_joint_training_that_is_stopped_goes_on_and_ends_the_same(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    settings = RECIPE | {"language_loss": {"steps": 4, "tasks": 2, "frame_learning_rate": 1e-2, "drop_condition": 0.3}}
    recipe.write_text(json.dumps(settings))
    collecting, whole = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    run(collecting, Reporter())
    run(whole, Reporter())
    parts = replace(whole, out=tmp_path / "parts")
    with pytest.raises(Cancelled):
        run(parts, stop_after("language loss", 2))
    run(parts, Reporter())
    one, other = load_generator(whole.out), load_generator(parts.out)
    assert all(torch.equal(matrix, other.frame.b[path]) for path, matrix in one.frame.b.items())
    again = other.decoder.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.decoder.state_dict().items())


def test_only_empty_conditions_teach_the_decoder_nothing(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    collecting, training = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    settings = RECIPE | {"warm_start": {"steps": 0}}
    recipe.write_text(json.dumps(settings))
    run(collecting, Reporter())
    settings |= {"language_loss": {"steps": 3, "tasks": 2, "drop_condition": 1.0, "frame_learning_rate": 1e-2}}
    recipe.write_text(json.dumps(settings))
    run(replace(training, recipe=recipe), Reporter())
    generator = load_generator(training.out)
    assert not generator.decoder.blocks[-1].over_n.weight.any()  # as it was at the start


def test_where_every_instruction_is_in_sight_no_margin_between_adapters_is_asked_for(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    collecting, training = requests(tiny_llama_folder, tasks, recipe, tmp_path)
    run(collecting, Reporter())

    def swapped_losses(settings: dict[str, object]) -> int:
        folder = train_on_top(collecting, training, {"swap_every": 1} | settings, tmp_path / str(len(settings)))
        lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
        return sum("swapped_loss" in line for line in lines)

    assert swapped_losses({"hide_instruction": 1.0}) == 4
    assert swapped_losses({"hide_instruction": 0.0, "other_adapter": 1.0}) == 0


def test_collecting_goes_on_from_a_generator(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    collecting, training = carried_out(tiny_llama_folder, tasks, recipe, tmp_path)
    start = load_generator(training.out).frame
    recipe.write_text(json.dumps(RECIPE | {"multi_task": {"steps": 0}}))
    again = replace(collecting, out=tmp_path / "again", start=training.out)
    run(again, Reporter())
    frame = open_library(again.out).frame
    assert all(torch.equal(matrix, frame.b[path]) for path, matrix in start.b.items())
    with pytest.raises(EngineError, match="another start"):
        run(replace(again, start=None), Reporter())
    recipe.write_text(json.dumps(RECIPE | {"frame": {"lora": {"rank": 3, "alpha": 4}}}))
    with pytest.raises(EngineError, match="other matrices than the recipe"):
        run(replace(collecting, out=tmp_path / "rank", start=training.out), Reporter())


def test_what_a_start_was_trained_on_is_not_held_out_and_not_forgotten(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    """Another seed would hold out others, and a recipe may leave tasks out that the start has met."""
    collecting, training = carried_out(tiny_llama_folder, tasks, recipe, tmp_path)
    first = open_library(collecting.out).about
    recipe.write_text(json.dumps(RECIPE | {"multi_task": {"steps": 0}, "language_loss": {"steps": 0}}))
    fresh = replace(collecting, out=tmp_path / "fresh", seed=3)
    run(fresh, Reporter())
    assert open_library(fresh.out).about["held_out"] != first["held_out"]
    again = replace(fresh, out=tmp_path / "again", start=training.out)
    run(again, Reporter())
    assert open_library(again.out).about["held_out"] == first["held_out"]

    left_out = min(first["tasks"])
    fewer = json.loads(recipe.read_text()) | {"exclude": [left_out]}
    recipe.write_text(json.dumps(fewer))
    without = replace(again, out=tmp_path / "without")
    run(without, Reporter())
    library = open_library(without.out)
    assert left_out not in library.about["tasks"] and left_out in library.trained_on
    run(replace(training, library=without.out, out=tmp_path / "other"), Reporter())
    assert left_out in load_generator(tmp_path / "other").spec.history["tasks"]

    recipe.write_text(json.dumps(fewer | {"exclude": [min(first["held_out"])]}))
    with pytest.raises(EngineError, match="2 held-out tasks are asked for, .* on all but 1"):
        run(replace(again, out=tmp_path / "none"), Reporter())


def test_a_larger_scale_is_that_of_every_weight_token(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    untrained = RECIPE | {"warm_start": {"steps": 0}, "language_loss": {"steps": 0}}
    recipe.write_text(json.dumps(untrained))
    _, training = carried_out(tiny_llama_folder, tasks, recipe, tmp_path)
    recipe.write_text(json.dumps(untrained | {"decoder": untrained["decoder"] | {"scale": 64.0}}))  # type: ignore[operator]
    larger = replace(training, recipe=recipe, out=tmp_path / "larger")
    run(larger, Reporter())
    by_default = load_generator(training.out).scales  # 16 times
    assert torch.equal(load_generator(larger.out).scales, 4 * by_default)


def test_compiled_training_is_that_of_eager_training_and_compiles_each_shape_once(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated as ever; the compiler behind it, which takes minutes on a CPU, runs what was traced."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compare_compiled_with_eager(tiny_llama_folder, tasks, recipe, tmp_path, "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
def test_steps_captured_as_cuda_graphs_train_as_eager_ones(
    tiny_llama_folder: Path, tasks: Path, recipe: Path, tmp_path: Path
) -> None:
    compare_compiled_with_eager(tiny_llama_folder, tasks, recipe, tmp_path, "cuda")


def compare_compiled_with_eager(base: Path, tasks: Path, recipe: Path, folder: Path, device: str) -> None:
    """Make a generator in both ways: the same results, and as many compilations as there are shapes."""
    settings = RECIPE | {"data": RECIPE["data"] | {"pad_to": 160}}  # type: ignore[operator]
    # Adam divides by the gradient's size at first: steps small enough for rounding to stay rounding.
    settings |= {"multi_task": {"steps": 3, "packs": 2, "learning_rate": 1e-4, "warmup_steps": 1}}
    settings |= {"library": {"adapters": 2, "steps": 2, "keep": 2, "learning_rate": 1e-4}}
    settings |= {"language_loss": {"steps": 3, "tasks": 2, "warmup_steps": 1, "swap_every": 2}}
    libraries, generators = [], []
    for compiled in (False, True):
        recipe.write_text(json.dumps(settings | {"compile": compiled}))
        collecting, training = requests(base, tasks, recipe, folder / str(compiled), device)
        with counted_compilations() as shapes:
            run(collecting, Reporter())
            run(training, Reporter())
        assert len(shapes) == (3 if compiled else 0)  # multi-task, library, language loss
        libraries.append(open_library(collecting.out).frame)
        generators.append(load_generator(training.out).spec.history["losses"])
    eager, compiled_frame = libraries
    for path, matrix in eager.b.items():
        assert torch.allclose(matrix, compiled_frame.b[path], atol=1e-4)
    assert generators[0] == pytest.approx(generators[1], abs=1e-3)


@contextmanager
def counted_compilations() -> Iterator[list[object]]:
    """One entry for every forward graph that dynamo hands to a compiler."""
    from torch._dynamo.utils import counters

    counters.clear()
    seen: list[object] = []
    yield seen
    seen += range(counters["stats"]["unique_graphs"])
