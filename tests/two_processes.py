"""The command line in two processes of one CPU, as torchrun starts them.

`accelerate launch --cpu` starts one process, whatever number it is given.
"""

from __future__ import annotations

import os
import subprocess
import sys

_LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "--"]
# The first also where there is a GPU.
_SETTINGS = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def lab_in_two(*words: object) -> list[str]:
    """Runs `dnd-tui lab WORDS`; the lines on stdout."""
    command = [*_LAUNCH, "dnd_tui", "lab", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | _SETTINGS)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
