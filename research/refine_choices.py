"""Which optimizer, rate and modules `refine` should take: curves over steps, from a solved adapter and from none.

Seen tasks, default base, bfloat16; teacher-forced exact match and bits per byte on test rows. Resumable; processes
share the tasks: torchrun --standalone --nproc_per_node 2 -m research.refine_choices TASKS OUT [ROWS]
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from engine.base.load import LoadedBase, load_base, resolve_base
from engine.events import Reporter
from engine.prompts import PromptRow
from engine.solver.context import context_tokens, student_rows
from engine.solver.fit import Fit, fresh_adapter
from engine.solver.plan import EXAMPLES, ContextPlan, in_turn
from engine.solver.solve import SolveSettings, read_context, solve
from engine.tasks.tasks import read_rows
from engine.training.losses import answer_figures, bits_per_byte
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.lora import LoraAdapter

# None of them over a data set of an unseen task. Two classes, four to six classes, a word, a phrase.
TASKS = (
    "ii_negation",
    "sni_task1582_bless_hypernym_generation",
    "evo_cr",
    "sni_task1320_country_domain_tld",
    "sni_task141_odd-man-out_classification_category",
    "ii_sentence_similarity",
    "fs_rte",
    "ii_rhymes",
)
LOOKS = (0, 4, 8, 12, 16, 24, 32, 40)
JUDGED = 40


class Setting(NamedTuple):
    """Adam's rate, how many times as fast B learns as A, whether Muon steps, whether all linear modules learn."""

    rate: float
    faster: float = 1.0
    muon: bool = False
    all_modules: bool = False


SETTINGS = {
    "adam 2e-3": Setting(2e-3),
    "adam 1e-3": Setting(1e-3),
    "adam 4e-3": Setting(4e-3),
    "LoRA+ 1e-3, 4 times": Setting(1e-3, 4.0),
    "muon 1e-2": Setting(1e-2, muon=True),
    "all modules, adam 1e-3": Setting(1e-3, all_modules=True),
}


class MuonSteps(torch.optim.Optimizer):
    """`torch.optim.Muon` over matrices that may have a leading dimension of one."""

    def __init__(self, parameters: Sequence[Tensor], rate: float) -> None:
        super().__init__(parameters, {})
        self._flat = [torch.nn.Parameter(value.detach().view(value.shape[-2:])) for value in parameters]
        self._muon = torch.optim.Muon(self._flat, lr=rate, weight_decay=0.0)

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step in place: the views share their memory with the parameters."""
        for view, value in zip(self._flat, self.param_groups[0]["params"], strict=True):
            view.grad = None if value.grad is None else value.grad.view(view.shape)
        self._muon.step()


def training(base: LoadedBase, start: LoraAdapter, rows: Sequence, setting: Setting, seed: int) -> Fit:  # type: ignore[type-arg]
    """A `Fit` with the optimizer of the setting."""
    found = Fit(base, start, rows, rate=setting.rate, seed=seed)
    if setting.muon:
        found.optimizer = MuonSteps(list(found.parameters.values()), setting.rate)  # type: ignore[assignment]
    elif setting.faster != 1.0:
        halves = {half: [value for name, value in found.parameters.items() if name.startswith(half)] for half in "ab"}
        groups = [{"params": halves["a"]}, {"params": halves["b"], "lr": setting.rate * setting.faster}]
        found.optimizer = torch.optim.Adam(groups, lr=setting.rate, betas=(0.9, 0.95))
    return found


def widened(adapter: LoraAdapter, fresh: LoraAdapter) -> LoraAdapter:
    """`adapter` with the modules that it lacks taken from `fresh`."""
    return LoraAdapter(fresh.layout, {**fresh.a, **adapter.a}, {**fresh.b, **adapter.b})


def run(base: LoadedBase, folder: Path, name: str, count: int, out: Path) -> None:
    """All settings from both starts on one task; a line a curve."""
    done = {tuple(json.loads(line)["key"]) for line in out.read_text().splitlines()} if out.is_file() else set()
    train, test = (read_rows(folder / f"{name}.{part}.jsonl") for part in ("train", "test"))
    random.Random(1).shuffle(train)
    numbered = [PromptRow(n, row.prompt, (row.response,)) for n, row in enumerate(train[: 4 * count], 1)]
    rows = in_turn(numbered, 0)[:count]
    plan = ContextPlan(EXAMPLES, "", tuple(rows))
    solving = ContextPlan(EXAMPLES, "", tuple(rows[:32]))
    solved = solve(base, read_context(base, context_tokens(base, solving, list, Reporter()).groups), SolveSettings())
    students = student_rows(base, plan, plan.rows)
    judged = [PromptRow(n, row.prompt, (row.response,)) for n, row in enumerate(test[:JUDGED], 1)]
    asked = student_rows(base, plan, judged)
    size = [len(row.references[0].encode()) for row in judged]
    for arm, setting in SETTINGS.items():
        for beginning in ("solved", "nothing"):
            if (name, count, arm, beginning) in done:
                continue
            layout = derive_layout(base.model.config, LoraSpec(8, 8)) if setting.all_modules else solved.layout
            fresh = fresh_adapter(layout, 0)
            start = fresh if beginning == "nothing" else widened(solved, fresh)
            fit, curve = training(base, start, students, setting, 0), []
            for steps in LOOKS:
                while fit.steps < steps:
                    fit.step()
                with fit.with_mean():
                    nats, _, hits = zip(*answer_figures(base, asked, 20), strict=True)
                curve.append((steps, sum(hits) / len(hits), bits_per_byte(nats, size)))
            with out.open("a") as file:
                file.write(json.dumps({"key": (name, count, arm, beginning), "curve": curve}) + "\n")
            print(name, arm, beginning, curve[-1], flush=True)


def table(out: Path) -> None:
    """Means over the tasks that have all arms."""
    curves: dict[tuple[int, str], dict[tuple[str, str], list[list[float]]]] = defaultdict(dict)
    for path in sorted(out.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            found = json.loads(line)
            name, count, arm, beginning = found["key"]
            curves[count, name][arm, beginning] = found["curve"]
    whole = [arms for arms in curves.values() if len(arms) == 2 * len(SETTINGS)]
    print(f"{len(whole)} tasks; exact match / bits per byte after so many steps")
    for arm in whole[0] if whole else ():
        cells = []
        for place, steps in enumerate(LOOKS):
            score, bits = (sum(arms[arm][place][at] for arms in whole) / len(whole) for at in (1, 2))
            cells.append(f"{steps}: {score:.3f} / {bits:.3f}")
        print(f"{arm[0]:24} {arm[1]:8}", "  ".join(cells))


def main(folder: Path, out: Path, count: int) -> None:
    """This process's share of the tasks; then what there is so far."""
    out.mkdir(parents=True, exist_ok=True)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    base = load_base(resolve_base("default"), dtype="bfloat16")
    for name in TASKS[rank::world]:
        run(base, folder, name, count, out / f"{name}-{count}.jsonl")
    table(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 32)
