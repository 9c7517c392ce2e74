"""The Export screen with the real engine process on the tiny model."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, RadioButton, Static, Tabs

from dnd_tui.app import DndApp
from dnd_tui.options import OPTIONS
from dnd_tui.screens.dialogs import ErrorDialog, Question
from dnd_tui.screens.export.choices import ExportChoices, folder_name
from dnd_tui.screens.export.programs import ProgramList
from dnd_tui.screens.export.screen import ExportScreen
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.library import Library
from dnd_tui.widgets.lines import Facts
from engine.adapter.formats import FORMATS, NUMBER_SIZES
from engine.adapter.peft_folder import read_peft_folder
from engine.base.load import resolve_base
from engine.weights.layout import LoraSpec, derive_layout
from tests.tui.conftest import until
from tests.unit.adapter_parts import random_adapter, write_peft_folder

NAME = "animals and legs"


@pytest.fixture
def record(app_folders: Path, tiny_llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> AdapterRecord:
    """An adapter of the library; the working folder is the one of exports, which is empty."""
    exports = app_folders / "data" / "exports"
    exports.mkdir(parents=True)
    monkeypatch.chdir(exports)
    return add_adapter(app_folders, tiny_llama_folder, NAME)


def add_adapter(app_folders: Path, base: Path, name: str) -> AdapterRecord:
    library = Library(app_folders / "data" / "library")
    id, folder = library.new_place()
    ref = resolve_base(str(base))
    layout = derive_layout(ref.config, LoraSpec(rank=2, alpha=4))
    write_peft_folder(folder, random_adapter(layout, size=0.1), ref.id)
    return library.add(
        AdapterRecord(
            id=id,
            name=name,
            folder=folder,
            dataset=f"{name}.jsonl",
            source=app_folders / f"{name}.jsonl",
            column=None,
            count=None,
            seed=0,
            base_id=ref.id,
            base=str(base),
            generator=app_folders / "generator",
            generator_digest="0" * 64,
            device="cpu",
            dtype="auto",
            made=datetime.now(UTC).isoformat(),
            seconds={"decode": 0.1},
            warm=False,
            parameters=layout.parameters,
            bytes=sum(file.stat().st_size for file in folder.iterdir()),
        )
    )


def screen(app: DndApp) -> ExportScreen:
    assert isinstance(app.screen, ExportScreen)
    return app.screen


def field(app: DndApp) -> Input:
    return screen(app).query_one("#folder Input", Input)


def programs(app: DndApp) -> ProgramList:
    return screen(app).query_one(ProgramList)


def told(app: DndApp) -> str:
    return str(screen(app).query_one("#outcome", Static).content)


def result(app: DndApp) -> dict[str, str]:
    return dict(screen(app).query_one("#result", Facts).lines)


def shown(app: DndApp) -> str:
    """The text on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def opened(pilot: Pilot[None], app: DndApp, record: AdapterRecord) -> None:
    await app.export(record)
    await until(pilot, lambda: len(programs(app).entries) > 3, "what the programs say")


async def ended(pilot: Pilot[None], app: DndApp, word: str) -> None:
    def is_told() -> bool:
        assert not isinstance(app.screen, ErrorDialog), app.screen.text
        return isinstance(app.screen, ExportScreen) and word in told(app)

    await until(pilot, is_told, word)


async def answered(pilot: Pilot[None], app: DndApp, key: str) -> str:
    """Answer the question that comes; its text."""
    await until(pilot, lambda: isinstance(app.screen, Question), "the question")
    question = str(app.screen.query_one(Static).content)
    await pilot.press(key)
    await until(pilot, lambda: not isinstance(app.screen, Question), "the end of the question")
    return question


