"""How long generating takes, how much memory, and how that compares with training. Run by `make bench`.

Nothing is asserted about time: machines differ. Every figure is printed.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.events import Reporter
from engine.forge.batched import adapters_in_batch, token_losses
from engine.forge.collect import as_matrices, trainable
from engine.forge.packing import TokenRow, pack
from engine.pipeline import Pipeline, load_pipeline
from engine.prompts import read_prompts
from engine.requests import ModelChoice
from engine.weights.frame import fresh_frame

pytestmark = pytest.mark.benchmark

EXAMPLE = Path(__file__).parents[2] / "assets" / "examples" / "topics.jsonl"
ROWS, BATCH = 400, 8
WORDS = "the river runs past old mills and quiet gardens before it meets a silver sea".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    # No cache of conditions: the encoder must work.
    return load_pipeline(ModelChoice(device="cpu"), Reporter(), cached=False)


def long_prompts(count: int, words: int, start: int) -> list[str]:
    """Prompts of about `words` tokens, all different."""
    return [" ".join(WORDS[(start + row * 7 + place) % len(WORDS)] for place in range(words)) for row in range(count)]


def median_seconds(work: Callable[[int], object], times: int) -> float:
    seconds = []
    for number in range(times):
        began = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def test_warm_generation_and_its_stages(pipeline: Pipeline) -> None:
    stages: dict[str, list[float]] = {}

    def work(number: int) -> None:
        reporter = Reporter()
        pipeline.adapter(long_prompts(32, 128, number), reporter)
        for stage, seconds in reporter.timings.items():
            stages.setdefault(stage, []).append(seconds)

    work(99)
    whole = median_seconds(work, 7)
    parts = ", ".join(f"{stage} {statistics.median(seconds):.3f} s" for stage, seconds in stages.items())
    print(f"\nwarm, 32 prompts of 128 tokens -> adapter in memory: {whole:.2f} s ({parts})")


def test_cold_generation_and_its_memory(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(long_prompts(32, 128, int(time.time()) % 1000)))
    command = [sys.executable, "-m", "dnd_tui", "--headless", "generate", str(prompts), "--device", "cpu"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds = median_seconds(
        lambda number: subprocess.run(
            [*command, "--out", str(tmp_path / f"{number}")], check=True, capture_output=True
        ),
        3,
    )
    # Of the largest child so far; in kilobytes on Linux, in bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    note = "" if before * 1024 < peak else ", of an earlier child"
    print(f"\ncold process -> exported folder: {seconds:.2f} s, peak memory {peak / 1e9:.2f} GB{note}")


def test_generating_against_training(pipeline: Pipeline) -> None:
    rows = list(read_prompts(EXAMPLE))
    texts = [row.prompt for row in rows][:32]
    pipeline.adapter(texts, Reporter())
    generating = median_seconds(lambda number: pipeline.adapter(texts, Reporter()), 5)
    tokens = [_tokens(pipeline, row.prompt, row.references[0]) for row in rows]
    repeated = [tokens[place % len(tokens)] for place in range(ROWS)]
    layout = pipeline.generator.frame.layout
    frame = fresh_frame(layout, "full", seed=0)
    parameters = trainable(frame, 1, torch.device("cpu"))
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    a, b = as_matrices(frame, parameters)
    began = time.perf_counter()
    with adapters_in_batch(pipeline.base.model, layout, a, b):
        for start in range(0, ROWS, BATCH):
            batch = pack([[row] for row in repeated[start : start + BATCH]], 0)
            token_losses(pipeline.base.model, batch, 1).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    training = time.perf_counter() - began
    print(
        f"\ngenerating {generating:.2f} s; training a LoRA on {ROWS} rows of the task: {training:.0f} s an epoch, "
        f"ratio {training / generating:.0f} (one epoch), {3 * training / generating:.0f} (three epochs)"
    )


def test_help_is_quick() -> None:
    command = [sys.executable, "-m", "dnd_tui", "--help"]
    seconds = median_seconds(lambda number: subprocess.run(command, check=True, capture_output=True), 9)
    print(f"\ndnd-tui --help: {seconds:.2f} s")


def _tokens(pipeline: Pipeline, prompt: str, answer: str) -> TokenRow:
    from engine.base.chat import answer_ids, prompt_ids

    tokenizer = pipeline.base.tokenizer
    return TokenRow(tuple(prompt_ids(tokenizer, prompt)), tuple(answer_ids(tokenizer, answer)))
