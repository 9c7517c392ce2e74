"""The app under random keys, drops, clicks, resizes and jobs: python -m tests.tui.soak [SECONDS] [SEED] (600)

On a tiny base, in folders of its own, with no network. Prints a line every minute: what was done, memory, open files.
At the end the app must be there still, its memory where it was after the first quarter, and nothing of it left behind.
The gate runs some seconds of the same (`test_soak.py`).
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from textual import events
from textual.pilot import OutOfBounds, Pilot

from dnd_tui.app import DndApp
from engine.base.fetch import cache_folder
from engine.requests import ContextChoice, ModelChoice, PromptChoice

KEYS = (
    *"1234567890abcdefghijklmnoprstuvwxyzABCDEFGHILMNOPRSTUVWXYZ?/.-+*[]<> ",
    *("up", "down", "left", "right", "tab", "shift+tab", "enter", "enter", "escape", "escape", "space", "backspace"),
    *("home", "end", "pageup", "pagedown", "delete", "ctrl+a", "ctrl+k", "ctrl+u", "ctrl+p", "ctrl+o", "ctrl+t"),
    *("ctrl+s", "ctrl+r", "ctrl+e", "ctrl+n", "ctrl+f", "ctrl+y", "ctrl+z", *(f"f{number}" for number in range(1, 11))),
)
"""Any of them may come, but for those that end the app or what runs it."""
SIZES = ((20, 5), (60, 20), (80, 24), (100, 30), (120, 36), (200, 50))
_MIB = 2**20
PATIENCE = 300.0
"""Seconds after which what was done last is a hang."""
_KEYS_AT_ONCE = 12


@dataclass
class Soak:
    """One run.

    folder: where everything lies. models: the tiny base and its generator.
    done: how often each kind of thing was done. looks: seconds since the start, MiB of the app, open files, threads.
    """

    folder: Path
    models: ModelChoice
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    looks: list[tuple[float, float, int, int]] = field(default_factory=list)
    last: str = ""
    others: set[int] = field(default_factory=set)

    def prepare(self) -> None:
        """What can be dropped: good files, broken ones, an adapter of none, a folder, text."""
        drops = self.folder / "drops"
        drops.mkdir()
        rows = [{"prompt": f"How many legs has animal {n}?", "response": str(n % 9)} for n in range(12)]
        (drops / "good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (drops / "table.csv").write_text("text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(20)))
        (drops / "lines.txt").write_text("".join(f"Tell me about {n}.\n" for n in range(9)))
        (drops / "broken.jsonl").write_text('{"prompt": "one"}\n{"prompt": \n')
        (drops / "empty.json").write_text("")
        (drops / "escape\x1b[31m.txt").write_text("\x1b]0;title\x07 a prompt\nanother\n")
        (drops / "folder").mkdir()
        (drops / "folder" / "a.txt").write_text("one\ntwo\n")

    async def run(self, seconds: float, said: Callable[[str], None] = lambda line: None) -> None:
        """Until the time is over; an app that was left is opened anew."""
        chance = random.Random(self.seed)
        self.others = {each.pid for each in psutil.Process().children(recursive=True)}
        began = time.monotonic()
        while not self.looks or time.monotonic() - began < seconds:
            app = DndApp(models=self.models)
            async with app.run_test(size=(100, 30), notifications=True) as pilot:
                self.done["apps"] += 1
                await self._one(app, pilot, chance, began, seconds, said)
            self.done["left by a key"] += app.return_code == 0 and time.monotonic() - began < seconds

    async def _one(
        self,
        app: DndApp,
        pilot: Pilot[None],
        chance: random.Random,
        began: float,
        seconds: float,
        said: Callable[[str], None],
    ) -> None:
        looked = time.monotonic() if self.looks else 0.0
        while app.is_running and not app._exit:
            now = time.monotonic()
            # Something at least is done, however busy the machine is.
            if self.looks and now - began >= seconds:
                return
            await self._within_patience(self._act(app, pilot, chance))
            if now - looked > min(60, seconds / 8):
                looked = now
                gc.collect()
                process = psutil.Process()
                memory = process.memory_info().rss / _MIB
                self.looks.append((now - began, memory, process.num_fds(), process.num_threads()))
                did = ", ".join(f"{count} {kind}" for kind, count in sorted(self.done.items()))
                said(f"{now - began:.0f} s: {memory:.0f} MiB, {process.num_fds()} files; {did}")

    async def _within_patience(self, act: Coroutine[None, None, None]) -> None:
        """Raises AssertionError with what every task waits for, when nothing goes on any more."""
        task = asyncio.ensure_future(act)
        done, _ = await asyncio.wait((task,), timeout=PATIENCE)
        if not done:
            stacks = io.StringIO()
            for each in asyncio.all_tasks():
                each.print_stack(file=stacks)
            raise AssertionError(f"the app hangs after {self.last}\n{stacks.getvalue()}")
        await task

    async def _act(self, app: DndApp, pilot: Pilot[None], chance: random.Random) -> None:
        kind = chance.choices(("keys", "drop", "resize", "click", "job", "screen"), (60, 8, 6, 14, 3, 9))[0]
        self.done[kind] += 1
        self.last = kind
        match kind:
            case "keys":
                keys = chance.choices(KEYS, k=chance.randrange(1, _KEYS_AT_ONCE))
                self.last = f"keys {keys}"
                await pilot.press(*keys)
            case "drop":
                there = [*sorted((self.folder / "drops").iterdir()), *sorted(app.library.folder.glob("*/adapter"))[:5]]
                path = chance.choice([*there, self.folder / "nothing.jsonl"])
                app.post_message(events.Paste(str(path) if chance.random() < 0.9 else "some text\nof two lines"))
            case "resize":
                await pilot.resize_terminal(*chance.choice(SIZES))
            case "click":
                width, height = app.size
                at = chance.randrange(width), chance.randrange(height)
                # The terminal may just have become smaller.
                with suppress(OutOfBounds):
                    await pilot.click(offset=at, times=chance.choice((1, 1, 1, 2)))
            case "screen":
                await app.go(chance.choice(list(app.MODES)))
            case "job" if not app.engine.jobs:
                made_from = chance.choice(("generator", "examples"))
                solve = ContextChoice(made_from=made_from, fit_steps=1, rank=2)
                await app.generate(PromptChoice(source=self.folder / "drops" / "good.jsonl"), self.models, solve)
        await pilot.pause(chance.choice((0, 0, 0.01, 0.2)))

    @property
    def grown(self) -> float:
        """MiB of memory between the first quarter and the end: the median of the looks in either."""
        quarter = max(1, len(self.looks) // 4)
        first, last = self.looks[quarter : 2 * quarter] or self.looks, self.looks[-quarter:]
        return _median([look[1] for look in last]) - _median([look[1] for look in first])

    def left(self) -> list[str]:
        """Processes that outlived the app, and what is half written."""
        children = [each for each in psutil.Process().children(recursive=True) if each.pid not in self.others]
        _, outlived = psutil.wait_procs(children, timeout=5)
        alive = [f"process {each.pid}: {' '.join(each.cmdline())}" for each in outlived]
        parts = [str(path) for path in self.folder.rglob(".*") if path.suffix in (".part", ".old")]
        return alive + parts


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def alone(folder: Path) -> dict[str, str]:
    """The environment in which nothing outside of `folder` and the cache of models is written, and nothing fetched."""
    names = ("DND_TUI_CONFIG", "DND_TUI_DATA", "HOME", "TMPDIR")
    places = {name: str(folder / name.lower()) for name in names}
    for place in places.values():
        Path(place).mkdir(parents=True, exist_ok=True)
    places["DND_TUI_CACHE"] = str(cache_folder())
    return places | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "UV_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}


def main() -> None:
    """Prepare, run, judge."""
    from tests.tiny import tiny_model
    from tests.tiny_tokenizer import tiny_tokenizer
    from tests.tui.conftest import random_generator

    seconds = float((sys.argv[1:2] or ["600"])[0])
    seed = int((sys.argv[2:3] or [str(random.randrange(2**32))])[0])
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="dnd-tui-soak-"))
    base = folder / "tiny"
    tiny_model("llama").save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    models = ModelChoice(base=str(base), generator=random_generator(base, folder / "generator"), device="cpu")
    os.environ.update(alone(folder))
    os.chdir(folder)
    soak = Soak(folder, models, seed)
    soak.prepare()
    asyncio.run(soak.run(seconds, lambda line: print(line, flush=True)))
    left = soak.left()
    print(f"grown by {soak.grown:.0f} MiB after the first quarter; left behind: {left or 'nothing'}")
    sys.exit(bool(left) or soak.grown > 50)


if __name__ == "__main__":
    main()
