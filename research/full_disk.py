"""Each command that writes, on a disk that is full at a random moment, then again with room: nothing half, words.

python research/full_disk.py FOLDER [TIMES] [COMMAND ...]

The commands of `kills.py` and every form of export. The disk is a tmpfs of a size between nothing and what the command
needed when it had room, so this needs Linux and root. A full disk ends well where the command ends with one line that
says so, what has a name is whole, and nothing else is left; after the same command with room, the result is that of the
run that always had it.

Prints a line a command: how many disks were too small, how many of these ended well.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from kills import _JOBS, PROCESSES, Killed, convert, hidden, prepared

from engine.adapter.formats import FORMATS
from engine.files import digest_file

_ROOM = 2**30


def files(out: Path) -> dict[str, str]:
    """Of a result of which every file is the same each time."""
    paths = [out] if out.is_file() else sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out.parent)): digest_file(path) for path in paths if path.suffix != ".md"}


def commands(folder: Path) -> dict[str, Killed]:
    """Those of `kills.py`, and an export in each form."""
    found = prepared(folder) | {"convert": convert(folder)}
    del found["export"], found["export merged"]
    model = ("--base", folder / "base", "--device", "cpu")
    for form in FORMATS:
        words = ["export", folder / "adapter", "--format", form, *model]
        found[f"export {form}"] = Killed(lambda out, words=words: [*words, "--out", out], files)  # type: ignore[misc]
    return found


def command_line(words: list[str], cache: str, output: str) -> None:
    """In a process of its own: the command; ends with its code."""
    from dnd_tui.cli import main as run_command

    if cache:
        os.environ["DND_TUI_CACHE"] = cache
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    run_command(words)


def run(words: list[object], cache: Path | None, output: Path) -> tuple[int, str]:
    """Its exit code and what it printed."""
    running = PROCESSES.Process(target=command_line, args=(list(map(str, words)), str(cache or ""), str(output)))
    running.start()
    running.join()
    return running.exitcode or 0, output.read_text()


def sized(disk: Path, size: int) -> None:
    """A file system of `size` bytes at `disk`, or the one that is there made as large."""
    how = f"remount,size={size}" if disk.is_mount() else f"size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", how, "none", str(disk)], check=True)


def trials(name: str, command: Killed, folder: Path, times: int) -> Iterator[str]:
    """One outcome a disk: "large" (there was room), "well", or what was wrong."""
    chance = random.Random(name)
    disk, output = folder / "disk", folder / "output"
    disk.mkdir(exist_ok=True)
    is_cache = name == "convert"
    try:
        sized(disk, _ROOM)
        out = disk / "out"
        code, printed = run(command.words(out), out if is_cache else None, output)
        if code:
            raise SystemExit(f"{name} failed: {printed}")
        expected, needed = command.result(out), _ROOM - shutil.disk_usage(disk).free
        subprocess.run(["umount", str(disk)], check=True)
        for _ in range(times):
            # tmpfs counts pages; one of no size has no bound.
            sized(disk, max(4096, int(chance.uniform(0, needed)) // 4096 * 4096))
            code, printed = run(command.words(out), out if is_cache else None, output)
            said = printed.strip().splitlines()[-1:] or [""]
            wrong = []
            if code and (code != 1 or not said[0].startswith("error: ") or "unexpected failure" in printed):
                wrong += [f"code {code}: {printed[-600:]}"]
            if code and "full" not in said[0] and "space" not in said[0]:
                wrong += [f"said: {said[0]}"]
            if left := hidden(out):
                wrong += [f"left behind: {left}"]
            sized(disk, _ROOM)
            if code:
                again, printed = run(command.words(out), out if is_cache else None, output)
                wrong += [f"again: {printed[-600:]}"] if again else []
            if not wrong and (found := command.result(out)) != expected:
                wrong += [f"another result: {sorted(set(found.items()) ^ set(expected.items()))[:3]}"]
            wrong += [f"left behind in the end: {each}" for each in hidden(out)]
            yield "; ".join(wrong) or ("well" if code else "large")
            subprocess.run(["umount", str(disk)], check=True)
    finally:
        if disk.is_mount():
            subprocess.run(["umount", str(disk)], check=True)


def main() -> None:
    """All commands, or those that are named."""
    PROCESSES.set_forkserver_preload(["dnd_tui.cli", *(f"engine.jobs.{name}" for name in _JOBS)])
    folder, times = Path(sys.argv[1]).absolute(), int((sys.argv[2:3] or ["5"])[0])
    found = commands(folder)
    failed = False
    for name in sys.argv[3:] or list(found):
        outcomes = list(trials(name, found[name], folder, times))
        bad = [each for each in outcomes if each not in ("well", "large")]
        failed |= bool(bad)
        print(f"{name}: {times - outcomes.count('large')} disks too small, {len(bad)} ended badly", flush=True)
        for each in bad:
            print(f"    {each}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
