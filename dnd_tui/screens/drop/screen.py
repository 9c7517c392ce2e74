"""The Drop screen: the first thing a person sees. Drop prompts, look at them, generate.

drop zone (`start`) --open(paths)--> what is it? (`sources`) --> preview (`preview`) --> Generate
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, ContentSwitcher, Input, Static

from dnd_tui.config import data_folder
from dnd_tui.screens.answer_dialog import AnswerDialog, save_answers
from dnd_tui.screens.base import AppScreen
from dnd_tui.screens.drop.choices import ChoicesForm
from dnd_tui.screens.drop.context import ANSWERED
from dnd_tui.screens.drop.preview import PreviewView
from dnd_tui.screens.drop.sources import Source, source_of
from dnd_tui.screens.drop.start import DropZone, StartView
from dnd_tui.screens.teach.teaching import Teaching
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.histories import RecentSource, RememberedTour, Tour
from dnd_tui.text import one_line
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.disk import ask_disk
from dnd_tui.widgets.path_field import PathField
from engine.errors import EngineError
from engine.prompts.sample import diverse_places
from engine.released import example_prompts

# Actions that have a meaning in one of the two states only.
_AT_START = {"browse", "example", "path"}
_AT_PREVIEW = {"generate", "again", "switch_rows"}
# Only where the prompts alone are all there is.
_AT_OFFER = {"answer", "instruct"}


class DropScreen(AppScreen):
    """Drop zone or preview."""

    MODE = "drop"
    HELP = """
# Drop

Drag a file or folder of prompts from your file manager onto the terminal, wherever the cursor is. Or browse, or type
a path. `.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet`, `.txt` and `.md` files, also with `.gz`, folders of them, and
data sets saved by `datasets` are read.

The **preview** shows what was found and what the adapter is **made from**:

- *examples*: answered rows, which would else stand in front of every query
- *instruction*: what all prompts begin with, or what you type; afterwards prompts work without it
- *both*
- *generator*: neither is there; the adapter takes a form of answers from the prompts alone, but no knowledge

The rows it uses carry a ●. Below the instruction stands one whole query as you will type it afterwards. Change the
columns, the instruction, the seed or the models; then **Generate adapter**. While you look, the models are brought into
memory. Where there are no answers, you can answer eight of the prompts yourself, or let a larger model answer them: one
on a server, or one on this machine. You look through what it wrote before anything is made from it.

