"""The whole way from a prompt file to a solved adapter on disk, on tiny bases: what it is made from, checked, told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dnd_tui.cli import app
from engine.adapter.peft_folder import read_peft_folder
from engine.adapter.provenance import Solved, read_provenance
from engine.errors import Cancelled, EngineError
from engine.events import Event, Note, Reporter, StageAdvanced, StageStarted, UpdateNorms
from engine.files import digest_file
from engine.jobs import run
from engine.requests import ContextChoice, ExportRequest, GenerateRequest, ModelChoice, PromptChoice

TASK = "Name the colour of the thing in one word, please."


def written(folder: Path, rows: list[dict[str, str]], name: str = "things.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def things(count: int, *, labelled: bool = True, task: str = TASK) -> list[dict[str, str]]:
    start = f"{task}\n\n" if task else ""
    rows = [{"prompt": f"{start}{'abcdefgh'[n % 8]}{n}", "response": ("red", "blue")[n % 2]} for n in range(count)]
    return rows if labelled else [{"prompt": row["prompt"]} for row in rows]


def solving(source: Path, base: Path, out: Path, **choice: Any) -> GenerateRequest:
    solve = ContextChoice(**{"fit_steps": 2, **choice})
    return GenerateRequest(
        models=ModelChoice(base=str(base), device="cpu"), prompts=PromptChoice(source=source), solve=solve, out=out
    )


def done(request: GenerateRequest) -> tuple[dict[str, Any], list[Event]]:
    events: list[Event] = []
    return run(request, Reporter(events.append)).to_json(), events


def stages(events: list[Event]) -> list[str]:
    return [event.stage for event in events if isinstance(event, StageStarted)]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma"])
def test_answers_become_an_adapter(family: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(f"tiny_{family}_folder")
    source = written(tmp_path, things(40))
    data, events = done(solving(source, base, tmp_path / "adapter", rank=4))
    assert data["made_from"] == "examples" and data["rows"] == 32 and data["examples"] == 8
    assert stages(events) == ["import", "read", "load", "context", "solve", "fit", "check", "attach", "write"]
    solved = {
        path: norm for event in events if isinstance(event, UpdateNorms) for path, (norm, _) in event.norms.items()
    }
    adapter, _ = read_peft_folder(tmp_path / "adapter")
    assert set(solved) == {module.path for module in adapter.layout.modules} and all(solved.values())
    assert adapter.layout.lora.rank == 4 and adapter.layout.kinds == ("o_proj", "down_proj")
    held_out = data["held_out"]
    assert held_out["rows"] == 8 and held_out["metric"] == "label" and set(held_out["scores"]) == {
        "base", "examples", "solved",
    }  # fmt: skip
    assert held_out["arms"]["examples"]["tokens_per_query"] > 2 * held_out["arms"]["solved"]["tokens_per_query"]
    told = read_provenance(tmp_path / "adapter")
    assert isinstance(told, Solved) and told.verdict == held_out["sentence"] and told.rows == 32
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "40 answers found" in card and held_out["sentence"] in card
    assert any("made from answered examples: 40 answers found" in e.text for e in events if isinstance(e, Note))


def test_a_template_is_kept_with_the_adapter(tmp_path: Path, tiny_llama_folder: Path) -> None:
    rows = [{"thing": row["prompt"], "colour": row["response"]} for row in things(12, task="")]
    request = solving(written(tmp_path, rows), tiny_llama_folder, tmp_path / "adapter", fit_steps=0)
    template = r"Colour of {thing}\nColour:"
    data, _ = done(replace(request, prompts=replace(request.prompts, template=template, label="colour")))
    assert data["prompts"]["column"] == f'template "{template}"'
    found = read_provenance(tmp_path / "adapter")
    assert isinstance(found, Solved) and found.template == template
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert f"| Template | `{template}` |" in card and "--template" in found.command


def test_layers_that_stay_in_their_files_give_the_same_adapter(tmp_path: Path, tiny_qwen2_folder: Path) -> None:
    source = written(tmp_path, things(40))
    done(solving(source, tiny_qwen2_folder, tmp_path / "whole", fit_steps=0))
    request = solving(source, tiny_qwen2_folder, tmp_path / "streamed", fit_steps=None, stream_layers=True)
    data, events = done(request)
    one, two = (digest_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "streamed"))
    assert one == two and data["fit_steps"] == 0
    assert stages(events) == ["import", "read", "load", "solve", "attach", "write"]
    held_out = data["held_out"]
    assert held_out["rows"] == 8 and held_out["metric"] == "exact_match"
    assert set(held_out["scores"]) == {"base", "examples", "solved"}
    assert held_out["arms"]["examples"]["tokens_per_query"] > 2 * held_out["arms"]["solved"]["tokens_per_query"]
    # The base that stays in memory for the next job is a whole one.
    _, again = done(solving(source, tiny_qwen2_folder, tmp_path / "after", fit_steps=1))
    assert "fit" in stages(again)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [({"made_from": "instruction"}, "write the answers"), ({"fit_steps": 2}, "gradient"), ({"start": "generator"}, "")],
)
def test_what_needs_the_whole_base_is_refused_where_its_layers_are_streamed(
    choice: dict[str, Any], reason: str, tmp_path: Path, tiny_llama_folder: Path
) -> None:
    source = written(tmp_path, things(12))
    with pytest.raises(EngineError, match=f"read one at a time cannot .*{reason}"):
        done(
            solving(source, tiny_llama_folder, tmp_path / "out", **{"fit_steps": None, "stream_layers": True, **choice})
        )
    assert not (tmp_path / "out").exists()


def test_the_same_request_gives_the_same_bytes(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(12))
    for name in ("one", "two"):
        done(solving(source, tiny_llama_folder, tmp_path / name))
    one, two = (digest_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert one == two


def test_an_instruction_leaves_the_queries(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(20, labelled=False))
    data, events = done(solving(source, tiny_llama_folder, tmp_path / "adapter"))
    assert data["made_from"] == "instruction" and data["instruction"] == TASK and data["fit_steps"] == 0
    assert "answer" in stages(events) and "fit" not in stages(events)
    assert data["held_out"]["metric"] == "same_answer" and "without the instruction" in data["held_out"]["sentence"]
    assert TASK in (tmp_path / "adapter" / "README.md").read_text()


def test_a_named_instruction_with_answers_is_both(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(20, task=""))
    data, _ = done(solving(source, tiny_llama_folder, tmp_path / "adapter", context=TASK))
    assert data["made_from"] == "both" and data["instruction"] == TASK
    assert {"base", "examples", "instruction", "solved"} == set(data["held_out"]["scores"])


def test_few_answers_are_enough_and_unchecked(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(3))
    request = solving(source, tiny_llama_folder, tmp_path / "adapter")
    result = run(request, Reporter())
    assert result.to_json()["held_out"] is None and result.to_json()["examples"] == 1
    assert ("held out", "not checked: too few rows to keep some back") in result.summary()


def test_all_answers_equal(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, [row | {"response": "red"} for row in things(20)])
    data, events = done(solving(source, tiny_llama_folder, tmp_path / "adapter"))
    assert data["rows"] == 16
    warned = [event.text for event in events if isinstance(event, Note) and event.warning]
    assert any("every answer is the same" in text for text in warned)


def test_neither_answers_nor_instruction_nor_generator(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(20, labelled=False, task=""))
    with pytest.raises(EngineError, match="no answers and no common instruction") as error:
        done(solving(source, tiny_llama_folder, tmp_path / "adapter"))
    assert "with context" in str(error.value.hint) and not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"made_from": "examples"}, "no answers in it"),
        ({"rank": 65}, "rank 65"),
        ({"made_from": "somewhere"}, "'somewhere'"),
        ({"context": "missing.md"}, "no such file"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_loaded(
    choice: dict[str, Any], problem: str, tmp_path: Path, tiny_llama_folder: Path
) -> None:
    events: list[Event] = []
    request = solving(written(tmp_path, things(9, labelled=False)), tiny_llama_folder, tmp_path / "a", **choice)
    with pytest.raises(EngineError, match=problem):
        run(request, Reporter(events.append))
    assert not events


def test_a_module_that_does_not_write_into_the_stream(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(9))
    with pytest.raises(EngineError, match="an update of q_proj cannot be solved"):
        done(solving(source, tiny_llama_folder, tmp_path / "a", modules=("q_proj",)))
    data, _ = done(solving(source, tiny_llama_folder, tmp_path / "a", modules=("down_proj",)))
    assert read_peft_folder(tmp_path / "a")[0].layout.kinds == ("down_proj",) and data["parameters"] > 0


def test_stopped_in_the_middle_nothing_is_left_behind(tmp_path: Path, tiny_llama_folder: Path) -> None:
    """The next run on the same base finds it clean."""
    source = written(tmp_path, things(12))
    seen: list[Event] = []
    request = solving(source, tiny_llama_folder, tmp_path / "adapter")

    def solving_now() -> bool:
        return any(isinstance(event, StageAdvanced) and event.stage == "solve" for event in seen)

    with pytest.raises(Cancelled):
        run(request, Reporter(seen.append, solving_now))
    assert not (tmp_path / "adapter").exists()
    data, _ = done(request)
    other, _ = done(solving(source, tiny_llama_folder, tmp_path / "other"))
    assert data["held_out"]["scores"] == other["held_out"]["scores"]


def test_a_solved_adapter_is_exported_like_any_other(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(9))
    models = ModelChoice(base=str(tiny_llama_folder), device="cpu")
    done(solving(source, tiny_llama_folder, tmp_path / "adapter"))
    for form in ("peft", "merged"):
        run(ExportRequest(models=models, adapter=tmp_path / "adapter", out=tmp_path / form, format=form), Reporter())
        assert "Solved: what the context does" in (tmp_path / form / "README.md").read_text()


def test_the_command_line_makes_the_same_adapter(tmp_path: Path, tiny_llama_folder: Path) -> None:
    source = written(tmp_path, things(12))
    data, _ = done(solving(source, tiny_llama_folder, tmp_path / "adapter", answered=6, examples=2, rank=3))
    told = read_provenance(tmp_path / "adapter")
    assert isinstance(told, Solved)
    words = told.command.replace(str(tmp_path / "adapter"), str(tmp_path / "again")).split()
    result = CliRunner().invoke(app, [*words[1:], "--device", "cpu"], obj=words[1:])
    assert result.exit_code == 0, result.output
    one, two = (digest_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again"))
    assert one == two and data["rows"] == 6
