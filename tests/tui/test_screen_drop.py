"""The Drop screen with the real engine processes: from a drop to the choices that a generation gets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList, Select, Static

import dnd_tui
from dnd_tui.app import DndApp
from dnd_tui.screens.answer_dialog import AnswerDialog, save_answers
from dnd_tui.screens.dialogs import Question
from dnd_tui.screens.drop.context import QueryView
from dnd_tui.screens.drop.models import FailureCard, ModelsLine
from dnd_tui.screens.drop.preview import PreviewView
from dnd_tui.screens.drop.rows import RowsPane
from dnd_tui.screens.drop.screen import DropScreen
from dnd_tui.screens.drop.start import DropZone
from dnd_tui.widgets.form_field import FormField
from dnd_tui.widgets.lines import Facts
from dnd_tui.widgets.path_field import PathField
from dnd_tui.widgets.path_inputs import Dropped
from engine.base.catalog import BUNDLED, DEFAULT_BASE
from engine.prompts import read_prompts, sample_prompts
from engine.requests import CompareRequest, ContextChoice, ModelChoice, PromptChoice
from engine.text import readable_size
from tests.tiny import generator_about
from tests.tui.conftest import until
from tests.tui.on_screen import shows

WIDE, NARROW = (120, 40), (60, 20)


class Asking(DndApp):
    """Keeps what is asked for instead of going on to the next screen."""

    CSS_PATH = Path(dnd_tui.__file__).parent / "styles" / "app.tcss"
    wished: tuple[PromptChoice, ModelChoice, ContextChoice] | None = None

    async def generate(self, prompts: PromptChoice, models: ModelChoice, solve: ContextChoice) -> None:
        self.wished = (prompts, models, solve)


@pytest.fixture
def models(app_folders: Path, tmp_path: Path) -> ModelChoice:
    """As much of a generator as says that it reads four prompts; nothing is loaded ahead."""
    folder = tmp_path / "four prompts"
    folder.mkdir()
    (folder / "generator.json").write_text(generator_about(condition={"prompts": 4}))
    config = app_folders / "config"
    config.mkdir()
    (config / "config.toml").write_text("load_ahead = false\n")
    return ModelChoice(generator=folder, device="cpu")


@pytest.fixture
def many_rows(tmp_path: Path) -> Path:
    """More rows than a few pages hold."""
    return write(tmp_path / "many.jsonl", [{"prompt": f"prompt {number}"} for number in range(1, 1501)])


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def drop_screen(app: DndApp) -> DropScreen:
    assert isinstance(app.screen, DropScreen)
    return app.screen


def rows(app: DndApp) -> RowsPane:
    return drop_screen(app).query_one(RowsPane)


def drawn(app: DndApp) -> list[str]:
    """The lines of the table, as far as they were made."""
    options = drop_screen(app).query_one("#rows", OptionList).options
    return [str(option.prompt.content(100)) for option in options]  # type: ignore[union-attr]


def facts(app: DndApp) -> dict[str, str]:
    return dict(drop_screen(app).query_one("#facts-lines", Facts).lines)


def failure(app: DndApp) -> str:
    card = drop_screen(app).query_one(FailureCard)
    return str(card.content) if card.display else ""


def note(app: DndApp) -> str:
    line = drop_screen(app).query_one("#note")
    return str(line.query_one(Static).content) if line.display else ""


def recent(app: DndApp) -> list[str]:
    options = drop_screen(app).query_one("#recent", OptionList)
    return [str(option.prompt.content(110)) for option in options.options] if options.display else []  # type: ignore[union-attr]


def ready(app: DndApp) -> bool:
    return any(not button.disabled for button in drop_screen(app).query("#generate").results(Button))


def sampled(app: DndApp) -> list[int]:
    """Numbers of the rows that carry the sign of the batch."""
    return [int(line.split()[1]) for line in drawn(app) if line.startswith("●")]


def batch(source: Path, count: int, seed: int = 0) -> list[int]:
    return list(sample_prompts(read_prompts(source), count, seed).numbers)


async def drop(pilot: Pilot[None], *paths: Path) -> None:
    pilot.app.post_message(Dropped(paths))
    await pilot.pause()


async def previewed(pilot: Pilot[None], app: DndApp, *paths: Path) -> None:
    await drop(pilot, *paths)
    await until(pilot, lambda: ready(app) and sampled(app), "the preview")


async def type_into(pilot: Pilot[None], app: DndApp, field: str, text: str) -> None:
    """Replace what stands in an input."""
    drop_screen(app).query_one(f"#{field}", Input).focus()
    await pilot.press("end", "ctrl+u", *text)


# -- the empty state


@pytest.mark.parametrize("size", [NARROW, (80, 24), WIDE, (300, 80)])
async def test_the_first_look_says_what_to_do(models: ModelChoice, size: tuple[int, int]) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        screen = drop_screen(app)
        for selector in ("DropZone .title", "#browse", "#example", ".accepted", "#path"):
            region = screen.query_one(selector).region
            assert region.area and screen.region.contains_region(region), selector
        assert isinstance(app.focused, DropZone)
        assert recent(app) == []


async def test_the_example_opens_by_key_and_by_button(models: ModelChoice) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.press("e")
        await until(pilot, lambda: ready(app), "the preview")
        assert facts(app)["rows"] == "40"
        await pilot.press("escape")
        assert isinstance(app.focused, DropZone)
        await pilot.click("#example")
        await until(pilot, lambda: drop_screen(app).query_one(PreviewView).display, "the preview again")


async def test_a_path_is_typed_after_slash_and_opened_with_enter(models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.press("slash")
        assert isinstance(app.focused, Input)
        app.focused.value = str(prompt_file)
        await pilot.press("enter")
        await until(pilot, lambda: ready(app), "the preview")
        assert facts(app)["rows"] == "12"


async def test_browse_chooses_a_file(models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        drop_screen(app).query_one("#path", PathField).value = str(prompt_file)
        await pilot.press("o")
        await until(pilot, lambda: not isinstance(app.screen, DropScreen), "the dialog")
        app.screen.query_one(Input).value = prompt_file.name
        app.screen.query_one(Input).focus()
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DropScreen) and ready(app), "the preview")


async def test_recent_sources_open_with_enter_and_missing_ones_say_so(
    models: ModelChoice, prompt_file: Path, many_rows: Path
) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, many_rows)
        await until(pilot, lambda: facts(app)["rows"] == "1,500", "all rows counted")
        await previewed(pilot, app, prompt_file)
        await pilot.press("escape")
        await until(pilot, lambda: len(recent(app)) == 2 and "1,500 rows" in recent(app)[1], "both sources")
        newest, oldest = recent(app)
        assert prompt_file.name in newest and "12 rows" in newest and "jsonl" in newest and "missing" not in newest
        assert many_rows.name in oldest
        many_rows.unlink()
        await pilot.press("5", "1")
        await until(pilot, lambda: any("missing" in line for line in recent(app)), "the word")
        assert "missing" not in recent(app)[0]
        drop_screen(app).query_one("#recent").focus()
        await pilot.press("home", "enter")
        await until(pilot, lambda: ready(app), "the preview")
        assert facts(app)["rows"] == "12"


# -- the preview


async def test_facts_and_the_sampled_batch(models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        told = facts(app)
        assert told["rows"] == "12" and told["rows used"] == "4 of 12 prompts"
        assert told["made from"] == "as chosen: the prompts alone, by a generator"
        assert told["prompt column"] == "prompt" and told["labels"].startswith("response, on 12 rows")
        assert (told["duplicates"], told["left out"], told["read as"]) == (
            "none", "none", "jsonl; prompt: prompt; label: response",
        )  # fmt: skip
        assert sampled(app) == batch(prompt_file, 4)
        assert isinstance(app.focused, Button) and app.focused.id == "generate"


async def test_all_rows_carry_labels_and_the_sign_of_the_batch(models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await pilot.press("a")
        await until(pilot, lambda: len(drawn(app)) == 12, "all rows")
        assert sampled(app) == batch(prompt_file, 4)
        assert "spider" in drawn(app)[3] and drawn(app)[3].rstrip().endswith("6")
        await pilot.click("#show-batch")
        await until(pilot, lambda: len(drawn(app)) == 4, "the batch")


async def test_all_rows_come_in_pages_as_one_scrolls(models: ModelChoice, many_rows: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, many_rows)
        await pilot.press("a")
        await pilot.pause()
        first = len(drawn(app))
        assert 0 < first <= 200
        drop_screen(app).query_one("#rows").focus()
        await pilot.press("end")
        await until(pilot, lambda: len(drawn(app)) > first, "the next page")
        assert len(drawn(app)) < 1500
        while len(drawn(app)) < 1500:
            here = len(drawn(app))
            await pilot.press("end")
            await until(pilot, lambda before=here: len(drawn(app)) > before, "another page")  # type: ignore[misc]
        assert [int(line.removeprefix("●").split()[0]) for line in drawn(app)] == list(range(1, 1501))


async def test_a_common_beginning_is_shown_once(models: ModelChoice, tmp_path: Path) -> None:
    task = "Say in one word what the sentence is about.\n\n"
    source = write(tmp_path / "p.jsonl", [{"prompt": task + text} for text in ("It rains.", "She sings.")])
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, source)
        assert [line.split("…", 1)[1].strip() for line in drawn(app)] == ["It rains.", "She sings."]
        assert "Say in one word" in str(drop_screen(app).query_one(".head", Static).content.content(100))  # type: ignore[union-attr]
        assert "Say in one word" in str(drop_screen(app).query_one(".whole Static", Static).content)


async def test_other_seed_and_count_sample_other_rows(models: ModelChoice, many_rows: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, many_rows)
        await type_into(pilot, app, "seed", "12")
        await until(pilot, lambda: sampled(app) == batch(many_rows, 4, 12), "the batch of seed 12, not of seed 1")
        await type_into(pilot, app, "count", "2")
        await until(pilot, lambda: sampled(app) == batch(many_rows, 2, 12), "two rows")
        await type_into(pilot, app, "count", "9")
        await until(pilot, lambda: sampled(app) == batch(many_rows, 9, 12), "nine rows, more than the four")


async def test_another_column(models: ModelChoice, tmp_path: Path) -> None:
    source = write(tmp_path / "two.jsonl", [{"prompt": f"ask {n}", "topic": f"about {n}"} for n in range(9)])
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, source)
        drop_screen(app).query_one("#column", Select).focus()
        await pilot.press("enter", "down", "down", "enter")
        await until(pilot, lambda: ready(app) and all("about" in line for line in drawn(app)), "the other column")
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[0].column == "topic"


async def test_without_a_known_column_the_likeliest_is_named(models: ModelChoice, tmp_path: Path) -> None:
    source = tmp_path / "odd.csv"
    source.write_text("id,sentence\n1,The cat sat\n2,The dog ran\n")
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, source)
        assert "sentence" in note(app) and "The cat sat" in drawn(app)[0]
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[0].column == "sentence"


@pytest.mark.parametrize(("field", "text"), [("count", "0"), ("count", "many"), ("seed", "x"), ("seed", "")])
async def test_a_value_that_cannot_be_is_marked_and_generate_leads_to_it(
    models: ModelChoice, prompt_file: Path, field: str, text: str
) -> None:
    app = Asking(models=models)
    async with app.run_test(size=NARROW) as pilot:
        await previewed(pilot, app, prompt_file)
        control = drop_screen(app).query_one(f"#{field}", Input)
        control.value = text
        await until(pilot, lambda: not ready(app), "the button is off")
        form_field = next(node for node in control.ancestors if isinstance(node, FormField))
        assert "must be a whole number" in form_field.problem
        await pilot.press("ctrl+g")
        assert app.wished is None and app.focused is control and control.region.area
        control.value = "3"
        await until(pilot, lambda: ready(app) and not form_field.problem, "all is well again")


@pytest.mark.parametrize("keys", [["g"], ["enter"], ["tab", "ctrl+g"]])
async def test_generate_gets_the_choices(models: ModelChoice, prompt_file: Path, keys: list[str]) -> None:
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await type_into(pilot, app, "count", "3")
        await until(pilot, lambda: len(sampled(app)) == 3, "three rows")
        drop_screen(app).query_one("#generate").focus()
        await pilot.press(*keys)
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished == (PromptChoice(source=prompt_file, count=3), models, ContextChoice())


async def test_generate_works_while_typing(models: ModelChoice, prompt_file: Path) -> None:
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await type_into(pilot, app, "seed", "7")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[0].seed == 7


async def test_a_drop_while_typing_opens_the_file(models: ModelChoice, prompt_file: Path, many_rows: Path) -> None:
    from textual.events import Paste

    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, many_rows)
        await type_into(pilot, app, "seed", "7")
        app.post_message(Paste(str(prompt_file)))
        await until(pilot, lambda: facts(app).get("rows") == "12", "the other preview")
        assert drop_screen(app).query_one("#seed", Input).value == "0"


async def test_of_two_drops_in_a_row_the_second_counts(models: ModelChoice, prompt_file: Path, many_rows: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await drop(pilot, many_rows)
        await drop(pilot, prompt_file)
        await until(pilot, lambda: ready(app) and sampled(app), "the preview")
        assert facts(app)["rows"] == "12" and sampled(app) == batch(prompt_file, 4)
        await pilot.press("escape")
        await until(pilot, lambda: recent(app), "the list")
        assert prompt_file.name in recent(app)[0]


async def test_defaults_are_those_of_the_settings(models: ModelChoice, prompt_file: Path, app_folders: Path) -> None:
    (app_folders / "config" / "config.toml").write_text("load_ahead = false\ncount = 2\nseed = 5\n")
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        assert sampled(app) == batch(prompt_file, 2, 5)


async def test_models_chosen_in_the_settings_meanwhile_are_taken_over(
    models: ModelChoice, prompt_file: Path, tmp_path: Path
) -> None:
    app = Asking()
    async with app.run_test(size=WIDE) as pilot:
        app.change_settings(generator=models.generator)
        await previewed(pilot, app, prompt_file)
        await pilot.press("7")
        app.change_settings(base=str(tmp_path))
        await pilot.press("1")
        await until(pilot, lambda: drop_screen(app).query_one("#base", Input).value == str(tmp_path), "the base")
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[1] == ModelChoice(base=str(tmp_path), generator=models.generator)


async def test_escape_leaves_the_preview_for_good(models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await type_into(pilot, app, "seed", "7")
        await pilot.press("escape")
        view = drop_screen(app).query_one(PreviewView)
        assert view.source is None and not view.display and isinstance(app.focused, DropZone)
        await until(pilot, lambda: recent(app), "the list")
        assert app.engine.jobs == []


async def test_a_slow_disk_has_the_list_of_recent_sources_in_the_end(
    models: ModelChoice, prompt_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = DndApp(models=models)
    written, add = Event(), app.recent.add

    def add_late(path: Path, **about: object) -> None:
        written.wait(60)
        add(path, **about)  # type: ignore[arg-type]

    monkeypatch.setattr(app.recent, "add", add_late)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await pilot.press("escape")
        await pilot.pause()
        assert not recent(app)
        written.set()
        await until(pilot, lambda: recent(app), "the list")
        assert prompt_file.name in recent(app)[0]


# -- what the adapter is made from


@pytest.fixture
def no_generator(models: ModelChoice) -> ModelChoice:
    """No generator is named: what stands in the prompts decides."""
    return replace(models, generator=None)


def query(app: DndApp) -> str:
    view = drop_screen(app).query_one(QueryView)
    return str(view.query_one(Static).content) if view.display else ""


def problems(app: DndApp) -> list[str]:
    return [field.problem for field in drop_screen(app).query(FormField) if field.problem]


def made_from(app: DndApp) -> str:
    return facts(app).get("made from", "")


async def test_answers_are_told_and_used(no_generator: ModelChoice, prompt_file: Path) -> None:
    app = Asking(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        assert made_from(app) == "12 answers found: from answered examples"
        assert (facts(app)["rows used"], facts(app)["held out"]) == ("10 of 12 prompts", "2 rows to check it on")
        assert "never read" not in facts(app)["labels"] and len(sampled(app)) == 10
        typed, _, read = query(app).partition("The base reads")
        assert "How many legs has a" in typed and "→" not in typed and read.count("→") == 2
        assert not drop_screen(app).query_one("#notice").display
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished == (PromptChoice(source=prompt_file), no_generator, ContextChoice())


async def test_a_typed_instruction_is_previewed_and_handed_over(no_generator: ModelChoice, prompt_file: Path) -> None:
    app = Asking(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await type_into(pilot, app, "context", "Answer with a number.")
        # Letter by letter: on a busy machine the beginning of the instruction is previewed before all of it.
        await until(pilot, lambda: "Answer with a number." in query(app), "the whole instruction")
        assert "an instruction and answered examples" in made_from(app)
        typed, _, read = query(app).partition("The base reads")
        assert "Answer with a number." not in typed and "Answer with a number." in read
        await until(pilot, lambda: ready(app), "the button")
        await pilot.press("ctrl+g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[2] == ContextChoice(context="Answer with a number.")


async def test_a_kind_that_cannot_be_is_marked_until_it_can(no_generator: ModelChoice, prompt_file: Path) -> None:
    app = Asking(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        drop_screen(app).query_one("#made-from", Select).value = "instruction"
        await until(pilot, lambda: problems(app) and not ready(app), "the mark")
        assert problems(app) == ["the prompts do not begin with a common instruction"]
        assert made_from(app).startswith("✗")
        await pilot.press("ctrl+g")
        assert app.wished is None and app.focused and app.focused.id == "made-from"
        # What has nothing to do with it does not make it possible.
        drop_screen(app).query_one("#dtype", Select).value = "float32"
        await until(pilot, lambda: not problems(app), "the mark is taken away")
        await until(pilot, lambda: problems(app) and not ready(app), "the mark again")
        drop_screen(app).query_one("#context", Input).value = "Answer with a number."
        await until(pilot, lambda: made_from(app) == "as chosen: from an instruction", "all is well")
        await until(pilot, lambda: ready(app) and not problems(app), "the button")


async def test_a_missing_file_of_an_instruction_is_marked_there(no_generator: ModelChoice, prompt_file: Path) -> None:
    app = DndApp(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        control = drop_screen(app).query_one("#context", Input)
        control.value = "missing.txt"
        await until(pilot, lambda: problems(app), "the mark")
        field = next(node for node in control.ancestors if isinstance(node, FormField))
        assert field.problem == "no such file"


async def test_another_label_column(no_generator: ModelChoice, tmp_path: Path) -> None:
    two = [{"prompt": f"ask {n}", "response": f"long {n}", "topic": "ab"[n % 2]} for n in range(9)]
    app = Asking(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, write(tmp_path / "two.jsonl", two))
        assert facts(app)["labels"].startswith("response")
        drop_screen(app).query_one("#label", Select).focus()
        await pilot.press("enter", "end", "enter")
        await until(pilot, lambda: ready(app) and facts(app)["labels"].startswith("topic"), "the other column")
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[0].label == "topic"


async def test_a_template_makes_prompts_while_it_is_typed(no_generator: ModelChoice, tmp_path: Path) -> None:
    rows = [{"ticket": f"no light {n}", "room": n, "topic": "ab"[n % 2]} for n in range(9)]
    app = Asking(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, write(tmp_path / "tickets.jsonl", rows))
        control = drop_screen(app).query_one("#template", Input)
        control.value = "Classify: {ticket"
        await until(pilot, lambda: problems(app), "the mark")
        control.value = r"Classify: {ticket}\nTopic:"
        await until(pilot, lambda: ready(app) and "template" in facts(app)["prompt column"], "the template's prompts")
        assert drop_screen(app).query_one("#column", Select).disabled
        assert "columns not read: room, topic" in facts(app)["read as"]
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished[0].template == r"Classify: {ticket}\nTopic:" and app.wished[0].column is None


async def test_a_table_without_a_header_loses_no_row_and_the_first_line_can_be_made_one(
    models: ModelChoice, tmp_path: Path
) -> None:
    file = tmp_path / "tickets.csv"
    asked = ["Parcel,late", "Paid twice,money", "Where is it?,late", "Charged too much,money", "It came,late"]
    file.write_text("".join(f"{line}\n" for line in asked))
    app = Asking(models=replace(models, generator=None))
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, file)
        assert "No header line was found" in note(app) and facts(app)["rows"] == "5"
        assert (facts(app)["prompt column"], facts(app)["labels"]) == ("column 1", "column 2, on 5 rows")
        column = drop_screen(app).query_one("#column", Select)
        assert [str(text) for text, _ in column._options][-1] == "late: the first line is the header"
        column.value = ("Parcel", "")
        await until(pilot, lambda: facts(app).get("rows") == "4", "one row less")
        await until(pilot, lambda: ready(app), "the button")
        assert note(app) == "" and "Paid twice" in drawn(app)[0]
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[0].column == "Parcel" and app.wished[0].label is None


async def test_what_a_prompt_is_in_text_files_is_guessed_and_can_be_chosen(
    no_generator: ModelChoice, tmp_path: Path
) -> None:
    folder = tmp_path / "mails"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.txt").write_text(f"Dear all,\n\nthe light in room {n} is broken again.\n")
    app = Asking(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, folder)
        assert facts(app)["rows"] == "3" and "each file a prompt" in facts(app)["read as"]
        select = drop_screen(app).query_one("#text-files", Select)
        assert select.display
        select.value = "lines"
        await until(pilot, lambda: ready(app) and facts(app)["rows"] == "6", "the lines")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Prompts without answers and without a common instruction."""
    words = ("who", "what", "when", "where", "why", "how")
    return write(tmp_path / "bare.jsonl", [{"prompt": f"{word}?"} for word in words])


