"""The chat of the Compare screen: what each side reads, how it is stopped and left, and that it stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from dnd_tui.app import DndApp
from dnd_tui.screens.compare.answers import AnswerPanes
from dnd_tui.screens.compare.arms import CompareOptions
from dnd_tui.screens.compare.chat import ChatView
from dnd_tui.screens.compare.dialogs import SaveDialog
from dnd_tui.screens.compare.editor import PromptEditor
from dnd_tui.screens.dialogs import ErrorDialog
from dnd_tui.widgets.path_field import PathField
from engine.requests import ChatRequest
from engine.weights.layout import LoraSpec, derive_layout
from tests.tiny import tiny_config
from tests.tui.conftest import until
from tests.tui.on_screen import lines
from tests.tui.still_life import fill_library, still_life  # noqa: F401 - a fixture
from tests.unit.adapter_parts import random_adapter, write_peft_folder


def chat(app: DndApp) -> ChatView:
    return app.screen.query_one(ChatView)


def asked(app: DndApp) -> ChatRequest:
    job = chat(app)._job
    assert job and isinstance(job.request, ChatRequest)
    return job.request


async def say(pilot: Pilot[None], app: DndApp, *keys: str) -> None:
    said = len(chat(app).talk.said)
    await pilot.press(*keys, "enter")
    await until(pilot, lambda: len(chat(app).talk.said) == said + 1 and not chat(app).running, "the answers")


async def test_each_side_goes_on_from_its_own_answers(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        (record,) = fill_library(still_life)[:1]
        await app.compare([record])
        await until(pilot, lambda: app.screen.query_one(DataTable).row_count == 40, "the prompts")
        await pilot.press("h")
        assert isinstance(app.focused, PromptEditor) and not app.screen.query_one("#foot").display
        await say(pilot, app, *"Hi")
        assert asked(app).earlier == () and asked(app).with_base and asked(app).adapters == (record.folder,)
        chat(app).query_one("#system", Input).value = "Be brief."
        await say(pilot, app, *"And", "ctrl+j", *"now")
        (earlier,) = asked(app).earlier
        assert (earlier.message, dict(earlier.answers)) == (
            "Hi", {"base": "This is answer 1. How can I help you?", "adapted": "sport"}
        )  # fmt: skip
        assert asked(app).message == "And\nnow" and asked(app).system == "Be brief."
        panes = chat(app).query_one(AnswerPanes)
        told = "▌ Hi\nThis is answer 1. How can I help you?\n\n▌ And\n▌ now\nThis is answer 2. How can I help you?"
        assert panes.answer("base") == told and panes.answer(record.name).endswith("▌ And\n▌ now\nsport")
        # What no longer fits is told on the side that leaves it out.
        await say(pilot, app, *"So")
        assert "(the first message is no longer read: the base reads 8,192 tokens)" in panes.answer("base")
        assert "no longer read" not in panes.answer(record.name)


async def test_escape_leaves_a_chat_that_stays_until_a_new_one_begins(still_life: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        newer, older = fill_library(still_life)
        await app.compare([newer])
        await until(pilot, lambda: app.screen.query_one(DataTable).row_count == 40, "the prompts")
        await pilot.press("h")
        await say(pilot, app, *"Hi")
        await pilot.press("escape")
        assert isinstance(app.focused, DataTable) and app.screen.query_one("#foot").display
        # Keys of the screen work again; in a chat they are letters.
        await pilot.press("j", "h", *"ab")
        assert chat(app).query_one(PromptEditor).text == "ab" and not app.screen.running  # type: ignore[attr-defined]
        await app.compare([older])
        await until(pilot, lambda: not chat(app).display, "the prompts of the other")
        await pilot.press("h")
        assert not chat(app).talk.said
        await app.compare([newer])
        await pilot.press("h")
        await until(pilot, lambda: "This is answer 1" in "\n".join(lines(app)), "the chat again")
        await pilot.press("ctrl+n")
        assert not chat(app).talk.said and "answer 1" not in "\n".join(lines(app))


async def test_a_chat_is_saved(still_life: Path, tmp_path: Path) -> None:  # noqa: F811
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        await app.compare(fill_library(still_life)[:1])
        await until(pilot, lambda: app.screen.query_one(DataTable).row_count == 40, "the prompts")
        await pilot.press("h")
        chat(app).query_one("#system", Input).value = "Be brief."
        await say(pilot, app, *"Hi")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, SaveDialog), "the dialog")
        app.screen.query_one(PathField).value = str(tmp_path / "chat.json")
        await pilot.click("#save")
        await until(pilot, (tmp_path / "chat.json").exists, "the file")
        saved = json.loads((tmp_path / "chat.json").read_text())
        assert saved["settings"]["kind"] == "chat" and saved["settings"]["system"] == "Be brief."
        assert [row["prompt"] for row in saved["rows"]] == ["Hi"]
        assert saved["rows"][0]["answers"]["topics, 8 prompts"] == "sport"


async def test_a_real_chat_is_stopped_and_goes_on(
    app_folders: Path, tiny_llama_folder: Path, prompt_file: Path
) -> None:
    adapter = app_folders / "adapter"
    write_peft_folder(adapter, random_adapter(derive_layout(tiny_config("llama"), LoraSpec(rank=2, alpha=4))), "tiny")
    app = DndApp()
    async with app.run_test(size=(120, 40)) as pilot:
        record = fill_library(prompt_file)[0]
        await app.compare([replace(record, folder=adapter, base=str(tiny_llama_folder), device="cpu")])
        await until(pilot, lambda: app.screen.query_one(DataTable).row_count == 12, "the prompts")
        await pilot.press("h")
        chat(app).options = CompareOptions(chat_tokens=400, temperature=2.0)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: len(chat(app).talk.said[0].texts) == 2, "the first tokens")
        await pilot.press("escape")
        await until(pilot, lambda: not chat(app).running, "the end")
        await pilot.pause()
        assert chat(app).display, "the first Escape stops, and does not leave"
        said = chat(app).talk.said[0]
        assert set(said.texts) == {"base", record.name} and not all(answer.done for answer in said.answers.values())
        chat(app).options = CompareOptions(chat_tokens=4)
        await say(pilot, app, *"on")
        (earlier,) = asked(app).earlier
        assert dict(earlier.answers) == {"base": said.texts["base"], "adapted": said.texts[record.name]}
        assert all(answer.done for answer in chat(app).talk.said[1].answers.values())
        # What cannot be answered is there to be sent again, shorter.
        chat(app).query_one(PromptEditor).text = "x" * 100_000
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ErrorDialog), "the reason")
        await pilot.press("escape")
        assert len(chat(app).talk.said) == 2 and len(chat(app).query_one(PromptEditor).text) == 100_000
