"""The pictures of the app: the real one, driven on the default models with the example prompts.

    python -m tests.tui.screenshots [FOLDER]

Writes NAME.svg for each screen into the folder, assets/screenshots if none is named. Run by `make screenshots`.
Times and the colours of the update's picture differ a little from run to run.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Button, DataTable

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.generate.screen import GenerateScreen
from dnd_tui.widgets.path_inputs import Dropped
from engine.base.fetch import CACHE_VARIABLE, cache_folder

ASSETS = Path(__file__).parents[2] / "assets"
SIZE = (120, 36)
PATIENCE = 600.0


class Camera:
    """Takes the pictures of one app."""

    def __init__(self, pilot: Pilot[None], folder: Path) -> None:
        self._pilot, self._folder = pilot, folder
        self._app = pilot.app

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Let the app go on until the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self._pilot.pause(0.05)
        print(what, file=sys.stderr)

    async def shoot(self, name: str) -> None:
        """Write what is on the screen."""
        await self._pilot.pause(0.5)
        svg = self._app.export_screenshot(title="dnd-tui")
        # Fonts from the web: a picture in a page may not fetch them, and looks like any terminal without.
        svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
        # Some programs that show it drop spaces otherwise.
        svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
        (self._folder / f"{name}.svg").write_text(svg, encoding="utf-8")


async def take(folder: Path, prompts: Path) -> None:
    """The way of a person from the first screen to the last."""
    app = DndApp()
    async with app.run_test(size=SIZE) as pilot:
        camera = Camera(pilot, folder)
        await camera.shoot("drop")
        app.post_message(Dropped((prompts,)))
        await camera.until(lambda: "in memory" in str(app.screen.query_one("#models-line").render()), "models loaded")
        await camera.shoot("preview")
        await pilot.press("g")
        await generated(camera, app)
        await pilot.press("r")
        await camera.until(lambda: isinstance(app.screen, GenerateScreen) and not app.screen.record, "once more")
        await generated(camera, app)
        await camera.shoot("generate")
        await pilot.press("c")
        await compare(camera, app)
        await pilot.press("5")
        await camera.until(lambda: [table.row_count for table in app.screen.query(DataTable)] == [2], "library")
        await camera.shoot("library")
        await pilot.press("e")
        await camera.until(lambda: app.screen.query("#export").results(Button), "export")
        await camera.shoot("export")
        for key, name in (("f7", "forge"), ("f8", "settings")):
            await pilot.press(key)
            await pilot.pause(2)
            await camera.shoot(name)


async def generated(camera: Camera, app: DndApp) -> None:
    """Wait for an adapter."""
    await camera.until(lambda: isinstance(app.screen, GenerateScreen) and app.screen.record, "adapter made")


async def compare(camera: Camera, app: DndApp) -> None:
    """Run all prompts; show one that the adapter answers better than the base."""
    await camera.until(lambda: isinstance(app.screen, CompareScreen) and app.screen.query("#prompts-table"), "compare")
    screen = app.screen
    assert isinstance(screen, CompareScreen)
    table = screen.query_one("#prompts-table", DataTable)
    await camera.until(lambda: table.row_count, "prompts listed")
    screen.action_run_all()
    await camera.until(lambda: screen.running, "answering")
    await camera.until(lambda: not screen.running, "answered")
    base, adapted = screen.comparison.arms
    answers = [prompt.answers for prompt in screen.comparison.prompts.values()]
    gains = [each[adapted].score - each[base].score for each in answers]
    table.move_cursor(row=gains.index(max(gains)))
    table.focus()
    await camera.shoot("compare")


def main() -> None:
    """Take all pictures in a home of its own: no path of this machine is in them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    models = cache_folder()
    for variable in ("DND_TUI_CONFIG", "DND_TUI_DATA", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "NO_COLOR"):
        os.environ.pop(variable, None)
    home = Path(tempfile.gettempdir()) / "dnd-tui"
    home.mkdir()  # fails where it is there: it is not ours
    try:
        os.environ["HOME"] = str(home)
        (home / "models").symlink_to(models)
        os.environ[CACHE_VARIABLE] = str(home / "models")
        data = home / "data"
        data.mkdir()
        prompts = Path(shutil.copy(ASSETS / "examples" / "topics.jsonl", data))
        os.chdir(data)
        asyncio.run(take(folder.absolute(), prompts))
    finally:
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
