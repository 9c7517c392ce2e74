"""What goes wrong outside of the app: it is told with what to do, and the next generation works."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from textual.pilot import Pilot
from textual.widgets import Button, DataTable

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.dialogs import SaveDialog
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.state.transcript import Transcript
from engine.base.load import LoadedBase
from engine.errors import ANOTHER_OUT, EngineError, setting
from engine.host import Failed
from engine.requests import ContextChoice, ModelChoice, PromptChoice, SheetRequest
from tests.tui.conftest import until
from tests.tui.on_screen import shows
from tests.tui.test_screen_generate import generated, headline

linux_only = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")


async def failed(pilot: Pilot[None], app: DndApp) -> str:
    """Close the error dialog that comes; its text."""
    await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
    assert isinstance(app.screen, ErrorDialog)
    text = app.screen.text
    assert app.screen._failure.hint, f"nothing is said of what to do: {text}"
    await pilot.press("escape")
    await until(pilot, lambda: not isinstance(app.screen, ErrorDialog), "the screen again")
    return text


def device_process(app: DndApp) -> int:
    """The process that has the models."""
    pid = app.engine._device.pid
    assert pid is not None
    return pid


@linux_only
@pytest.mark.own_engine
async def test_out_of_memory(
    app_folders: Path, default_base: LoadedBase, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    """The engine has room for the tiny model and a little more, not for the default one."""
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await generated(pilot, app, prompt_file, tiny_models)
        pid = device_process(app)
        limit = psutil.Process(pid).memory_info().vms + 100_000_000
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        await app.generate(PromptChoice(source=prompt_file), ModelChoice(device="cpu"), ContextChoice())
        text = await failed(pilot, app)
        assert text.startswith("the device is out of memory")
        assert headline(app) == "Failed; nothing was written"
        assert (await generated(pilot, app, prompt_file, tiny_models)).parameters
        assert device_process(app) == pid and len(app.library.entries()) == 2


@linux_only
async def test_a_full_disk(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await generated(pilot, app, prompt_file, tiny_models)
        pid = device_process(app)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        try:
            await pilot.press("r")
            text = await failed(pilot, app)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert text.startswith("the disk is full") and str(app.library.folder) in text
        assert len(list(app.library.folder.iterdir())) == 2, "the first adapter and the lock"
        await pilot.press("r")
        await until(pilot, lambda: len(app.library.entries()) == 2, "an adapter after all")


@pytest.mark.own_engine
async def test_an_engine_that_is_killed_while_it_writes_leaves_nothing(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()

    def half_written() -> list[Path]:
        return list(app.library.folder.rglob("*.part"))

    async with app.run_test(size=(100, 30)) as pilot:
        # The moment lasts for milliseconds: it may be missed.
        while not isinstance(app.screen, ErrorDialog):
            await app.generate(PromptChoice(source=prompt_file), tiny_models, ContextChoice())
            await until(pilot, lambda: app.engine.running, "the engine at work")
            process = psutil.Process(device_process(app))
            before = len(app.library.entries())
            while not half_written() and len(app.library.entries()) == before:
                assert process.is_running()
                time.sleep(0.001)  # the app stands still meanwhile
            process.kill()
            await until(pilot, lambda: isinstance(app.screen, ErrorDialog) or app.screen.record, "the end")  # type: ignore[attr-defined]
        assert "killed" in await failed(pilot, app)
        assert half_written() == []
        places = [place.name for place in app.library.folder.iterdir() if place.is_dir()]
        assert places == [entry.id for entry in app.library.entries()]


async def test_a_prompt_file_that_goes_after_the_preview(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp(prompt_file, tiny_models)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: shows(app, "rows used"), "the preview")
        await until(pilot, lambda: not app.screen.query_one("#generate", Button).disabled, "what can be generated")
        content = prompt_file.read_text()
        prompt_file.unlink()
        await pilot.press("g")
        text = await failed(pilot, app)
        assert "no such file" in text and str(prompt_file) in text
        assert app.library.entries() == []
        prompt_file.write_text(content)
        await pilot.press("r")
        await until(pilot, lambda: app.library.entries(), "an adapter after all")


async def test_a_generator_that_is_damaged(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    assert tiny_models.generator
    broken = app_folders / "broken"

    def changed(name: str, content: Callable[[bytes], bytes]) -> None:
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(tiny_models.generator, broken)  # type: ignore[arg-type]
        (broken / name).write_bytes(content((broken / name).read_bytes()))

    damages: dict[str, Callable[[bytes], bytes]] = {
        "cut off": lambda content: content[: len(content) // 2],
        "empty": lambda content: b"",
        "of bytes": lambda content: b"\x00\xff" * 500,
        "of other data": lambda content: b'{"format": 1}',
    }
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        for name in ("generator.json", "generator.safetensors"):
            for damage, content in damages.items():
                changed(name, content)
                models = ModelChoice(base=tiny_models.base, generator=broken, device="cpu")
                await app.generate(PromptChoice(source=prompt_file), models, ContextChoice())
                text = await failed(pilot, app)
                assert str(broken) in text and "unexpected" not in text, (name, damage)
        shutil.rmtree(broken)
        await pilot.press("r")
        assert str(broken) in await failed(pilot, app)
        assert (await generated(pilot, app, prompt_file, tiny_models)).parameters
        assert len(app.library.entries()) == 1


async def test_a_data_folder_that_cannot_be_written(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    """A file lies in its place: that stops root too. The app opens, says so, and goes on once it is away."""
    (app_folders / "data").write_text("mine")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await app.generate(PromptChoice(source=prompt_file), tiny_models, ContextChoice())
        assert str(app.library.folder) in await failed(pilot, app)
        for mode in ("library", "export"):
            await app.go(mode)
            await until(pilot, lambda: shows(app, "DND_TUI_DATA"), f"what is wrong, on the screen {mode}")
        assert (app_folders / "data").read_text() == "mine"
        (app_folders / "data").unlink()
        assert (await generated(pilot, app, prompt_file, tiny_models)).parameters


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_data_folder(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    (app_folders / "data").mkdir(mode=0o500)
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await app.generate(PromptChoice(source=prompt_file), tiny_models, ContextChoice())
        assert "ermission denied" in await failed(pilot, app)
        (app_folders / "data").chmod(0o700)
        assert (await generated(pilot, app, prompt_file, tiny_models)).parameters


async def test_a_library_that_is_deleted_under_the_app(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        await generated(pilot, app, prompt_file, tiny_models)
        shutil.rmtree(app.library.folder)
        await pilot.press("c")
        await until(pilot, lambda: shows(app, "…cat?"), "the prompts")
        await pilot.press("enter")
        assert str(app.library.folder) in await failed(pilot, app)
        await app.go("library")
        await until(pilot, lambda: shows(app, "Nothing here yet"), "an empty library")
        record = await generated(pilot, app, prompt_file, tiny_models)
        await app.go("library")
        await until(pilot, lambda: app.screen.query_one(DataTable).row_count == 1, "the new adapter")
        assert app.library.record(record.id) == record


async def test_settings_that_are_broken(app_folders: Path, tiny_models: ModelChoice, prompt_file: Path) -> None:
    (app_folders / "config").mkdir()
    file = app_folders / "config" / "config.toml"
    file.write_text("base = [\nseed 7")
    app = DndApp(models=tiny_models)
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: shows(app, "config.toml: line"), "what is wrong")
        assert (await generated(pilot, app, prompt_file, tiny_models)).seed == 0
        app.change_settings(seed=3)
        assert "Mend the file" in await failed(pilot, app)
        assert file.read_text() == "base = [\nseed 7"


async def test_a_path_that_looks_like_markup_is_told_as_it_is(
    app_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = app_folders / "a["
    folder.mkdir()
    monkeypatch.chdir(folder)
    app = DndApp()
    async with app.run_test(size=(200, 30), notifications=True) as pilot:
        app.push_screen(SaveDialog(Transcript(made="2026-01-01", settings={}, rows=[], means={}, timings={}), "b]"))
        await until(pilot, lambda: shows(app, "Save the transcript"), "the dialog")
        await pilot.click("#save")
        await until(pilot, lambda: shows(app, "a[/b"), "the path")


async def test_settings_are_called_as_the_form_has_them(app_folders: Path, prompt_file: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        job = app.engine.start(SheetRequest(source=prompt_file, out=prompt_file), "write", app, light=True)
        await until(pilot, lambda: job.outcome is not None, "the end")
        assert isinstance(job.outcome, Failed) and job.outcome.hint == "Choose another folder or allow replacing it"
        app.show_error(EngineError("is empty", where=setting("context"), hint=ANOTHER_OUT))
        assert (await failed(pilot, app)).split("\n") == ["is empty", '"Instruction"', "Choose another folder"]
