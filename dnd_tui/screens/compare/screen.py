"""The Compare screen: base and adapters answer the same prompts, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget

from dnd_tui.screens.compare.answers import AnswerPanes
from dnd_tui.screens.compare.arms import Compared, CompareOptions
from dnd_tui.screens.compare.chat import ChatView
from dnd_tui.screens.compare.dialogs import OptionsDialog, SaveDialog, ask_for_prompts, dropped_prompts, transcript_of
from dnd_tui.screens.compare.editor import PromptEditor
from dnd_tui.screens.compare.history import HistoryDialog
from dnd_tui.screens.compare.prompts import PromptList
from dnd_tui.screens.compare.running import AnsweringScreen
from dnd_tui.screens.compare.scores import CompareFoot
from dnd_tui.screens.compare.session import Session, Sessions, recalled
from dnd_tui.screens.generate.plan import Training
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.histories import AskedPrompt
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.path_inputs import Dropped
from engine.requests import PromptChoice


class CompareScreen(AnsweringScreen):
    """Prompts on the left, one column of answers an arm on the right, scores below."""

    MODE = "compare"
    HELP = """
# Compare

Base and adapted model answer the same prompt in one batch, with the same random numbers. Choose a prompt in the list
and press Enter, type one of your own (i; Ctrl+J begins another line, Escape leaves the field), or run all of them.
Where two answers are mostly the same, the words that differ are underlined. Answers stay until you leave the app;
the history (/) finds them later too, with the prompts to ask again.

*Chat* (h) is a talk of several turns: base and adapters each go on from their own answers. Escape stops them, and
leaves where none come.

With labels, every answer is scored as it ends, and the bars show the running scores. In the list of prompts ✓ is
right, ~ partly right, ✗ wrong, • answered without a label; the base comes first. Below the bars stands what the
scores show, and which differences are sure. Pick the best answer with the pick keys: ◆ in the list stands before the
answer you picked, = before all in a tie, and the tally is kept with the adapter. The options (o) let the base also
answer with examples in the prompt: other prompts with their answers.
Where the prompts have answers, *Train on* (T) makes a new adapter of the one that is compared, trained on all of them.

