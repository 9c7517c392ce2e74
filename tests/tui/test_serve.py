"""The app in a browser: `dnd-tui serve`, with a client in the place of the browser."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.tui.processes import processes, running, wait_for
from tests.tui.terminal import PATIENCE

SERVE = (sys.executable, "-m", "dnd_tui", "serve")


@pytest.fixture
def address(app_folders: Path, prompt_file: Path) -> Iterator[str]:
    """Of a server whose apps begin with the prompt file."""
    (app_folders / "config").mkdir()
    (app_folders / "config" / "config.toml").write_text("load_ahead = false")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([*SERVE, str(prompt_file), "--port", str(port)], stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: listens(port), "the server")
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


async def opened(client: aiohttp.ClientSession, address: str) -> aiohttp.ClientWebSocketResponse:
    """A page on which the preview has come."""
    page = await client.ws_connect(f"http://{address}/ws?width=100&height=30", origin=f"http://{address}")
    await shows(page, b"All rows 12")
    return page


async def shows(page: aiohttp.ClientWebSocketResponse, text: bytes) -> bytes:
    """All that is drawn until a text has come."""
    received = b""
    began = time.monotonic()
    while text not in received and time.monotonic() - began < PATIENCE:
        message = await page.receive(PATIENCE)
        received += message.data if message.type is aiohttp.WSMsgType.BINARY else b""
    assert text in received
    return received


async def test_the_page_needs_nothing_from_elsewhere_and_its_app_ends_with_it(address: str) -> None:
    async with aiohttp.ClientSession() as client:
        async with client.get(f"http://{address}") as answer:
            page = await answer.text()
        # Keys reach the app without a click: the page focuses what the served script takes them by.
        taker = re.search(r'querySelector\("\.([\w-]+)"\)', page)
        assert taker and "area.focus(" in page
        async with client.get(f"http://{address}/static/js/textual.js") as answer:
            assert taker[1] in await answer.text()
        needed = re.findall(r"""(?:(?:href|src)=|url\()"([^"]+)""", page)
        assert len(needed) > 3
        for each in needed:
            place = f"http://{address}{each}" if each.startswith("/") else each
            assert place.startswith(f"http://{address}/static/")
            async with client.get(place) as answer:
                assert answer.status == 200
        websocket = await opened(client, address)
        await websocket.send_json(["stdin", "\x1b"])
        assert b"this terminal" not in await shows(websocket, b"Files of the machine that serves this page")
        assert len(running("dnd_tui")) == 2 and running("engine.host")
        await websocket.close()
        await asyncio.to_thread(wait_for, lambda: len(processes()) == 1, "the end of the app")
        websocket = await opened(client, address)
        running("serve")[0].terminate()
        while not websocket.closed:
            await websocket.receive(PATIENCE)
        await asyncio.to_thread(wait_for, lambda: not processes(), "the end of the server and its app")


async def test_an_app_ends_with_a_server_that_is_killed(address: str) -> None:
    async with aiohttp.ClientSession() as client:
        await opened(client, address)
        running("serve")[0].kill()
        await asyncio.to_thread(wait_for, lambda: not processes(), "the end of the app")


@pytest.mark.parametrize("header", ["Origin", "Host"])
async def test_no_other_site_may_drive_the_app(address: str, header: str) -> None:
    """A page of another site, and one whose name leads to this machine."""
    strange = {"Origin": "http://elsewhere.example", "Host": "elsewhere.example"}[header]
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(f"http://{address}/ws", headers={header: strange})
        assert refused.value.status == 403
        async with client.get(f"http://{address}", headers={header: strange}) as answer:
            assert answer.status == 403
    assert len(processes()) == 1


async def test_who_comes_from_another_machine_shows_the_key(app_folders: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as free:
        port = free.getsockname()[1]
    command = [*SERVE, "--host", "0.0.0.0", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None and server.stdout is not None
        try:
            await asyncio.to_thread(wait_for, lambda: listens(port), "the server")
            key = server.stderr.readline().partition("?key=")[2].strip()
            address = f"http://127.0.0.1:{port}"
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
                for wrong in ("", "?key=", "?key=wrong", "ws", "ws?key=" + key):
                    async with client.get(f"{address}/{wrong}") as refused:
                        assert refused.status == 403
                async with client.get(f"{address}/?key={key}") as page:
                    assert page.status == 200 and key not in str(page.url) and key not in await page.text()
                assert len(processes()) == 1
                websocket = await client.ws_connect(f"{address}/ws?width=100&height=30", origin=address)
                await asyncio.to_thread(wait_for, lambda: len(processes()) > 1, "an app")
                await websocket.close()
        finally:
            server.terminate()
        assert key not in server.stdout.read() + server.stderr.read()


def test_a_wide_address_is_warned_of_and_a_taken_port_told(app_folders: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*SERVE, "--host", "0.0.0.0", "--port", str(port)], capture_output=True, text=True, timeout=PATIENCE
        )
    assert done.returncode == 1
    warning, error = done.stderr.splitlines()
    assert "your files" in warning and f"http://0.0.0.0:{port}/?key=" in warning
    assert error.startswith(f"error: cannot listen at 0.0.0.0:{port}") and "--port" in error
