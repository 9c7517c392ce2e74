"""What the app brings into memory before it is seen, and how it ends when the terminal does."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "assets" / "examples" / "topics.jsonl"
HEAVY = ("torch", "transformers", "peft", "datasets", "sentence_transformers", "safetensors", "numpy", "pyarrow")

APP = f"""
import asyncio, sys
from dnd_tui.app import DndApp

def loaded():
    return [name for name in {HEAVY!r} if name in sys.modules]

async def main():
    app = DndApp()
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        print(app.screen.query_one("DropZone").region.height > 0, loaded())
        while app.keys_known is None:
            await pilot.pause(0.05)
        print(loaded())

asyncio.run(main())
"""
HEADLESS = """
import atexit, sys
atexit.register(lambda: print([name for name in sys.modules if name.startswith(("textual", "rich"))], file=sys.stderr))
sys.argv[1:] = ["--headless", "info", "--json"]
from dnd_tui.cli import main; main()
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=90)


def test_nothing_heavy_is_in_memory_when_the_first_screen_is_seen(app_folders: Path) -> None:
    done = run(APP)
    first, all_screens = done.stdout.splitlines()
    assert first == "True []", done.stderr
    # The plots of one of the other screens are made with it; these screens are imported in a thread.
    assert all_screens in ("[]", "['numpy']")


def test_a_headless_run_leaves_the_app_alone() -> None:
    done = run(HEADLESS)
    assert done.returncode == 0 and done.stdout.startswith("{")
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="terminals do not hang up here")
def test_a_terminal_that_closes_takes_the_app_and_its_engine_along(app_folders: Path) -> None:
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "dnd_tui", str(EXAMPLE)])
    written = b""
    # The rows come from an engine process: there is one by then.
    while b"All rows 40" not in written:
        written += os.read(terminal, 65536)
    engine = psutil.Process(process).children()
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    gone, alive = psutil.wait_procs(engine, timeout=60)
    assert gone and not alive
