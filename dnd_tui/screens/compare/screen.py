"""The Compare screen: base and adapters answer the same prompts, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from dnd_tui import jobs
from dnd_tui.screens.base import JobScreen
from dnd_tui.screens.compare.answers import AnswerPanes
from dnd_tui.screens.compare.arms import Compared, CompareOptions
from dnd_tui.screens.compare.dialogs import OptionsDialog, SaveDialog, ask_for_prompts, dropped_prompts, transcript_of
from dnd_tui.screens.compare.prompts import PromptList
from dnd_tui.screens.compare.rows import ComparedPrompt, Comparison
from dnd_tui.screens.compare.scores import CompareFoot
from dnd_tui.screens.generate.plan import Training
from dnd_tui.state.adapter_record import AdapterRecord
from dnd_tui.widgets.panes import Pane, Panes
from dnd_tui.widgets.path_inputs import DropInput, Dropped
from engine.errors import EngineError
from engine.events import AnswersBy, AnswersScored, AnswerText, Note
from engine.host import Failed
from engine.requests import PromptChoice


class CompareScreen(JobScreen):
    """Prompts on the left, one column of answers an arm on the right, scores below."""

    MODE = "compare"
    HELP = """
# Compare

Base and adapted model answer the same prompt in one batch, with the same random numbers. Choose a prompt in the list
and press Enter, type one of your own, or run all of them. Words that differ are underlined.

