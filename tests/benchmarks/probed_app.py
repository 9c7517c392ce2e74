"""The app with a clock in its event loop, driven through its screens on the default models.

    python -m tests.benchmarks.probed_app FIGURES.json

Run by test_app_speed.py in a terminal of its own. The clock sleeps 5 ms again and again and notes how much longer it
took: so long a key would have had to wait.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.widgets import Button, DataTable

from dnd_tui.app import DndApp
from dnd_tui.places import PLACES
from dnd_tui.screens.compare.arms import CompareOptions
from dnd_tui.screens.compare.editor import PromptEditor
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.drop.rows import RowList, RowsPane
from dnd_tui.screens.generate.screen import GenerateScreen
from dnd_tui.widgets.path_inputs import Dropped

PAUSE = 0.005
QUESTIONS = [
    f"Tell a long story about {what}."
    for what in ("a river", "an old mill", "two foxes", "a lighthouse", "a lost key", "winter", "a ship", "a garden")
]


class ProbedApp(DndApp):
    """Goes its way by itself, writes the figures, ends."""

    def __init__(self, figures: Path) -> None:
        super().__init__(debug=True)
        self._figures = figures
        self._late: list[float] = []
        self._phases: dict[str, dict[str, float]] = {}
        self._began = self._cpu_began = 0.0

    def on_ready(self) -> None:
        self.run_worker(self._tick(), group="probe")
        self.run_worker(self._drive(), group="probe")

    async def _tick(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(PAUSE)
            self._late.append(time.perf_counter() - began - PAUSE)

    def _begin(self) -> None:
        self._late.clear()
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def _end(self, phase: str, **more: float) -> None:
        late = sorted(self._late)
        self._phases[phase] = {
            "p50": statistics.median(late),
            "p99": late[int(len(late) * 0.99)],
            "max": late[-1],
            "seconds": time.perf_counter() - self._began,
            "cpu": time.process_time() - self._cpu_began,
            **more,
        }
        self._begin()

    async def _until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await asyncio.sleep(0.02)

    async def _drive(self) -> None:
        self._begin()
        await asyncio.sleep(3)
        self._end("start")
        await self._preview()
        await self._generate()
        await self._compare()
        for visits in ("first visits", "later visits"):
            for mode in PLACES:
                await self.go(mode)
                await asyncio.sleep(0.3)
            self._end(f"switching screens, {visits}")
        await self._stream()
        self._figures.write_text(json.dumps(self._phases))
        self.exit()

    async def _preview(self) -> None:
        prompts = self._figures.with_name("stories.jsonl")
        prompts.write_text("".join(json.dumps({"prompt": question}) + "\n" for question in QUESTIONS))
        self.post_message(Dropped((prompts,)))
        await self._until(lambda: not self.screen.query_one("#generate", Button).disabled)
        for _ in range(6):
            await asyncio.sleep(0.3)
            self.screen.query_one(RowsPane).all_rows ^= True
        self._end("preview")
        while self.engine.jobs:
            self.screen.query_one(RowList).action_cursor_down()
            await asyncio.sleep(0.1)
        self._end("models loading, rows scrolled")

    async def _generate(self) -> None:
        self.screen.query_one("#generate", Button).press()
        await self._until(lambda: isinstance(self.screen, GenerateScreen) and self.screen.record)
        self._end("generating")

    async def _compare(self) -> None:
        self.screen.query_one("#compare", Button).press()
        await self._until(lambda: isinstance(self.screen, CompareScreen))
        screen = self.screen
        assert isinstance(screen, CompareScreen)
        await self._until(lambda: [table.row_count for table in screen.query(DataTable)] == [len(QUESTIONS)])
        self._begin()
        screen.action_run_all()
        await self._until(lambda: screen.running)
        await self._until(lambda: not screen.running)
        self._end("comparing, 8 prompts", tokens=self._tokens(screen))

    async def _stream(self) -> None:
        screen = await self.go("compare")
        assert isinstance(screen, CompareScreen)
        before = self._tokens(screen)
        screen.options = CompareOptions(max_new_tokens=400, temperature=1.0, metric=screen.options.metric)
        self._begin()
        typed = screen.query_one("#typed", PromptEditor)
        typed.text = "Write a very long story about a river, with many chapters."
        typed.action_send()
        await self._until(lambda: screen.running)
        await self._until(lambda: not screen.running)
        self._end("one long answer of each arm", tokens=self._tokens(screen) - before)

    def _tokens(self, screen: CompareScreen) -> int:
        answers = [answer for prompt in screen.comparison.prompts.values() for answer in prompt.answers.values()]
        return sum(answer.tokens for answer in answers)


if __name__ == "__main__":
    app = ProbedApp(Path(sys.argv[1]))
    app.run()
    sys.exit(app.return_code)
