"""Whatever a file holds: one line that names what is wrong, within seconds, in little memory; nothing is run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnd_tui.text import one_line
from engine.errors import EngineError
from tests.hostile.fuzz import CHEAP, KINDS, Change, changed_case
from tests.hostile.inputs import CASES, Case
from tests.hostile.reading import READERS

SECONDS = 10
"""Of the processor, for one input."""
SPARE = 200 * 2**20
"""Bytes of memory, beside twice the input."""
LONGEST = 20_000
"""Characters of a message."""


class TooSlow(BaseException):
    """No handler of errors takes it."""


@contextmanager
def bounded(case: Case, size: int) -> Iterator[None]:
    """Fails where the block takes too long or too much."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise TooSlow(case.name)

    before = signal.signal(signal.SIGVTALRM, stop)
    status, resets = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    measured = sys.platform == "linux" and resets.exists()
    if measured:
        resets.write_text("5")
    began = _memory(status, "VmRSS") if measured else 0
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    if measured:
        assert _memory(status, "VmHWM") - began <= 2 * size + SPARE


def _memory(status: Path, name: str) -> int:
    line = next(each for each in status.read_text().splitlines() if each.startswith(name))
    return int(line.split()[1]) * 1024


def read(case: Case, folder: Path) -> str:
    """What the reader makes of it: a text of a result, or its error."""
    path = case.write(folder)
    size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    with bounded(case, size):
        try:
            return str(READERS[case.reader](path))
        except EngineError as error:
            told = error.text()
            assert len(told) < LONGEST
            assert one_line(told).isprintable()
            return told


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reader}: {case.name}")
def test_a_bad_input_is_one_clear_error_or_none(case: Case, tmp_path: Path) -> None:
    read(case, tmp_path)
    assert not Path("/tmp/dnd-tui-was-here").exists(), "code of a stranger was run"


_CHANGES = st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 2**16)), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(CHEAP), _CHANGES)
def test_a_bad_input_that_was_changed_is_too(
    tmp_path_factory: pytest.TempPathFactory, case: Case, changes: list[Change]
) -> None:
    read(changed_case(case, changes), tmp_path_factory.mktemp("changed"))