A generator's folder or a base model that you drop becomes the choice of the preview. An adapter of another tool, a PEFT
folder or a GGUF adapter, is imported into the Library.
"""
    DEFAULT_CSS = """
    DropScreen {
        #note { display: none; height: auto; padding: 0 1; background: $boost; }
        #note.-shown { display: block; }
        #note Static { width: 1fr; height: auto; }
        #note Button { display: none; width: auto; height: 1; border: none; }
        #note.-folder Button { display: block; }
        ContentSwitcher, StartView { height: 1fr; }
        #preview-panes .panes { layout: grid; grid-size: 2 2; grid-columns: 1fr 48; grid-rows: auto 1fr; }
        #preview-panes.-tabs .panes { layout: horizontal; }
        #rows-pane { row-span: 2; }
        #facts-pane { height: auto; }
        #facts-pane VerticalScroll { height: auto; max-height: 100%; }
        &.-normal #preview-panes .panes { grid-columns: 1fr 40; }
        &.-very-wide #preview-panes .panes { grid-columns: 1fr 64; }
        &.-short #preview-panes .panes { grid-rows: 7 1fr; }
        &.-short #facts-pane { height: 1fr; }
        &.-narrow Pane { height: 1fr; padding: 0 1; }
        &.-short RowsPane .whole { display: none; }
        &.-narrow RowsPane .legend, &.-normal RowsPane .legend { display: none; }
        &.-short ModelsLine { max-height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-short StartView { align: center top; padding: 0 1; }
        &.-short .tagline, &.-short .tray { display: none; }
        &.-short DropZone { padding: 0 1; }
        &.-short StartView .label { margin-top: 0; }
        &.-narrow DropZone .hint { display: none; }
    }
    """
    # Over the app's own style sheet, which the default styles of a widget are not.
    CSS = """
    DropScreen {
        #note Button, RowsPane .switch Button { min-width: 8; height: 1; border: none; }
        ChoicesForm PathField Button { min-width: 8; height: 1; }
        StartView PathField Button { display: none; }
        &.-short StartView PathField { height: 1; }
        &.-short StartView PathField DropInput { border: none; height: 1; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "browse", "Browse", id="drop.browse", tooltip="Choose a file or folder"),
        Binding("e", "example", "Example", id="drop.example", tooltip="Open the example prompts"),
        Binding("slash", "path", "Type a path", id="drop.path", tooltip="Go to the path field"),
        Binding("g,ctrl+g,enter", "generate", "Generate", id="drop.generate", tooltip="Make it; ctrl+g while typing"),
        Binding("a", "switch_rows", "Used or all", id="drop.rows", tooltip="Show the rows used, or all rows"),
        Binding("w", "answer", "Answer eight", id="drop.answer", tooltip="Answer eight of the prompts yourself"),
        Binding("l", "teach", "Let a model answer", id="drop.teach", tooltip="Let a model write answers"),
        Binding("i", "instruct", "Instruction", id="drop.instruct", tooltip="Type an instruction"),
        Binding("r", "again", "Read again", id="drop.again", tooltip="Read the source again"),
        Binding("f", "folder", "Whole folder", id="drop.folder", tooltip="Open the folder of the dropped files"),
        Binding("escape", "back", "Back", id="drop.back", tooltip="Back to the drop zone"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._note = ""
        self._folder: Path | None = None
        self._teaching = Teaching(self.dnd)
        self._tour = RememberedTour(data_folder())

    def body(self) -> Iterable[Widget]:
        """A note, and one of the two states."""
        with Horizontal(id="note"):
            yield Static(markup=False)
            yield KeyButton("Open the folder", "drop.folder", id="folder")
        with ContentSwitcher(initial="start"):
            yield StartView(id="start")
            yield PreviewView(id="preview")

    def on_mount(self) -> None:
        """Ready for a drop; at the first start, with what is done here in four lines."""
        self.query_one(StartView).focus_zone()
        self._begin_tour()
        self.call_after_refresh(self.call_after_refresh, self.query_one(PreviewView).make)

    @work(group="tour")
    async def _begin_tour(self) -> None:
        with suppress(TimeoutError):
            kept = await ask_disk(self._tour.load)
            self.query_one(StartView).show_tour(kept is None or not kept.seen)

    def on_key(self) -> None:
        """Any key ends the tour, and does what it does besides."""
        if not self._previewing:
            self._end_tour()

    def _end_tour(self) -> None:
        if self.query_one(StartView).touring:
            self.query_one(StartView).show_tour(False)
            self._keep_tour()

    @work(group="tour")
    async def _keep_tour(self) -> None:
        try:
            await asyncio.to_thread(self._tour.save, Tour(seen=True))
        except EngineError as error:
            self.dnd.journal.add(str(error), warning=True)

    def on_screen_resume(self) -> None:
        """Other screens may have changed what is chosen, and files may be gone."""
        self._show_recent()
        self.query_one(PreviewView).follow_models()

    # -- drops

    @work(exclusive=True, group="open")
    async def open(self, paths: Sequence[Path]) -> None:
        """Open what was dropped: prompts are previewed, models are chosen, and the rest is explained."""
        try:
            source = await ask_disk(partial(source_of, tuple(paths)))
        except TimeoutError:
            problem, hint = "the disk does not answer", "Check whether it is a network folder that is gone"
            self.dnd.show_error(EngineError(problem, where=str(paths[0]), hint=hint))
            return
        if source.kind == "prompts":
            self._show_note(_several(source), folder=source.folder)
            await self._preview(source.path)
        elif source.kind == "adapter":
            await self.dnd.import_adapter(source.path)
        elif source.kind == "adapter among others":
            self.dnd.show_error(_not_alone(source))
        else:
            self._take_models(source)

    def solve(self, source: Path) -> None:
        """Look at prompts again, to make an adapter of the best that they hold."""
        view = self.query_one(PreviewView)
        if view.source == source:
            self.query_one(ChoicesForm).make_from_what_is_there()
            view.follow_models()
        else:
            self.open((source,))

    async def _preview(self, path: Path) -> None:
        view = self.query_one(PreviewView)
        await view.make()
        if not self._previewing:
            self._end_tour()
        self.query_one(ContentSwitcher).current = "preview"
        self.set_focus(None)
        view.begin(path)
        self._suggest_bases()
        self.refresh_bindings()

    def _take_models(self, source: Source) -> None:
        """A dropped folder that holds no prompts."""
        name = source.path.name
        change = {"generator": source.path} if source.kind == "generator" else {"base": str(source.path)}
        models = replace(self.dnd.models, **change)  # type: ignore[arg-type]
        self.dnd.choose_models(models)
        chosen = f"{name} is a {source.kind} model" if source.kind == "base" else f"{name} is a generator"
        if self._previewing:
            self.query_one(PreviewView).choose_models(models)
        self._show_note(f"{chosen}: chosen." + ("" if self._previewing else " Now drop prompts."))

    def _show_note(self, text: str, remark: str = "", *, folder: Path | None = None) -> None:
        """A line above all, with a remark on how the source is read; nothing hides it."""
        self._note, self._folder = text, folder
        note = self.query_one("#note")
        note.set_class(bool(text or remark), "-shown")
        note.set_class(folder is not None, "-folder")
        note.query_one(Static).update(Content(one_line(f"{text} {remark}".strip())))
        self.refresh_bindings()

    @property
    def _previewing(self) -> bool:
        return self.query_one(ContentSwitcher).current == "preview"

    # -- what the person does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only the keys of the state that is shown."""
        if not self.is_mounted:
            return True
        if action in _AT_START:
            return not self._previewing and not (action == "path" and isinstance(self.focused, Input))
        if action == "generate" and self._previewing:
            return not self.query_one(PreviewView).failed
        if action in _AT_PREVIEW:
            return self._previewing
        if action in _AT_OFFER:
            return self._previewing and self.query_one(PreviewView).offers
        if action == "teach":
            return self._previewing and self.query_one(PreviewView).unanswered is not None
        if action == "back":
            return self._previewing or not isinstance(self.focused, DropZone)
        return self._folder is not None if action == "folder" else True

    @on(Button.Pressed, "#browse")
    def action_browse(self) -> None:
        """Choose from a list."""
        self.query_one("#path", PathField).browse()

    @on(Button.Pressed, "#example")
    def action_example(self) -> None:
        """Open the prompts that come with the program."""
        try:
            self.open((example_prompts(),))
        except EngineError as error:
            self.dnd.show_error(error)

    def action_path(self) -> None:
        """Type a path."""
        self.query_one("#path", PathField).focus()

    @on(Button.Pressed, "#folder")
    def action_folder(self) -> None:
        """Open the folder that holds the dropped files."""
        if self._folder is not None:
            self.open((self._folder,))

    def action_generate(self) -> None:
        """Make an adapter."""
        self.query_one(PreviewView).generate()

    def action_again(self) -> None:
        """Read the source again."""
        self.query_one(PreviewView).read_anew()

    def action_switch_rows(self) -> None:
        """The rows used or all rows."""
        self.query_one(PreviewView).switch_rows()

    @on(Button.Pressed, "#answer")
    def action_answer(self) -> None:
        """Answer a few of the prompts."""
        self.query_one(PreviewView).ask_for_answers()

    @on(Button.Pressed, "#teach")
    @work(exclusive=True, group="answers")
    async def action_teach(self) -> None:
        """Let a model answer prompts; what it answered is the next source."""
        prompts = self.query_one(PreviewView).unanswered
        file = await self._teaching.answers_to(prompts) if prompts else None
        if file is not None:
            self.open((file,))

    @on(Button.Pressed, "#instruct")
    def action_instruct(self) -> None:
        """Type an instruction."""
        self.query_one(PreviewView).type_instruction()

    def action_back(self) -> None:
        """To the drop zone; there, out of the path field."""
        if self._previewing:
            self.query_one(PreviewView).leave()
            self._show_note("")
            self.query_one(ContentSwitcher).current = "start"
            self._show_recent()
        self.query_one(StartView).focus_zone()
        self.refresh_bindings()

    # -- what the views report

    @on(StartView.Chosen)
    def _chosen(self, message: StartView.Chosen) -> None:
        self.open((message.path,))

    @on(PreviewView.Remark)
    def _remark(self, message: PreviewView.Remark) -> None:
        self._show_note(self._note, message.text, folder=self._folder)

    @on(PreviewView.GenerateWanted)
    async def _generate(self, message: PreviewView.GenerateWanted) -> None:
        await self.dnd.generate(message.prompts, message.models, message.solve)

    @on(PreviewView.AnswersWanted)
    @work(exclusive=True, group="answers")
    async def _ask_for_answers(self, message: PreviewView.AnswersWanted) -> None:
        places = await asyncio.to_thread(diverse_places, message.prompts, ANSWERED)
        chosen = [message.prompts[place] for place in places]
        answers = await self.app.push_screen_wait(AnswerDialog(chosen))
        if not answers:
            return
        try:
            file = await asyncio.to_thread(save_answers, data_folder(), message.source, answers)
        except EngineError as error:
            self.dnd.show_error(error)
            return
        self.open((file,))

    @on(PreviewView.Known)
    @work(group="recent")
    async def _remember(self, message: PreviewView.Known) -> None:
        add = partial(self.dnd.recent.add, message.path, rows=message.rows, format=message.format)
        try:
            await ask_disk(add, patience=60)  # nobody waits for it, and a busy disk takes its time
        except (EngineError, TimeoutError) as error:
            self.dnd.journal.add(f"recent sources: {error}", warning=True)
            return
        # Whoever has left the preview meanwhile looks at a list without it.
        if not self._previewing:
            self._show_recent()

    @work(exclusive=True, group="recent-list")
    async def _show_recent(self) -> None:
        try:
            sources = await ask_disk(self._recent_sources)
        except (EngineError, TimeoutError) as error:
            self.dnd.journal.add(f"recent sources: {error}", warning=True)
            sources = []
        self.query_one(StartView).show_recent(sources)

    def _recent_sources(self) -> list[tuple[RecentSource, bool]]:
        return [(source, source.missing) for source in self.dnd.recent.newest_first()]

    @work(exclusive=True, group="bases")
    async def _suggest_bases(self) -> None:
        """Bases that adapters of the library were made for can be completed."""
        with suppress(EngineError, TimeoutError):  # a help in typing only
            entries = await ask_disk(self.dnd.library.entries)
            bases = (entry.base for entry in entries if isinstance(entry, AdapterRecord))
            self.query_one(ChoicesForm).suggest_bases(bases)


def _not_alone(source: Source) -> EngineError:
    number = "something else" if source.others == 1 else f"{source.others} others"
    hint = "Drop one adapter alone to import it, and prompts alone to generate one from them"
    return EngineError(f"is an adapter, dropped together with {number}", where=str(source.path), hint=hint)


def _several(source: Source) -> str:
    if not source.others:
        return ""
    words = f"{source.others + 1} were dropped; {source.path.name} is open, the first of them."
    return f"{words} Their folder, {source.folder.name}, can be opened as a whole." if source.folder else words
