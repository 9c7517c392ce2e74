"""How soon the app is there, how long a key may have to wait, what drawing streamed answers costs. Run by `make bench`.

Nothing is asserted about time: machines differ. Every figure is printed.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.benchmark

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "assets" / "examples" / "topics.jsonl"
COLUMNS, LINES = 120, 36


class Terminal:
    """A process at a pseudo-terminal; what it writes is read and dropped."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process, self._descriptor = process, descriptor
        self._written = b""

    def wait_for(self, text: str) -> bool:
        """Until the text is written; False when the process ends before."""
        while text.encode() not in self._written:
            if not self._read():
                return False
        return True

    def wait_for_end(self) -> str:
        """The last that it wrote."""
        while self._read():
            self._written = self._written[-4000:]
        return self._written.decode(errors="replace")

    def _read(self) -> bool:
        select.select([self._descriptor], [], [])
        try:
            piece = os.read(self._descriptor, 65536)
        except OSError:  # how Linux says that nobody is at the other end
            return False
        self._written += piece
        return bool(piece)


@contextmanager
def in_terminal(folder: Path, *command: str) -> Iterator[Terminal]:
    """Python with these arguments at a terminal, on settings and data of its own."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    more = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    more |= {"DND_TUI_CONFIG": str(folder), "DND_TUI_DATA": str(folder)}
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=os.environ | more, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        # Not politely: nobody reads any more what it would write to say good-bye.
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    ("what", "arguments", "text"),
    [
        ("the first frame", (), "Drop a prompt file"),
        ("the frame of the preview", (str(EXAMPLE),), "Generate adapter"),
        ("the rows of the preview", (str(EXAMPLE),), "All rows 40"),
    ],
)
def test_first_paint(what: str, arguments: tuple[str, ...], text: str, tmp_path: Path) -> None:
    seconds, cpu = [], []
    for number in range(7):
        began = time.perf_counter()
        with in_terminal(tmp_path / str(number), "-m", "dnd_tui", *arguments) as terminal:
            assert terminal.wait_for(text)
            seconds.append(time.perf_counter() - began)
            times = psutil.Process(terminal.process.pid).cpu_times()
            cpu.append(times.user + times.system)
    print(f"\nstart -> {what}: {statistics.median(seconds):.2f} s, {statistics.median(cpu):.2f} s of processor time")


def test_lag_of_the_event_loop_and_cost_of_streaming(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    with in_terminal(tmp_path / "app", "-m", "tests.benchmarks.probed_app", str(figures)) as terminal:
        last = terminal.wait_for_end()
        assert terminal.process.wait() == 0, last
    print("\nhow long a key may have to wait, in ms    p50    p99    max   phase, s   app's processor time, s")
    phases = json.loads(figures.read_text())
    for phase, found in phases.items():
        late = "".join(f"{1000 * found[name]:7.1f}" for name in ("p50", "p99", "max"))
        print(f"{phase:37}{late}{found['seconds']:11.1f}{found['cpu']:11.2f}")
    *_, last = phases.values()
    print(f"streaming 2 x 400 tokens: {last['cpu'] / last['tokens'] * 800:.2f} s, from {last['tokens']} tokens")
