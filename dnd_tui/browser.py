"""The app in a browser, by textual-serve: one server, and an app of its own for every page.

    browser <--web socket--> AppServer <--pipes--> python -m dnd_tui, with PageDriver as its terminal

Notable:
- Whoever drives the app reads and writes the person's files. So only a page that this server gave out may do it, and
  no other site that is open in the same browser; nor one whose name was made to lead to this machine; nor, where other
  machines reach the server, anybody without the key that it prints.
- Nothing is fetched from elsewhere: the page of textual-serve asks another server for a font that it has itself.
- Keys go to the app as soon as the page is there: without a script of ours a click has to come first.
- An app ends with its page, and with the server, however that one went.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from textual import messages
from textual.drivers.web_driver import WebDriver
from textual_serve.server import Server

from engine.loopback import is_loopback

_COOKIE = "dnd-tui-key"
_OUTSIDE = re.compile(r'<link[^>]*href="https?://[^>]*>')
_FONT = """<style>@font-face {
    font-family: "Roboto Mono"; src: url("/static/fonts/RobotoMono-VariableFont_wght.ttf");
}</style>"""
# What shows the app takes keys by a text area of its own, which is there a moment after the page.
_FOCUS = """<script>
      function takeKeys() {
        const area = document.querySelector(".xterm-helper-textarea");
        if (area) area.focus({ preventScroll: true });
        return area !== null;
      }
      window.addEventListener("load", () => {
        const timer = setInterval(() => { if (takeKeys()) clearInterval(timer); }, 50);
      });
      window.addEventListener("focus", takeKeys);
    </script>"""


class AppServer(Server):
    """Gives out the page, and starts an app for it.

    Args:
        command: starts an app, as a line for the shell.
        host: address to listen at.
        port: port to listen at.
        key: what a browser has to show, in the address of its first page and as a cookie from then on; "" for none.
    """

    def __init__(self, command: str, host: str, port: int, key: str = "") -> None:
        super().__init__(command, host=host, port=port, title="dnd-tui")
        self._key = key
        self._pages: set[asyncio.Task[Any]] = set()

    async def handle_index(self, request: web.Request) -> web.Response:
        """The page. The addresses in it begin as the one by which the browser came."""
        self._refuse_strangers(request, request.query.get("key") or "")
        if self._key and "key" in request.query:
            # Out of the address: it stays in histories, and goes with links.
            moved = web.HTTPFound("/")
            moved.set_cookie(_COOKIE, self._key, httponly=True, samesite="Strict")
            raise moved
        self.public_url = f"{request.scheme}://{request.host}"
        page: web.Response = await super().handle_index(request)  # type: ignore[assignment]
        # Its own style sheet is asked for here too.
        outside = [link for link in _OUTSIDE.findall(page.text or "") if self.public_url not in link]
        for link in outside:
            page.text = (page.text or "").replace(link, _FONT)
        page.text = (page.text or "").replace("</head>", f"{_FOCUS}\n  </head>")
        return page

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """An app, for as long as the page is there."""
        self._refuse_strangers(request)
        page = asyncio.current_task()
        assert page is not None
        self._pages.add(page)
        try:
            return await super().handle_websocket(request)
        finally:
            self._pages.discard(page)

    async def on_shutdown(self, app: web.Application) -> None:
        """End the apps at once; pages would be waited for."""
        pages = tuple(self._pages)
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)

    def initialize_logging(self) -> None:
        """As textual-serve has it, but for the addresses of requests: the key stands in them."""
        super().initialize_logging()
        logging.getLogger("aiohttp.access").setLevel(logging.WARNING)

    def _refuse_strangers(self, request: web.Request, shown: str = "") -> None:
        if is_loopback(self.host) and not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
            raise web.HTTPForbidden(text=f"this server is asked for as {self.host}, not as {request.host}")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="only pages of this server may drive the app")
        shown = shown or request.cookies.get(_COOKIE, "")
        if self._key and not secrets.compare_digest(shown.encode(), self._key.encode()):
            raise web.HTTPForbidden(text="open the address that was printed, with its key")


class PageDriver(WebDriver):
    """A page as the terminal of the app."""

    def run_input_thread(self) -> None:
        """Take what is typed, until the app ends or the server is gone: that ends the app."""
        super().run_input_thread()
        self._app.post_message(messages.ExitApp())
