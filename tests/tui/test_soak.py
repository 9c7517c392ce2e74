"""The app under random keys, drops, resizes and jobs, for some seconds; and faults that longer runs have found."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App
from textual.screen import ModalScreen

from dnd_tui.bindings import _subclasses, all_bindings
from dnd_tui.screens.dialogs import Question
from dnd_tui.widgets.dialog import ClosesOnce
from engine.requests import ModelChoice
from tests.tui.soak import Soak, alone

SECONDS = 20.0
# Other tests' models are in this process too.
FLAT_MIB = 150


@pytest.mark.own_engine
async def test_random_use(
    app_folders: Path, tiny_models: ModelChoice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m tests.tui.soak` does the same for longer, and holds memory to less."""
    for name, place in alone(tmp_path).items():
        monkeypatch.setenv(name, place)
    monkeypatch.chdir(tmp_path)
    soak = Soak(tmp_path, tiny_models, seed=7)
    soak.prepare()
    said: list[str] = []
    try:
        await soak.run(SECONDS, said.append)
    except BaseException as error:
        error.add_note(f"python -m tests.tui.soak {SECONDS:.0f} {soak.seed}: {said[-1:]}")
        raise
    assert soak.left() == [] and soak.grown < FLAT_MIB, soak.seed


async def test_a_dialog_closes_itself_and_nothing_else() -> None:
    """A second Enter, a resize or the end of a job may come when it is closed already, or covered."""
    app: App[None] = App()
    said: list[bool | None] = []
    async with app.run_test() as pilot:
        first, second, over = Question("1?", yes="Yes"), Question("2?", yes="Yes"), Question("3?", yes="Yes")
        app.push_screen(first, said.append)
        await pilot.pause()
        app.push_screen(second, said.append)
        await pilot.pause()
        second.dismiss(True)
        second.dismiss(False)
        await pilot.pause()
        assert app.screen is first and said == [True]
        app.push_screen(over, said.append)
        await pilot.pause()
        first.dismiss(True)
        await pilot.pause()
        assert app.screen is over and said == [True]
        over.dismiss(False)
        await pilot.pause()
        assert len(app.screen_stack) == 1 and said == [True, False, True]
        first.dismiss(True)
        assert len(app.screen_stack) == 1 and len(said) == 3


def test_every_dialog_closes_once() -> None:
    all_bindings()
    ours = list(_subclasses(ModalScreen))
    assert len(ours) > 10 and all(issubclass(kind, ClosesOnce) for kind in ours)
