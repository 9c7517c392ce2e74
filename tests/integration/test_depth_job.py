"""The whole way on a tiny base: search, judgement, files; stopped and gone on; exports; what is told as wrong."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dnd_tui.headless import run as run_headless
from engine.adapter.attach import attach
from engine.base.load import LoadedBase
from engine.depth.chain import identity
from engine.depth.scores import NO_GAIN
from engine.depth.scoring import ChainScorer
from engine.depth.view import chain_view
from engine.errors import Cancelled, EngineError
from engine.events import ChainScored, Event, Reporter, StageAdvanced, StageFinished, StageStarted
from engine.jobs import run
from engine.requests import ChainExportRequest, DepthRequest, ModelChoice
from engine.training.packing import TokenRow
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import tiny_config, tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.unit.adapter_parts import random_adapter, write_peft_folder

LAYERS = 6


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama of six layers."""
    folder = tmp_path_factory.mktemp("base") / "tiny-six"
    tiny_model("llama", num_hidden_layers=LAYERS).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "random"
    layout = derive_layout(tiny_config("llama", num_hidden_layers=LAYERS), LoraSpec(2, 4))
    write_peft_folder(folder, random_adapter(layout, size=0.2), "tiny-six")
    return folder


def write_rows(path: Path, count: int, seed: int = 0, *, label: str = "response") -> Path:
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefgh", k=5)) for _ in range(count)]
    path.write_text("".join(json.dumps({"prompt": f"say {word}", label: word[:2]}) + "\n" for word in words))
    return path


def asking(base: Path, source: Path, out: Path, **fields: Any) -> DepthRequest:
    models = ModelChoice(base=str(base), device="cpu")
    return DepthRequest(models=models, source=source, out=out, **({"chains": 24, "rows": 16} | fields))


@pytest.fixture
def request_(base: Path, tmp_path: Path) -> DepthRequest:
    return asking(base, write_rows(tmp_path / "rows.jsonl", 60), tmp_path / "out")


def test_a_search_is_told_and_written(request_: DepthRequest) -> None:
    events: list[Event] = []
    result = run(request_, Reporter(events.append))
    data = result.to_json()
    assert json.loads((request_.out / "chain.json").read_text()) == {
        key: value for key, value in json.loads(json.dumps(data)).items() if key not in ("file", "seconds")
    }
    search, held_out = data["search"], data["held_out"]
    assert (search["rows"], search["chains"]) == (16, 25) and 0 < search["share"] < 0.6
    assert held_out["rows"] == 44 and held_out["verdict"] == NO_GAIN
    assert 0 <= held_out["chain_interval"][0] <= held_out["chain_interval"][1] <= 1
    assert {name: set(speed) for name, speed in data["speed"].items()} == {
        name: {"prefill", "decode"} for name in ("base", "chain")
    }
    assert len(data["layers"]) >= 1 and data["adapter"] is None and data["base"]["layers"] == LAYERS
    assert len(data["menu"]) <= 5
    lengths = [each["length"] for each in data["menu"]]
    assert lengths == sorted(set(lengths))
    looked_at = [event for event in events if isinstance(event, ChainScored)]
    first, last = looked_at[0], looked_at[-1]
    assert first.chain == "0-5" == first.best and first.rows == 4
    assert (last.round, last.rows, last.best, last.share) == (2, 16, data["chain"], search["share"])
    assert {event.chain for event in looked_at} >= {each["chain"] for each in data["menu"]}
    [total] = {event.total for event in events if isinstance(event, StageAdvanced) and event.stage == "search"}
    assert total == len(looked_at)
    stages = [event.stage for event in events if isinstance(event, StageFinished)]
    assert stages[-3:] == ["search", "judge", "speed"]
    labels = [label for label, _ in result.summary()]
    assert labels[:6] == ["best chain", "searched", "on these rows", "base, held out", "chain, held out", "verdict"]


def without_speed(data: dict[str, Any]) -> dict[str, Any]:
    search = {key: value for key, value in data["search"].items() if key not in ("layers_run", "share")}
    return {key: data[key] for key in ("chain", "held_out", "menu")} | {"search": search}


def test_the_same_request_gives_the_same_chain_and_a_stopped_one_goes_on(
    request_: DepthRequest, tmp_path: Path
) -> None:
    whole = run(request_, Reporter()).to_json()
    again = replace(request_, out=tmp_path / "again")
    events: list[Event] = []

    def stopped() -> bool:
        advanced = [event for event in events if isinstance(event, StageAdvanced) and event.stage == "search"]
        return bool(advanced) and advanced[-1].step >= 9

    with pytest.raises(Cancelled):
        run(again, Reporter(events.append, stopped))
    best = json.loads((again.out / "chain.json").read_text())
    assert best["stopped"] and best["held_out"] is None and best["search"]["chains"] >= 9
    assert best["search"]["rows"] == best["search"]["base"]["rows"] == 4, "in the tree, a quarter of the rows is seen"
    assert len(json.loads((again.out / "search.json").read_text())["chains"]) == best["search"]["chains"]
    data = run(again, Reporter()).to_json()
    assert without_speed(data) == without_speed(whole) and data["search"]["share"] is None


