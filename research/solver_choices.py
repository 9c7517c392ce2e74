"""Solved, then fitted: which steps, which rate. On seen tasks; teacher-forced exact match and bits per byte.

    python research/solver_choices.py TASKS [ROWS]
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from engine.adapter.attach import AttachedModel
from engine.adapter.lora import LoraAdapter
from engine.base.load import load_base, resolve_base
from engine.events import Reporter
from engine.forge.packing import TokenRow
from engine.forge.tasks import TaskRow, read_rows
from engine.judge.likelihood import answer_hits, answer_nats, bits_per_byte
from engine.prompts import PromptRow
from engine.solver.context import _tokens, context_tokens, student_rows
from engine.solver.fit import fit, fresh_adapter
from engine.solver.plan import EXAMPLES, ContextPlan, in_turn
from engine.solver.solve import SolveSettings, solve

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


def main(folder: Path, count: int) -> None:
    base = load_base(resolve_base("default"), dtype="bfloat16")
    sums: dict[str, list[float]] = {}
    for name in TASKS:
        train, test = (read_rows(folder / f"{name}.{part}.jsonl") for part in ("train", "test"))
        random.Random(1).shuffle(train)
        rows = in_turn([PromptRow(n, row.prompt, (row.response,)) for n, row in enumerate(train[:32], 1)], 0)
        plan = ContextPlan(EXAMPLES, "", tuple(rows))
        judged = test[:count]

        def judge(arm: str, adapter: LoraAdapter | None, examples: list[tuple[str, str]], seconds: float) -> None:
            asked, answers = [row.prompt for row in judged], [row.response for row in judged]
            tokens = _tokens(base, asked, answers, examples)
            with AttachedModel(base) as attached:
                if adapter is not None:
                    attached.add("judged", adapter)
                    attached.use("judged")
                hits, bits = answer_hits(base, tokens, 16), bits_of(tokens, judged)
            print(f"{name:50} {arm:20} {sum(hits) / len(hits):.3f} {bits:.3f} {seconds:.1f} s", flush=True)
            sums.setdefault(arm, []).append(sum(hits) / len(hits))

        def bits_of(tokens: list[TokenRow], judged: list[TaskRow]) -> float:
            sizes = [len(row.response.encode()) for row in judged]
            return bits_per_byte(answer_nats(base, tokens, 16), sizes) or 0.0

        judge("8 examples", None, [(row.prompt, row.references[0]) for row in rows[:8]], 0.0)
        began = time.perf_counter()
        solved = solve(base, context_tokens(base, plan, list, Reporter()).groups, SolveSettings())
        judge("solved", solved, [], time.perf_counter() - began)
        students = student_rows(base, plan)
        for fitted, (steps, rate) in FITS.items():
            began = time.perf_counter()
            adapter = fit(base, solved, students, steps, rate=rate)
            judge(f"solved, {fitted}", adapter, [], time.perf_counter() - began)
        for steps in (12, 20):
            began = time.perf_counter()
            adapter = fit(base, fresh_adapter(solved.layout, 0), students, steps)
            judge(f"plain, {steps} steps", adapter, [], time.perf_counter() - began)
    for arm, scores in sums.items():
        print(f"{'mean':50} {arm:20} {sum(scores) / len(scores):.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60)