async def failed(pilot: Pilot[None], app: DndApp) -> str:
    """Close the error dialog that comes; its text."""
    await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the error")
    assert isinstance(app.screen, ErrorDialog)
    text = app.screen.text
    await pilot.press("escape")
    await until(pilot, lambda: isinstance(app.screen, ExportScreen), "the screen again")
    return text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_by_keyboard(record: AdapterRecord) -> None:
    app = DndApp()
    async with app.run_test(size=(200, 60)) as pilot:
        await opened(pilot, app, record)
        assert field(app).value == os.path.join(os.getcwd(), "animals-and-legs-float32")
        assert isinstance(app.focused, Button) and app.focused.id == "export"
        before = {entry.program: entry for entry in programs(app).entries}
        assert before["vLLM"].accepts and not before["vLLM"].command
        assert before["MLX"].accepts is False and before["MLX"].advice
        await pilot.press("f")
        await until(pilot, lambda: app.focused is field(app), "the field")
        await pilot.press(*"/it's new", "enter")
        await until(pilot, lambda: app.focused is screen(app).query_one("#export"), "the button")
        await pilot.press("enter")
        folder = Path("animals-and-legs-float32", "it's new").absolute()
        await ended(pilot, app, "✓ Exported")
        assert read_peft_folder(folder)[0].layout == read_peft_folder(record.folder)[0].layout
        assert result(app)["reloaded"] == result(app)["against float32"] == "equal logits"
        assert result(app)["folder"] == str(folder)
        assert names(folder.parent) == [folder.name]
        # The commands work with the new folder; what is copied is what is shown.
        accepting = [entry for entry in programs(app).entries if entry.accepts]
        assert {"transformers + peft", "vLLM", "SGLang", "Ollama"} == {entry.program for entry in accepting}
        assert app.focused is programs(app) and programs(app).highlighted == 0
        squeezed = "".join(part for line in shown(app).splitlines() for part in line.split("││")[-1][:-1].split())
        for entry in programs(app).entries:
            if entry.command:
                assert "it's new" in " ".join(shlex.split(entry.command)), entry.program
            assert f"{entry.program}:".replace(" ", "") in squeezed
            await pilot.press("y", "down")
            assert app.clipboard == (entry.command or entry.advice)
            assert "".join(app.clipboard.split()) in squeezed, entry.program


async def test_by_mouse_in_float16(record: AdapterRecord) -> None:
    app = DndApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot, app, record)
        full, half, _ = screen(app).query("#numbers RadioButton").results(RadioButton)
        assert "▐●▌" in str(full.render()) and "▐●▌" not in str(half.render())
        await pilot.click(half)
        await until(pilot, lambda: field(app).value.endswith("animals-and-legs-float16"), "the name that goes with it")
        await pilot.click("#export")
        await ended(pilot, app, "✓ Exported")
        folder = Path("animals-and-legs-float16")
        size = sum(file.stat().st_size for file in folder.iterdir())
        assert size < record.bytes and "float16" in result(app)["size"]
        assert result(app)["against float32"].startswith("logits differ by ")
        vllm = next(index for index, entry in enumerate(programs(app).entries) if entry.program == "vLLM")
        line = next(y for y, text in enumerate(shown(app).splitlines()) if "✓ vLLM" in text)
        await pilot.click(offset=(100, line))
        await until(pilot, lambda: programs(app).highlighted == vllm, "vLLM under the cursor")
        await pilot.click("#copy")
        await until(pilot, lambda: f"adapted={folder.absolute()}" in app.clipboard, "the command")
        # Another format is another export: what the one before came to is gone.
        await pilot.click(full)
        await until(pilot, lambda: not told(app) and not screen(app).query_one("#result").display, "a clean form")
        assert not any(entry.command for entry in programs(app).entries[:-1])


async def test_the_command_line_follows_the_choices(record: AdapterRecord) -> None:
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, record)
        words = shlex.split(programs(app).entries[-1].command)
        assert words[:3] == ["dnd-tui", "export", str(record.folder)]
        assert "--generator" not in words and "float16" not in words
        field(app).focus()
        await pilot.press("end", *"-b", "shift+tab", "shift+tab", "down", "enter")
        await until(pilot, lambda: "float16" in programs(app).entries[-1].command, "the number format")
        words = shlex.split(programs(app).entries[-1].command)
        assert words[words.index("--out") + 1] == str(Path("animals-and-legs-float32-b").absolute())
        field(app).value = ""
        await until(pilot, lambda: not programs(app).entries[-1].command, "no command")
        await pilot.press("x")
        assert "no folder is named" in await failed(pilot, app)