@pytest.mark.parametrize(("stage", "chains_done"), [("search", 0), ("search", 5), ("judge", 0), ("speed", 0)])
def test_a_wish_to_stop_is_heard_inside_the_scoring_of_one_chain(
    request_: DepthRequest, stage: str, chains_done: int
) -> None:
    """Between two layers, not only between chains: a chain on long rows may take long."""
    events: list[Event] = []
    asked_after: list[int] = []

    def stopped() -> bool:
        steps = [event.step for event in events if isinstance(event, StageAdvanced) and event.stage == stage]
        # The second layer of a chain has been begun, which no step has been counted for yet.
        if not asked_after and steps.count(chains_done) >= 2 and steps[-1] == chains_done:
            asked_after.append(len(events))
        return bool(asked_after)

    with pytest.raises(Cancelled):
        run(request_, Reporter(events.append, stopped))
    # Nothing at all was told after that: no layer, no chain, no other stage.
    assert asked_after == [len(events)]
    begun = [event.stage for event in events if isinstance(event, StageStarted)]
    assert begun[-1] == stage


def stopped_at(stage: str, request: DepthRequest) -> tuple[dict[str, Any], list[Event]]:
    """Stop as `stage` begins: what is kept, and what was told before."""
    events: list[Event] = []

    def stopped() -> bool:
        return any(isinstance(event, StageStarted) and event.stage == stage for event in events)

    with pytest.raises(Cancelled):
        run(request, Reporter(events.append, stopped))
    return json.loads((request.out / "chain.json").read_text()), events


def test_stopped_as_it_is_judged_it_keeps_the_best_too(request_: DepthRequest) -> None:
    kept, events = stopped_at("judge", request_)
    looked_at = [event for event in events if isinstance(event, ChainScored)]
    assert kept["stopped"] and kept["chain"] == looked_at[-1].best


def test_stopped_as_its_speed_is_measured_it_keeps_the_judgement(request_: DepthRequest) -> None:
    kept, _ = stopped_at("speed", request_)
    assert kept["stopped"] and kept["speed"] == {} and kept["held_out"]["rows"] > 0
    run(request_, Reporter())
    whole = json.loads((request_.out / "chain.json").read_text())
    assert "stopped" not in whole and set(whole["speed"]) == {"base", "chain"}
    assert (whole["held_out"], whole["menu"]) == (kept["held_out"], kept["menu"])


def test_more_chains_go_on_from_fewer(request_: DepthRequest) -> None:
    run(request_, Reporter())
    known = set(json.loads((request_.out / "search.json").read_text())["chains"])
    run(replace(request_, chains=40), Reporter())
    assert known < set(json.loads((request_.out / "search.json").read_text())["chains"])


def test_with_an_adapter_and_rows_of_its_own_to_judge_on(request_: DepthRequest, adapter: Path, tmp_path: Path) -> None:
    held_out = write_rows(tmp_path / "test.jsonl", 30, seed=1)
    request = replace(request_, adapter=adapter, held_out=held_out, moves="skip", out=tmp_path / "adapted")
    data = run(request, Reporter()).to_json()
    assert data["held_out"]["rows"] == 30 and data["search"]["kinds"] == ["skip"]
    assert len(data["layers"]) <= LAYERS and len(data["adapter"]) == 64
    export = ChainExportRequest(
        models=request.models, chain=str(request.out), out=tmp_path / "dense", format="dense", adapter=adapter
    )
    assert run(export, Reporter()).to_json()["logit_difference"] <= 1e-5
    with pytest.raises(EngineError, match="found with another adapter attached"):
        run(replace(export, adapter=None, out=tmp_path / "other"), Reporter())


@pytest.mark.parametrize("form", ["mergekit", "dense", "peft", "json"])
def test_a_chain_in_words_is_exported_and_dense_is_a_base_again(base: Path, tmp_path: Path, form: str) -> None:
    models = ModelChoice(base=str(base), device="cpu")
    request = ChainExportRequest(models=models, chain="0-2,1-2, 5", out=tmp_path / form, format=form)
    data = run(request, Reporter()).to_json()
    assert data["chain"] == "0-2,1-2,5" and data["logit_difference"] <= 1e-5
    assert json.loads((tmp_path / form / "chain.json").read_text())["chain"] == "0-2,1-2,5"
    if form == "json":
        assert [file.name for file in (tmp_path / form).iterdir()] == ["chain.json"]
    if form == "dense":
        again = ChainExportRequest(models=replace(models, base=str(tmp_path / form)), chain="0-5", out=tmp_path / "2")
        assert run(again, Reporter()).to_json()["chain"] == "0-5"


