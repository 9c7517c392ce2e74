"""Solved, then fitted: which steps, which rate. On seen tasks; teacher-forced exact match and bits per byte.

python research/solver_choices.py TASKS [ROWS]
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.adapter.attach import AttachedModel
from engine.base.load import LoadedBase, load_base, resolve_base
from engine.events import Reporter
from engine.prompts import PromptRow
from engine.solver.context import _tokens, context_tokens, student_rows
from engine.solver.fit import fit, fresh_adapter
from engine.solver.plan import EXAMPLES, ContextPlan, in_turn
from engine.solver.solve import SolveSettings, read_context, solve
from engine.tasks.tasks import TaskRow, read_rows
from engine.training.losses import answer_figures, bits_per_byte
from engine.weights.lora import LoraAdapter

# None of them over a data set of an unseen task.
TASKS = (
    "evo_cr",
    "ii_negation",
    "sni_task1582_bless_hypernym_generation",
    "sni_task1320_country_domain_tld",
    "sni_task141_odd-man-out_classification_category",
    "lt_nq_open",
)
FITS = {"8 steps": (8, 2e-3), "8 steps, 1e-3": (8, 1e-3), "8 steps, 4e-3": (8, 4e-3), "16 steps": (16, 2e-3)}


@dataclass
class Bench:
    """Judges adapters on the test rows of a task and keeps the scores by arm."""

    base: LoadedBase
    sums: dict[str, list[float]] = field(default_factory=dict)

    def judge(
        self,
        task: str,
        judged: Sequence[TaskRow],
        arm: str,
        seconds: float,
        adapter: LoraAdapter | None = None,
        examples: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Print exact match and bits per byte of one arm on one task."""
        asked, answers = [row.prompt for row in judged], [row.response for row in judged]
        tokens = _tokens(self.base, asked, answers, examples)
        with AttachedModel(self.base) as attached:
            if adapter is not None:
                attached.add("judged", adapter)
                attached.use("judged")
            nats, _, hits = zip(*answer_figures(self.base, tokens, 16), strict=True)
        bits = bits_per_byte(nats, [len(answer.encode()) for answer in answers]) or 0.0
        print(f"{task:50} {arm:20} {sum(hits) / len(hits):.3f} {bits:.3f} {seconds:.1f} s", flush=True)
        self.sums.setdefault(arm, []).append(sum(hits) / len(hits))


def main(folder: Path, count: int) -> None:
    """All arms on all tasks."""
    base = load_base(resolve_base("default"), dtype="bfloat16")
    bench = Bench(base)
    for name in TASKS:
        train, test = (read_rows(folder / f"{name}.{part}.jsonl") for part in ("train", "test"))
        random.Random(1).shuffle(train)
        rows = in_turn([PromptRow(n, row.prompt, (row.response,)) for n, row in enumerate(train[:32], 1)], 0)
        plan, judged = ContextPlan(EXAMPLES, "", tuple(rows)), test[:count]
        bench.judge(name, judged, "8 examples", 0.0, examples=[(row.prompt, row.references[0]) for row in rows[:8]])
        began = time.perf_counter()
        solved = solve(base, read_context(base, context_tokens(base, plan, list, Reporter()).groups), SolveSettings())
        bench.judge(name, judged, "solved", time.perf_counter() - began, solved)
        students = student_rows(base, plan, plan.rows)
        starts = {f"solved, {arm}": (solved, *setting) for arm, setting in FITS.items()}
        starts |= {f"plain, {steps} steps": (fresh_adapter(solved.layout, 0), steps, 2e-3) for steps in (12, 20)}
        for arm, (start, steps, rate) in starts.items():
            began = time.perf_counter()
            adapter = fit(base, start, students, steps, rate=rate)
            bench.judge(name, judged, arm, time.perf_counter() - began, adapter)
    for arm, scores in bench.sums.items():
        print(f"{'mean':50} {arm:20} {sum(scores) / len(scores):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60)
