"""Bases that read images: their layers for text are adapted from text prompts, questions on images are answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from engine.base.chat import prompt_ids
from engine.base.load import load_base, resolve_base
from engine.base.network import without_head
from engine.errors import EngineError
from engine.events import Event, Note, Reporter
from engine.jobs import run
from engine.requests import (
    CompareRequest,
    ContextChoice,
    ExportRequest,
    GenerateRequest,
    ModelChoice,
    PromptChoice,
    RefineRequest,
)
from engine.weights.layout import derive_layout
from tests.tiny_vision import vision_folder

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

FAMILIES = ("qwen2_5_vl", "smolvlm", "llava")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("vision")
    return {family: vision_folder(place / family, family) for family in FAMILIES}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    for name, colour in (("red", (250, 0, 0)), ("checks", (0, 0, 250))):
        picture = Image.new("RGB", (48, 40), colour)
        if name == "checks":
            picture.paste((255, 255, 0), (0, 0, 24, 40))
        picture.save(tmp_path / f"{name}.png")
    asked = [{"image": f"{name}.png", "prompt": "Which colour?", "response": name} for name in ("red", "checks")]
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*asked, {"prompt": "Say a.", "response": "a"}]))
    return file


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_for_text_are_solved_refined_and_loaded_by_peft(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    source = tmp_path / "plurals.jsonl"
    words = ("cat", "dog", "hen", "cow", "pig", "fox", "owl", "bee", "ant", "rat", "elk", "cod")
    source.write_text("".join(json.dumps({"prompt": f"Many: {w}", "response": f"{w}s"}) + "\n" for w in words))
    models = ModelChoice(base=str(folders[family]), device="cpu")
    solve = ContextChoice(made_from="examples", answered=8, examples=2, fit_steps=1, held_out=0)
    request = GenerateRequest(models=models, prompts=PromptChoice(source=source), solve=solve, out=tmp_path / "made")
    run(request, Reporter())
    refined = RefineRequest(
        models=models, adapter=request.out, source=source, out=tmp_path / "refined", steps=2, held_out=0
    )
    run(refined, Reporter())

    whole = AutoModelForImageTextToText.from_pretrained(folders[family])
    adapted = PeftModel.from_pretrained(whole, str(refined.out))
    touched = {name.split(".lora_A")[0] for name, _ in adapted.named_parameters() if ".lora_A." in name}
    text = set(without_head(whole).modules())
    assert touched and all(adapted.get_submodule(path) in text for path in touched)
    ids = torch.tensor([prompt_ids(load_base(resolve_base(str(folders[family]))).tokenizer, "Many: cat")])
    with torch.inference_mode():
        after = adapted(input_ids=ids).logits
        with adapted.disable_adapter():
            before = adapted(input_ids=ids).logits
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_stands_in_the_template_that_takes_parts(family: str, folders: dict[str, Path]) -> None:
    base = load_base(resolve_base(str(folders[family])))
    text = base.tokenizer.decode(prompt_ids(base.tokenizer, "Many: cat"))
    assert "Many: cat" in text and text.endswith("assistant\n")
    assert all(
        base.model.get_submodule(module.path) in set(without_head(base.model).modules())
        for module in derive_layout(base.ref.config).modules
    )


def answers(base: Path, source: Path, *, examples: int = 0) -> tuple[list[dict[str, Any]], list[Event]]:
    events: list[Event] = []
    models, prompts = ModelChoice(base=str(base), device="cpu"), PromptChoice(source=source)
    adapter = source.parent / "zero"
    if not adapter.is_dir():
        refine = RefineRequest(
            models=models, adapter=Path("none"), source=source, out=adapter, steps=1, held_out=0, rank=2
        )
        run(refine, Reporter())
    request = CompareRequest(
        models=models,
        prompts=prompts,
        adapters=(adapter,),
        rows=3 - bool(examples),
        max_new_tokens=6,
        examples=examples,
    )
    return run(request, Reporter(events.append)).to_json()["rows"], events


def test_an_image_is_read_as_transformers_reads_it(folders: dict[str, Path], rows: Path) -> None:
    found, _ = answers(folders["llava"], rows)
    assert [Path(row["images"][0]).name for row in found[:2]] == ["red.png", "checks.png"] and not found[2]["images"]
    assert found[0]["answers"]["base"] != found[1]["answers"]["base"]  # the same words about another image

    model = AutoModelForImageTextToText.from_pretrained(folders["llava"]).eval()
    processor = AutoProcessor.from_pretrained(folders["llava"])
    for row in found[:2]:
        image = {"type": "image", "image": Image.open(row["images"][0]).convert("RGB")}
        turn = {"role": "user", "content": [image, {"type": "text", "text": "Which colour?"}]}
        asked = processor.apply_chat_template(
            [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            made = model.generate(**asked, max_new_tokens=6, do_sample=False)
        expected = processor.tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
        assert row["answers"]["base"] == expected


def test_a_merged_model_keeps_what_reads_images(folders: dict[str, Path], rows: Path) -> None:
    found, _ = answers(folders["llava"], rows)
    merged = rows.parent / "merged"
    models = ModelChoice(base=str(folders["llava"]), device="cpu")
    run(ExportRequest(models=models, adapter=rows.parent / "zero", out=merged, format="merged"), Reporter())
    again, _ = answers(merged, rows)
    assert [row["answers"]["base"] for row in again] == [row["answers"]["adapted"] for row in found]


@pytest.mark.parametrize(("form", "reason"), [("gguf", "llava"), ("mlx", "not images")])
def test_what_other_programs_cannot_read_is_refused(
    form: str, reason: str, folders: dict[str, Path], rows: Path
) -> None:
    answers(folders["llava"], rows)
    models = ModelChoice(base=str(folders["llava"]), device="cpu")
    request = ExportRequest(models=models, adapter=rows.parent / "zero", out=rows.parent / "g", format=form)
    with pytest.raises(EngineError, match=reason):
        run(request, Reporter())


def test_examples_stand_before_a_prompt_with_an_image(folders: dict[str, Path], rows: Path) -> None:
    alone, _ = answers(folders["llava"], rows)
    shown, _ = answers(folders["llava"], rows, examples=1)
    assert shown[0]["answers"]["base"] == alone[0]["answers"]["base"]
    assert shown[0]["answers"]["examples"] != shown[1]["answers"]["examples"]


def test_a_base_that_reads_no_images_warns_that_they_are_left_out(tiny_llama_folder: Path, rows: Path) -> None:
    found, events = answers(tiny_llama_folder, rows)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any("reads no images" in note for note in notes)
    assert found[0]["answers"]["base"] == found[1]["answers"]["base"]


def test_an_image_that_is_not_there_is_named(folders: dict[str, Path], rows: Path) -> None:
    (rows.parent / "red.png").unlink()
    with pytest.raises(EngineError, match="cannot be read") as error:
        answers(folders["llava"], rows)
    assert "red.png" in str(error.value.where)


def test_a_base_without_a_processor_is_named(folders: dict[str, Path], rows: Path) -> None:
    with pytest.raises(EngineError, match="processor for images") as error:
        answers(folders["smolvlm"], rows)
    assert "preprocessor_config.json" in str(error.value.hint)
