"""Many datasets to an adapter each, on a tiny base: as one by one, taken up again, two processes killed in between."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from dnd_tui.cli import app
from engine.adapter.peft_folder import DIGESTS_FILE, WEIGHTS_FILE, read_peft_folder
from engine.errors import Cancelled, EngineError
from engine.events import Event, Note, Reporter, StageAdvanced
from engine.jobs import run
from engine.requests import ContextChoice, GenerateEachRequest, ModelChoice
from tests.two_processes import begun_in_two, killed


def dataset(file: Path, seed: int, rows: int = 14) -> Path:
    chance = random.Random(seed)
    words = ("".join(chance.choices("abcdefgh", k=4)) for _ in range(rows))
    file.write_text("".join(json.dumps({"prompt": word, "response": word[::-1]}) + "\n" for word in words))
    return file


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As torchrun gives each process: sums over another number of threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets")
    for seed, name in enumerate(("colours.jsonl", "animals.jsonl", "plants.jsonl", "towns.jsonl", "rivers.jsonl")):
        dataset(folder / name, seed)
    (folder / "broken.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt":\n')
    (folder / "README.md").write_text("about the data")
    return folder


def asked(datasets: Path, base: Path, out: Path) -> GenerateEachRequest:
    solve = ContextChoice(fit_steps=1, rank=2, examples=2)
    models = ModelChoice(base=str(base), device="cpu")
    return GenerateEachRequest(models=models, sources=(datasets,), solve=solve, out=out)


def words(request: GenerateEachRequest) -> list[str]:
    options = ("--fit-steps", 1, "--rank", 2, "--examples", 2, "--device", "cpu", "--base", request.models.base)
    return list(map(str, ("generate", *request.sources, "--each", "--out", request.out, *options)))


def contents(out: Path) -> dict[str, dict[str, bytes]]:
    """What must be the same, byte for byte; every folder must be a whole adapter."""
    files = ("adapter_config.json", WEIGHTS_FILE, DIGESTS_FILE)
    seen = sorted(folder for folder in out.iterdir() if not folder.name.startswith("."))
    assert all(read_peft_folder(folder) for folder in seen)
    return {folder.name: {name: (folder / name).read_bytes() for name in files} for folder in seen}


@pytest.fixture(scope="module")
def whole(datasets: Path, tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> GenerateEachRequest:
    """A request, and in its `out` what one process makes of it."""
    request = asked(datasets, tiny_llama_folder, tmp_path_factory.mktemp("whole") / "out")
    answer = CliRunner().invoke(app, [*words(request), "--json"])
    assert answer.exit_code == 1
    data = json.loads(answer.stdout)
    assert (data["made"], data["there"], data["failed"]) == (5, 0, 1)
    states = {row["name"]: row["state"] for row in data["adapters"]}
    assert states.pop("broken") == "failed" and set(states.values()) == {"made"}
    assert all(set(row["scores"]) == {"base", "examples", "solved"} for row in data["adapters"] if not row["reason"])
    return request


def test_a_bad_dataset_is_named_at_the_end_and_what_is_finished_is_skipped(
    whole: GenerateEachRequest, datasets: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.out.rglob("*")}
    answer = CliRunner().invoke(app, words(whole))
    assert answer.exit_code == 1
    assert f"failed  broken: {datasets / 'broken.jsonl'}, line 2: broken JSON" in answer.stdout
    assert "0 made, 5 there already, 1 failed" in answer.stdout
    assert "1 of 6 datasets failed; the same command tries them again" in answer.stderr
    assert {path: path.stat().st_mtime_ns for path in whole.out.rglob("*")} == before


def test_each_is_as_if_it_was_made_alone(whole: GenerateEachRequest, datasets: Path, tmp_path: Path) -> None:
    alone = replace(whole, out=tmp_path).of("towns", datasets / "towns.jsonl")
    run(alone, Reporter())
    assert contents(tmp_path)["towns"] == contents(whole.out)["towns"]


def test_stopped_it_goes_on(whole: GenerateEachRequest, tmp_path: Path) -> None:
    stopped = replace(whole, out=tmp_path / "out")
    done: list[Event] = []

    def two_done(event: Event) -> None:
        done.extend([event] if isinstance(event, StageAdvanced) and event.stage == "adapters" else [])

    with pytest.raises(Cancelled):
        run(stopped, Reporter(two_done, lambda: len(done) >= 3))
    # The third is the broken one, the first in their order being the animals.
    assert set(contents(stopped.out)) == {"animals", "colours"}
    found = run(stopped, Reporter())
    assert (found.data["made"], found.data["there"]) == (3, 2)
    assert contents(stopped.out) == contents(whole.out)


def test_other_rows_or_settings_are_made_again_only_if_that_is_allowed(
    whole: GenerateEachRequest, datasets: Path, tmp_path: Path
) -> None:
    sources = (dataset(tmp_path / "one.jsonl", 1), dataset(tmp_path / "two.jsonl", 2))
    request = replace(whole, sources=sources, out=tmp_path / "out")
    assert run(request, Reporter()).data["made"] == 2
    dataset(tmp_path / "two.jsonl", 3)
    found = run(request, Reporter())
    assert (found.data["there"], found.data["failed"]) == (1, 1)
    assert "made from other rows or settings" in found.data["adapters"][1]["reason"]
    found = run(replace(request, replace=True), Reporter())
    assert (found.data["made"], found.data["there"]) == (1, 1)
    other = replace(request, solve=replace(request.solve, rank=3))
    assert run(other, Reporter()).data["failed"] == 2
    (tmp_path / "out" / "one" / "provenance.json").write_text("{}")
    assert "already exists" in run(request, Reporter()).data["adapters"][0]["reason"]


def test_warnings_have_the_name_of_their_dataset(whole: GenerateEachRequest, tmp_path: Path) -> None:
    rows = "".join(json.dumps({"prompt": f"p{n}", "response": "same"}) + "\n" for n in range(4))
    (tmp_path / "dull.jsonl").write_text(rows)
    events: list[Event] = []
    request = replace(whole, sources=(tmp_path / "dull.jsonl",), out=tmp_path / "out")
    run(request, Reporter(events.append))
    warnings = [event.text for event in events if isinstance(event, Note) and event.warning]
    assert warnings == ["dull: every answer is the same, so that is all the adapter can learn"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sources": (Path("nowhere"),)}, "no such file"),
        ({"solve": ContextChoice(rank=99)}, "rank 99 is out of range"),
        ({"models": ModelChoice(base="no folder/of/this name")}, "no such base model"),
    ],
)
def test_what_is_wrong_with_all_ends_at_once(
    change: dict[str, Any], problem: str, whole: GenerateEachRequest, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=problem):
        run(replace(whole, out=tmp_path / "out", **change), Reporter())
    assert not (tmp_path / "out").exists()


def test_two_processes_killed_at_any_moment_go_on_to_the_same_bytes(whole: GenerateEachRequest, tmp_path: Path) -> None:
    request = replace(whole, out=tmp_path / "out")
    running = begun_in_two(*words(request))
    while running.poll() is None and not request.out.is_dir():
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))
    killed(running)
    # Whatever is there is whole, and is not made again.
    kept = contents(request.out) if request.out.is_dir() else {}
    times = {name: (request.out / name).stat().st_mtime_ns for name in kept}
    again = begun_in_two(*words(request), "--json")
    text, errors = again.communicate()
    assert again.returncode == 1 and "1 of 6 datasets failed" in errors
    data = json.loads(text)
    assert data["made"] == 5 - len(kept) and data["there"] == len(kept)
    assert times == {name: (request.out / name).stat().st_mtime_ns for name in kept}
    assert contents(request.out) == contents(whole.out)
    assert not [path for path in request.out.iterdir() if path.name.startswith(".")]
