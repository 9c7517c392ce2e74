"""Ways to an adapter of rank 8 on a base: the published decoder, ours, the solver, training. Cost, not quality.

    python research/decoders.py [BASE]

Each in a process of its own: parameters, FLOPs of one adapter (by torch's counter: products and convolutions), seconds
(the second run), and peak memory: of decoders that of the process, of the others what comes on top of the loaded base.
The decoders have random weights and give what nobody would use; only what they cost is looked at. The published cascade
is that of arXiv 2506.16406 for the 0.5 B base.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.base.load import LoadedBase, load_base, resolve_base
from engine.events import Reporter
from engine.forge.recipe import Recipe
from engine.generator.hyperconv import HyperConvDecoder, Shape
from engine.prompts import PromptRow
from engine.released import example_prompts
from engine.solver.context import context_tokens, student_rows
from engine.solver.fit import fit, fresh_adapter
from engine.solver.plan import EXAMPLES, ContextPlan, in_turn
from engine.solver.solve import SolveSettings, read_context, solve
from engine.weights.frame import generated_shapes
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.tokens import token_grid

PUBLISHED: tuple[Shape, ...] = (
    (128, 384, 384), (128, 200, 300), (128, 100, 256), (256, 50, 200), (512, 50, 200), (1024, 25, 200),
    (1024, 10, 200), (2048, 10, 200), (4296, 10, 130),
)  # fmt: skip
KERNEL = 9
LORA = LoraSpec(8, 16, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
WAYS = ("published decoder", "our decoder", "solved, 32 rows", "8 gradient steps from nothing")
RUNS = 2


def main(base: str) -> None:
    """All ways, one after another, as a table."""
    print(f"{'':31} {'parameters':>13} {'TFLOP':>8} {'seconds':>8} {'GiB':>6}")
    for way in WAYS:
        done = subprocess.run([sys.executable, __file__, base, way], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{way:31} {found['parameters']:13,} {found['flop'] / 1e12:8.2f} "
              f"{found['seconds']:8.2f} {found['bytes'] / 2**30:6.2f}", flush=True)  # fmt: skip


def measure(base: str, way: str) -> dict[str, float]:
    """Figures of one way."""
    if way == "published decoder":
        decoder, condition = HyperConvDecoder(PUBLISHED, KERNEL), torch.randn(1, *PUBLISHED[0])
        return figures(lambda: decoder(condition), count(decoder), 0)
    if way == "our decoder":
        decoder, condition = own_decoder(base)
        return figures(lambda: decoder(condition), count(decoder), 0)
    loaded = load_base(resolve_base(base), device="cpu")
    plan = topics(32)
    before = held()
    reset_peak()
    if way.startswith("solved"):
        return figures(lambda: solved(loaded, plan), 0, before)
    rows = student_rows(loaded, plan, plan.rows)
    fresh = fresh_adapter(derive_layout(loaded.model.config, LORA), 0)
    return figures(lambda: fit(loaded, fresh, rows, 8), 0, before)


def own_decoder(base: str) -> tuple[HyperConvDecoder, torch.Tensor]:
    """The decoder that our recipe has by default, for all matrices of the base."""
    wanted = Recipe().decoder
    layout = derive_layout(resolve_base(base).config, LORA)
    grid = token_grid(generated_shapes(layout, Recipe().frame.kind), LORA.rank)
    first: Shape = (wanted.prompts, wanted.prompt_tokens, 384)
    decoder = HyperConvDecoder((first, *wanted.cascade, (grid.tokens, grid.height, grid.width)), wanted.kernel)
    return decoder, torch.randn(1, *first)


def solved(base: LoadedBase, plan: ContextPlan) -> None:
    """One adapter."""
    groups = context_tokens(base, plan, list, Reporter()).groups
    solve(base, read_context(base, groups), SolveSettings(rank=LORA.rank))


def topics(number: int) -> ContextPlan:
    """Rows of the example task."""
    lines = [json.loads(line) for line in example_prompts().read_text(encoding="utf-8").splitlines()]
    rows = [PromptRow(place, line["prompt"], (line["response"],)) for place, line in enumerate(lines, 1)]
    return ContextPlan(EXAMPLES, "", tuple(in_turn(rows[:number], 0)))


def figures(make: Callable[[], object], parameters: int, before: int) -> dict[str, float]:
    """Seconds and memory of plain runs; FLOPs of one more."""
    with torch.no_grad() if parameters else torch.enable_grad():
        for _ in range(RUNS):
            began = time.perf_counter()
            make()
            seconds = time.perf_counter() - began
        peak = held("VmHWM")
        with FlopCounterMode(display=False) as counter:
            make()
    return {"parameters": parameters, "flop": counter.get_total_flops(), "seconds": seconds, "bytes": peak - before}


def count(module: torch.nn.Module) -> int:
    """Parameters."""
    return sum(each.numel() for each in module.parameters())


def held(field: str = "VmRSS") -> int:
    """Bytes of this process: in memory now, or with "VmHWM" at most."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Count the peak from here on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(measure(sys.argv[1], sys.argv[2])))
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "Qwen2.5-Coder-0.5B-Instruct")
