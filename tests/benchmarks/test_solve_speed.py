"""How long solving takes, what memory it needs, and what a query costs afterwards: printed, never asserted.

make bench, or: OMP_WAIT_POLICY=ACTIVE python -m pytest tests/benchmarks/test_solve_speed.py -m benchmark -s
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from engine.adapter.attach import AttachedModel
from engine.base.chat import prompts_ids, stop_ids
from engine.base.load import LoadedBase, load_base, resolve_base
from engine.decode import stream_answers
from engine.events import Reporter
from engine.jobs.solve import make_adapter, start_of
from engine.prompts import PromptRow
from engine.released import example_prompts
from engine.requests import ContextChoice, ModelChoice
from engine.solver.context import context_tokens, student_rows
from engine.solver.fit import fit
from engine.solver.plan import EXAMPLES, ContextPlan, in_turn
from engine.solver.solve import SolveSettings, read_context, solve

pytestmark = pytest.mark.benchmark
SENTENCE = "He walked slowly along the old harbour wall and watched the boats come in with the evening tide, one by one"


def sixty_tokens(base: LoadedBase, count: int = 32) -> ContextPlan:
    """32 rows of about 64 tokens each, chat format and answer included: no common beginning but the format's."""
    words = SENTENCE.split()
    rows = []
    for number in range(1, count + 1):
        text = f"{number * 7919} " + " ".join(words[number % len(words) :] + words[: number % len(words)])
        while len(prompts_ids(base.tokenizer, [text])[0]) < 61:
            text += " boats"
        rows.append(PromptRow(number, text, (("harbour", "tide", "wall")[number % 3],)))
    return ContextPlan(EXAMPLES, "", tuple(in_turn(rows, 0)))


def timed_solve(base: LoadedBase, plan: ContextPlan) -> tuple[float, float]:
    """Seconds to solve, and to take eight gradient steps after that."""
    began = time.perf_counter()
    adapter = solve(base, read_context(base, context_tokens(base, plan, list, Reporter()).groups), SolveSettings())
    solved = time.perf_counter()
    fit(base, adapter, student_rows(base, plan, plan.rows), 8)
    return solved - began, time.perf_counter() - solved


def test_seconds_to_solve() -> None:
    base = load_base(resolve_base("default"), device="cpu")
    plan = sixty_tokens(base)
    timed_solve(base, plan)
    runs = [timed_solve(base, plan) for _ in range(3)]
    solving, fitting = (median(run[part] for run in runs) for part in (0, 1))
    print(f"\n32 rows of 64 tokens, 8 examples a context, warm: {solving:.2f} s, 8 gradient steps {fitting:.2f} s")


def test_seconds_for_an_adapter() -> None:
    """All that `generate` does after loading and before the check: both starts read, one solved, eight steps."""
    base = load_base(resolve_base("default"), device="cpu")
    start = start_of(base, ModelChoice())
    for name, plan in (("64 tokens a row", sixty_tokens(base)), ("example task", topics(32))):
        runs: list[dict[str, float]] = []
        for _ in range(4):
            reporter = Reporter()
            make_adapter(base, plan, ContextChoice(), 0, reporter, start)
            runs.append(dict(reporter.timings))
        stages = {stage: median(run[stage] for run in runs[1:]) for stage in runs[0]}
        parts = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in stages.items())
        print(f"\n{name}, 32 rows, two starts, warm: {sum(stages.values()):.1f} s ({parts})")


def topics(count: int) -> ContextPlan:
    """Rows of the example task."""
    lines = [json.loads(line) for line in example_prompts().read_text(encoding="utf-8").splitlines()]
    rows = [PromptRow(number, line["prompt"], (line["response"],)) for number, line in enumerate(lines, 1)]
    return ContextPlan(EXAMPLES, "", tuple(in_turn(rows[:count], 0)))


def test_memory_of_solving() -> None:
    """Peak of a process while it solves and fits, above what it holds once the base has answered a row."""
    resets = Path("/proc/self/clear_refs")
    if not resets.exists():
        pytest.skip("only Linux can start to count a peak anew")
    code = (
        "import torch\n"
        "from tests.benchmarks.test_solve_speed import *\n"
        'base = load_base(resolve_base("default"), device="cpu")\n'
        "plan = sixty_tokens(base)\n"
        "base.model(torch.tensor(prompts_ids(base.tokenizer, ['x'])))\n"
        "before = held()\n"
        "Path('/proc/self/clear_refs').write_text('5')\n"
        "context = read_context(base, context_tokens(base, plan, list, Reporter()).groups)\n"
        "adapter = solve(base, context, SolveSettings())\n"
        "solved = held('VmHWM')\n"
        "fit(base, adapter, student_rows(base, plan, plan.rows), 8)\n"
        "print(before, solved, held('VmHWM'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root())
    before, solved, fitted = map(int, done.stdout.split()[-3:])
    print(f"\npeak memory above the loaded base: solving {(solved - before) / 2**30:.2f} GiB, "
          f"with gradient steps {(fitted - before) / 2**30:.2f} GiB")  # fmt: skip


def held(field: str = "VmRSS") -> int:
    """Bytes of this process: in memory now, or with "VmHWM" at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def test_seconds_a_query() -> None:
    """The adapter against eight examples in the prompt, each prompt by itself, in one run, in turns."""
    base = load_base(resolve_base("default"), device="cpu")
    for name, rows in (("example task", topics(40).rows), ("64 tokens a row", sixty_tokens(base, 40).rows)):
        plan = ContextPlan(EXAMPLES, "", tuple(in_turn(rows[:32], 0)))
        context = read_context(base, context_tokens(base, plan, list, Reporter()).groups)
        adapter = fit(base, solve(base, context, SolveSettings()), student_rows(base, plan, plan.rows), 8)
        before = [(row.prompt, row.references[0]) for row in plan.rows[:8]]
        seconds: dict[tuple[str, int], list[float]] = {}
        lengths: dict[str, int] = {}
        with AttachedModel(base) as attached:
            attached.add("solved", adapter)
            for prompt in [row.prompt for row in rows[32:]]:
                for arm, used, examples in (("examples", None, before), ("solved", "solved", [])):
                    attached.use(used)
                    ids = prompts_ids(base.tokenizer, [prompt], examples)
                    lengths[arm] = len(ids[0])
                    for most in (1, 8):
                        began = time.perf_counter()
                        list(stream_answers(attached, base.tokenizer, ids, max_new_tokens=most,
                                            stop_ids=stop_ids(base.tokenizer, base.model)))  # fmt: skip
                        seconds.setdefault((arm, most), []).append(time.perf_counter() - began)
        for most, what in ((1, "to the first token"), (8, "whole answer")):
            one, other = (median(seconds[arm, most]) for arm in ("examples", "solved"))
            print(f"\n{name}, {what}: 8 examples in the prompt {one:.3f} s ({lengths['examples']} tokens), adapter "
                  f"{other:.3f} s ({lengths['solved']} tokens), {one / other:.1f} times")  # fmt: skip


def _root() -> Path:
    return Path(__file__).parents[2]
