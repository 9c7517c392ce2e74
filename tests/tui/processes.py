"""What runs on behalf of a test, found by the data folder that it was given."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil

from tests.tui.terminal import PATIENCE


def processes() -> list[psutil.Process]:
    """Whatever runs with the data folder of this test, but for tmux: shell, app, engine."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("DND_TUI_DATA") == os.environ["DND_TUI_DATA"]
            if ours and not process.name().startswith("tmux"):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return found


def running(module: str) -> list[psutil.Process]:
    """The processes that run this module."""
    found = []
    for process in processes():
        try:
            if module in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Until `condition` holds; fails when it never does."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise AssertionError(f"waited in vain for {what}; there are {processes()}")
        time.sleep(0.05)
