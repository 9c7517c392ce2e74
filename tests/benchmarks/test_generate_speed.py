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

from engine.events import Reporter
from engine.jobs.measure import time_training, training_rows
from engine.pipeline import Pipeline, load_pipeline
from engine.prompts import read_prompts
from engine.requests import ModelChoice

pytestmark = pytest.mark.benchmark

EXAMPLE = Path(__file__).parents[2] / "assets" / "examples" / "topics.jsonl"
ROWS, BATCH, STEPS = 400, 8, 10
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
    options = ["--from", "generator", "--device", "cpu"]
    command = [sys.executable, "-m", "dnd_tui", "generate", str(prompts), *options]
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
    tokens = training_rows(pipeline.base, [(row.prompt, row.references[0]) for row in rows])
    layout = pipeline.generator.frame.layout
    measured = time_training(pipeline.base, layout, tokens, steps=STEPS, batch=BATCH, reporter=Reporter())
    training = measured.seconds_a_step * ROWS / BATCH
    print(
        f"\ngenerating {generating:.2f} s; training a LoRA on {ROWS} rows of the task: {training:.0f} s an epoch, "
        f"measured over {STEPS} steps, ratio {training / generating:.0f} (one epoch), "
        f"{3 * training / generating:.0f} (three epochs)"
    )


def test_help_is_quick() -> None:
    command = [sys.executable, "-m", "dnd_tui", "--help"]
    seconds = median_seconds(lambda number: subprocess.run(command, check=True, capture_output=True), 9)
    print(f"\ndnd-tui --help: {seconds:.2f} s")
