"""Fetching one published package, without its dependencies, by the package client the person already has.

No index is named here: the client's own configuration decides where packages come from. Clients start over when they
were stopped, so a wheel that was cut off is kept with the client's log, which names its address, and the next
attempt asks that address for the rest (`resume.py`); only if that fails does the client begin anew.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.base.catalog import Package
from engine.errors import EngineError
from engine.events import Stage

_LOG = "client.log"
# Run as a program, never imported: see there for the exit codes.
_RESUME = Path(__file__).with_name("resume.py")
_WHOLE, _REFUSED = 0, 2


class FetchError(EngineError):
    """The package could not be fetched: no network, no package client, or no such package there."""


Client = Callable[[str, Path], list[str]]


def pip_command(requirement: str, folder: Path) -> list[str]:
    """The command by which pip puts the wheel of `requirement` into `folder`; its log names where from."""
    options = ["-vv", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    return [sys.executable, "-m", "pip", "download", *options, requirement, "-d", str(folder)]


def uv_command(requirement: str, folder: Path) -> list[str]:
    """The command by which uv unpacks the wheel of `requirement` into `folder`."""
    options = ["--no-deps", "--only-binary", ":all:", "--python", sys.executable]
    return ["uv", "pip", "install", *options, "--target", str(folder), requirement]


def find_client() -> Client | None:
    """The client to use: pip of this environment, else uv; None if there is neither."""
    if importlib.util.find_spec("pip"):
        return pip_command
    return uv_command if shutil.which("uv") else None


def download_package(package: Package, place: Path, stage: Stage, hint: str) -> Path:
    """The wheel of `package`, or a folder with what is in it, brought to `place`; its bytes are counted by `stage`.

    Args:
        place: a folder of its own, in which an earlier attempt may have left a part of the wheel.
        hint: what a person can do where it cannot be fetched (`by_hand`).

    Raises:
        FetchError: no client, or the client failed (no network, no such package).
        Cancelled: the person stopped it; the client is stopped too, and what has arrived stays in `place`.
    """
    attempt = place / "attempt"
    _keep_unfinished(attempt, place)  # of a process that was killed
    arrived, temporary = attempt / "package", attempt / "temporary"
    for folder in (arrived, temporary):
        folder.mkdir(parents=True)
    try:
        wheel = _wheel_in(place)
        if wheel and (_length(wheel) == package.size or _is_completed(wheel, package, attempt, stage)):
            return wheel
        client = find_client()
        if client is None:
            raise FetchError(f"neither pip nor uv is here to fetch {package.requirement}", hint=hint)

        def brought() -> int:
            # Both clients keep a download that is under way in the temporary folder, pip in two files at once.
            return max(sum(_sizes(arrived)), max(_sizes(temporary), default=0))

        if _run(client(package.requirement, arrived), brought, package, attempt, stage):
            problem = f"{package.requirement} cannot be fetched ({_last_error(attempt / _LOG)})"
            raise FetchError(problem, where=package.name, hint=hint)
    except BaseException:
        _keep_unfinished(attempt, place)
        raise
    return _wheel_in(arrived) or arrived


def by_hand(packages: Sequence[Package], wheels: Path) -> str:
    """What a person can do when fetching does not work here; `wheels` is where wheels copied by hand are looked for."""
    names = " ".join(package.requirement for package in packages)
    installed = f"or install it into this environment: pip install --no-deps {names}, " if len(packages) == 1 else ""
    return (
        f"Connect to the network and try again, {installed}"
        f"or on a machine with network: pip download --no-deps {names}, "
        f"and copy the wheel{'s' if len(packages) > 1 else ''} to {wheels}"
    )


def _keep_unfinished(attempt: Path, place: Path) -> None:
    """End an attempt that was stopped or killed: its wheel and its log are kept in `place`, the rest is removed.

    The wheel is not kept if it is shorter than the one that is there already.
    """
    wheel, log = max(attempt.rglob("*.whl"), key=_length, default=None), attempt / _LOG
    earlier = _wheel_in(place)
    if wheel and _address(log, wheel.name) and _length(wheel) > (_length(earlier) if earlier else 0):
        if earlier:
            earlier.unlink()
        for file in (log, wheel):
            os.replace(file, place / file.name)
    shutil.rmtree(attempt, ignore_errors=True)


def _is_completed(wheel: Path, package: Package, attempt: Path, stage: Stage) -> bool:
    """Whether the rest of `wheel`, which an earlier attempt left, could be fetched."""
    address = _address(wheel.with_name(_LOG), wheel.name)
    if address is None:
        return False
    # Isolated: it needs nothing of ours, and no module of its folder may stand in for one of the library's.
    command = [sys.executable, "-I", str(_RESUME), address, str(wheel)]
    code = _run(command, lambda: _length(wheel), package, attempt, stage)
    if code == _REFUSED:
        wheel.unlink()
    return code == _WHOLE


def _run(command: list[str], brought: Callable[[], int], package: Package, attempt: Path, stage: Stage) -> int:
    """The exit code of `command`; the bytes that it has `brought` are the progress."""
    temporary = str(attempt / "temporary")
    environment = os.environ | {"TMPDIR": temporary, "TEMP": temporary, "TMP": temporary}
    begun = stage.step
    with open(attempt / _LOG, "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while not _ended(process):
                stage.advance(max(0, begun + min(brought(), package.size) - stage.step))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return process.returncode


def _wheel_in(folder: Path) -> Path | None:
    return next(folder.glob("*.whl"), None)


def _address(log: Path, wheel: str) -> str | None:
    """Where the client had `wheel` from, as its log has it."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"https?://\S+/{re.escape(wheel)}(?=[\s#?]|$)", text)
    return found[0] if found else None


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return False
    return True


def _sizes(folder: Path) -> list[int]:
    return [_length(file) for file in folder.rglob("*")]


def _length(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # the client moved it meanwhile
        return 0


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1][:200]
