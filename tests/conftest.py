"""Parts that many tests share: tiny model folders on disk and the real default base."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch comes in: where other work keeps the cores busy, threads that wait by spinning make every step wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

from tests.tiny import tiny_model
from tests.tiny_tokenizer import CHATML, TURNS, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.base.load import LoadedBase

if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(2)


def _save(factory: pytest.TempPathFactory, family: str, template: str = CHATML) -> Path:
    folder = factory.mktemp("models") / f"tiny-{family}"
    tiny_model(family).save_pretrained(folder)
    tiny_tokenizer(template).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a byte-level ChatML tokenizer, as safetensors. Copy it before changing it."""
    return _save(tmp_path_factory, "llama")


@pytest.fixture(scope="session")
def tiny_qwen2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for Qwen2."""
    return _save(tmp_path_factory, "qwen2")


@pytest.fixture(scope="session")
def tiny_qwen3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for Qwen3."""
    return _save(tmp_path_factory, "qwen3")


@pytest.fixture(scope="session")
def tiny_gemma_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for Gemma 2, with Gemma's kind of turns."""
    return _save(tmp_path_factory, "gemma2", TURNS)


@pytest.fixture(scope="session")
def default_base() -> LoadedBase:
    """The real default base. Skips only where it is not here and cannot be fetched."""
    from engine.base.fetch import cache_folder
    from engine.base.load import load_base, resolve_base
    from engine.base.packages import FetchError

    try:
        ref = resolve_base("default")
    except FetchError as error:
        pytest.skip(f"the default base cannot be fetched to {cache_folder()}: {error}")
    return load_base(ref, device="cpu")


@pytest.fixture(scope="session")
def generated_adapter(default_base: LoadedBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the released generator makes of the example prompts: a PEFT folder for the default base."""
    from engine.events import Reporter
    from engine.jobs import run
    from engine.released import example_prompts
    from engine.requests import ContextChoice, GenerateRequest, ModelChoice, PromptChoice

    folder = tmp_path_factory.mktemp("generated") / "topics"
    prompts = PromptChoice(source=example_prompts())
    models, alone = ModelChoice(device="cpu"), ContextChoice(made_from="generator")
    run(GenerateRequest(models=models, prompts=prompts, solve=alone, out=folder), Reporter())
    return folder


@pytest.fixture(scope="session")
def exported(
    default_base: LoadedBase, generated_adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """Exports of the generated adapter, each written once: called with a form and a float type."""
    from engine.adapter.check import CHECK_PROMPT
    from engine.adapter.export import Choice, write_checked_export
    from engine.adapter.peft_folder import read_peft_folder
    from engine.base.chat import prompt_ids
    from engine.base.load import load_base
    from engine.base.source import source_of

    folder = tmp_path_factory.mktemp("exports")
    adapter, _ = read_peft_folder(generated_adapter)
    ids = prompt_ids(default_base.tokenizer, CHECK_PROMPT)

    def export(form: str, float_type: str) -> Path:
        target = folder / f"{form} {float_type}"
        if not target.exists():
            # The check of a merged model uses its base up: not the one that other tests have in hand.
            base = load_base(default_base.ref, device="cpu") if form == "merged" else default_base
            write_checked_export(
                target,
                adapter,
                base,
                ids,
                Choice(form=form, float_type=float_type),
                base_id=default_base.ref.id,
                provenance=None,
                base_source=source_of(default_base.ref),
            )
        return target

    return export