With labels, every answer is scored as it ends, and the bars show the running scores. In the list of prompts ✓ is
right, ~ partly right, ✗ wrong, • answered without a label; the base comes first. Below the bars stands what the
scores show, and which differences are sure. Pick the best answer with the pick keys: the tally is kept with
the adapter. The options (o) let the base also answer with examples in the prompt: other prompts with their answers.
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
        #typed { height: 1; border: none; padding: 0 1; margin-bottom: 1; }
        #side { border: none; padding: 0; }
        #answers { height: 1fr; }
        &.-narrow #buttons, &.-normal #buttons { padding: 0; Button { min-width: 8; margin: 0; } }
        &.-short #typed { margin-bottom: 0; }
        &.-short #verdict { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._compared: Compared | None = None
        self._earlier: dict[str, int] = {}
        self._scored: AnswersScored | None = None
        self._differences = True
        self._typed = 0
        self.comparison = Comparison()
        self.options = CompareOptions()
        self.shown: ComparedPrompt | None = None

    def body(self) -> Iterable[Widget]:
        """Prompts, answers, scores, buttons."""
        yield Panes(
            Pane(
                "Prompts",
                DropInput(placeholder="Type a prompt, Enter runs it", id="typed"),
                PromptList(id="list"),
                id="prompts",
            ),
            Pane("Answers", AnswerPanes(id="answers"), id="side", share=2),
            narrow=100,
        )
        yield CompareFoot(id="foot")

    def on_mount(self) -> None:
        """Options as the settings have them; what the signs of the list mean."""
        self.options = CompareOptions.of(self.dnd.settings)
        self.query_one("#prompts", Pane).border_subtitle = "✓ right  ~ partly  ✗ wrong"
        self._settle()

    # -- what is compared

    def open(self, compared: Compared) -> None:
        """Compare adapters, or a chain, with their base; an open comparison of the same goes on."""
        if self._compared is not None and compared.key == self._compared.key:
            # Prompts that the person chose stay chosen.
            self._compared = replace(compared, prompts=self._compared.prompts)
        else:
            self._begin(compared)
        self.query_one(Panes).show("prompts")
        self.query_one(PromptList).focus_table()

    def _begin(self, compared: Compared) -> None:
        self.action_stop()
        self._job = None  # what it still reports is about other adapters, or other prompts
        self._compared = compared
        self._scored = None
        self.comparison = Comparison(compared.arms(self.options.examples))
        self._earlier = compared.earlier_picks
        self.shown = None
        self._typed = 0
        if compared.prompts:
            self.query_one(PromptList).open(compared.prompts)
        else:
            self.query_one(PromptList).ask()
        self.query_one(AnswerPanes).begin("", list(self.comparison.arms), ())
        self._settle()

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
            self._begin(replace(self._compared, prompts=PromptChoice(source=source.absolute())))
            self.query_one(Panes).show("prompts")
            self.query_one(PromptList).focus_table()

    # -- running

    def _run(self, numbers: Sequence[int], texts: Sequence[str] = ()) -> None:
        if self._compared is None:
            self.notify("Choose an adapter in the Library (key 5)", severity="warning")
            return
        if self.running:
            self.notify("Stop the answers first (key s)", severity="warning")
            return
        self.comparison.begin(numbers)
        request = self._compared.request(numbers, texts, self.options)
        self._arm_names = dict(zip(request.arms, self.comparison.arms, strict=True))
        many = len(numbers) + len(texts)
        title = f"answer {many} prompt{'' if many == 1 else 's'} with {len(request.arms)} arms"
        self._typed_now = -len(texts)
        self._job = self.dnd.engine.start(request, title, self)
        self._settle()

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._job:
            return
        touched = set()
        for event in message.events:
            if isinstance(event, AnswerText):
                touched.add(self._take(event))
            elif isinstance(event, AnswersBy):
                self.comparison.decoder = str(event)
            elif isinstance(event, AnswersScored):
                self._scored = event
            elif isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")
        self.query_one(PromptList).show_signs(touched - {None}, self.comparison)  # type: ignore[arg-type]
        self._show_scores()

    def _take(self, event: AnswerText) -> int | None:
        number = self._number(event.row)
        piece = replace(event, row=number, arm=self._arm_names[event.arm])
        prompt = self.comparison.take(piece)
        if prompt is None:
            return None
        if prompt is self.shown:
            panes = self.query_one(AnswerPanes)
            panes.append(piece.arm, piece.text)
            if piece.done:
                self._finish(piece.arm)
        elif len(prompt.answers) == 1 and not prompt.done and self._follows(prompt):
            self.show(prompt)
        return number

    def _follows(self, prompt: ComparedPrompt) -> bool:
        """While all are run, the panes follow the prompt that is being answered."""
        return self.shown is None or (self.shown.done and self._job is not None)

    def _number(self, row: int) -> int:
        """The engine numbers typed prompts -1, -2 in every job; here they go on through all jobs."""
        return row if row > 0 else row - self._typed_now - self._typed

    @on(jobs.JobEnded)
    async def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is not self._job:
            return
        self.comparison.forget_unfinished()
        self.query_one(PromptList).show_signs(self.comparison.prompts, self.comparison)
        if self.shown and not self.shown.done:
            self.show(self.shown)
        if isinstance(message.outcome, Failed):
            self.dnd.show_error(message.outcome)
        if self.comparison.judged():
            await self._keep_scores()
        self._settle()

    async def _keep_scores(self) -> None:
        """Scores and picks of one adapter against its base belong to that adapter."""
        measured = self.comparison.measured(self._scored.metric) if self._scored else []
        kept = self._compared.kept(measured, self.comparison.picks(self._earlier)) if self._compared else None
        if kept is None:
            return
        try:
            id, scores, picks = kept
            await asyncio.to_thread(self.dnd.library.add_scores, id, scores)
            await asyncio.to_thread(self.dnd.library.set_picks, id, picks)
        except EngineError as error:
            self.dnd.show_error(error)

    # -- what is shown

    def show(self, prompt: ComparedPrompt) -> None:
        """Prompt and answers, as far as there are any."""
        self.shown = prompt
        panes = self.query_one(AnswerPanes)
        panes.begin(prompt.prompt, list(self.comparison.arms), prompt.references)
        for arm, answer in prompt.answers.items():
            panes.append(arm, answer.text)
            if answer.done:
                self._finish(arm)
        panes.set_picked(prompt.pick)

    def _finish(self, arm: str) -> None:
        assert self.shown
        answer = self.shown.answers[arm]
        panes = self.query_one(AnswerPanes)
        panes.finish(arm, answer.score, answer.first_seconds, answer.tokens_per_second, answer.asked)
        panes.highlight(self._differences)

    def _show_scores(self) -> None:
        self.query_one(CompareFoot).show_scores(self.comparison.scores(self._earlier))

    def _settle(self) -> None:
        compared, foot = self._compared, self.query_one(CompareFoot)
        foot.settle(chosen=compared is not None, running=self.running, exported=not compared or bool(self._records))
        self._show_scores()
        # Not while answers come: it takes longer than a bar.
        said = [compared.verdict(self.comparison, self._scored)] if compared and self._scored else []
        foot.show_verdict(" ".join([*filter(None, said), *self.comparison.answered_by]))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Adapters that were generated have prompts of their own; one adapter is trained at a time."""
        if action == "train":
            return len(self._records) == 1
        return action != "prompts" or self._choosing

    @on(PromptList.Highlighted)
    def _highlighted(self, message: PromptList.Highlighted) -> None:
        row = message.row
        self.show(self.comparison.prompt(row.number, row.prompt, row.references))

    @on(PromptList.Chosen)
    def _chosen(self, message: PromptList.Chosen) -> None:
        row = message.row
        self.show(self.comparison.prompt(row.number, row.prompt, row.references))
        self._run([row.number])
        self.query_one(Panes).show("side")

    @on(Input.Submitted, "#typed")
    def _submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if not text or self.running or self._compared is None:
            return
        self._typed += 1
        prompt = self.comparison.prompt(-self._typed, text)
        self.query_one(PromptList).add_typed(prompt.number, text)
        self.show(prompt)
        event.input.value = ""
        self._run([], [text])
        self.query_one(Panes).show("side")

    # -- actions

    def action_run(self) -> None:
        """Answer the prompt under the cursor."""
        self.query_one(PromptList).choose()

    def action_run_all(self) -> None:
        """Answer every prompt of the list that has no answers yet."""
        listed = self.query_one(PromptList)
        numbers = listed.unanswered(self.comparison)
        kept = listed.kept_as_examples(numbers, self.options)
        if kept:
            self.notify(f"{len(kept)} prompts serve as examples now. Run all again to answer them too", timeout=8)
        if numbers:
            self._run([number for number in numbers if number not in kept])
        else:
            self.notify("All prompts of the list are answered", timeout=3)

    def action_type(self) -> None:
        """To the field for a prompt of one's own."""
        self.query_one(Panes).show("prompts")
        self.query_one("#typed").focus()

    async def action_pick(self, which: str) -> None:
        """Note whose answer to the shown prompt is best: "base", the "next" adapter, "none"."""
        if self.shown is None or not self.shown.done:
            return
        self.comparison.pick(self.shown, which)
        self.query_one(AnswerPanes).set_picked(self.shown.pick)
        self._show_scores()
        await self._keep_scores()

    def action_differences(self) -> None:
        """Show or hide what differs from the base's answer."""
        self._differences = not self._differences
        self.query_one(AnswerPanes).highlight(self._differences)

    def action_step(self, by: int) -> None:
        """To the next or previous prompt of the list."""
        self.query_one(PromptList).step(by)

    @work(group="options")
    async def action_options(self) -> None:
        """Length, temperature, seed, metric and examples of what is run from now on."""
        answered = bool(self.query_one(PromptList).answered)
        chosen = await self.app.push_screen_wait(OptionsDialog(self.options, answered=answered))
        before, self.options = self.options, chosen or self.options
        if self._compared is not None and self.options.examples != before.examples:
            self.action_stop()
            self._job = None  # what it still reports is of other arms
            self.comparison.change_arms(self._compared.arms(self.options.examples))
            self.query_one(PromptList).show_signs(self.comparison.prompts, self.comparison)
            if self.shown:
                self.show(self.shown)
            self._settle()

    @work(group="save")
    async def action_save(self) -> None:
        """Write the transcript."""
        if self._compared is None or not self.comparison.transcript_rows():
            self.notify("Answer a prompt first: there is nothing to save", severity="warning")
            return
        transcript = transcript_of(self.comparison, self._compared, self.options, self._scored)
        await self.app.push_screen_wait(SaveDialog(transcript, self._compared.name))

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
