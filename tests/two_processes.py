"""The command line in two processes of one CPU, as torchrun starts them.

`accelerate launch --cpu` starts one process, whatever number it is given.
"""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

_LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "--"]
# The first also where there is a GPU.
_SETTINGS = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def begun_in_two(*words: object) -> subprocess.Popen[str]:
    """`dnd-tui WORDS`, running."""
    command = [*_LAUNCH, "dnd_tui", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=os.environ | _SETTINGS, **pipes)  # type: ignore[call-overload]


def killed(running: subprocess.Popen[str]) -> None:
    """kill -9, of every process of it: torchrun's own do not end with it."""
    for process in (*psutil.Process(running.pid).children(recursive=True), running):
        process.kill()
    running.communicate()


def lab_in_two(*words: object) -> list[str]:
    """Runs `dnd-tui lab WORDS`; the lines on stdout."""
    command = [*_LAUNCH, "dnd_tui", "lab", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | _SETTINGS)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