async def test_prompts_alone_are_told_what_they_cannot_do(no_generator: ModelChoice, bare: Path) -> None:
    app = Asking(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, bare)
        assert shows(app, "a form of answers, not this")
        await pilot.press("i")
        assert app.focused and app.focused.id == "context"
        await pilot.press(*"Answer in one word.")
        await until(pilot, lambda: "from an instruction" in made_from(app), "the instruction")
        assert not drop_screen(app).query_one("#notice").display


async def test_a_few_prompts_answered_make_a_source_of_their_own(
    no_generator: ModelChoice, bare: Path, app_folders: Path
) -> None:
    app = Asking(models=no_generator)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, bare)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, AnswerDialog), "the dialog")
        assert len(app.screen.query(Input)) == 6
        await pilot.press(*"me", "enter", "ctrl+s")
        assert isinstance(app.screen, AnswerDialog), "one answer is not enough"
        await pilot.press("enter", *"now", "escape")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("n", "ctrl+s")
        answers = app_folders / "data" / "answers-bare.jsonl"
        await until(pilot, lambda: isinstance(app.screen, DropScreen) and answers.exists(), "the answers")
        await until(pilot, lambda: made_from(app) == "2 answers found: from answered examples", "the new preview")
        assert [json.loads(line) for line in answers.read_text().splitlines()] == [
            {"prompt": "who?", "response": "me"},
            {"prompt": "when?", "response": "now"},
        ]
        assert save_answers(answers.parent, bare, [("a", "b")]).name == "answers-bare-2.jsonl"


