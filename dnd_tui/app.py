"""The terminal app: services and ways between the screens. What a screen does stands in `dnd_tui.screens`.

    drop -> preview -> generate -> compare -> export
                          |
                       library (everything made or imported so far)

Nothing heavy is imported here: the engine has processes of its own (`engine_link`), and a screen is imported when it
is first shown.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual import on, work
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.screen import Screen

from dnd_tui.bindings import all_bindings, clashes
from dnd_tui.config import ConfigProblem, Settings, config_folder, data_folder, load_settings, log_folder, save_settings
from dnd_tui.desktop import copy_locally
from dnd_tui.engine_link import EngineLink
from dnd_tui.field_names import in_app
from dnd_tui.jobs import Job
from dnd_tui.journal import Journal
from dnd_tui.palette import Commands
from dnd_tui.places import PLACES
from dnd_tui.screens.dialogs import ErrorDialog, JumpDialog, Question
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.state.histories import AskedHistory, PastRun, RecentSources, RunHistory
from dnd_tui.state.library import Library
from dnd_tui.state.stored import now
from dnd_tui.themes import DARK, OURS, KeptStylesheet
from dnd_tui.widgets.bars import JobSign, NavigationBar
from dnd_tui.widgets.path_inputs import DropApp, DropMissing, Dropped
from engine.errors import EngineError
from engine.host import Failed, Finished, Outcome, Stopped
from engine.jobs.command_line import command_line
from engine.requests import ContextChoice, LoadRequest, ModelChoice, PromptChoice

if TYPE_CHECKING:
    from dnd_tui.screens.compare.arms import Compared
    from dnd_tui.screens.generate.plan import Plan

_OUTCOMES: dict[type[Outcome], Literal["done", "failed", "cancelled"]] = {
    Finished: "done",
    Failed: "failed",
    Stopped: "cancelled",
}


class DndApp(DropApp[None]):
    """The app.

    Args:
        drop: a file or folder that is dropped at the start.
        models: base, generator, device from the command line; they go before the settings.
        debug: an unexpected failure of the app itself ends it with a traceback.

    Services for screens: `engine`, `settings`, `library`, `recent`, `runs`, `asked`, `remember`, `journal`, `go`,
    `show_error`, `ask`, `copy_text`, and the steps `generate`, `make`, `compare`, `export`, `import_adapter`.
    """

    TITLE = "dnd-tui"
    CSS_PATH = Path(__file__).parent / "styles" / "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {Commands}
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {mode: place.screen for mode, place in PLACES.items()}
    DEFAULT_MODE = "drop"
    # Below 80 columns what stands side by side becomes tabs; below 30 lines what is not needed is left out.
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012, typed by App
        (0, "-narrow"),
        (80, "-normal"),
        (110, "-wide"),
        (160, "-very-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(place.keys, f"go('{mode}')", place.name, id=f"go.{mode}", show=False,
                    tooltip=f"Go to {place.name}")
            for mode, place in PLACES.items()
        ),
        Binding("f1,question_mark", "help", "Help", id="app.help", tooltip="What this screen does, and its keys"),
        Binding("ctrl+p", "command_palette", "Commands", id="app.commands", show=False, tooltip="Search every command"),
        Binding("ctrl+o", "jump", "Jump", id="app.jump", show=False,
                tooltip="Show a letter on everything that can have the focus; the letter moves it there"),
        Binding("ctrl+t", "stop_job", "Stop", id="app.stop", priority=True, show=False,
                tooltip="Stop the running job"),
        Binding("ctrl+q", "leave", "Quit", id="app.quit", priority=True, tooltip="Leave; asks while a job runs"),
    ]  # fmt: skip

    def __init__(self, drop: Path | None = None, models: ModelChoice | None = None, *, debug: bool = False) -> None:
        super().__init__()
        self.stylesheet = KeptStylesheet(variables=self.get_css_variables())
        self.journal = Journal(log_folder())
        self.engine = EngineLink(log_folder(), self._job_changed)
        self.library = Library(data_folder() / "library")
        self.recent = RecentSources(data_folder(), warn=self._warn)
        self.runs = RunHistory(data_folder(), warn=self._warn)
        self.asked = AskedHistory(data_folder(), warn=self._warn)
        self.settings_file = config_folder() / "config.toml"
        self.settings = Settings()
        # Names of all bindings; None until the screens are imported.
        self.keys_known: Collection[str] | None = None
        self.problems: list[ConfigProblem] = []
        self._models = models
        self._drop = drop
        self._debug = debug

    # -- start and end

    def on_load(self) -> None:
        """Themes and settings, before anything is styled. The disk is touched by files of a few kilobytes only."""
        for theme in OURS:
            self.register_theme(theme)
        self.apply_settings()
        # Now, not with the next message: till then styles would be parsed with the colours of another theme.
        self.stylesheet.set_variables(self.get_css_variables())

    def on_mount(self) -> None:
        """What can wait until there is a screen."""
        self._end_on_signals()
        self.set_timer(0.3, self._load_screens)
        if self._drop is not None:
            self.post_message(Dropped((self._drop,)))

    def on_unmount(self) -> None:
        """No process is left behind."""
        self.engine.close()
        self.journal.close()

    def _end_on_signals(self) -> None:
        """A polite kill ends the app as the person would; a terminal that closes ends it with nothing to restore."""
        loop = asyncio.get_running_loop()
        with suppress(RuntimeError, ValueError, NotImplementedError):  # not the main thread, not this system
            loop.add_signal_handler(signal.SIGTERM, partial(self.exit, return_code=128 + signal.SIGTERM))
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        """If the terminal is gone, end at once: its writer thread is dead, and whoever writes more waits for ever."""
        with suppress(OSError):
            os.get_terminal_size(sys.__stdin__.fileno())  # type: ignore[union-attr]
            self.exit(return_code=128 + signal.SIGHUP)
            return
        self.on_unmount()
        os._exit(128 + signal.SIGHUP)

    def _handle_exception(self, error: Exception) -> None:
        """A failure of the app itself: into the log; a traceback on the terminal only if that was asked for."""
        details = "".join(traceback.format_exception(error))
        self.journal.add(f"unexpected failure: {type(error).__name__}: {error}", details, warning=True)
        if self._debug or self.is_headless:
            super()._handle_exception(error)
        else:
            kind = type(error).__name__
            where = log_folder() / "app.log"
            message = f"error: unexpected failure: {kind}: {error}. Details: {where}; or run again with --debug"
            self.exit(return_code=1, message=message)

    def apply_settings(self) -> None:
        """Read the settings file; what is newly wrong in it is reported, the rest counts."""
        self.settings, problems = load_settings(self.settings_file, self.keys_known)
        self.theme = self.chosen_theme
        if self.theme != self.settings.theme:
            problems.append(ConfigProblem(self.settings_file.name, "theme", f"no theme {self.settings.theme!r}"))
        self.animation_level = "full" if self.settings.animations else "none"
        self.set_keymap(dict(self.settings.keys))
        if self.keys_known is not None:
            clashing = clashes(self.settings.keys)
            problems += [ConfigProblem(self.settings_file.name, f"keys.{id}", problem) for id, problem in clashing]
        if self.screen_stack:
            for bar in self.screen.query(NavigationBar):
                bar.fit()
        new = [problem for problem in problems if problem not in self.problems]
        self.problems = problems
        for problem in new:
            self.journal.add(str(problem), warning=True)
        if new:
            # The text holds what stands in a file: no markup.
            self.notify("\n".join(map(str, new)), title="Settings", severity="warning", timeout=15, markup=False)

    def change_settings(self, **changes: object) -> None:
        """Write changed settings to the file and use them from now on."""
        try:
            save_settings(self.settings_file, changes)
        except EngineError as error:
            self.show_error(error)
            return
        self.apply_settings()

    @work(thread=True, group="screens", exit_on_error=False)
    def _load_screens(self) -> None:
        """Import the other screens ahead of need; then the names in the settings' [keys] can be checked."""
        with suppress(EngineError):
            self.library.tidy()
        self.call_from_thread(self._check_keys, all_bindings())

    def _check_keys(self, known: Collection[str]) -> None:
        self.keys_known = known
        self.apply_settings()

    # -- services

    @property
    def chosen_theme(self) -> str:
        """The theme of the settings; ours, where there is none of that name."""
        return self.settings.theme if self.settings.theme in self.available_themes else DARK.name

    @property
    def models(self) -> ModelChoice:
        """Base, generator, device, dtype: from the command line, else from the settings."""
        chosen = self.settings
        return self._models or ModelChoice(
            base=chosen.base, generator=chosen.generator, device=chosen.device, dtype=chosen.dtype
        )

    def choose_models(self, models: ModelChoice) -> None:
        """Use other models until the app ends; the settings stay as they are."""
        self._models = models

    async def go(self, mode: str) -> Screen[Any]:
        """Switch to a screen; the screen."""
        await asyncio.to_thread(PLACES[mode].screen_class)
        await self.switch_mode(mode)
        while len(self.screen_stack) > 1:
            await self.screen.dismiss()  # a dialog left open there
        return self.screen

    def show_error(
        self,
        failure: Failed | EngineError,
        ways: Mapping[str, str] | None = None,
        go: Callable[[str | None], Awaitable[None]] | None = None,
    ) -> None:
        """A dialog with what is wrong and what to do; `go` gets the one of `ways` that the person takes."""
        if isinstance(failure, EngineError):
            failure = in_app(failure)
        where = f"{failure.where}: " if failure.where else ""
        self.journal.add(f"{where}{failure.problem}", failure.details, warning=True)
        self.push_screen(ErrorDialog(failure, ways), go)

    async def ask(self, question: str, *, yes: str, no: str = "Cancel") -> bool:
        """A question; call it from a worker."""
        answer: bool | None = await self.push_screen_wait(Question(question, yes=yes, no=no))
        return bool(answer)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: Literal["information", "warning", "error"] = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a remark for a while; names of files stand in it, so it is never taken for markup."""
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=False)

    def copy_text(self, text: str, what: str) -> None:
        """To the terminal's clipboard (OSC 52, also over SSH) and to the desktop's."""
        self.copy_to_clipboard(text)
        self._copy_locally(text)
        self.notify(f"Copied {what}", timeout=2)

    @work(thread=True, group="clipboard", exit_on_error=False)
    def _copy_locally(self, text: str) -> None:
        copy_locally(text)

    # -- steps from screen to screen

    async def generate(self, prompts: PromptChoice, models: ModelChoice, solve: ContextChoice) -> None:
        """Make an adapter from what stands in `prompts`, into the library."""
        from dnd_tui.screens.generate.plan import Generation

        await self.make(Generation(prompts, models, solve))

    async def solve_instead(self, source: Path, models: ModelChoice) -> None:
        """Look at prompts again without a generator: made from their answers, or from what the person adds."""
        self.choose_models(models)
        screen = await self.go("drop")
        screen.solve(source)  # type: ignore[attr-defined]

    async def make(self, plan: Plan) -> None:
        """Make an adapter on the Generate screen: from prompts, or by training another one on."""
        screen = await self.go("generate")
        screen.begin(plan)  # type: ignore[attr-defined]

    async def compare(self, records: Sequence[AdapterRecord]) -> None:
        """Open adapters of the library beside their base."""
        from dnd_tui.screens.compare.arms import Compared

        screen = await self.go("compare")
        screen.open(Compared.of_records(records))  # type: ignore[attr-defined]

    async def compare_chain(self, compared: Compared) -> None:
        """Open a chain of layers beside its base."""
        screen = await self.go("compare")
        screen.open(compared)  # type: ignore[attr-defined]

    async def export(self, record: AdapterRecord) -> None:
        """Choose how an adapter of the library leaves it."""
        screen = await self.go("export")
        screen.open(record)  # type: ignore[attr-defined]

    async def import_adapter(self, source: Path) -> None:
        """Take an adapter of another tool into the library."""
        screen = await self.go("library")
        screen.begin_import(source)  # type: ignore[attr-defined]

    @on(Dropped)
    async def _dropped(self, message: Dropped) -> None:
        screen = await self.go("drop")
        screen.open(message.paths)  # type: ignore[attr-defined]

    @on(DropMissing)
    def _drop_missing(self, message: DropMissing) -> None:
        self.show_error(message.error)

    # -- actions

    async def action_go(self, mode: str) -> None:
        """Switch to a screen."""
        await self.go(mode)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A dialog that asks for a key gets also those that work everywhere else."""
        return not (self.screen_stack and getattr(self.screen, "TAKES_EVERY_KEY", False))

    def action_help(self) -> None:
        """Help on the open screen."""
        from dnd_tui.screens.help import HelpDialog

        if not isinstance(self.screen, HelpDialog):
            self.push_screen(HelpDialog(self.screen))

    def action_stop_job(self) -> None:
        """Stop what the device works on, or else what waits first."""
        job = self.engine.running or next(iter(self.engine.jobs), None)
        if job is None:
            self.notify("No job is running", timeout=2)
        else:
            self.engine.stop(job)

    @work(group="leave", exclusive=True)
    async def action_leave(self) -> None:
        """Leave; a job is stopped if the person agrees. Models that are loaded ahead are nothing to lose."""
        job = next((job for job in self.engine.jobs if not isinstance(job.request, LoadRequest)), None)
        if job is None or await self.ask(f"Still at work: {job.title}. Stop that and leave?", yes="Stop and leave"):
            self.exit()

    def action_change_theme(self) -> None:
        """Choose the colours."""
        from dnd_tui.screens.theme_dialog import ThemeDialog

        self.push_screen(ThemeDialog())

    def action_jump(self) -> None:
        """Letters on everything that can have the focus."""
        self.push_screen(JumpDialog(self.screen), lambda widget: widget.focus() if widget else None)

    def _job_changed(self, job: Job) -> None:
        if not self.is_running:
            return
        for sign in self.screen.query(JobSign):
            sign.refresh_job()
        if job.light or job.outcome is None:
            return
        outcome = _OUTCOMES[type(job.outcome)]
        problem, details = (job.outcome.problem, job.outcome.details) if isinstance(job.outcome, Failed) else ("", "")
        self.journal.add(f"{job.title}: {outcome} after {job.seconds:.1f} s", details, warning=bool(problem))
        with suppress(ValueError):  # no command makes such a request: nothing to run again
            command = command_line(job.request)
            run = PastRun(command=command, when=now(), seconds=job.seconds, outcome=outcome, error=problem)
            self.remember(partial(self.runs.add, run))
        # Models that were loaded ahead are nobody's news.
        if getattr(job.owner, "screen", None) is not self.screen and not isinstance(job.request, LoadRequest):
            self.notify(problem or f"{job.title}: {outcome}", severity="error" if problem else "information")

    @work(thread=True, group="histories", exit_on_error=False)
    def remember(self, add: Callable[[], None]) -> None:
        """Add to a history, which is on disk."""
        try:
            add()
        except EngineError as error:
            self._warn(str(error))

    def _warn(self, text: str) -> None:
        """A note about what the app keeps on disk, from any thread."""
        self.journal.add(text, warning=True)
