"""How many threads llama.cpp takes: the physical cores that nobody uses. There is one llama.cpp in a process."""

from __future__ import annotations

import os

# Long enough to see a compile or another run, short enough to go unnoticed beside a model's loading.
_LOOK_SECONDS = 0.1


def llama_threads() -> int:
    """Looked up each time llama.cpp is loaded, while this process itself waits: at least 1."""
    import psutil

    logical = psutil.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    physical = min(psutil.cpu_count(logical=False) or logical, allowed)
    return free_cores(physical, logical * psutil.cpu_percent(interval=_LOOK_SECONDS) / 100)


def free_cores(physical: int, busy: float) -> int:
    """Physical cores less those that are busy, and less one at least: it hands on the tokens and draws the app.

    A thread too many costs more than it brings: at every layer all threads wait for the slowest, the one whose core is
    shared. On two idle cores one thread writes 63 tokens/s, two write 24 (default base in float16).

    Args:
        busy: cores' worth of time that is used, over all processes.
    """
    return max(1, physical - max(1, round(busy)))
