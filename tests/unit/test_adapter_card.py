"""The model card and the provenance beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml

from engine.adapter import card as cards
from engine.adapter.card import Subject
from engine.adapter.formats import FORMATS
from engine.adapter.provenance import Provenance, read_provenance
from engine.errors import EngineError
from engine.weights.layout import Layout, LayoutModule, LoraSpec

LAYOUT = Layout((LayoutModule("model.layers.0.self_attn.q_proj", 6, 4),), LoraSpec(4, 8, ("q_proj",)))
PROVENANCE = Provenance(
    generator_id="dnd-small",
    generator_digest="ab" * 32,
    prompts_name="home/me/secret/questions.jsonl",
    prompts_digest="cd" * 32,
    prompts_used=32,
    prompts_total=12345,
    seed=7,
    command="dnd-tui generate questions.jsonl --seed 7",
    timings=MappingProxyType({"load": 0.25, "decode": 1.5}),
    scores={"exact_match": 0.4321},
)


def adapter_card(provenance: Provenance | None, *, base_id: str, form: str = "peft") -> str:
    return cards.adapter_card(
        Subject(base_id=base_id, architecture="llama", layout=LAYOUT, form=form, provenance=provenance)
    )


def card_files(provenance: Provenance | None) -> dict[str, str]:
    return cards.card_files(Subject(base_id="b", architecture="llama", layout=LAYOUT, provenance=provenance))


def front_matter(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_front_matter_is_what_the_hub_reads() -> None:
    assert front_matter(adapter_card(PROVENANCE, base_id="someone/base")) == {
        "library_name": "peft",
        "base_model": "someone/base",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "base_model:adapter:someone/base"],
    }


def test_names_cannot_break_out_of_the_front_matter() -> None:
    name = 'x"\n---\nlicense: mine # {'
    assert front_matter(adapter_card(None, base_id=name))["base_model"] == name


def test_card_says_where_the_adapter_comes_from() -> None:
    card = adapter_card(PROVENANCE, base_id="someone/base")
    for part in (
        "`dnd-small`", "ab" * 32, "`questions.jsonl`, 32 of 12,345", "cd" * 32, "| Seed | 7 |",
        "```sh\ndnd-tui generate questions.jsonl --seed 7\n```", "| decode | 1.500 |", "| total | 1.750 |",
        "| exact_match | 0.4321 |", "PeftModel.from_pretrained(base", "--max-lora-rank 8 ",
    ):  # fmt: skip
        assert part in card
    assert "secret" not in card


@pytest.mark.parametrize(
    ("form", "library", "relation", "command"),
    [
        ("peft", "peft", "adapter", "python -m sglang.launch_server --model-path someone/base --enable-lora"),
        ("merged", "transformers", "finetune", "vllm serve path/to/this/folder --served-model-name adapted"),
        ("gguf", "gguf", "adapter", "llama-server -m base.gguf --lora path/to/this/folder/adapter.gguf"),
        ("gguf-merged", "gguf", "finetune", "llama-server -m path/to/this/folder/model.gguf"),
        ("ollama", "gguf", "adapter", "ollama create adapted -f path/to/this/folder/Modelfile"),
        ("mlx", "mlx", "adapter", "mlx_lm.generate --model someone/base --adapter-path path/to/this/folder"),
    ],
)
def test_each_form_says_what_it_is_and_what_to_type(form: str, library: str, relation: str, command: str) -> None:
    card = adapter_card(PROVENANCE, base_id="someone/base", form=form)
    head = front_matter(card)
    assert (head["library_name"], head["tags"]) == (library, ["lora", f"base_model:{relation}:someone/base"])
    assert f"```sh\n{command}" in card
    assert form in FORMATS


def test_the_command_of_the_export_follows_that_of_the_adapter() -> None:
    subject = Subject(
        base_id="b", architecture="llama", layout=LAYOUT, provenance=PROVENANCE, export_command="dnd-tui export it"
    )
    assert f"```sh\n{PROVENANCE.command}\ndnd-tui export it\n```" in cards.adapter_card(subject)


def test_card_without_scores_or_provenance_leaves_them_out() -> None:
    assert "Scores" not in adapter_card(replace(PROVENANCE, scores=None), base_id="b")
    card = adapter_card(None, base_id="b")
    assert "Generator" not in card
    assert "## Use" in card


def test_a_note_is_quoted_whatever_stands_in_it() -> None:
    subject = Subject(base_id="b", architecture="llama", layout=LAYOUT)
    card = cards.adapter_card(replace(subject, note="Good on short tickets.\n\n## Not a heading\n---\n"))
    assert "> Good on short tickets.\n>\n> ## Not a heading\n> ---\n\n" in card
    assert "\n>" not in cards.adapter_card(replace(subject, note=" \n"))


def test_backticks_and_bars_stay_inside_their_place() -> None:
    odd = replace(PROVENANCE, prompts_name="a`|b.txt", command="echo ```")
    card = adapter_card(odd, base_id="b")
    assert "`` a`\\|b.txt ``" in card
    assert "````sh\necho ```\n````" in card


def test_provenance_survives_the_folder(tmp_path: Path) -> None:
    for name, text in card_files(PROVENANCE).items():
        (tmp_path / name).write_text(text)
    read = read_provenance(tmp_path)
    assert read == replace(PROVENANCE, timings=dict(PROVENANCE.timings))
    assert read.prompts_name == "questions.jsonl"


def test_a_provenance_from_before_there_were_templates_is_read(tmp_path: Path) -> None:
    data = json.loads(card_files(PROVENANCE)["provenance.json"])
    del data["template"]
    (tmp_path / "provenance.json").write_text(json.dumps(data))
    assert read_provenance(tmp_path) == replace(PROVENANCE, timings=dict(PROVENANCE.timings))


def test_no_provenance_no_file(tmp_path: Path) -> None:
    assert list(card_files(None)) == ["README.md"]
    assert read_provenance(tmp_path) is None


@pytest.mark.parametrize(
    "change",
    [{"seed": "7"}, {"timings": None}, {"timings": {"load": "fast"}}, {"command": 1}, {"scores": 3}, {"more": 1}],
)
def test_a_provenance_of_another_kind_is_told(tmp_path: Path, change: dict[str, object]) -> None:
    data = json.loads(card_files(PROVENANCE)["provenance.json"])
    (tmp_path / "provenance.json").write_text(json.dumps(data | change))
    with pytest.raises(EngineError, match=r"provenance\.json"):
        read_provenance(tmp_path)
