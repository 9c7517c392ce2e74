"""On a tiny base: the predictor of chains, the oracle search row by row, the table over tasks; headless too."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dnd_tui.headless import run as run_headless
from engine.base.load import resolve_base
from engine.depth.chain import parse_chain
from engine.depth.oracle import ACTIONS, ORACLE
from engine.depth.predictor import PREDICTOR_FILE, read_predictor, write_predictor
from engine.depth.table import ARMS
from engine.errors import Cancelled, EngineError
from engine.events import Event, Reporter, StageAdvanced, StageFinished
from engine.jobs import run
from engine.requests import ChainChoiceRequest, DepthOracleRequest, DepthRequest, DepthTableRequest, ModelChoice
from tests.integration.test_depth_job import LAYERS, adapter, asking, base, write_rows
from tests.integration.test_evaluate import make_generator
from tests.tiny import write_tasks

__all__ = ["adapter", "base"]  # fixtures


@pytest.fixture(scope="module")
def searched(base: Path, tmp_path_factory: pytest.TempPathFactory) -> DepthRequest:
    """A search with a predictor, done."""
    folder = tmp_path_factory.mktemp("searched")
    request = asking(base, write_rows(folder / "rows.jsonl", 60), folder / "out", predictor=True)
    run(request, Reporter())
    return request


def test_a_predictor_is_told_with_its_figures(searched: DepthRequest, tmp_path: Path) -> None:
    again = replace(searched, out=tmp_path / "again")
    result = run(again, Reporter())
    told = json.loads((again.out / "chain.json").read_text())["predictor"]
    held_out = told["held_out"]
    assert not told["offered"] and told["reason"]
    assert sum(held_out["taken"].values()) == held_out["against_base"]["rows"] == 44
    assert 1 <= held_out["length"] <= LAYERS * 3 // 2
    lines = dict(result.summary())
    assert lines["predictor"] == f"not offered: {told['reason']}"
    assert {"predictor, held out", "against the base", "against best chain"} <= set(lines)
    chains = json.loads((again.out / PREDICTOR_FILE).read_text())["chains"]
    assert {"0-5", told_chain(again)} <= set(chains) and set(held_out["taken"]) <= set(chains)


def told_chain(request: DepthRequest) -> str:
    return str(json.loads((request.out / "chain.json").read_text())["chain"])


def test_without_being_asked_for_there_is_none(searched: DepthRequest, tmp_path: Path) -> None:
    plain = replace(searched, predictor=False, out=tmp_path / "plain")
    assert "predictor" not in run(plain, Reporter()).to_json()
    assert sorted(file.name for file in plain.out.iterdir()) == ["chain.json", "search.json"]


def test_a_predictor_without_a_gain_chooses_nothing(
    searched: DepthRequest, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    choice = ChainChoiceRequest(models=searched.models, search=searched.out, source=searched.source)
    assert run_headless(choice) == 1
    told = capfd.readouterr()
    assert "this predictor is not offered: " in told.err and told.out == ""


def test_one_that_is_offered_chooses_as_it_did_on_held_out_rows(searched: DepthRequest, tmp_path: Path) -> None:
    folder = tmp_path / "offered"
    shutil.copytree(searched.out, folder)
    models = searched.models
    record = read_predictor(folder, resolve_base(models.base), None)
    taken = json.loads((folder / PREDICTOR_FILE).read_text())["held_out"]["taken"]
    write_predictor(folder, replace(record, offered=True, reason=""))
    result = run(ChainChoiceRequest(models=models, search=folder, source=searched.source), Reporter()).to_json()
    chosen = [each["chain"] for each in result["prompts"]]
    assert [each["number"] for each in result["prompts"]] == list(range(1, 61))
    # All prompts of the file: the held-out ones and the 16 of the search.
    assert all(chosen.count(chain) >= count for chain, count in taken.items())
    write_predictor(folder, replace(record, offered=True, reason="", encoder="0" * 64))
    with pytest.raises(EngineError, match="was learned with another text encoder"):
        run(ChainChoiceRequest(models=models, search=folder, source=searched.source), Reporter())


@pytest.fixture
def oracle(base: Path, tmp_path: Path) -> DepthOracleRequest:
    models = ModelChoice(base=str(base), device="cpu")
    source = write_rows(tmp_path / "rows.jsonl", 30)
    return DepthOracleRequest(models=models, source=source, out=tmp_path / "oracle", rows=4, chains=12)


def test_an_oracle_search_is_told_as_one_everywhere(
    oracle: DepthOracleRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_headless(oracle) == 0
    told = capfd.readouterr().out
    assert ORACLE in told and "not an accuracy that can be had" in told
    assert all(f"oracle, {name}" in told for name in ACTIONS)
    data = json.loads((oracle.out / "oracle.json").read_text())
    assert data["oracle"] == ORACLE and data["settings"]["length_weight"] == 5.0
    assert data["shares"]["base"]["of"] == len(data["rows"]) == 4
    for row in data["rows"]:
        assert {row[name]["chains"] for name in ACTIONS} == {12}
        assert len({row[name]["base_right"] for name in ACTIONS}) == 1
        for name, sign in (("skip", 1), ("loop", -1)):
            if row[name]["length"] is not None:
                assert sign * row[name]["length"] <= sign * LAYERS


def test_a_stopped_oracle_search_goes_on(oracle: DepthOracleRequest, adapter: Path, tmp_path: Path) -> None:
    oracle = replace(oracle, adapter=adapter)
    whole = run(oracle, Reporter()).to_json()
    again = replace(oracle, out=tmp_path / "again")
    events: list[Event] = []

    def stopped() -> bool:
        return any(isinstance(event, StageAdvanced) and event.step == 2 for event in events)

    with pytest.raises(Cancelled):
        run(again, Reporter(events.append, stopped))
    assert len(json.loads((again.out / "oracle.json").read_text())["rows"]) == 2
    data = run(again, Reporter()).to_json()
    assert {key: data[key] for key in ("settings", "shares", "rows")} == {
        key: whole[key] for key in ("settings", "shares", "rows")
    }
    with pytest.raises(EngineError, match="the oracle search here has another chains"):
        run(replace(again, chains=13), Reporter())
    with pytest.raises(EngineError, match="the oracle search here has another adapter"):
        run(replace(again, adapter=None), Reporter())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"chains": 0}, "a search of 0 chains finds nothing"),
        ({"rows": 0}, "0 rows are too few to search on. Take at least 1 with rows"),
        ({"length_weight": -1.0}, "a negative weight of the length"),
        ({"source": Path("missing.jsonl")}, "missing.jsonl"),
    ],
)
def test_bad_input_of_an_oracle_search_is_told(oracle: DepthOracleRequest, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(EngineError) as failed:
        run(replace(oracle, **fields), Reporter())
    assert told in str(failed.value) and not oracle.out.exists()


@pytest.fixture(scope="module")
def table(tiny_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> DepthTableRequest:
    """Tasks and a generator, and the request that makes a table of three tasks, one of which has too few rows."""
    folder = tmp_path_factory.mktemp("table")
    tasks = write_tasks(folder / "tasks", ["seen0", "seen1", "seen2"])
    write_tasks(tasks, ["few"], rows=9, split="unseen")
    models = make_generator(tiny_llama_folder, tasks, folder)
    write_tasks(tasks, ["judged0"], split="unseen")
    only = ("judged0", "seen0", "few")
    return DepthTableRequest(models=models, tasks=tasks, out=folder / "out", only=only, chains=6, rows=16)


@pytest.fixture(scope="module")
def whole(table: DepthTableRequest) -> DepthTableRequest:
    """The same, done in one go."""
    run(table, Reporter())
    return table


def scores_of(request: DepthTableRequest) -> dict[str, Any]:
    data = json.loads((request.out / "table.json").read_text())
    return {
        task["name"]: {
            arm: {key: value for key, value in cell.items() if not key.startswith("speed")}
            for arm, cell in task["arms"].items()
        }
        for task in data["tasks"]
    }


def test_a_table_has_every_arm_of_every_task(whole: DepthTableRequest) -> None:
    data = json.loads((whole.out / "table.json").read_text())
    assert [task["name"] for task in data["tasks"]] == ["judged0", "seen0"]
    assert [task["split"] for task in data["tasks"]] == ["unseen", "seen"]
    assert "few" in data["left_out"] and "different usable rows" in data["left_out"]["few"]
    for task in data["tasks"]:
        arms = task["arms"]
        assert list(arms) == list(ARMS)
        assert arms["base"]["chain"] == arms["adapter"]["chain"] == "0-1"
        assert len(parse_chain(arms["skip"]["chain"], 2)) <= 2 <= len(parse_chain(arms["loop"]["chain"], 2))
        assert arms["base"]["loss"] != arms["adapter"]["loss"]
        for cell in arms.values():
            assert cell["speed"]["decode"] > 0 and cell["against_base"]["rows"] > 0
        assert arms["base"]["speed_ratio"] == {"prefill": 1.0, "decode": 1.0}
    text = (whole.out / "table.md").read_text()
    assert "- few: not measured" in text and text.count("| judged0 |") == 1 + len(ARMS)


def test_what_is_finished_is_not_done_again(whole: DepthTableRequest) -> None:
    before = (whole.out / "table.json").read_bytes()
    events: list[Event] = []
    run(whole, Reporter(events.append))
    begun = {event.stage.split()[0] for event in events if isinstance(event, StageFinished)}
    assert not begun & {"search", "judge", "speed", "encode", "decode"}
    assert (whole.out / "table.json").read_bytes() == before


@pytest.mark.parametrize("stage", ["search judged0, best of both", "judge", "encode", "speed judged0"])
def test_a_stopped_table_goes_on(whole: DepthTableRequest, tmp_path: Path, stage: str) -> None:
    """Stopped in a search, in the judging, before the adapter, and while speed is measured, which counts no steps."""
    again = replace(whole, out=tmp_path / "again")
    events: list[Event] = []

    def stopped() -> bool:
        advanced = [event for event in events if isinstance(event, StageAdvanced) and event.stage == stage]
        return any(event.step > 0 or stage.startswith("speed") for event in advanced)

    with pytest.raises(Cancelled):
        run(again, Reporter(events.append, stopped))
    run(again, Reporter())
    assert scores_of(again) == scores_of(whole)


def test_an_arm_of_other_settings_is_measured_anew(whole: DepthTableRequest, tmp_path: Path) -> None:
    again = replace(whole, out=tmp_path / "again", only=("judged0",), chains=3)
    shutil.copytree(whole.out, again.out)
    events: list[Event] = []
    run(again, Reporter(events.append))
    begun = [event.stage for event in events if isinstance(event, StageFinished)]
    assert "search judged0, best skips" in begun
    assert json.loads((again.out / "table.json").read_text())["settings"]["chains"] == 3


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"only": ("nothing*",)}, "no task is named nothing*. Tasks there: few, judged0"),
        ({"rows": 4}, "4 rows are too few to search on"),
        ({"tasks": Path("missing")}, "tasks.json: no such file"),
    ],
)
def test_bad_input_of_a_table_is_told(
    table: DepthTableRequest, tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(EngineError) as failed:
        run(replace(table, out=tmp_path / "out", **fields), Reporter())
    assert told in str(failed.value) and not (tmp_path / "out").exists()
