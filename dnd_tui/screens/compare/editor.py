"""Where a person types what the models are asked: an editor of as many lines as the text needs.

Enter sends, as in a chat; Ctrl+J begins another line, and so do Shift+Enter and Alt+Enter in terminals that send
them. What is pasted keeps its lines.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from dnd_tui.widgets.path_inputs import DropTextArea


class PromptEditor(DropTextArea):
    """The editor; what becomes of its text is up to the screen."""

    DEFAULT_CSS = """
    PromptEditor {
        height: auto; min-height: 1; max-height: 8; border: none; padding: 0 1;
        &:focus { border: none; }
    }
    .-short PromptEditor { max-height: 4; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Send", id="prompt.send", tooltip="Send what is typed"),
        Binding("ctrl+j,shift+enter,alt+enter", "new_line", "New line", id="prompt.line", tooltip="Begin another line"),
        Binding("escape", "leave_field", "Leave field", id="prompt.leave", tooltip="Leave the field; its text stays"),
    ]

    class Sent(Message):
        """The person sends `text`, which is not empty; it stands in the editor until it is taken out."""

        def __init__(self, editor: PromptEditor, text: str) -> None:
            super().__init__()
            self.editor, self.text = editor, text

        @property
        def control(self) -> PromptEditor:
            """The editor."""
            return self.editor

    class Left(Message):
        """The person goes on with the keys of the screen."""

        def __init__(self, editor: PromptEditor) -> None:
            super().__init__()
            self.editor = editor

        @property
        def control(self) -> PromptEditor:
            """The editor."""
            return self.editor

    def __init__(self, *, placeholder: str, id: str) -> None:
        super().__init__(compact=True, placeholder=placeholder, highlight_cursor_line=False, id=id)

    def on_key(self, event: events.Key) -> None:
        """A key with a binding of ours is not typed: `TextArea` would take Enter for a line break."""
        bound = self.screen.active_bindings.get(event.key)
        if bound is not None and bound.node is self:
            event.prevent_default()

    def action_send(self) -> None:
        """Send what is typed."""
        if text := self.text.strip():
            self.post_message(self.Sent(self, text))

    def action_new_line(self) -> None:
        """Begin another line."""
        self.insert("\n")
        self.scroll_cursor_visible()

    def action_leave_field(self) -> None:
        """Leave the field."""
        self.post_message(self.Left(self))