An adapter that was combined or imported has no prompts of its own: choose or drop a prompt file, or type.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "run", "Run", id="compare.run", tooltip="Answer the prompt under the cursor"),
        Binding("a", "run_all", "Run all", id="compare.all", tooltip="Answer all prompts that are not answered yet"),
        Binding("s,escape", "stop", "Stop", id="compare.stop", show=False, tooltip="Stop answering"),
        Binding("i", "type", "Type", id="compare.type", tooltip="Type a prompt of your own"),
        Binding("p", "prompts", "Prompts", id="compare.prompts", tooltip="Choose the file of the prompts to answer"),
        Binding("b", "pick('base')", "Pick base", id="compare.base", tooltip="The base's answer is better"),
        Binding("n", "pick('next')", "Pick adapted", id="compare.adapted",
                tooltip="The adapted answer is better; again for the next adapter"),
        Binding("t", "pick('none')", "Tie", id="compare.tie", tooltip="Neither is better"),
        Binding("d", "differences", "Differences", id="compare.differences", tooltip="Show or hide what differs"),
        Binding("slash", "history", "History", id="compare.history",
                tooltip="Search what was asked before, here and in chats; take a prompt back"),
        Binding("h", "chat", "Chat", id="compare.chat", tooltip="Talk with base and adapters, several turns"),
        Binding("j", "step(1)", "Next", id="compare.next", show=False, tooltip="Next prompt"),
        Binding("k", "step(-1)", "Previous", id="compare.previous", show=False, tooltip="Previous prompt"),
        Binding("o", "options", "Options", id="compare.options", tooltip="Length, temperature, seed, metric, examples"),
        # "t" is the tie here.
        Binding("T", "train", "Train on", id="compare.train",
                tooltip="Train the adapter on all answers of these prompts; the result is a new one"),
        Binding("w", "save", "Save", id="compare.save", show=False, tooltip="Save the transcript as Markdown or JSON"),
        Binding("e", "export", "Export", id="compare.export", show=False, tooltip="Export the adapter"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    CompareScreen {
        #typed { margin-bottom: 1; }
        &.-unanswered #whole.-some { display: block; }
        &.-unanswered Panes.-tabs #whole { display: none; }
        #side { border: none; padding: 0; }
        #answers { height: 1fr; }
        &.-narrow #buttons, &.-normal #buttons { padding: 0; Button { min-width: 8; margin: 0; } }
        &.-chat Panes, &.-chat CompareFoot { display: none; }
        &.-chat ChatView { display: block; }
        &.-short #typed { margin-bottom: 0; }
        &.-short #verdict { max-height: 3; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._sessions = Sessions()

    def body(self) -> Iterable[Widget]:
        """Prompts, answers, scores, buttons."""
        yield Panes(
            Pane(
                "Prompts",
                PromptEditor(placeholder="Type a prompt, Enter runs it", id="typed"),
                PromptList(id="list"),
                id="prompts",
                share=2,
            ),
            Pane("Answers", AnswerPanes(id="answers"), id="side", share=3),
            narrow=100,
        )
        yield CompareFoot(id="foot")
        yield ChatView(id="chat")

    def on_mount(self) -> None:
        """Options as the settings have them; what the signs of the list mean."""
        self.options = CompareOptions.of(self.dnd.settings)
        self.query_one("#prompts", Pane).border_subtitle = "✓ right  ~ partly  ✗ wrong  ◆ picked"
        self._settle()

    # -- what is compared

    def open(self, compared: Compared) -> None:
        """Compare adapters, or a chain, with their base; what was answered before is there."""
        self._show_session(self._sessions.open(compared, self.options.examples))

    def _show_session(self, session: Session) -> None:
        self.remove_class("-chat")
        if session is not self._session:
            self._leave_job()
            self._session = session
            self.query_one(PromptList).open(session.listed, session.comparison)
            self.query_one("#answers", AnswerPanes).begin("", list(session.comparison.arms))
            self._show_answers()
        self._settle()
        self.query_one(Panes).show("prompts")
        self.query_one(PromptList).focus_table()

    @property
    def _compared(self) -> Compared | None:
        return self._session.compared if self._session else None

    @property
    def _records(self) -> tuple[AdapterRecord, ...]:
        """The adapters of the library that are compared."""
        return self._compared.records if self._compared else ()

    # -- prompts of adapters that have none of their own

    @property
    def _choosing(self) -> bool:
        """Whether the person chooses which prompts are answered."""
        return bool(self._records) and not any(record.prompts for record in self._records)

    @on(Dropped)
    def _dropped(self, message: Dropped) -> None:
        if self._choosing:
            message.stop()
            self.action_prompts(message.paths)

    @work(exclusive=True, group="prompts")
    async def action_prompts(self, dropped: tuple[Path, ...] = ()) -> None:
        """Take the prompts that were dropped, or ask for a prompt file."""
        source = await (dropped_prompts(self.dnd, dropped) if dropped else ask_for_prompts(self.dnd))
        if source is not None and self._compared is not None:
            prompts = PromptChoice(source=source.absolute())
            self._show_session(self._sessions.choose(self._compared, prompts, self.options.examples))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Adapters that were generated have prompts of their own; one is trained at a time; a chat runs nothing."""
        if self.has_class("-chat"):
            return action == "options"
        if action == "train":
            return len(self._records) == 1
        return action != "prompts" or self._choosing

    @on(PromptList.Highlighted)
    def _highlighted(self) -> None:
        # By now the cursor may be further on: only where it is counts.
        row = self.query_one(PromptList).current
        if row is None or (self.shown and row.number == self.shown.number):
            return
        self._follows = False
        if self._session:
            self.show(self._session.prompt(row))

    @on(PromptList.Chosen)
    def _chosen(self, message: PromptList.Chosen) -> None:
        if self._session is None:
            return
        row = message.row
        if row.past and not self.running:
            del self._session.past[row.number]
            self.query_one(PromptList).ask_anew(row.number)
        prompt = self._session.prompt(row)
        self.show(prompt)
        if not prompt.words:
            self._run([prompt])
        self.query_one(Panes).show("side")

    @on(PromptEditor.Sent, "#typed")
    def _sent(self, message: PromptEditor.Sent) -> None:
        if self._session is None or self.running:
            self._run([])
            return
        prompt = self._session.type(message.text)
        self.show(prompt)
        self.query_one(PromptList).add_typed(prompt.number, message.text)
        message.editor.clear()
        self._run([prompt])
        self.query_one(Panes).show("side")

    @on(PromptEditor.Left, "#typed")
    def _left(self) -> None:
        self.query_one(PromptList).focus_table()

    # -- actions

    def action_run(self) -> None:
        """Answer the prompt under the cursor."""
        self.query_one(PromptList).choose()

    def action_run_all(self) -> None:
        """Answer every prompt of the list that has no answers yet."""
        listed = self.query_one(PromptList)
        prompts = listed.unanswered()
        kept = listed.kept_as_examples([prompt.number for prompt in prompts], self.options)
        if kept:
            self.notify(f"{len(kept)} prompts serve as examples now. Run all again to answer them too", timeout=8)
        if prompts:
            # One that runs goes on as it is.
            self._follows = self._follows or not self.running
            self._run([prompt for prompt in prompts if prompt.number not in kept])
        else:
            self.notify("All prompts of the list are answered", timeout=3)

    def action_type(self) -> None:
        """To the field for a prompt of one's own."""
        self.query_one(Panes).show("prompts")
        self.query_one("#typed").focus()

    async def action_pick(self, which: str) -> None:
        """Note whose answer to the shown prompt is best: "base", the "next" adapter, "none"."""
        if self.shown is None or not self.shown.done or self.shown.words:
            return
        self.comparison.pick(self.shown, which)
        self.query_one("#answers", AnswerPanes).set_picked(self.shown.pick)
        self.query_one(PromptList).show_signs([self.shown.number])
        self._show_scores()
        await self._keep_scores()

    def action_differences(self) -> None:
        """Show or hide what differs from the base's answer."""
        self.query_one("#answers", AnswerPanes).toggle_differences()

    def action_history(self) -> None:
        """Search what was asked before; the prompt goes into the field, its answers are shown."""
        self.app.push_screen(HistoryDialog(), self._recall)

    def _recall(self, found: AskedPrompt | None) -> None:
        if found is None:
            return
        self.query_one("#typed", PromptEditor).text = found.prompt
        if self._session is not None:
            prompt = self._session.recall(found)
            self.show(prompt)
            self.query_one(PromptList).add_typed(prompt.number, prompt.prompt, past=True)
            self._settle()
        else:
            self.query_one(Panes).spread(None)
            self.query_one("#answers", AnswerPanes).show_prompt(recalled(found), (), waiting=False)
        self.query_one("#typed").focus()

    def action_chat(self) -> None:
        """Talk with base and adapters."""
        if self._session is None:
            self.notify("Choose an adapter in the Library (key 5)", severity="warning")
            return
        self.add_class("-chat")
        self.query_one(ChatView).open(self._session, self.options)
        self.refresh_bindings()

    @on(ChatView.Left)
    def _chat_left(self) -> None:
        self.remove_class("-chat")
        self.query_one(PromptList).focus_table()
        self.refresh_bindings()

    def action_step(self, by: int) -> None:
        """To the next or previous prompt of the list."""
        self.query_one(PromptList).step(by)

    @work(group="options")
    async def action_options(self) -> None:
        """Length, temperature, seed, metric and examples of what is run from now on."""
        answered = bool(self.query_one(PromptList).answered)
        chosen = await self.app.push_screen_wait(OptionsDialog(self.options, answered=answered))
        before, self.options = self.options, chosen or self.options
        self.query_one(ChatView).options = self.options
        if self._compared is not None and self.options.examples != before.examples:
            self._leave_job()
            self.comparison.change_arms(self._compared.arms(self.options.examples))
            self.query_one(PromptList).show_signs()
            self._show_answers()
            self._settle()

    @work(group="save")
    async def action_save(self) -> None:
        """Write the transcript."""
        if self._session is None or not self.comparison.transcript_rows():
            self.notify("Answer a prompt first: there is nothing to save", severity="warning")
            return
        transcript = transcript_of(self.comparison, self._session.compared, self.options, self._session.scored)
        await self.app.push_screen_wait(SaveDialog(transcript, self._session.compared.name))

    async def action_train(self) -> None:
        """A new adapter: the one that is compared, trained on all answers of these prompts."""
        if not self.query_one(PromptList).answered:
            self.notify("None of these prompts has an answer to train on", severity="warning")
        elif self._compared and self._compared.prompts:
            await self.dnd.make(Training.of(self._records[0], self._compared.prompts))

    async def action_export(self) -> None:
        """Export the adapter, the first of several."""
        if self._records:
            await self.dnd.export(self._records[0])
