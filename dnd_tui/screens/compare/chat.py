"""A chat with base and adapters side by side, several turns: each goes on from its own answers.

╭─ base ──────────────────────╮ ╭─ adapter ───────────────────╮
│ ■ done  0.21 s to first …   │ │ ● streaming                 │
│ ▌ My name is Ada.           │ │ ▌ My name is Ada.           │
│ Nice to meet you, Ada!      │ │ introduction                │
│ ▌ What is my name?          │ │ ▌ What is my name?          │
system  Answer in one sentence.
▌ Type a message
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button, Input

from dnd_tui import jobs
from dnd_tui.screens.compare.answers import AnswerPanes
from dnd_tui.screens.compare.arms import CompareOptions
from dnd_tui.screens.compare.dialogs import SaveDialog
from dnd_tui.screens.compare.editor import PromptEditor
from dnd_tui.screens.compare.session import Session
from dnd_tui.screens.compare.talk import Said, Talk
from dnd_tui.services import app_of
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.form_field import FormField
from dnd_tui.widgets.path_inputs import DropInput
from engine.events import AnswersBy, AnswerText, Note, TurnsLeftOut
from engine.host import Failed

if TYPE_CHECKING:
    from dnd_tui.jobs import Job


class ChatView(Vertical):
    """The chat of a session. It has a job of its own."""

    DEFAULT_CSS = """
    ChatView {
        height: 1fr; display: none;
        AnswerPanes { margin-bottom: 1; }
        #system { margin-left: 1; }
        .message { height: auto; border: round $foreground 25%; padding: 0; }
        .message:focus-within { border: round $primary; }
        #chat-buttons { height: auto; padding: 0 1; }
        #chat-buttons Button { margin-right: 1; }
    }
    CompareScreen.-short ChatView {
        AnswerPanes { margin-bottom: 0; }
        .message { border: none; border-left: outer $primary-muted; }
        .message:focus-within { border: none; border-left: outer $primary; }
    }
    CompareScreen.-narrow #chat-buttons Button { margin: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop_or_leave", "Stop or leave", id="chat.leave",
                tooltip="Stop the answers; where none come, back to the prompts"),
        Binding("ctrl+n", "new", "New chat", id="chat.new", tooltip="Begin a new chat, with the same system text"),
        Binding("ctrl+s", "save", "Save", id="chat.save", tooltip="Save the chat as Markdown or JSON"),
    ]  # fmt: skip

    class Left(Message):
        """Back to the prompts."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._session: Session | None = None
        self.options = CompareOptions()
        self._job: Job | None = None

    def compose(self) -> ComposeResult:
        """From the answers down."""
        yield AnswerPanes(id="talk", differences=False)
        yield FormField(
            "System",
            DropInput(placeholder="none, or what both read first: Answer in one sentence.", compact=True, id="system"),
            "What base and adapters read before the first message",
        )
        with Vertical(classes="message"):
            yield PromptEditor(placeholder="Type a message, Enter sends it", id="message")
        with Horizontal(id="chat-buttons"):
            yield Button("Send", id="send", variant="primary")
            yield Button("Stop", id="chat-stop", variant="error")
            yield KeyButton("New chat", "chat.new", id="new")
            yield KeyButton("Save", "chat.save", id="chat-save")
            yield Button("Back", id="back")

    # -- what is shown

    @property
    def talk(self) -> Talk:
        """What was said."""
        assert self._session
        return self._session.talk

    @property
    def running(self) -> bool:
        """Whether answers come, or wait for the device."""
        return self._job is not None and self._job.outcome is None

    def open(self, session: Session, options: CompareOptions) -> None:
        """Show the chat of a session; it goes on where it was."""
        self.options = options
        if session is not self._session:
            self._stop()
            self._job = None
            self._session = session
            self._show()
        self._settle()
        self.query_one(PromptEditor).focus()

    def _show(self) -> None:
        panes = self.query_one(AnswerPanes)
        panes.begin("", self.talk.arms)
        self.query_one("#system", DropInput).value = self.talk.system
        for said in self.talk.said:
            self._say(said)
            for arm, answer in said.answers.items():
                panes.append(arm, answer.text)
                panes.finish(arm, answer)

    def _say(self, said: Said) -> None:
        panes = self.query_one(AnswerPanes)
        panes.say(said.message)
        for arm, words in said.left_out.items():
            panes.remark(arm, words)

    def _settle(self) -> None:
        self.query_one("#send", Button).disabled = self.running
        self.query_one("#chat-stop", Button).disabled = not self.running
        for name in ("new", "chat-save"):
            self.query_one(f"#{name}", Button).disabled = self.running or not self.talk.said

    # -- talking

    @on(PromptEditor.Sent)
    def _sent(self, message: PromptEditor.Sent) -> None:
        message.stop()
        if self._session is None:
            return
        if self.running:
            self.notify("Stop the answers first (Escape)", severity="warning")
            return
        message.editor.clear()
        request = self.talk.ask(message.text, self._session.compared, self.options)
        self._say(self.talk.said[-1])
        self._job = app_of(self).engine.start(request, "chat with base and adapted model", self)
        self._settle()

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._job:
            return
        panes = self.query_one(AnswerPanes)
        for event in message.events:
            if isinstance(event, AnswerText | TurnsLeftOut | AnswersBy):
                arm = self.talk.take(event)
                if isinstance(event, TurnsLeftOut):
                    panes.remark(arm, str(event))
                elif isinstance(event, AnswerText):
                    panes.append(arm, event.text)
                    if event.done:
                        panes.finish(arm, self.talk.said[-1].answers[arm])
            elif isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")

    @on(jobs.JobEnded)
    def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is not self._job:
            return
        last = self.talk.said[-1]
        if isinstance(message.outcome, Failed) or not last.texts:
            # Nobody has answered: the message is there to be sent again.
            editor = self.query_one(PromptEditor)
            editor.text = self.talk.take_back() + editor.text
            self._show()
        else:
            for arm, answer in last.answers.items():
                if not answer.done:
                    self.query_one(AnswerPanes).finish(arm, answer)
            if self._session is not None:
                app = app_of(self)
                app.remember(partial(app.asked.add, [self.talk.asked(self._session.compared)]))
        if isinstance(message.outcome, Failed):
            app_of(self).show_error(message.outcome)
        self._settle()

    def _stop(self) -> None:
        if self._job is not None:
            app_of(self).engine.stop(self._job)

    # -- actions

    @on(Input.Changed, "#system")
    def _system(self, event: Input.Changed) -> None:
        event.stop()
        if self._session is not None:
            self.talk.system = event.value.strip()

    @on(Input.Submitted, "#system")
    def _to_message(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one(PromptEditor).focus()

    @on(Button.Pressed, "#send")
    def _send(self) -> None:
        self.query_one(PromptEditor).action_send()

    @on(Button.Pressed, "#chat-stop")
    def _stop_pressed(self) -> None:
        self._stop()

    @on(Button.Pressed, "#back")
    def _back(self) -> None:
        self.post_message(self.Left())

    @on(PromptEditor.Left)
    def _field_left(self, message: PromptEditor.Left) -> None:
        message.stop()
        self.action_stop_or_leave()

    def action_stop_or_leave(self) -> None:
        """Stop the answers; where none come, leave."""
        if self.running:
            self._stop()
        else:
            self.post_message(self.Left())

    @on(Button.Pressed, "#new")
    def action_new(self) -> None:
        """Begin anew."""
        if self._session is not None and not self.running:
            self._session.begin_talk()
            self._show()
            self._settle()
            self.query_one(PromptEditor).focus()

    @on(Button.Pressed, "#chat-save")
    @work(group="save")
    async def action_save(self) -> None:
        """Write the chat."""
        if self._session is not None and self.talk.said and not self.running:
            compared = self._session.compared
            await self.app.push_screen_wait(SaveDialog(self.talk.transcript(compared, self.options), compared.name))