async def test_an_adapter_is_replaced_only_after_a_question(record: AdapterRecord) -> None:
    app = DndApp()
    old = Path("old").absolute()
    shutil.copytree(record.folder, old)
    (old / "of mine.txt").write_text("mine")
    before = names(old)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, record)
        field(app).value = "old"
        await pilot.press("x")
        assert "Replace the export in" in await answered(pilot, app, "n")
        assert names(old) == before and not screen(app).running and not told(app)
        await pilot.press("x")
        await answered(pilot, app, "y")
        await ended(pilot, app, "✓ Exported")
        assert "of mine.txt" not in names(old) and names(old.parent) == ["old"]
        assert "--replace" in programs(app).entries[-1].command


async def test_other_files_are_never_replaced(
    record: AdapterRecord, app_folders: Path, tiny_llama_folder: Path
) -> None:
    """The export goes into a folder inside; the next one is proposed beside it."""
    app = DndApp()
    Path("models").mkdir()
    Path("models", "notes.txt").write_text("mine")
    inside = Path("models", "animals-and-legs-float32").absolute()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, record)
        field(app).value = "models"
        await pilot.press("x")
        question = await answered(pilot, app, "escape")
        assert "notes.txt" in question and "Export into animals-and-legs-float32" in question
        assert names(Path("models")) == ["notes.txt"] and field(app).value == "models"
        # Decided on in the field, or chosen in the dialog, it is understood in the same way.
        field(app).focus()
        await pilot.press("enter")
        await until(pilot, lambda: field(app).value == str(inside), "the folder inside")
        await until(pilot, lambda: app.focused is screen(app).query_one("#export"), "the button")
        field(app).value = "models"
        await pilot.press("enter")
        await answered(pilot, app, "y")
        await ended(pilot, app, "✓ Exported")
        assert names(Path("models")) == ["animals-and-legs-float32", "notes.txt"]
        await opened(pilot, app, add_adapter(app_folders, tiny_llama_folder, "../.."))
        assert field(app).value == str(inside.parent / "adapter-float32")
        assert not told(app) and not result(app)


@pytest.mark.own_engine
async def test_stop_leaves_nothing(record: AdapterRecord) -> None:
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, record)
        # As a killed engine leaves it.
        Path(".animals-and-legs-float32.abcdefgh.part").mkdir()
        await pilot.press("x")
        await until(pilot, lambda: app.engine.running, "the engine at work")
        await pilot.press("s")
        await ended(pilot, app, "Stopped; nothing was written")
        assert names(Path.cwd()) == []
        await pilot.press("x")
        await ended(pilot, app, "✓ Exported")


@pytest.mark.own_engine
async def test_a_killed_engine_leaves_what_was_there(record: AdapterRecord) -> None:
    app = DndApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, record)
        target = Path("animals-and-legs-float32")
        shutil.copytree(record.folder, target)
        before = (target / "adapter_model.safetensors").read_bytes()
        await pilot.press("x")
        await answered(pilot, app, "y")
        await until(pilot, lambda: app.engine.running, "the engine at work")
        os.kill(app.engine.pids[0], signal.SIGKILL)
        assert "killed" in await failed(pilot, app)
        assert "what was there is as it was" in told(app)
        assert names(Path.cwd()) == [target.name]
        assert (target / "adapter_model.safetensors").read_bytes() == before


async def test_places_that_cannot_be(record: AdapterRecord) -> None:
    """Each is told in a dialog, nothing changes, and the screen goes on."""
    app = DndApp()
    Path("file").write_text("mine")
    inner = record.folder / "inner"
    above = record.folder.parent
    cases = {
        "file": "is a file, not a folder",
        "file/deeper": "is a file, not a folder",
        str(inner): "lies inside",
        "x" * 300: "name too long",
    }
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, record)
        for place, problem in cases.items():
            field(app).value = place
            await pilot.press("x")
            text = await failed(pilot, app)
            assert problem in text.lower() and "unexpected" not in text.lower(), text
            assert "Failed; nothing was written" in told(app)
        # An adapter folder of some kind around the adapter itself: replacing it would take both.
        (above / "adapter_config.json").write_text("{}")
        field(app).value = str(above)
        await pilot.press("x")
        await answered(pilot, app, "y")
        assert "would be replaced with it" in await failed(pilot, app)
        assert Path("file").read_text() == "mine" and names(Path.cwd()) == ["file"]
        assert read_peft_folder(record.folder) and not inner.exists()
        field(app).value = "good"
        await pilot.press("x")
        await ended(pilot, app, "✓ Exported")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")
