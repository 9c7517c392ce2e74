"""Chains of layers in the app without its screens: what was found, what is accepted, where a search goes on."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dnd_tui.screens.depth.chains import FoundChains, Subject, chain_lines, outcome_words, verdict
from dnd_tui.screens.depth.search import SearchFigures
from dnd_tui.state.chains import AcceptedChains
from dnd_tui.state.depth import DepthChoices, RememberedDepth, in_own_folder
from engine.depth.scores import GAIN, LOSS, NO_GAIN
from engine.errors import EngineError
from engine.events import ChainScored, StageAdvanced, StageStarted
from engine.requests import DepthRequest, ModelChoice


def judged(right: int, verdict: str = NO_GAIN, p: float = 0.58) -> dict[str, Any]:
    return {
        "rows": 100, "base_right": 80, "chain_right": right, "base_interval": [0.71, 0.87],
        "chain_interval": [0.68, 0.84], "gained": 5, "lost": 8, "p_value": p, "level": 0.05, "loss": 0.4,
        "verdict": verdict,
    }  # fmt: skip


def scores(right: int, value: float) -> dict[str, Any]:
    return {"rows": 32, "right": right, "accuracy": right / 32, "loss": 0.4, "value": value}


DATA: dict[str, Any] = {
    "format": 1,
    "chain": "0-3,3-5",
    "layers": [0, 1, 2, 3, 3, 4, 5],
    "base": {"id": "tiny", "fingerprint": "f" * 64, "layers": 6},
    "adapter": None,
    "search": {"chains": 201, "share": 0.15, "base": scores(26, 0.8)} | scores(28, 0.85),
    "held_out": judged(77) | {"base": scores(80, 0.8)},
    "menu": [
        {"chain": "0-2,5", "length": 4, "search": scores(20, 0.6), "held_out": judged(60, LOSS, 0.001)},
        {"chain": "0-3,3-5", "length": 7, "search": scores(28, 0.85), "held_out": judged(77, p=0.6)},
    ],
    "speed": {"base": {"prefill": 100.0, "decode": 17.0}, "chain": {"prefill": 90.0, "decode": 16.0}},
}
REQUEST = DepthRequest(models=ModelChoice(base="tiny"), source=Path("/data/rows.jsonl"), out=Path("/app/depth/rows-1"))


def test_the_base_comes_first_and_the_best_once() -> None:
    found = FoundChains.of(DATA)
    assert [one.chain for one in found.chains] == ["0-5", "0-2,5", "0-3,3-5"] and found.best == 2
    assert found.base.judged and found.base.judged.chain_right == 80 and found.base.right == 26
    best = found.chains[2]
    assert best.judged and best.judged.p_value == 0.58, "the judgement of the chain that was chosen beforehand"
    assert best.speed == (90.0, 16.0) and found.chains[1].speed is None


def test_the_verdict_in_words() -> None:
    found = FoundChains.of(DATA)
    assert verdict(found.chains[2].judged) == "no reliable gain (-3.0 points, p = 0.58)"  # type: ignore[arg-type]
    assert verdict(found.chains[1].judged) == "worse by 20.0 points, p = 0.001"  # type: ignore[arg-type]
    better = replace(found.chains[2].judged, chain_right=92, verdict=GAIN, p_value=0.004)  # type: ignore[type-var]
    assert verdict(better) == "better by 12.0 points, p = 0.004"  # type: ignore[arg-type]


def test_what_is_told_of_a_chain() -> None:
    told = dict(chain_lines(FoundChains.of(DATA), 2))
    assert told["chain"] == "0-3,3-5 (7 layers, the base has 6)"
    assert told["search"] == "28 of 32 right, the base 26, score 0.850"
    assert told["held out"] == "77 of 100, 77.0% (95 % interval 68.0% to 84.0%)"
    assert told["changed"] == "5 gained, 8 lost"
    assert told["speed, chain"] == "reads 90, writes 16 tokens/s, 0.90 and 0.94 x the base's"
    assert told["speed, base"] == "reads 100, writes 17 tokens/s"
    own = dict(chain_lines(FoundChains.of(DATA), 0))
    assert own["speed"] == "reads 100, writes 17 tokens/s" and "verdict" not in own
    assert "search chose" in dict(chain_lines(FoundChains.of(DATA), 1))["speed"]


def scored(chain: str, layers: int, rows: int, right: int, best: str = "0-5", part: int = 0) -> ChainScored:
    return ChainScored(chain, layers, rows, right, right / rows, part, best, 0.12)


def test_a_search_that_was_stopped_is_told_as_such() -> None:
    data = {name: DATA[name] for name in ("format", "chain", "layers", "base", "adapter")}
    search = {"chains": 12} | scores(6, 0.7) | {"rows": 8, "base": scores(5, 0.6) | {"rows": 8}}
    data |= {"search": search, "stopped": True, "held_out": None}
    found = FoundChains.of(data)
    told = dict(chain_lines(found, found.best))
    assert found.stopped and told["search"].startswith("6 of 8 right, the base 5")
    assert told["verdict"] == "stopped early: not judged on held-out rows"
    more = data | {"search": search | {"base": scores(9, 0.6) | {"rows": 16}}}
    assert dict(chain_lines(FoundChains.of(more), 1))["search"] == "6 of 8 right, score 0.700"


def test_a_judgement_stays_when_only_the_speed_is_not_measured() -> None:
    found = FoundChains.of(DATA | {"speed": {}, "stopped": True})
    told = dict(chain_lines(found, found.best))
    assert told["verdict"] == "no reliable gain (-3.0 points, p = 0.58)" and "speed, chain" not in told
    assert outcome_words(found, stopped=True) == "No reliable gain (-3.0 points, p = 0.58): 7 layers of 6"


def test_the_best_chain_of_the_base_itself() -> None:
    own = DATA | {"chain": "0-5", "layers": [0, 1, 2, 3, 4, 5], "menu": DATA["menu"][:1]}
    found = FoundChains.of(own)
    assert [one.chain for one in found.chains] == ["0-5", "0-2,5"] and found.best == 0


def test_figures_of_a_search_under_way() -> None:
    figures = SearchFigures()
    assert figures.lines(running=True) == [] and figures.best is None
    figures.handle(StageStarted("search", 34, "chains"))
    figures.handle(scored("0-5", 6, 4, 2))
    figures.handle(StageAdvanced("search", 1, 34, 10.0))
    figures.handle(scored("0-2,5", 4, 4, 3, best="0-2,5"))
    figures.handle(StageAdvanced("search", 2, 34, 20.0))
    looked, found = figures.lines(running=True)
    assert looked == "2 chains, first look, 12% of the work of a full search, 5 min 20 s left"
    assert found == "best so far: 4 layers, 3 of 4 right (the base 2), score 0.750"
    assert figures.place == "searching, chain 2/34"
    figures.handle(scored("0-5", 6, 16, 9, best="0-5", part=1))
    assert figures.lines(running=False)[1] == "best so far: 6 layers, 9 of 16 right (the base 9), score 0.562"
    assert {(point.chain, point.rows) for point in figures.points} == {("0-5", 16), ("0-2,5", 4)}


def test_accepted_chains_are_kept_one_a_data_set_base_and_adapter(tmp_path: Path) -> None:
    store = AcceptedChains(tmp_path / "chains")
    assert store.newest_first() == []
    found = FoundChains.of(DATA)
    record, data = Subject.of_found(found, 2, REQUEST, None).accepted()
    store.accept(record, data)
    assert store.newest_first() == [record]
    assert (store.place(record) / "chain.json").is_file() and record.judged and record.judged.gained == 5
    other, its = Subject.of_found(found, 1, REQUEST, None).accepted()
    assert its["chain"] == "0-2,5" and its["layers"] == [0, 1, 2, 5] and its["base"] == DATA["base"]
    assert "speed" not in its and its["held_out"]["chain_right"] == 60
    store.accept(other, its)
    assert [each.chain for each in store.newest_first()] == ["0-2,5"], "instead of the one before"
    third = replace(record, adapter=Path("/library/one/adapter"), adapter_name="one", when="2030-01-01T00:00:00+00:00")
    store.accept(third, data)
    assert [each.adapter_name for each in store.newest_first()] == ["one", ""]
    (store.place(third) / "record.json").write_text("{")
    assert [each.chain for each in store.newest_first()] == ["0-2,5"], "a damaged one is passed over"
    store.remove(other)
    assert store.newest_first() == []


def test_a_judgement_that_was_accepted_without_its_level_is_read(tmp_path: Path) -> None:
    store = AcceptedChains(tmp_path / "chains")
    record, data = Subject.of_found(FoundChains.of(DATA), 2, REQUEST, None).accepted()
    file = store.accept(record, data) / "record.json"
    kept = json.loads(file.read_text())
    del kept["judged"]["level"]
    file.write_text(json.dumps(kept))
    assert store.newest_first() == [record]


def test_a_subject_names_its_chain_to_jobs() -> None:
    found = FoundChains.of(DATA)
    best, other, base = (Subject.of_found(found, number, REQUEST, None) for number in (2, 1, 0))
    assert best.place == "/app/depth/rows-1" and other.place == "0-2,5"
    assert best.acceptable and not base.acceptable and not base.is_other
    compared = best.compared()
    assert compared.labels == ("base", "chain, 7 layers") and compared.prompts.source == REQUEST.source
    kept = Subject.of_accepted(best.record, Path("/chains/1"))
    assert kept.place == "/chains/1" and not kept.acceptable and kept.is_other
    with_adapter = replace(best.record, adapter=Path("/a"), adapter_name="one", held_out=Path("/data/test.jsonl"))
    compared = Subject.of_accepted(with_adapter, Path("/chains/1")).compared()
    assert compared.labels == ("base", "one", "chain, 7 layers")
    assert compared.prompts.source == Path("/data/test.jsonl")
    read = replace(REQUEST, label="topic", template="Sort: {text}")
    prompts = Subject.of_found(FoundChains.of(DATA), 2, read, None).compared().prompts
    assert (prompts.label, prompts.template) == ("topic", "Sort: {text}")


def test_a_search_goes_on_in_the_folder_of_the_same_settings(tmp_path: Path) -> None:
    source = tmp_path / "my rows.jsonl"
    source.write_text("{}\n")
    choices = DepthChoices(source=str(source))

    def folder(chosen: DepthChoices, models: ModelChoice | None = None) -> Path:
        return in_own_folder(chosen.request(models or ModelChoice(), None), tmp_path).out

    own = folder(choices)
    assert own.parent == tmp_path and own.name.startswith("my-rows-")
    # Scores are those of a chain on rows: how many chains are looked at, and how they are made, does not matter.
    assert folder(replace(choices, chains="12", moves="skip")) == own
    assert folder(replace(choices, seed="1")) != own
    assert folder(replace(choices, rows="16")) != own
    assert folder(replace(choices, held_out="/other")) != own
    assert folder(replace(choices, label="topic")) != own and folder(replace(choices, template="{text}")) != own
    assert folder(choices, ModelChoice(base="another")) != own
    assert in_own_folder(choices.request(ModelChoice(), tmp_path / "adapter"), tmp_path).out != own
    os.utime(source, (1, 1))
    assert folder(choices) != own
    assert folder(DepthChoices(source=str(tmp_path / "missing"))).name.startswith("missing-")
    assert folder(DepthChoices(source=str(tmp_path))).parent == tmp_path


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"source": " "}, "the file of prompts is not named"),
        ({"chains": "many"}, "the number of chains must be a whole number, not 'many'"),
        ({"rows": ""}, "the number of rows must be a whole number"),
        ({"seed": "1.5"}, "the seed must be a whole number"),
    ],
)
def test_fields_that_cannot_be(changed: dict[str, str], told: str) -> None:
    with pytest.raises(EngineError, match=told):
        replace(DepthChoices(source="/rows"), **changed).request(ModelChoice(), None)


def test_a_template_takes_the_place_of_a_column() -> None:
    choices = DepthChoices(source="/rows", column="text", label=" topic ")
    request = choices.request(ModelChoice(), None)
    assert (request.column, request.label, request.template) == ("text", "topic", None)
    request = replace(choices, template="Sort: {text}").request(ModelChoice(), None)
    assert (request.column, request.label, request.template) == (None, "topic", "Sort: {text}")


def test_a_generator_is_no_part_of_a_search() -> None:
    request = DepthChoices(source="/rows").request(ModelChoice(generator=Path("/mine")), None)
    assert request.models.generator is None and request.column is None and request.held_out is None


def test_choices_are_remembered(tmp_path: Path) -> None:
    remembered = RememberedDepth(tmp_path)
    assert remembered.load() is None
    remembered.save(DepthChoices(source="/rows", adapter="20240101-000000-000000"))
    assert remembered.load() == DepthChoices(source="/rows", adapter="20240101-000000-000000")
    (tmp_path / "depth.json").write_text('{"version": 9}')
    assert remembered.load() is None
