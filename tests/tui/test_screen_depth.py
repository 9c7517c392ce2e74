"""The Depth screen with the real engine processes on a tiny base: search, stop, go on, accept, compare, export."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, OptionList, Static

from dnd_tui.app import DndApp
from dnd_tui.screens.compare import CompareScreen
from dnd_tui.screens.depth import DepthScreen
from dnd_tui.screens.depth_export import ChainExportDialog
from dnd_tui.screens.depth_form import DepthForm
from dnd_tui.screens.depth_setup import SearchSetup
from dnd_tui.screens.dialogs import ErrorDialog, Question
from dnd_tui.state.depth import DepthChoices, RememberedDepth
from dnd_tui.widgets.facts import Facts
from dnd_tui.widgets.layer_strip import LayerStrip
from dnd_tui.widgets.pareto_plot import ParetoPlot
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import Dropped
from engine.requests import ModelChoice
from tests.tiny import tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.tui.conftest import until
from tests.tui.on_screen import shows

LAYERS = 6
CHAINS = 24


@pytest.fixture(scope="session")
def six_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama of six layers."""
    folder = tmp_path_factory.mktemp("base") / "tiny-six"
    tiny_model("llama", num_hidden_layers=LAYERS).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def models(six_layers: Path) -> ModelChoice:
    return ModelChoice(base=str(six_layers), device="cpu")


def write_rows(path: Path, count: int, *, label: str = "response") -> Path:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefgh", k=5)) for _ in range(count)]
    path.write_text("".join(json.dumps({"prompt": f"say {word}", label: word[:2]}) + "\n" for word in words))
    return path


@pytest.fixture
def rows(app_folders: Path, tmp_path: Path) -> Path:
    """Sixty labelled rows; a short search is remembered from an earlier session."""
    source = write_rows(tmp_path / "rows.jsonl", 60)
    RememberedDepth(app_folders / "data").save(DepthChoices(source=str(source), chains=str(CHAINS), rows="16"))
    return source


def screen(app: DndApp) -> DepthScreen:
    assert isinstance(app.screen, DepthScreen)
    return app.screen


def line(app: DndApp, name: str) -> str:
    return str(screen(app).query_one(f"#{name}", Static).content)


def facts(app: DndApp) -> dict[str, str]:
    return dict(screen(app).query_one("#facts", Facts).lines)


def disabled(app: DndApp, name: str) -> bool:
    return screen(app).query_one(f"#{name}", Button).disabled


async def opened(pilot: Pilot[None], app: DndApp) -> None:
    await pilot.press("9")
    await until(pilot, lambda: isinstance(app.screen, DepthScreen), "the screen")
    await until(pilot, lambda: screen(app).query_one(SearchSetup).command or app.focused, "what was chosen last")


async def searched(pilot: Pilot[None], app: DndApp) -> None:
    await opened(pilot, app)
    await until(pilot, lambda: screen(app).query_one(SearchSetup).command, "the command")
    await pilot.press("g")
    await until(pilot, lambda: screen(app).running, "the search")
    await until(pilot, lambda: not screen(app).running and screen(app).subject, "the result")


async def test_the_whole_way(rows: Path, models: ModelChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = DndApp(models=models)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app)
        setup = screen(app).query_one(SearchSetup)
        await until(pilot, lambda: setup.command, "the command")
        assert setup.command.startswith(f"dnd-tui --headless depth '{rows}'" if " " in str(rows) else "dnd-tui")
        assert "--chains 24" in setup.command and "--out" in setup.command and not setup.begun
        assert all(disabled(app, name) for name in ("stop", "accept", "compare", "export"))

        await pilot.press("g")
        await until(pilot, lambda: "best so far" in line(app, "found"), "the best so far")
        assert "of the layers that a naive search runs" in line(app, "figures")
        assert screen(app).query_one(LayerStrip).chain
        await until(pilot, lambda: not screen(app).running and screen(app).subject, "the result")
        assert "o reliable gain" in line(app, "headline") or "No chain is better" in line(app, "headline")
        menu = screen(app).query_one("#chains-list", OptionList)
        assert menu.option_count >= 2 and shows(app, "the base") is False
        assert shows(app, "held out") and shows(app, "base")
        plot = screen(app).query_one(ParetoPlot)
        assert {"base", "front"} & set(plot._points) and sum(map(len, plot._points.values())) == CHAINS + 1

        menu.focus()
        await pilot.press("home")  # the base: nothing can be done with it
        await until(pilot, lambda: screen(app).subject.chain == "0-5", "the base")  # type: ignore[union-attr]
        assert all(disabled(app, name) for name in ("accept", "compare", "export"))
        assert "reads" in facts(app)["speed"]
        await pilot.press("down")
        await until(pilot, lambda: screen(app).subject.chain != "0-5", "another chain")  # type: ignore[union-attr]
        chain = screen(app).subject.chain  # type: ignore[union-attr]
        assert chain in facts(app)["chain"] and "gained" in facts(app)["changed"]

        await pilot.press("a")
        await until(pilot, lambda: screen(app).query_one("#accepted-list", OptionList).option_count == 1, "accepted")
        [kept] = (tmp_path / "data" / "chains").glob("*/chain.json")
        assert json.loads(kept.read_text())["chain"] == chain

        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ChainExportDialog), "the dialog")
        target = app.screen.query_one("#folder", PathField).path
        await pilot.click("#export")
        await until(pilot, lambda: isinstance(app.screen, DepthScreen) and "exported, mergekit" in facts(app), "export")
        assert target and (target / "mergekit.yaml").is_file() and "rows-chain" in target.name

        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the comparison")
        compare = app.screen
        await until(pilot, lambda: compare.query_one("#prompts-table").row_count == 60, "the prompts")  # type: ignore[attr-defined]
        await pilot.press("r")
        await until(pilot, lambda: compare.shown and compare.shown.done, "answers")  # type: ignore[attr-defined]
        assert compare.comparison.arms[0] == "base" and "chain, " in compare.comparison.arms[1]  # type: ignore[attr-defined]
        assert not compare.query_one("#export").display


@pytest.fixture
def unused() -> tuple[type, ...]:
    return DepthForm, Question, ErrorDialog, Dropped
