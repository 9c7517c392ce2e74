"""How long exports take and how much memory a merge needs. Run by `make bench`; every figure is printed.

Memory is that of a process of its own: the peak of its resident memory above what it was after its imports, in
relation to the size of the base. Mapped pages of the base's file count, as they do for the kernel.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from engine.adapter.formats import FORMATS

pytestmark = pytest.mark.benchmark

_EXPORTS = """
import json, sys, time
from pathlib import Path
from engine.events import Reporter
from engine.jobs import run
from engine.jobs.adapters import export_job
from engine.requests import ExportRequest, ModelChoice
import peft, torch

def memory(field):
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

adapter, out, form = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
base = 134_515_008 * 4
started = memory("VmRSS")
rows = []
for turn in range(int(sys.argv[4])):
    reporter = Reporter()
    request = ExportRequest(models=ModelChoice(device="cpu"), adapter=adapter, out=out, format=form, replace=True)
    began = time.process_time()
    run(request, reporter)
    rows.append({**reporter.timings, "processor": time.process_time() - began})
    if turn == 0:
        above = memory("VmHWM") - started
print(json.dumps({"rows": rows, "above": above / base}))
"""


@pytest.mark.parametrize("form", list(FORMATS))
def test_every_form_on_the_default_base(generated_adapter: Path, tmp_path: Path, form: str) -> None:
    turns = 1 if FORMATS[form].holds_base else 6
    words = [sys.executable, "-c", _EXPORTS, str(generated_adapter), str(tmp_path / "out"), form, str(turns)]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    warm = found["rows"][-5:]
    stages = ("read", "write", "check")
    parts = {stage: statistics.median(row[stage] for row in warm) for stage in stages}
    told = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in parts.items())
    processor = statistics.median(row["processor"] for row in warm)
    whole = sum(parts.values())
    print(
        f"\n{form}: {whole:.2f} s ({told}; {processor:.2f} s of processor time); "
        f"peak memory above the imports {found['above']:.2f} x the base"
    )
