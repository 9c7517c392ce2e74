"""Which programs read the adapter, why the others do not, and what to type. Last, the command line of this export.

✓ vLLM: yes, reads PEFT folders of rank 8
    vllm serve HuggingFaceTB/SmolLM2-135M-Instruct --enable-lora --max-lora-rank 8 --lora-modules ...
✗ llama.cpp: no, reads GGUF adapters and merged GGUF models, no PEFT folders
    Choose GGUF adapter under Format
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.css.styles import RulesMap
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from dnd_tui.screens.export.choices import form_title
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.text import one_line, printable
from dnd_tui.widgets.bars import KeyButton
from dnd_tui.widgets.lines import command_lines
from engine.adapter.consumers import Verdict, advice
from engine.errors import EngineError

_INDENT = Content(" " * 4)
_COMMAND_LINE = "Command line"


@dataclass(frozen=True)
class ProgramEntry:
    """One entry.

    program: its name. head: what stands beside it. advice: below, if there is any.
    command: below too; in full, and copied as it is.
    accepts: None for an entry that is no verdict.
    """

    program: str
    head: str
    advice: str = ""
    command: str = ""
    accepts: bool | None = None

    @classmethod
    def of(cls, verdict: Verdict, *, with_command: bool) -> ProgramEntry:
        """What a program takes."""
        word = "yes" if verdict.accepts else "no"
        command = verdict.command or "" if with_command else ""
        words = advice(verdict, lambda form: f"Choose {form_title(form)} under Format")
        return cls(verdict.consumer, f"{word}, {verdict.reason}", words, command, verdict.accepts)

    @property
    def copied(self) -> tuple[str, str] | None:
        """What a copy takes, and what that is; None where there is nothing to do."""
        if self.command:
            return self.command, "the command" if self.accepts is None else f"the command for {self.program}"
        return (self.advice, f"the advice on {self.program}") if self.advice else None

    def shown(self) -> Visual:
        """As the list draws it."""
        signs = {True: ("✓ ", "bold $text-success"), False: ("✗ ", "bold $text-error"), None: ("$ ", "bold")}
        head = Content.assemble((self.program, "bold"), f": {one_line(self.head)}")
        parts = [
            (Content.styled(*signs[self.accepts]), head, False),
            (_INDENT, Content.styled(one_line(self.advice), "$foreground-muted"), False),
            (_INDENT, Content.styled(printable(self.command), "$text-accent"), True),
        ]
        return _Paragraphs(*(part for part in parts if part[1].plain))


class ProgramList(OptionList):
    """The verdicts of all programs; the highlighted one can be copied."""

    DEFAULT_CSS = """
    ProgramList {
        height: 1fr; background: transparent; scrollbar-gutter: stable;
        & > .option-list--option-highlighted { background: $block-cursor-blurred-background; color: $foreground; }
        &:focus > .option-list--option-highlighted { background: $block-cursor-background 30%; color: $foreground; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False, compact=True)
        self._entries: list[ProgramEntry] = []
        self._line = ProgramEntry(_COMMAND_LINE, "no folder is named yet")

    @property
    def entries(self) -> tuple[ProgramEntry, ...]:
        """What is shown."""
        return (*self._entries, self._line)

    @property
    def chosen(self) -> ProgramEntry | None:
        """The highlighted entry."""
        return None if self.highlighted is None else self.entries[self.highlighted]

    def show(self, verdicts: Sequence[Verdict], *, with_commands: bool) -> None:
        """Show the verdicts.

        Args:
            with_commands: the folder that the commands name is there.
        """
        self._entries = [ProgramEntry.of(verdict, with_command=with_commands) for verdict in verdicts]
        self._fill()

    def remark(self, text: str) -> None:
        """Show a remark in the place of the verdicts."""
        self._entries = [ProgramEntry("Programs", text)]
        self._fill()

    def show_command_line(self, command: str) -> None:
        """Show the command that does this export without the app; an empty one where there is none."""
        head = "this export without the app" if command else "no folder is named yet"
        self._line = ProgramEntry(_COMMAND_LINE, head, command=command)
        if self.option_count:
            self.replace_option_prompt_at_index(self.option_count - 1, self._line.shown())

    def _fill(self) -> None:
        before = self.highlighted
        self.set_options(Option(entry.shown()) for entry in self.entries)
        self.highlighted = min(before or 0, len(self._entries))


class _Paragraphs(Visual):
    """Texts below one another, each with something before its first line.

    Args:
        parts: what stands before; the text; whether it is a command, of which no word is broken in two.
    """

    def __init__(self, *parts: tuple[Content, Content, bool]) -> None:
        self._parts = parts

    def _texts(self, width: int) -> Iterator[tuple[Content, Content]]:
        """What stands before, and the text for this width."""
        for before, text, is_command in self._parts:
            lines = command_lines(text.plain, width - before.cell_length) if is_command else []
            yield before, Content.styled("\n".join(lines), text.spans[0].style if text.spans else "") if lines else text

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        """The lines of all."""
        strips = []
        for before, text in self._texts(width):
            indent = before.cell_length
            sign = before.render_strips(indent, 1, style, options)
            for line in text.render_strips(width - indent, None, style, options):
                strips.append(Strip.join([*sign, line]))
                sign = [Strip.blank(indent, style.rich_style)]
        return strips

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        """All there is."""
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:
        """That of all."""
        return sum(text.get_height(rules, width - before.cell_length) for before, text in self._texts(width))


class NothingChosen(Vertical):
    """A sentence and two buttons."""

    DEFAULT_CSS = """
    NothingChosen {
        height: 1fr; align: center middle;
        Static { width: 100%; padding: 0 2; height: auto; text-align: center; margin-bottom: 1; }
        Horizontal { width: 100%; height: auto; align-horizontal: center; }
        Button { margin: 0 1; max-width: 40; }
    }
    """

    def compose(self) -> ComposeResult:
        """Nothing is known of the library yet."""
        yield Static("Choose an adapter in the Library (key 5)", markup=False)
        with Horizontal():
            yield KeyButton("Newest", "export.newest", id="newest", variant="primary", disabled=True)
            yield Button("Library", id="library")

    def complain(self, error: EngineError) -> None:
        """The library cannot be read."""
        self.query_one("#newest").display = False
        self.query_one(Static).update(f"✗ {printable(str(error))}")

    def offer(self, newest: AdapterRecord | None) -> None:
        """The newest adapter of the library; None while there is none at all."""
        button = self.query_one("#newest", Button)
        button.display = newest is not None
        button.disabled = newest is None
        if newest is None:
            text = "There is no adapter yet. Drop a prompt file to make one (key 1)"
        else:
            named = f"{one_line(newest.name)}, from {one_line(newest.source_words)}"
            text = f"No adapter is chosen. Pick one in the Library (key 5),\nor take the newest (key n): {named}"
        self.query_one(Static).update(text)
