"""Labels without sense on the real base: how often a search says "no reliable gain". Takes long.

    python research/depth_noise.py TASKS [--task fs_sst2] [--seeds 10] [--chains 50] [--rows 32]

TASKS is a folder of labelled tasks. The task must be one that the base, with an adapter generated for it, answers in
the form of its labels: where it often does not, a chain that does is right more often whatever the labels are, which is
a gain and no noise. At least 9 of 10 seeds should say so; by the test's level 19 of 20 are expected.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from engine.depth.scores import NO_GAIN
from engine.events import Reporter
from engine.jobs import run
from engine.requests import ContextChoice, DepthRequest, GenerateRequest, ModelChoice, PromptChoice
from engine.tasks.tasks import SEEN, Task, read_rows, read_tasks


def main(task: Task, seeds: int, chains: int, rows_a_search: int, folder: Path) -> None:
    """Shuffle the labels with each seed, search, print the verdicts."""
    models = ModelChoice(device="cpu")
    prompts = PromptChoice(source=task.train_path, column="prompt")
    alone = ContextChoice(made_from="generator")
    run(GenerateRequest(models=models, prompts=prompts, solve=alone, out=folder / "adapter"), Reporter())
    known = read_rows(task.train_path)
    verdicts = []
    for seed in range(seeds):
        chance = random.Random(seed)
        rows = chance.sample(known, min(len(known), rows_a_search + 100))
        labels = [row.response for row in rows]
        chance.shuffle(labels)
        source = folder / f"{seed}.jsonl"
        lines = (json.dumps({"prompt": row.prompt, "response": label}) for row, label in zip(rows, labels, strict=True))
        source.write_text("\n".join(lines))
        request = DepthRequest(
            models=models, source=source, out=folder / str(seed), adapter=folder / "adapter",
            chains=chains, rows=rows_a_search, seed=seed,
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--task", default="fs_sst2")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--chains", type=int, default=50)
    parser.add_argument("--rows", type=int, default=32)
    asked = parser.parse_args()
    chosen = next(task for task in read_tasks(asked.tasks, SEEN) if task.name == asked.task)
    with tempfile.TemporaryDirectory() as place:
        main(chosen, asked.seeds, asked.chains, asked.rows, Path(place))