# -- what goes wrong


async def test_a_failure_is_shown_in_place_and_another_drop_works(
    models: ModelChoice, prompt_file: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await drop(pilot, empty)
        await until(pilot, lambda: "empty" in failure(app), "the failure")
        assert str(empty) in failure(app) and not ready(app)
        # What cannot be made is not offered: neither as a button nor as a key.
        assert not shows(app, "Generate adapter") and not shows(app, "g Generate")
        await pilot.press("g", "enter")
        assert app.wished is None
        await previewed(pilot, app, prompt_file)
        assert failure(app) == ""


async def test_a_source_that_goes_is_told_and_comes_back(
    models: ModelChoice, prompt_file: Path, tmp_path: Path
) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        aside = prompt_file.rename(tmp_path / "aside")
        await pilot.press("r")
        await until(pilot, lambda: failure(app), "the failure")
        assert str(prompt_file) in failure(app) and not ready(app)
        aside.rename(prompt_file)
        await pilot.press("r")
        await until(pilot, lambda: ready(app) and not failure(app), "the preview")


async def test_a_row_that_breaks_the_sampling_is_told(models: ModelChoice, many_rows: Path) -> None:
    with open(many_rows, "a") as file:
        file.write("no JSON\n")
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await drop(pilot, many_rows)
        await until(pilot, lambda: "line 1501" in failure(app), "the failure")
        assert not ready(app) and len(drawn(app)) > 0


async def test_a_generator_that_is_none_is_marked(models: ModelChoice, prompt_file: Path, tmp_path: Path) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        drop_screen(app).query_one("#generator", PathField).value = str(tmp_path)
        await until(pilot, lambda: not ready(app), "the button is off")
        problems = [field.problem for field in drop_screen(app).query(FormField) if field.problem]
        assert problems == ["must be a folder with a generator.json"]


# -- keys that come early


async def test_a_key_pressed_while_the_file_is_read_is_kept(models: ModelChoice, prompt_file: Path) -> None:
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        screen = drop_screen(app)
        screen.action_again()
        screen.action_generate()
        assert not ready(app) and app.wished is None
        await until(pilot, lambda: app.wished, "the wish, once the file is read")
        # With nothing focused, as while a file is read, Enter is the main action too.
        app.wished = None
        screen.set_focus(None)
        await pilot.press("enter")
        await until(pilot, lambda: app.wished, "the wish again")


async def test_an_early_key_does_not_pass_what_would_be_better(models: ModelChoice, tmp_path: Path) -> None:
    app = Asking(models=replace(models, generator=None))
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, write(tmp_path / "alone.jsonl", [{"prompt": f"Say {n}."} for n in range(9)]))
        screen = drop_screen(app)
        screen.action_again()
        screen.action_generate()
        await until(pilot, lambda: ready(app) and screen.query_one(PreviewView).offers, "the offer")
        assert app.wished is None


