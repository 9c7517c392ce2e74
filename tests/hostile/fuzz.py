"""Bad inputs changed further, at random: python -m tests.hostile.fuzz [SECONDS] (600)

Each is one of the cases with bytes turned, cut off, doubled or put in. Prints what was tried, and each failure with
what makes it again. The gate runs a few dozen of the same by hypothesis (`test_hostile.py`).
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.hostile.inputs import CASES, Case

# Beyond these a change is lost in the file, and time goes into writing it.
_LARGEST = 2**16
CHEAP = [case for case in CASES if case.reader != "base" and "bomb" not in case.name]

Change = tuple[str, float, int]
"""What is done, where (0 to 1 of the file), with which byte or how many of them."""
KINDS = ("turn", "cut", "double", "put", "zero")


def changed(data: bytes, changes: Sequence[Change]) -> bytes:
    """The bytes after some changes."""
    for kind, share, number in changes:
        place = int(share * len(data))
        match kind:
            case "turn":
                data = data[:place] + bytes([number % 256]) + data[place + 1 :]
            case "cut":
                data = data[:place]
            case "double":
                data = data[:place] + data[place : place + number % 512] * 2 + data[place + number % 512 :]
            case "put":
                data = data[:place] + bytes([number % 256]) * (number % 16) + data[place:]
            case "zero":
                data = data[:place] + b"\xff" * 8 + data[place + 8 :]
    return data


def changed_case(case: Case, changes: Sequence[Change]) -> Case:
    """The same case; the largest of its files that is small enough has the changes."""

    def write(folder: Path) -> Path:
        path = case.write(folder)
        files = [each for each in sorted(folder.rglob("*")) if each.is_file() and not each.is_symlink()]
        small = [each for each in files if each.stat().st_size <= _LARGEST]
        if small:
            file = max(small, key=lambda each: each.stat().st_size)
            file.write_bytes(changed(file.read_bytes(), changes))
        return path

    return Case(case.name, case.reader, write)


def main() -> None:
    """Until the time is over."""
    from tests.hostile.test_hostile import read

    seconds = float((sys.argv[1:2] or ["600"])[0])
    seed = int((sys.argv[2:3] or [str(random.randrange(2**32))])[0])
    chance = random.Random(seed)
    tried: Counter[str] = Counter()
    failed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        case = chance.choice(CHEAP)
        changes = [
            (chance.choice(KINDS), chance.random(), chance.randrange(2**16)) for _ in range(chance.randrange(1, 6))
        ]
        folder = Path(tempfile.mkdtemp(prefix="dnd-tui-fuzz-"))
        try:
            read(changed_case(case, changes), folder)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failed += 1
            print(f"{case.reader}: {case.name!r} with {changes}", flush=True)
            traceback.print_exception(error, limit=-6)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        tried[case.reader] += 1
    words = ", ".join(f"{count} {reader}" for reader, count in sorted(tried.items()))
    print(f"seed {seed}: {tried.total()} tried ({words}), {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
