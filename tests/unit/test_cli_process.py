"""The command as a process of its own: imports, signals, pipes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "textual", "transformers", "datasets", "peft", "rich", "engine.jobs.checks")

# A stand-in for the engine's `run`; the rest of the process is the real one.
JOB = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import engine.jobs as jobs
from engine.events import AnswerText

class Made:
    failed = ""
    def to_json(self): return {"out": "a", "word": "\\u00e9"}
    def summary(self, names): return [("adapter", "a")]
"""


def start(code: str, *arguments: str, stdout: IO[str] | int = subprocess.PIPE, **env: str) -> subprocess.Popen[str]:
    program = f"import sys; sys.argv[1:] = {list(arguments)!r}\n{code}\nfrom dnd_tui.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | env,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("arguments", [("--help",), ("--headless", "--help"), ("--headless", "generate", "--help")])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code = f"""
import atexit, sys
loaded = lambda: [name for name in {HEAVY!r} if name in sys.modules]
atexit.register(lambda: print(loaded(), file=sys.stderr))
"""
    process = start(code, *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Usage: dnd-tui" in out
    assert err.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_job_and_lets_it_tidy_up(number: signal.Signals, tmp_path: Path) -> None:
    tidied = tmp_path / "tidied"
    code = f"""{JOB}
def run(request, reporter):
    try:
        reporter.note("ready")
        time.sleep(60)
    finally:
        open({str(tidied)!r}, "w").close()
jobs.run = run
"""
    process = start(code, "--headless", "generate", "p", "--out", "a")
    assert process.stderr and process.stderr.readline() == "note: ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "" and err.startswith("stopped: a is as it was") and tidied.exists()


def test_a_job_whose_library_swallows_the_interrupt_stops_at_its_next_event() -> None:
    code = f"""{JOB}
def run(request, reporter):
    try:
        reporter.note("ready")
        time.sleep(60)
    except BaseException:
        pass
    reporter.note("not told any more")
jobs.run = run
"""
    process = start(code, "--headless", "generate", "p", "--out", "a")
    assert process.stderr and process.stderr.readline() == "note: ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "not told" not in err


def test_the_second_interrupt_kills_at_once() -> None:
    code = f"""{JOB}
def run(request, reporter):
    try:
        reporter.note("ready")
        time.sleep(60)
    finally:
        print("tidying", file=sys.stderr, flush=True)
        time.sleep(60)
jobs.run = run
"""
    process = start(code, "--headless", "generate", "p", "--out", "a")
    assert process.stderr and process.stderr.readline() == "note: ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "tidying\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == -signal.SIGINT
    process.communicate()


def test_a_reader_that_goes_away_ends_the_job_quietly() -> None:
    code = f"""{JOB}
def run(request, reporter):
    for row in range(100000):
        reporter.emit(AnswerText(row, "base", "text", done=True))
jobs.run = run
"""
    process = start(code, "--headless", "compare", "p")
    assert process.stdout and process.stderr
    assert process.stdout.readline() == "[0] base\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("words", [["--version"], ["compare", "--help"], ["library"], ["compare", "p"]])
def test_output_that_finds_no_room_is_told(words: list[str], tmp_path: Path) -> None:
    code = f"""{JOB}
def run(request, reporter):
    reporter.emit(AnswerText(0, "base", "text", done=True))
jobs.run = run
"""
    with open("/dev/full", "w") as full:
        process = start(code, "--headless", *words, stdout=full, DND_TUI_DATA=str(tmp_path))
        _, told = process.communicate(timeout=60)
    place = "standard output: cannot be written: no space left on device"
    assert (process.returncode, told) == (1, f"error: {place}. Free some space, or send it elsewhere\n")


def test_in_a_terminal_the_live_line_leaves_no_trace_in_the_data() -> None:
    code = f"""{JOB}
def run(request, reporter):
    with reporter.stage("train", 3) as stage:
        for step in range(3):
            time.sleep(0.3)
            stage.advance(loss=0.5)
    reporter.emit(AnswerText(0, "base", "text", done=True))
    with reporter.stage("write"):
        time.sleep(0.3)
    return Made()
jobs.run = run
"""
    master, terminal = os.openpty()
    program = f"import sys; sys.argv[1:] = ['--headless', 'compare', 'p']\n{code}\nfrom dnd_tui.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"},
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    raw = b""
    # Linux reports the closed terminal as an error, macOS as the end of the file.
    with suppress(OSError):
        while piece := os.read(master, 4096):
            raw += piece
    os.close(master)
    assert process.wait(timeout=60) == 0
    assert b"1/3, loss 0.5" in raw and b"\x1b[3" not in raw
    shown = [line.rsplit("\r", 1)[-1] for line in raw.decode().replace("\r\n", "\n").split("\n")]
    shown = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in shown]
    train, *rest = [line for line in shown if line]
    assert train.startswith("train 3/3 ") and rest[:2] == ["[0] base", "text"]
    assert rest[2].startswith("write 0.") and rest[3:] == ["adapter  a"]


def test_json_is_utf8_in_any_locale() -> None:
    code = f"{JOB}\njobs.run = lambda request, reporter: Made()"
    process = start(code, "--headless", "info", "--json", PYTHONIOENCODING="latin-1", LC_ALL="C")
    out, _ = process.communicate(timeout=60)
    assert json.loads(out) == {"out": "a", "word": "é"}