@pytest.mark.own_engine
async def test_a_full_disk(record: AdapterRecord) -> None:
    app = DndApp()
    target = Path("animals-and-legs-float32")
    shutil.copytree(record.folder, target)
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, record)
        await pilot.press("x")
        await answered(pilot, app, "y")
        await until(pilot, lambda: app.engine.running, "the engine at work")
        for pid in app.engine.pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        assert "the disk is full" in (await failed(pilot, app)).lower()
        assert {file.name: file.read_bytes() for file in target.iterdir()} == before
        assert names(Path.cwd()) == [target.name]
        for pid in app.engine.pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        field(app).value = "elsewhere"
        await pilot.press("x")
        await ended(pilot, app, "✓ Exported")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_folder(record: AdapterRecord) -> None:
    app = DndApp()
    Path("closed").mkdir(mode=0o500)
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(pilot, app, record)
        field(app).value = "closed/new"
        await pilot.press("x")
        assert "cannot be written: permission denied" in (await failed(pilot, app)).lower()
        assert "Failed; nothing was written" in told(app)


async def test_a_deleted_or_damaged_adapter_is_told_and_the_screen_lives_on(
    record: AdapterRecord, app_folders: Path, tiny_llama_folder: Path
) -> None:
    changed, emptied, whole = (add_adapter(app_folders, tiny_llama_folder, name) for name in ("a", "b", "c"))
    shutil.rmtree(record.folder)
    (changed.folder / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    shutil.rmtree(emptied.folder)
    emptied.folder.mkdir()
    (emptied.folder / "left.jsonl").write_text(json.dumps({"prompt": "Something else?"}) + "\n")
    app = DndApp()
    async with app.run_test(size=(100, 30)) as pilot:
        problems = [(record, "no such"), (changed, "was changed after it was written"), (emptied, "no longer holds")]
        for broken, problem in problems:
            await app.export(broken)
            text = await failed(pilot, app)
            assert str(broken.folder) in text and problem in text.lower()
        await pilot.press("x")
        assert "has no adapter_config.json" in (await failed(pilot, app)).lower()
        assert "nothing was written" in told(app) and names(Path.cwd()) == []
        await opened(pilot, app, whole)
        await pilot.press("x")
        await ended(pilot, app, "✓ Exported")


async def test_without_an_adapter_the_newest_is_offered(
    record: AdapterRecord, app_folders: Path, tiny_llama_folder: Path
) -> None:
    newest = add_adapter(app_folders, tiny_llama_folder, "[b]newest")
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "key 5" in shown(app) and "[b]newest" in shown(app), "the offer")
        await pilot.press("x")
        assert screen(app).record is None
        await pilot.press("n")
        await until(pilot, lambda: screen(app).record == newest, "the newest")
        assert "[b]newest" in shown(app)


async def test_without_any_adapter_the_way_to_one_is_told(app_folders: Path) -> None:
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "Drop a prompt file" in shown(app), "the advice")
        await pilot.press("n", "x", "y", "s")
        await pilot.click("#library")
        await until(pilot, lambda: app.current_mode == "library", "the library")


async def test_small_terminal(record: AdapterRecord) -> None:
    """Choices and programs are tabs; the copy key first shows what would be copied."""
    app = DndApp()
    async with app.run_test(size=(60, 20)) as pilot:
        await opened(pilot, app, record)
        parts = (NAME, "float16", "Folder", "→", "Browse", "Export")
        await until(pilot, lambda: all(text in shown(app) for text in parts), "all choices")
        await pilot.press("x")
        await ended(pilot, app, "✓ Exported")
        await until(pilot, lambda: "reloaded" in shown(app), "the result")
        await pilot.press("y")
        await until(pilot, lambda: app.focused is programs(app) and "yes, reads" in shown(app), "the programs")
        assert not app.clipboard and screen(app).query_one(Tabs).active == "tab-readers"
        await pilot.press("down", "y")
        await until(pilot, lambda: app.clipboard.startswith("vllm serve"), "the command")