# -- drops that are more or something else than one prompt source


async def test_of_several_files_the_first_is_opened_and_the_folder_offered(models: ModelChoice, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    files = [write(folder / f"{name}.jsonl", [{"prompt": f"{name} {n}"} for n in range(3)]) for name in "ab"]
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, *files)
        assert facts(app)["rows"] == "3" and "2 were dropped" in note(app) and "a folder" in note(app)
        await pilot.press("f")
        await until(pilot, lambda: facts(app).get("rows") == "6", "the folder")
        assert note(app) == ""


async def test_a_dropped_generator_is_chosen(models: ModelChoice, prompt_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "two prompts"
    other.mkdir()
    (other / "generator.json").write_text(generator_about(condition={"prompts": 2}))
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await drop(pilot, other)
        await until(pilot, lambda: len(sampled(app)) == 2, "as many prompts as that generator reads")
        assert "generator" in note(app)
        await until(pilot, lambda: ready(app), "the button")
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[1].generator == other


async def test_a_dropped_base_is_chosen_for_the_next_prompts(
    models: ModelChoice, prompt_file: Path, tiny_llama_folder: Path
) -> None:
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await drop(pilot, tiny_llama_folder)
        await until(pilot, lambda: "base model" in note(app), "the note")
        await previewed(pilot, app, prompt_file)
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[1].base == str(tiny_llama_folder)


async def test_what_is_dropped_into_the_field_of_the_base_is_the_base(
    models: ModelChoice, prompt_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "no weights here"
    folder.mkdir()
    app = Asking(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        base = drop_screen(app).query_one("#base", Input)
        base.focus()
        base.post_message(events.Paste(f"'{folder}' "))
        await until(pilot, lambda: base.value == str(folder), "the base")
        assert drop_screen(app).query_one(PreviewView).source == prompt_file
        await until(pilot, lambda: app.focused is drop_screen(app).query_one("#generate"), "the focus off the field")
        await pilot.press("g")
        await until(pilot, lambda: app.wished, "the wish")
        assert app.wished and app.wished[1].base == str(folder)


async def test_prompts_dropped_into_the_field_of_the_base_are_opened(models: ModelChoice, tmp_path: Path) -> None:
    first, second = (write(tmp_path / f"{name}.jsonl", [{"prompt": name}] * 3) for name in ("one", "two"))
    app = DndApp(models=models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, first)
        base = drop_screen(app).query_one("#base", Input)
        before = base.value
        base.focus()
        base.post_message(events.Paste(str(second)))
        await until(pilot, lambda: drop_screen(app).query_one(PreviewView).source == second, "the other prompts")
        assert base.value == before


# -- sizes


@pytest.mark.parametrize("size", [NARROW, (80, 24), WIDE, (300, 80)])
async def test_the_button_is_in_view_at_every_size(
    models: ModelChoice, prompt_file: Path, size: tuple[int, int]
) -> None:
    app = DndApp(models=models)
    async with app.run_test(size=size) as pilot:
        await previewed(pilot, app, prompt_file)
        await pilot.pause()
        screen = drop_screen(app)
        button = screen.query_one("#generate").region
        assert button.area and screen.region.contains_region(button)
        shown = {name for name in ("rows", "facts", "choices") if screen.query_one(f"#{name}-pane").region.area}
        assert shown == ({"rows"} if size == NARROW else {"rows", "facts", "choices"})
        assert screen.query_one("#rows").region.height >= 5


# -- models


def models_line(app: DndApp) -> str:
    return str(drop_screen(app).query_one(ModelsLine).content)


async def test_models_come_into_memory_during_the_preview(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp(models=tiny_models)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await until(pilot, lambda: "in memory" in models_line(app), "the models")


async def test_nothing_is_loaded_beside_another_job(
    app_folders: Path, tiny_models: ModelChoice, prompt_file: Path
) -> None:
    app = DndApp(models=tiny_models)
    async with app.run_test(size=WIDE) as pilot:
        await pilot.pause()
        request = CompareRequest(
            models=tiny_models, prompts=PromptChoice(source=prompt_file), max_new_tokens=4000, temperature=1.0
        )
        long = app.engine.start(request, "answer for long", app)
        await previewed(pilot, app, prompt_file)
        await until(pilot, lambda: models_line(app), "the line")
        assert "busy" in models_line(app)
        assert app.engine.jobs == [long]
        app.engine.stop(long)


async def test_models_that_cannot_be_loaded_are_told_in_a_line(
    app_folders: Path, tiny_models: ModelChoice, tiny_qwen2_folder: Path, prompt_file: Path
) -> None:
    unfit = ModelChoice(base=str(tiny_qwen2_folder), generator=tiny_models.generator, device="cpu")
    app = DndApp(models=unfit)
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await until(pilot, lambda: "cannot be loaded" in models_line(app), "the failure")
        assert isinstance(app.screen, DropScreen) and ready(app)


@pytest.mark.own_engine
async def test_a_first_run_says_what_will_be_fetched(
    app_folders: Path, prompt_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Packages of the same names, without the models, hide those that carry them from the engine process.
    monkeypatch.setenv("DND_TUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hiding"))
    for member in [part.member for model in BUNDLED for file in model.files for part in file.parts]:
        package = tmp_path / "hiding" / member.partition("/")[0]
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
    app = DndApp()
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await until(pilot, lambda: "fetches" in models_line(app), "the line")
        # An adapter of answers needs no text encoder.
        assert readable_size(DEFAULT_BASE.download_size) in models_line(app)
        assert app.engine.jobs == []


async def test_a_base_of_the_hub_is_left_to_the_generation(models: ModelChoice, prompt_file: Path) -> None:
    app = DndApp(models=ModelChoice(base="nobody/nothing", generator=models.generator))
    async with app.run_test(size=WIDE) as pilot:
        await previewed(pilot, app, prompt_file)
        await until(pilot, lambda: "hub" in models_line(app), "the line")
        assert app.engine.jobs == []
