"""Labels without sense on the real base: how often a search says "no reliable gain". Takes long.

    DND_TUI_TASKS=TASKS python -m pytest tests/benchmarks/test_depth_noise.py -m benchmark -s

TASKS is a folder of labelled tasks. The task must be one that the base, with an adapter generated for it, answers in
the form of its labels: where it often does not, a chain that does is right more often whatever the labels are, which is
a gain and no noise. Other settings by the environment:

    DND_TUI_NOISE_TASK     the task, fs_sst2
    DND_TUI_NOISE_SEEDS    how many shuffles, 10
    DND_TUI_NOISE_CHAINS   chains a search, 50
    DND_TUI_NOISE_ROWS     rows a search, 32
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from engine.depth.scores import NO_GAIN
from engine.events import Reporter
from engine.jobs import run
from engine.requests import ContextChoice, DepthRequest, GenerateRequest, ModelChoice, PromptChoice
from engine.tasks.tasks import SEEN, Task, read_rows, read_tasks

pytestmark = pytest.mark.benchmark

SEEDS = int(os.environ.get("DND_TUI_NOISE_SEEDS", "10"))
CHAINS = int(os.environ.get("DND_TUI_NOISE_CHAINS", "50"))
ROWS = int(os.environ.get("DND_TUI_NOISE_ROWS", "32"))


@pytest.fixture(scope="module")
def task() -> Task:
    folder = os.environ.get("DND_TUI_TASKS")
    if not folder:
        pytest.skip("DND_TUI_TASKS does not name a folder of tasks")
    name = os.environ.get("DND_TUI_NOISE_TASK", "fs_sst2")
    return next(task for task in read_tasks(Path(folder), SEEN) if task.name == name)


def test_shuffled_labels_are_no_reliable_gain(task: Task, tmp_path: Path) -> None:
    """At least 9 of 10 must say so; by the test's level 19 of 20 are expected."""
    models = ModelChoice(device="cpu")
    prompts = PromptChoice(source=task.train_path, column="prompt")
    alone = ContextChoice(made_from="generator")
    run(GenerateRequest(models=models, prompts=prompts, solve=alone, out=tmp_path / "adapter"), Reporter())
    known = read_rows(task.train_path)
    verdicts = []
    for seed in range(SEEDS):
        chance = random.Random(seed)
        rows = chance.sample(known, min(len(known), ROWS + 100))
        labels = [row.response for row in rows]
        chance.shuffle(labels)
        source = tmp_path / f"{seed}.jsonl"
        lines = (json.dumps({"prompt": row.prompt, "response": label}) for row, label in zip(rows, labels, strict=True))
        source.write_text("\n".join(lines))
        request = DepthRequest(
            models=models, source=source, out=tmp_path / str(seed), adapter=tmp_path / "adapter",
            chains=CHAINS, rows=ROWS, seed=seed,
        )  # fmt: skip
        data = run(request, Reporter()).to_json()
        search, held_out = data["search"], data["held_out"]
        verdicts.append(held_out["verdict"])
        print(
            f"\nseed {seed}: {search['base']['right']} to {search['right']} of {search['rows']} on the rows of the "
            f"search, {held_out['base_right']} to {held_out['chain_right']} of {held_out['rows']} held out "
            f"(p = {held_out['p_value']:.2g}): {held_out['verdict']}"
        )
    said = verdicts.count(NO_GAIN)
    print(f"{said} of {len(verdicts)} seeds with shuffled labels say {NO_GAIN!r}")
    assert said >= 0.9 * len(verdicts)