@pytest.mark.own_engine
async def test_an_export_goes_on_while_another_screen_is_open(
    record: AdapterRecord, app_folders: Path, tiny_llama_folder: Path
) -> None:
    other = add_adapter(app_folders, tiny_llama_folder, "other")
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app, record)
        await pilot.press("x")
        await until(pilot, lambda: screen(app).running, "the export")
        await app.export(other)
        assert screen(app).record == record  # one at a time
        await app.go("settings")
        await until(pilot, lambda: Path("animals-and-legs-float32").is_dir(), "the folder")
        await app.go("export")
        await ended(pilot, app, "✓ Exported")
        assert app.focused is not None and result(app)["folder"].endswith("float32")


async def test_every_form_by_mouse_and_keyboard(record: AdapterRecord) -> None:
    """The list on the right, the sizes and the number formats follow the form."""
    app = DndApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot, app, record)
        choices = screen(app).query_one(ExportChoices)
        forms = dict(zip(FORMATS, screen(app).query("#formats RadioButton").results(RadioButton), strict=True))
        # The tiny base is no GGUF file.
        assert forms["gguf-merged"].disabled and "no, " in str(forms["gguf-merged"].label)
        assert str(forms["peft"].label).startswith("PEFT folder: ") and "MB" in str(forms["merged"].label)
        await pilot.click(forms["mlx"])
        await until(pilot, lambda: choices.form == "mlx" and "mlx" in field(app).value, "the form")
        readers = [entry.program for entry in programs(app).entries if entry.accepts]
        assert readers == ["MLX"] and "--format mlx" in programs(app).entries[-1].command
        await pilot.click("#numbers RadioButton:last-of-type")
        await until(pilot, lambda: choices.float_type == "bfloat16", "the number format")
        await pilot.click(forms["gguf"])
        await until(pilot, lambda: choices.form == "gguf" and choices.float_type == "float16", "one it can be")
        assert str(forms["gguf"].label).startswith("GGUF adapter: ")
        await pilot.click("#zip")
        await until(pilot, lambda: choices.zip and "--zip" in programs(app).entries[-1].command, "the zip file")
        assert shown(app).count(".zip") >= 2
        await pilot.press("x")
        await ended(pilot, app, "✓ Exported")
        assert names(Path.cwd()) == ["animals-and-legs-gguf-float16.zip"]
        llama = next(entry for entry in programs(app).entries if entry.program == "llama.cpp")
        assert llama.command.startswith("unzip -q ") and "llama-server -m base.gguf --lora" in llama.command
        await pilot.press("x")
        assert "Replace " in await answered(pilot, app, "n")
        screen(app).query_one("#zip").focus()
        await pilot.press("space", "shift+tab", "shift+tab", "up", "up", "enter")
        await until(pilot, lambda: choices.form == "peft" or choices.form == "merged", "another form by keyboard")
        assert not choices.zip


async def test_a_merged_model_and_the_folder_it_replaces(record: AdapterRecord) -> None:
    app = DndApp()
    async with app.run_test(size=(140, 40)) as pilot:
        await opened(pilot, app, record)
        forms = dict(zip(FORMATS, screen(app).query("#formats RadioButton").results(RadioButton), strict=True))
        await pilot.click(forms["merged"])
        await until(pilot, lambda: "merged" in field(app).value, "the form")
        await pilot.press("x")
        await ended(pilot, app, "✓ Exported")
        assert (Path("animals-and-legs-merged-float32") / "model.safetensors").is_file()
        assert float(result(app)["reloaded"].split()[-3]) <= 1e-4
        await pilot.press("x")
        assert "Replace the export in" in await answered(pilot, app, "y")
        await ended(pilot, app, "✓ Exported")


def test_the_choices_are_those_of_the_engine_and_the_command_line() -> None:
    choices = ExportChoices()
    assert tuple(choices._forms) == tuple(FORMATS) == OPTIONS["format"].choices
    assert tuple(choices._numbers) == tuple(NUMBER_SIZES) == OPTIONS["float_type"].choices


@pytest.mark.parametrize("name", ["..", "", "/", "a/b", "C:\\x", "-rf", ".hidden", "x" * 500, "\x1b[31m", "\u00e9t"])
def test_a_folder_name_is_one_harmless_name(name: str, tmp_path: Path) -> None:
    made = folder_name(name, "peft", "float32")
    assert Path(made).name == made and not made.startswith((".", "-")) and made.isprintable()
    (tmp_path / made).mkdir()
