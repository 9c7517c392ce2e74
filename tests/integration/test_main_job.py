"""The main job on real parts: the default base, the real encoder, the released generator."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from engine.adapter.attach import attach
from engine.base.chat import prompt_ids
from engine.errors import Cancelled, EngineError
from engine.events import AnswerText, Event, Reporter, StageStarted
from engine.files import digest_file
from engine.generator.artifact import load_generator
from engine.jobs import run
from engine.pipeline import Pipeline, load_pipeline
from engine.released import released_generator
from engine.requests import (
    CompareRequest,
    ContextChoice,
    EvaluateRequest,
    ExportRequest,
    GenerateRequest,
    ModelChoice,
    PromptChoice,
)
from tests.tiny import write_tasks

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

EXAMPLE = Path(__file__).parents[2] / "assets" / "examples" / "topics.jsonl"
MODELS = ModelChoice(device="cpu")
ALONE = ContextChoice(made_from="generator")
STAGES = ("load", "encode", "decode", "detokenise", "attach", "write")


@pytest.fixture(scope="module")
def pipeline(default_base: LoadedBase) -> Pipeline:
    return load_pipeline(MODELS, Reporter(), cached=False)


def generating(out: Path, **changes: object) -> GenerateRequest:
    prompts = PromptChoice(source=EXAMPLE, **changes)  # type: ignore[arg-type]
    return GenerateRequest(models=MODELS, prompts=prompts, solve=ALONE, out=out)


def test_prompts_become_an_adapter_that_exports_and_answers(default_base: LoadedBase, tmp_path: Path) -> None:
    result = run(generating(tmp_path / "adapter"), Reporter()).to_json()
    assert set(STAGES) <= set(result["seconds"])
    assert result["parameters"] == 2_442_240 and result["prompts"]["used"] == 32
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    request = ExportRequest(models=MODELS, adapter=tmp_path / "adapter", out=tmp_path / "export")
    assert run(request, Reporter()).to_json()["logit_difference"] <= 1e-5
    events: list[Event] = []
    compare = CompareRequest(
        models=MODELS, prompts=PromptChoice(source=EXAMPLE), adapters=(tmp_path / "export",), rows=12,
        max_new_tokens=12, metric="exact_match",
    )  # fmt: skip
    compared = run(compare, Reporter(events.append)).to_json()
    assert {event.arm for event in events if isinstance(event, AnswerText)} == {"base", "adapted"}
    # The task was not trained on. The base talks; the adapted model answers with the word that was asked for.
    assert compared["means"]["adapted"] > compared["means"]["base"]


def test_same_prompts_and_seed_give_the_same_bytes(default_base: LoadedBase, tmp_path: Path) -> None:
    for name in ("one", "again"):
        run(generating(tmp_path / name), Reporter())
    run(generating(tmp_path / "other", seed=1), Reporter())
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert digest_file(tmp_path / "one" / file) == digest_file(tmp_path / "again" / file)
    one, other = (tmp_path / name / "adapter_model.safetensors" for name in ("one", "other"))
    assert one.read_bytes() != other.read_bytes()


def test_labels_never_reach_the_generator(default_base: LoadedBase, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in EXAMPLE.read_text().splitlines()]
    wrong = tmp_path / "topics.jsonl"
    wrong.write_text("".join(json.dumps(row | {"response": "nonsense"}) + "\n" for row in rows))
    run(generating(tmp_path / "right"), Reporter())
    prompts = PromptChoice(source=wrong)
    run(GenerateRequest(models=MODELS, prompts=prompts, solve=ALONE, out=tmp_path / "wrong"), Reporter())
    # Digests: pytest takes minutes to show how megabytes differ.
    right, other = (digest_file(tmp_path / name / "adapter_model.safetensors") for name in ("right", "wrong"))
    assert right == other


def test_the_prompts_matter_and_none_give_the_frame(pipeline: Pipeline) -> None:
    texts = [f"Translate to French:\n\nword {number}" for number in range(8)]
    others = [f"How many legs have {number} spiders?" for number in range(8)]
    one, other = (pipeline.adapter(batch, Reporter()) for batch in (texts, others))
    path = one.layout.modules[0].path
    assert not torch.equal(one.b[path], other.b[path])
    empty = pipeline.generator.generate(None)
    assert all(torch.equal(empty.b[key], value) for key, value in pipeline.generator.frame.b.items())


def test_off_is_the_base_to_the_last_bit(pipeline: Pipeline) -> None:
    base = pipeline.base
    ids = torch.tensor([prompt_ids(base.tokenizer, "Name a river in Africa.")])
    before = base.model(ids).logits
    with attach(base, pipeline.adapter(["Name a river."], Reporter())) as attached:
        assert not torch.equal(attached.forward(input_ids=ids).logits, before)
        attached.use(None)
        assert torch.equal(attached.forward(input_ids=ids).logits, before)
    assert torch.equal(base.model(ids).logits, before)


@pytest.mark.parametrize("stage", ["import", *STAGES])
def test_stopped_at_any_stage_leaves_nothing(default_base: LoadedBase, tmp_path: Path, stage: str) -> None:
    seen: list[Event] = []
    reached = lambda: any(isinstance(event, StageStarted) and event.stage == stage for event in seen)  # noqa: E731
    with pytest.raises(Cancelled):
        run(generating(tmp_path / "adapter"), Reporter(seen.append, reached))
    assert list(tmp_path.iterdir()) == []


def test_another_base_is_refused(tiny_llama_folder: Path, tmp_path: Path) -> None:
    request = GenerateRequest(
        models=ModelChoice(base=str(tiny_llama_folder), device="cpu"),
        prompts=PromptChoice(source=EXAMPLE),
        solve=ALONE,
        out=tmp_path / "adapter",
    )
    with pytest.raises(EngineError, match="made for HuggingFaceTB/SmolLM2-135M-Instruct, not for"):
        run(request, Reporter())


@pytest.mark.parametrize("count", [1, 2, 100_000])
def test_one_prompt_and_a_hundred_thousand(default_base: LoadedBase, tmp_path: Path, count: int) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("".join(f"What is {number} plus one?\n" for number in range(count)))
    request = GenerateRequest(models=MODELS, prompts=PromptChoice(source=source), out=tmp_path / "adapter")
    prompts = run(request, Reporter()).to_json()["prompts"]
    assert prompts["total"] == count and prompts["used"] == min(count, 32)


def test_a_line_of_five_megabytes(default_base: LoadedBase, tmp_path: Path) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("word " * 1_000_000)
    request = GenerateRequest(models=MODELS, prompts=PromptChoice(source=source), out=tmp_path / "adapter")
    assert run(request, Reporter()).to_json()["prompts"]["used"] == 1


def test_the_table_has_its_arms_and_goes_on(default_base: LoadedBase, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks", ["one", "two"], rows=3, split="unseen")
    request = EvaluateRequest(
        models=MODELS, tasks=tasks, out=tmp_path / "table", rows=2, max_new_tokens=6, seeds=1,
        arms=("base", "multi_task", "generated", "other_prompts", "mean"),
    )  # fmt: skip
    first = run(request, Reporter()).to_json()
    measured = {arm for arm, figures in first["arms"].items() if figures["tasks_measured"]}
    assert measured == {"base", "multi_task", "generated", "other_prompts"}
    lines = (tmp_path / "table" / "answers.jsonl").read_text()
    assert run(request, Reporter()).to_json()["arms"] == first["arms"]
    assert (tmp_path / "table" / "answers.jsonl").read_text() == lines
    scored = tmp_path / "scored"
    shutil.copytree(released_generator(), scored)
    models = ModelChoice(device="cpu", generator=scored)
    run(replace(request, models=models, record=True), Reporter())
    means = load_generator(scored).spec.history["scores"]["means"]
    assert means == {arm: first["arms"][arm]["score"]["mean"] for arm in measured}
    assert "Mean score over 2 tasks" in (scored / "README.md").read_text()
    assert "not measured" in (tmp_path / "table" / "table.md").read_text()  # the mean adapter needs a library


def test_the_released_generator_is_small_enough() -> None:
    assert sum(file.stat().st_size for file in released_generator().iterdir()) <= 60e6