def test_headless_gives_json_and_an_exit_code(
    request_: DepthRequest, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_headless(request_, as_json=True) == 0
    told = capfd.readouterr()
    assert json.loads(told.out)["held_out"]["verdict"] == NO_GAIN
    assert "search" in told.err and "judge" in told.err
    export = ChainExportRequest(models=request_.models, chain=str(request_.out), out=tmp_path / "out2")
    assert run_headless(export) == 0
    assert "largest logit difference" in capfd.readouterr().out
    assert run_headless(replace(export, chain="0-99", out=tmp_path / "out3")) == 1
    assert capfd.readouterr().err.splitlines()[-1] == (
        "error: chain: there is no layer 99. The base has the layers 0 to 5"
    )


@pytest.mark.parametrize(
    ("rows", "fields", "told"),
    [
        ({"count": 60, "label": "remark"}, {}, "there are no labels in it, so no chain of layers can be scored"),
        ({"count": 15}, {}, "15 different usable rows with labels; at least 16 are needed"),
        ({"count": 60}, {"rows": 4}, "4 rows are too few to search on. Take at least 8 with rows"),
        ({"count": 60}, {"chains": 0}, "a search of 0 chains finds nothing"),
        ({"count": 60}, {"moves": "jump"}, "there is no move 'jump'. There are: both, skip, loop"),
        ({"count": 60}, {"held_out": Path("missing.jsonl")}, "missing.jsonl"),
        ({"count": 60}, {"adapter": Path("missing")}, "has no adapter_config.json"),
    ],
)
def test_bad_input_of_a_search_is_told(
    base: Path, tmp_path: Path, rows: dict[str, Any], fields: dict[str, Any], told: str
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", **rows)
    with pytest.raises(EngineError) as failed:
        run(asking(base, source, tmp_path / "out", **fields), Reporter())
    assert told in str(failed.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"chain": ""}, "the chain is empty"),
        ({"chain": "0-6"}, "there is no layer 6. The base has the layers 0 to 5"),
        ({"chain": "5-2"}, "the range 5-2 runs backwards"),
        ({"chain": "all of them"}, "all of them: no such file. Name the folder of a search"),
        ({"chain": "0-3", "adapter": Path("lora")}, "a passthrough merge takes layers of a base, not an adapter"),
        ({"chain": "0-3", "format": "onnx"}, "there is no form 'onnx'. There are: mergekit, dense, peft, json"),
    ],
)
def test_bad_input_of_an_export_is_told(base: Path, tmp_path: Path, fields: dict[str, str], told: str) -> None:
    models = ModelChoice(base=str(base), device="cpu")
    with pytest.raises(EngineError) as failed:
        run(ChainExportRequest(models=models, out=tmp_path / "out", **fields), Reporter())
    assert told in str(failed.value)
    assert not (tmp_path / "out").exists()


def test_a_chain_of_another_base_is_refused(request_: DepthRequest, tiny_llama_folder: Path, tmp_path: Path) -> None:
    run(request_, Reporter())
    other = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    with pytest.raises(EngineError, match="belongs to tiny-six with other weights than tiny-llama has here"):
        run(ChainExportRequest(models=other, chain=str(request_.out), out=tmp_path / "x"), Reporter())
    with pytest.raises(EngineError, match="the search here is on another base"):
        run(replace(request_, models=other), Reporter())
    with pytest.raises(EngineError, match="the search here is on another set of rows. Choose another out"):
        run(replace(request_, seed=1), Reporter())


def test_a_base_that_shares_keys_and_values_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaConfig

    monkeypatch.setattr(LlamaConfig, "num_kv_shared_layers", 2, raising=False)
    source = write_rows(tmp_path / "rows.jsonl", 60)
    with pytest.raises(EngineError, match="LlamaForCausalLM shares keys and values across layers"):
        run(asking(base, source, tmp_path / "out"), Reporter())


def test_the_search_is_not_exported_onto_itself(request_: DepthRequest) -> None:
    run(request_, Reporter())
    export = ChainExportRequest(models=request_.models, chain=str(request_.out), out=request_.out, replace=True)
    with pytest.raises(EngineError, match="holds the chain, and would be replaced"):
        run(export, Reporter())


def test_on_the_real_base(default_base: LoadedBase) -> None:
    """Identity bit for bit, a looped chain with the cache as without, and exact match as greedy decoding has it."""
    model, tokenizer = default_base.model, default_base.tokenizer
    layers = model.config.num_hidden_layers
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert torch.equal(chain_view(model, identity(layers))(ids).logits, model(ids).logits)
    chain = (*range(13), *range(10, 13), *range(15, layers))
    view = chain_view(model, chain)
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    written = view.generate(ids, **settings)
    assert torch.equal(written, view.generate(ids, **settings, use_cache=False))
    prompt, answer = tuple(ids[0].tolist()), tuple(written[0, ids.shape[1] :].tolist())
    wrong = TokenRow(prompt, (*answer[:-1], answer[-1] + 1))
    assert ChainScorer(model, [[TokenRow(prompt, answer), wrong]], 0).score(chain, 0).exact == (True, False)
    layout = derive_layout(model.config, LoraSpec(2, 4, ("q_proj",)))
    with attach(default_base, random_adapter(layout, size=0.05)) as attached:
        assert not torch.equal(chain_view(attached.model, chain)(ids).logits, view(ids).logits)
