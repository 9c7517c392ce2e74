"""The pictures of the app: the real one, driven on the default models with the example prompts.

    python -m tests.tui.screenshots [FOLDER]

    the app on the way from a file to an export --stills--> NAME.svg, one a screen
                                                --moving_picture--> demo.svg: drop, generate, compare

Writes into the folder, assets/screenshots if none is named. Run by `make screenshots`. Times and the colours of the
update's picture differ a little from run to run.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Button, DataTable

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.widgets.path_inputs import Dropped
from engine.base.fetch import CACHE_VARIABLE, cache_folder
from tests.tui.on_screen import lines

ASSETS = Path(__file__).parents[2] / "assets"
SIZE = (120, 36)
PATIENCE = 600.0


SECONDS_A_STILL = 2.5
# Prompts that Compare answers: enough for a sure difference.
ANSWERED = 12

_ROOT = re.compile(r"<svg\b[^>]*>")
_VIEW = re.compile(r"\bviewBox=\"([^\"]*)\"")
# Rich begins every id and class of a picture with this.
_OWN_NAME = re.compile(r"\bterminal-\d+")


def moving_picture(stills: Sequence[str], seconds: float = SECONDS_A_STILL) -> str:
    """The SVG that shows each still for `seconds`, one after the other, over and over.

    Where nothing may move, on paper or by the reader's wish, the last still stands.

    Args:
        stills: SVG files of one size, as `Camera` takes them.

    Raises:
        ValueError: there are none, or their sizes differ.
    """
    views = {view[1] for still in stills if (view := _VIEW.search(still))}
    if len(views) != 1:
        raise ValueError(f"a moving picture needs stills of one size, not {len(views)} sizes")
    whole = len(stills) * seconds
    style = [
        f".still {{ visibility: hidden; animation: {whole:g}s step-end infinite turn; }}",
        ".still:last-of-type { visibility: visible; }",
        f"@keyframes turn {{ 0% {{ visibility: visible; }} {100 / len(stills):g}% {{ visibility: hidden; }} }}",
        "@media (prefers-reduced-motion: reduce) { .still { animation: none; } }",
    ]
    parts = []
    for number, still in enumerate(stills):
        # Before now, so that all are under way from the first moment on.
        style.append(f"#still-{number} {{ animation-delay: {number * seconds - whole:g}s; }}")
        inside = _OWN_NAME.sub(f"still-{number}", _ROOT.sub("", still, count=1).rpartition("</svg>")[0])
        parts.append(f'<g class="still" id="still-{number}">{inside}</g>')
    return "\n".join(
        [
            f'<svg xml:space="preserve" viewBox="{views.pop()}" xmlns="http://www.w3.org/2000/svg">',
            "<style>",
            *style,
            "</style>",
            *parts,
            "</svg>",
            "",
        ]
    )


class Camera:
    """Takes the pictures of one app.

    stills: what `keep` took for the moving picture.
    """

    def __init__(self, pilot: Pilot[None], folder: Path) -> None:
        self._pilot, self._folder = pilot, folder
        self._app = pilot.app
        self.stills: list[str] = []

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Let the app go on until the condition holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self._pilot.pause(0.05)
        print(what, file=sys.stderr)

    async def shoot(self, name: str) -> None:
        """Write what is on the screen."""
        await self._pilot.pause(0.5)
        (self._folder / f"{name}.svg").write_text(self._taken(), encoding="utf-8")

    async def keep(self) -> None:
        """Take what is on the screen into the moving picture."""
        await self._pilot.pause(0.2)
        self.stills.append(self._taken())

    def write_moving(self, name: str) -> None:
        """Write the moving picture."""
        (self._folder / f"{name}.svg").write_text(moving_picture(self.stills), encoding="utf-8")

    def _taken(self) -> str:
        svg = self._app.export_screenshot(title="dnd-tui", simplify=True)
        # Fonts from the web: a picture in a page may not fetch them, and looks like any terminal without.
        svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
        # Some programs that show it drop spaces otherwise.
        return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)


async def take(folder: Path, prompts: Path) -> None:
    """The way of a person from the first screen to the last."""
    app = DndApp()
    async with app.run_test(size=SIZE) as pilot:
        camera = Camera(pilot, folder)
        await camera.shoot("drop")
        app.post_message(Dropped((prompts,)))
        await camera.until(lambda: "in memory" in str(app.screen.query_one("#models-line").render()), "models loaded")
        await camera.shoot("preview")
        await camera.keep()
        await pilot.press("g")
        await generated(camera, app)
        await camera.shoot("generate")
        await camera.keep()
        await pilot.press("c")
        await compare(camera, app)
        camera.write_moving("demo")
        await pilot.press("2")
        await camera.until(lambda: shown(app) == "generate", "generate")
        await pilot.press("r")
        await camera.until(lambda: not made(app), "once more")
        await camera.until(lambda: made(app), "adapter made")
        await pilot.press("5")
        await camera.until(lambda: [table.row_count for table in app.screen.query(DataTable)] == [2], "library")
        await camera.shoot("library")
        await pilot.press("e")
        await camera.until(lambda: app.screen.query("#export").results(Button), "export")
        await camera.shoot("export")
        for key, name in (("f6", "forge"), ("f7", "settings")):
            await pilot.press(key)
            await pilot.pause(2)
            await camera.shoot(name)


def shown(app: DndApp) -> str:
    """The name of the open screen."""
    return getattr(app.screen, "MODE", "")


def half_solved(app: DndApp) -> bool:
    """Whether half of the layers have their update, and more is to come."""
    counted = re.search(r"▶ solve\D+(\d+)/(\d+)", "\n".join(lines(app)))
    return counted is not None and int(counted[1]) * 2 >= int(counted[2])


def made(app: DndApp) -> bool:
    """Whether Generate has its adapter."""
    return shown(app) == "generate" and bool(getattr(app.screen, "record", None))


async def generated(camera: Camera, app: DndApp) -> None:
    """Wait for an adapter; it is taken half made, too."""
    await camera.until(lambda: half_solved(app), "half solved")
    await camera.keep()
    await camera.until(lambda: made(app), "adapter made")


def shows_prompt(screen: CompareScreen, number: int) -> bool:
    """Whether the answers to this prompt stand on the right, or will."""
    return screen.shown is not None and screen.shown.number == number


async def compare(camera: Camera, app: DndApp) -> None:
    """Ask the first prompts, one after the other; show one that the adapter answers better than the base."""
    await camera.until(lambda: shown(app) == "compare" and app.screen.query("#prompts-table"), "compare")
    screen = app.screen
    assert isinstance(screen, CompareScreen)
    table = screen.query_one("#prompts-table", DataTable)
    await camera.until(lambda: table.row_count, "prompts listed")
    for number in range(1, ANSWERED + 1):
        table.move_cursor(row=number - 1)
        await camera.until(partial(shows_prompt, screen, number), f"prompt {number}")
        screen.action_run()
        await camera.until(lambda: screen.shown and screen.shown.done and not screen.running, "answered")
    base, adapted = screen.comparison.arms
    answers = [prompt.answers for prompt in screen.comparison.prompts.values()]
    # Where the base goes on longest without an answer, the difference is seen best.
    gains = [(each[adapted].score - each[base].score, len(each[base].text)) for each in answers]
    table.move_cursor(row=gains.index(max(gains)))
    table.focus()
    await camera.shoot("compare")
    await camera.keep()


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
