"""The Depth screen with the real engine processes on a tiny base: search, stop, go on, accept, compare, export."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, OptionList, Static

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.screen import CompareScreen
from dnd_tui.screens.depth.chain_view import LayerStrip
from dnd_tui.screens.depth.export import ChainExportDialog
from dnd_tui.screens.depth.screen import DepthScreen
from dnd_tui.screens.depth.search import ParetoPlot
from dnd_tui.screens.depth.setup import DepthForm, SearchSetup
from dnd_tui.screens.dialogs import ErrorDialog, Question
from dnd_tui.state.depth import DepthChoices, RememberedDepth
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import DropInput, Dropped
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
    # It may be over before anybody looks.
    await until(pilot, lambda: screen(app).running or screen(app).subject, "the search")
    await until(pilot, lambda: not screen(app).running and screen(app).subject, "the result")


async def test_the_whole_way(rows: Path, models: ModelChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = DndApp(models=models)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app)
        setup = screen(app).query_one(SearchSetup)
        await until(pilot, lambda: setup.command, "the command")
        assert setup.command.startswith("dnd-tui depth ") and str(rows) in setup.command
        assert "--chains 24" in setup.command and "--out" in setup.command and not setup.begun
        assert all(disabled(app, name) for name in ("stop", "accept", "compare", "export"))

        await pilot.press("g")
        await until(pilot, lambda: "best so far" in line(app, "found"), "the best so far")
        assert "of the work of a full search" in line(app, "figures")
        assert screen(app).query_one(LayerStrip).chain
        await until(pilot, lambda: not screen(app).running and screen(app).subject, "the result")
        assert "o reliable gain" in line(app, "headline") or "No chain is better" in line(app, "headline")
        menu = screen(app).query_one("#chains-list", OptionList)
        assert menu.option_count >= 2
        plot = screen(app).query_one(ParetoPlot)
        assert {"few", "base", "chosen"} <= set(plot._points) and sum(map(len, plot._points.values())) == CHAINS + 1
        await until(pilot, lambda: shows(app, "layers of the base") and shows(app, "score by layers"), "table and plot")

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


async def test_stopped_early_it_shows_the_best_and_goes_on(rows: Path, models: ModelChoice, app_folders: Path) -> None:
    long = DepthChoices(source=str(rows), chains="100000", rows="16")
    RememberedDepth(app_folders / "data").save(long)
    app = DndApp(models=models)
    async with app.run_test(size=(60, 20)) as pilot:
        await opened(pilot, app)
        await until(pilot, lambda: screen(app).query_one(SearchSetup).command, "the command")
        await pilot.press("g")
        await until(pilot, lambda: screen(app)._figures.best and len(screen(app)._figures.points) > 5, "some chains")
        assert screen(app).query_one("#depth-panes Tabs").display and disabled(app, "search")
        assert all(disabled(app, name) for name in ("accept", "compare", "export"))
        await pilot.press("s")
        await until(pilot, lambda: "Stopped early" in line(app, "headline"), "the end")
        subject = screen(app).subject
        assert subject and "stopped early" in facts(app)["verdict"] and "held out" not in facts(app)
        [out] = (app_folders / "data" / "depth").iterdir()
        assert json.loads((out / "chain.json").read_text())["chain"] == subject.chain
        await until(pilot, lambda: screen(app).query_one("#search", KeyButton).title == "Go on", "the word for it")
    again = DndApp(models=models)
    async with again.run_test(size=(100, 30)) as pilot:
        await opened(pilot, again)
        await until(pilot, lambda: screen(again).query_one("#search", KeyButton).title == "Go on", "it goes on")
        await until(pilot, lambda: "Stopped early" in line(again, "headline"), "what was found so far")
        known = len(json.loads((out / "search.json").read_text())["chains"])
        await pilot.press("g")
        await until(pilot, lambda: len(screen(again)._figures.points) > known, "chains that were not looked at before")
        assert screen(again)._figures.last.share is None  # type: ignore[union-attr]
        await pilot.press("ctrl+t")
        await until(pilot, lambda: not screen(again).running and screen(again).subject, "the end")


async def test_an_accepted_chain_is_there_the_next_time(rows: Path, models: ModelChoice, tmp_path: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=(120, 40)) as pilot:
        await searched(pilot, app)
        menu = screen(app).query_one("#chains-list", OptionList)
        menu.focus()
        await pilot.press("end")
        await until(pilot, lambda: not disabled(app, "accept"), "a chain that can be accepted")
        await pilot.press("a")
        await until(pilot, lambda: screen(app).query_one("#accepted-list", OptionList).option_count == 1, "accepted")
        chain = screen(app).subject.chain  # type: ignore[union-attr]
    again = DndApp(models=models)
    async with again.run_test(size=(120, 40)) as pilot:
        await opened(pilot, again)
        # What the search found stands beside its choices again, and there is nothing to go on with.
        await until(pilot, lambda: screen(again).subject and "verdict" in facts(again), "the result of the search")
        assert shows(again, "layers of the base") and screen(again).query_one("#search", KeyButton).title == "Search"
        accepted = screen(again).query_one("#accepted-list", OptionList)
        await until(pilot, lambda: accepted.option_count == 1, "the list")
        accepted.focus()
        await pilot.press("enter")
        await until(pilot, lambda: facts(again).get("accepted for") == "rows.jsonl", "the chain")
        assert chain in facts(again)["chain"]
        assert disabled(again, "accept") and not disabled(again, "compare") and not disabled(again, "export")
        # The base has other weights now: the export says so.
        [file] = (tmp_path / "data" / "chains").glob("*/chain.json")
        data = json.loads(file.read_text())
        file.write_text(json.dumps(data | {"base": data["base"] | {"fingerprint": "0" * 64}}))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(again.screen, ChainExportDialog), "the dialog")
        again.screen.query_one("#folder", PathField).value = str(tmp_path / "exported")
        await pilot.click("#export")
        await until(pilot, lambda: isinstance(again.screen, ErrorDialog), "the refusal")
        assert "with other weights" in again.screen.text  # type: ignore[attr-defined]
        await pilot.press("escape")
        await until(pilot, lambda: "nothing was written" in facts(again).get("export", ""), "what is left")
        assert not (tmp_path / "exported").exists()
        accepted.focus()
        await pilot.press("d")
        await until(pilot, lambda: isinstance(again.screen, Question), "the question")
        await pilot.press("y")
        await until(pilot, lambda: accepted.option_count == 0, "the empty list")


async def test_folders_of_an_export(rows: Path, models: ModelChoice, tmp_path: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = ChainExportDialog(models, "0-2,5", tmp_path / "adapter", "rows, a chain", tmp_path)
        app.push_screen(dialog)
        await until(pilot, lambda: dialog.query("#folder"), "the dialog")
        assert dialog.form == "dense", "a recipe for mergekit cannot say an adapter"
        await until(pilot, lambda: shows(app, "mergekit: a passthrough merge takes layers of a base, not an"), "why")
        folder = dialog.query_one("#folder", PathField)
        assert folder.path == tmp_path / "rows-a-chain-dense"
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "letter.txt").write_text("")
        folder.value = str(tmp_path / "other")
        await until(pilot, lambda: dialog.query_one("#export").region.height == 1, "the size of a short terminal")
        await pilot.click("#export")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "a folder of other files")
        assert "letter.txt" in app.screen.text  # type: ignore[attr-defined]
        await pilot.press("escape")
        (tmp_path / "other" / "letter.txt").rename(tmp_path / "other" / "chain.json")
        await pilot.click("#export")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("n")
        await until(pilot, lambda: app.screen is dialog, "back")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not dialog, "away")


async def test_what_cannot_be_searched_is_told(rows: Path, models: ModelChoice, tmp_path: Path) -> None:
    app = DndApp(models=models)
    unlabelled = write_rows(tmp_path / "unlabelled.jsonl", 30, label="remark")
    few = write_rows(tmp_path / "few.jsonl", 15)
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app)
        form = screen(app).query_one(DepthForm)
        for source, told in (
            (unlabelled, "there are no labels in it"),
            (few, "15 different usable rows with labels; at least 16 are needed"),
            (tmp_path / "missing.jsonl", "no such file"),
        ):
            form.query_one("#source", PathField).value = str(source)
            await pilot.press("escape", "g")
            await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
            assert told in app.screen.text  # type: ignore[attr-defined]
            await pilot.press("escape")
            assert not screen(app).running and "failed" in line(app, "headline")
        form.query_one("#rows").value = "four"  # type: ignore[attr-defined]
        await until(pilot, lambda: shows(app, "number, 8 or more"), "the remark at the field")
        # It is said once: no dialog repeats it.
        await pilot.press("escape", "g")
        await until(pilot, lambda: form.query_one("#rows").has_focus, "the focus on the field")
        assert isinstance(app.screen, DepthScreen)


async def test_the_first_time_and_drops(app_folders: Path, models: ModelChoice, tmp_path: Path) -> None:
    app = DndApp(models=models)
    one, two = (write_rows(tmp_path / f"{name}.jsonl", 20) for name in ("train", "test"))
    async with app.run_test(size=(60, 20)) as pilot:
        await opened(pilot, app)
        await until(pilot, lambda: screen(app).query_one("#source").has_focus_within, "the first field's button")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "what is missing")
        await pilot.press("escape", "g")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "what is missing")
        assert "the file of prompts is not named" in app.screen.text  # type: ignore[attr-defined]
        await pilot.press("escape")
        screen(app).set_focus(None)
        screen(app).post_message(Dropped((one, two)))
        form = screen(app).query_one(DepthForm)
        await until(pilot, lambda: form.choices.held_out == str(two), "both files")
        assert form.choices.source == str(one) and app.current_mode == "depth"
        setup = screen(app).query_one(SearchSetup)
        await until(pilot, lambda: "--held-out" in setup.command, "the command")
        form.query_one("#label", DropInput).value = "response"
        form.query_one("#template", DropInput).value = "Again: {prompt"
        await until(pilot, lambda: shows(app, "✗"), "what is wrong with the template")
        form.query_one("#template", DropInput).value = "Again: {prompt}"
        await until(pilot, lambda: "--label response --template 'Again: {prompt}'" in setup.command, "the command")
        await pilot.press("1")
        await until(pilot, lambda: app.current_mode == "drop", "another screen")
    assert RememberedDepth(app_folders / "data").load() == DepthChoices(
        source=str(one), held_out=str(two), label="response", template="Again: {prompt}"
    )


@pytest.mark.own_engine
async def test_a_crash_of_the_engine_ends_the_search_and_not_the_app(
    rows: Path, models: ModelChoice, app_folders: Path
) -> None:
    RememberedDepth(app_folders / "data").save(DepthChoices(source=str(rows), chains="100000", rows="16"))
    app = DndApp(models=models)
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app)
        await until(pilot, lambda: screen(app).query_one(SearchSetup).command, "the command")
        await pilot.press("g")
        await until(pilot, lambda: app.engine.running, "the engine at work")
        os.kill(app.engine._device.pid, signal.SIGKILL)  # type: ignore[arg-type]
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
        await pilot.press("escape")
        assert not screen(app).running and not disabled(app, "search")
