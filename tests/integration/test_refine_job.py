"""The whole way of training an adapter on answered rows, on tiny bases: from none or a solved one, stopped, killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.adapter.peft_folder import peft_files, read_peft_folder, write_files
from engine.adapter.provenance import Trained, read_provenance
from engine.errors import Cancelled, EngineError
from engine.events import Event, Note, Reporter, StageAdvanced, UpdateNorms
from engine.files import digest_file
from engine.jobs import run
from engine.jobs.checks import STATE_FILE
from engine.requests import NO_ADAPTER, CompareRequest, ModelChoice, PromptChoice, RefineRequest
from engine.solver.refine import watched_count
from engine.weights.layout import LoraSpec, derive_layout
from tests.integration.test_solve_job import TASK, done, solving, stages, things, written
from tests.tiny import tiny_model
from tests.unit.adapter_parts import random_adapter


def training(source: Path, base: Path, out: Path, adapter: Path = NO_ADAPTER, **fields: Any) -> RefineRequest:
    models = ModelChoice(base=str(base), device="cpu")
    given = {"steps": 16, "seconds": 600, "rate": 1e-2, "answered": 40, **fields}
    return RefineRequest(models=models, adapter=adapter, source=source, out=out, **given)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_a_fresh_adapter_learns_the_answers(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(f"tiny_{family}_folder")
    events: list[Event] = []
    asked = training(written(tmp_path, things(60)), base, tmp_path / "adapter", rank=4)
    data = run(asked, Reporter(events.append)).to_json()
    assert stages(events) == ["import", "read", "load", "train", "check", "attach", "write"]
    assert data["rows"] == 32 and data["watched"] == watched_count(40) == 8 and data["start"] == "none"
    assert data["watched_best"]["nats"] < data["watched_before"]["nats"]
    assert set(data["held_out"]["scores"]) == {"base", "examples", "refined"} and data["held_out"]["rows"] == 20
    told = read_provenance(tmp_path / "adapter")
    assert isinstance(told, Trained) and told.best_step == data["best_step"] and told.verdict
    assert told.verdict in (tmp_path / "adapter" / "README.md").read_text()
    assert any("s a step" in event.text for event in events if isinstance(event, Note))
    losses = [event.figures["loss"] for event in events if isinstance(event, StageAdvanced) and "loss" in event.figures]
    assert len(losses) == data["steps"] and losses[-1] < losses[0]
    assert [file.name for file in (tmp_path / "adapter").iterdir() if file.name == STATE_FILE] == []
    assert sum(len(event.norms) for event in events if isinstance(event, UpdateNorms)) > 0
    # It is an adapter like any other.
    prompts = PromptChoice(source=asked.source)
    compared = CompareRequest(models=asked.models, prompts=prompts, adapters=(asked.out,), rows=2)
    assert run(compared, Reporter()).to_json()["arms"] == ["base", "adapted"]


def test_an_adapter_with_an_instruction_in_it_goes_on_without(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(60, task=""))
    done(solving(source, tiny_llama_folder, tmp_path / "solved", context=TASK))
    before = digest_file(tmp_path / "solved" / "adapter_model.safetensors")
    asked = training(source, tiny_llama_folder, tmp_path / "refined", tmp_path / "solved")
    data = run(asked, Reporter()).to_json()
    assert set(data["held_out"]["scores"]) == {"base", "examples", "instruction", "before", "refined"}
    arms = data["held_out"]["arms"]
    assert arms["refined"]["tokens_per_query"] < arms["instruction"]["tokens_per_query"] - 5
    told = read_provenance(tmp_path / "refined")
    assert isinstance(told, Trained) and told.instruction == TASK and told.start == "solved"
    assert told.start_digest == before == digest_file(tmp_path / "solved" / "adapter_model.safetensors")
    one, other = (read_peft_folder(tmp_path / name)[0].layout for name in ("solved", "refined"))
    assert one == other


@pytest.mark.parametrize(("count", "warned"), [(40, True), (60, False)])
def test_rows_that_the_adapter_knows_already_are_poor_judges(
    count: int, warned: bool, tmp_path: Path, tiny_llama_folder: Path
) -> None:
    source = written(tmp_path, things(count))
    done(solving(source, tiny_llama_folder, tmp_path / "solved", answered=32, held_out=8))
    events: list[Event] = []
    asked = training(source, tiny_llama_folder, tmp_path / "refined", tmp_path / "solved", steps=1, answered=99)
    run(asked, Reporter(events.append))
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any("6 of the 6 rows that decide when training ends" in note for note in notes) is warned


class Killed(Exception):
    """What no handler of ours knows."""


def interrupting(kind: type[BaseException], step: int) -> Reporter:
    def sink(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.stage == "train" and event.step == step:
            raise kind

    return Reporter(sink)


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(40))
    run(training(source, tiny_llama_folder, tmp_path / "whole"), Reporter())
    killed = training(source, tiny_llama_folder, tmp_path / "killed")
    with pytest.raises(Killed):
        run(killed, interrupting(Killed, 10))
    assert [file.name for file in killed.out.iterdir()] == [STATE_FILE]
    with pytest.raises(EngineError, match="another"):
        run(training(source, tiny_llama_folder, killed.out, rate=1e-3), Reporter())
    events: list[Event] = []
    run(killed, Reporter(events.append))
    assert any("goes on" in event.text for event in events if isinstance(event, Note))
    one, other = (digest_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "killed"))
    assert one == other


def test_whoever_stops_it_keeps_what_was_gained(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(40))
    asked = training(source, tiny_llama_folder, tmp_path / "stopped")
    with pytest.raises(Cancelled):
        run(asked, interrupting(Cancelled, 11))
    told = read_provenance(asked.out)
    assert isinstance(told, Trained) and told.ended == "stopped" and told.best_step == 8 and not told.verdict
    run(training(source, tiny_llama_folder, tmp_path / "eight", steps=8), Reporter())
    one, other = (digest_file(tmp_path / name / "adapter_model.safetensors") for name in ("stopped", "eight"))
    assert one == other


def test_few_rows_are_all_trained_on(tmp_path: Path, tiny_llama_folder: Path) -> None:
    asked = training(written(tmp_path, things(9)), tiny_llama_folder, tmp_path / "few", steps=3)
    data = run(asked, Reporter()).to_json()
    assert (data["rows"], data["watched"], data["steps"], data["best_step"]) == (9, 0, 3, 3)
    assert data["held_out"] is None and data["ended"] == "all steps taken"


def test_what_cannot_be_is_refused_before_anything_is_loaded(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(20))
    unanswered = written(tmp_path, things(20, labelled=False), "open.jsonl")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    for wrong, told in (
        (training(unanswered, tiny_llama_folder, tmp_path / "a"), "label"),
        (training(source, tiny_llama_folder, taken), "already exists"),
        (training(source, tiny_llama_folder, tmp_path / "a", tmp_path / "missing"), "no such file|adapter_config"),
        (training(source, tiny_llama_folder, tmp_path / "a", rate=0.0), "learning rate"),
        (training(source, tiny_llama_folder, tmp_path / "a", rank=65), "rank"),
    ):
        with pytest.raises(EngineError, match=told):
            run(wrong, Reporter())
    assert (taken / "mine.txt").read_text() == "mine" and not (tmp_path / "a").exists()


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(20))
    deeper = derive_layout(tiny_model("llama", num_hidden_layers=5).config, LoraSpec(2, 2, ("o_proj",)))
    (tmp_path / "deep").mkdir()
    write_files(tmp_path / "deep", peft_files(random_adapter(deeper), "another"), {})
    with pytest.raises(EngineError, match="does not fit the base.*layers") as error:
        run(training(source, tiny_llama_folder, tmp_path / "a", tmp_path / "deep"), Reporter())
    assert str(tmp_path / "deep") == error.value.where and not (tmp_path / "a").exists()
