"""The part of the Compare screen that asks for answers and shows them as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from textual import on

from dnd_tui import jobs
from dnd_tui.screens.base import JobScreen
from dnd_tui.screens.compare.answers import AnswerPanes
from dnd_tui.screens.compare.arms import CompareOptions
from dnd_tui.screens.compare.prompts import PromptList
from dnd_tui.screens.compare.rows import ComparedPrompt, Comparison
from dnd_tui.screens.compare.scores import CompareFoot
from dnd_tui.screens.compare.session import Session
from dnd_tui.widgets.panes import Panes
from engine.errors import EngineError
from engine.events import AnswersBy, AnswersScored, AnswerText, Note
from engine.host import Failed


class AnsweringScreen(JobScreen):
    """A session with its list of prompts, its answers and its foot, and the job that answers."""

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._follows = False
        self.options = CompareOptions()

    @property
    def comparison(self) -> Comparison:
        """What was answered so far."""
        return self._session.comparison if self._session else Comparison()

    @property
    def shown(self) -> ComparedPrompt | None:
        """The prompt whose answers are shown: the one under the cursor."""
        return self._session.shown if self._session else None

    def _leave_job(self) -> None:
        """What is still answered is of other arms, or other prompts, than those that come now."""
        self.action_stop()
        self._job = None
        self.comparison.forget_unfinished()

    # -- running

    def _run(self, prompts: Sequence[ComparedPrompt]) -> None:
        """Answer these, those that were typed too."""
        if self._session is None:
            self.notify("Choose an adapter in the Library (key 5)", severity="warning")
            return
        if self.running:
            self.notify("Stop the answers first (key s)", severity="warning")
            return
        title = f"answer {len(prompts)} prompt{'' if len(prompts) == 1 else 's'} side by side"
        self._job = self.dnd.engine.start(self._session.ask(prompts, self.options), title, self)
        if self.shown in prompts:
            self._show_answers()
        self._settle()

    @on(jobs.JobReported)
    def _reported(self, message: jobs.JobReported) -> None:
        if message.job is not self._job or self._session is None:
            return
        touched = set()
        for event in message.events:
            if isinstance(event, AnswerText):
                prompt, arm = self._session.take(event)
                self._answer(prompt, arm, event)
                touched.add(prompt.number)
            elif isinstance(event, AnswersBy):
                self.comparison.decoder = str(event)
            elif isinstance(event, AnswersScored):
                self._session.scored = event
            elif isinstance(event, Note) and event.warning:
                self.notify(event.text, severity="warning")
        self.query_one(PromptList).show_signs(touched)
        self._show_scores()

    def _answer(self, prompt: ComparedPrompt, arm: str, piece: AnswerText) -> None:
        if prompt is self.shown:
            panes = self.query_one("#answers", AnswerPanes)
            panes.append(arm, piece.text)
            if piece.done:
                panes.finish(arm, prompt.answers[arm])
        elif self._follows and not prompt.done and self._may_go_on:
            # While all are run, list and answers go along, until the person moves the cursor.
            self.show(prompt)
            self.query_one(PromptList).point_at(prompt.number)

    @property
    def _may_go_on(self) -> bool:
        """Whether nothing more is awaited of the prompt that is shown."""
        return not (self._session and self.shown and not self.shown.done and self._session.asks(self.shown))

    @on(jobs.JobEnded)
    async def _ended(self, message: jobs.JobEnded) -> None:
        if message.job is not self._job:
            return
        self._follows = False
        self.comparison.forget_unfinished()
        self.query_one(PromptList).show_signs(self.comparison.prompts)
        if self._session and (asked := self._session.asked):
            self.dnd.remember(partial(self.dnd.asked.add, asked))
        if self.shown and not self.shown.done:
            self._show_answers()
        if isinstance(message.outcome, Failed):
            self.dnd.show_error(message.outcome)
        if self.comparison.judged():
            await self._keep_scores()
        self._settle()

    async def _keep_scores(self) -> None:
        """Scores and picks of one adapter against its base belong to that adapter."""
        kept = self._session.kept() if self._session else None
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
        assert self._session
        self._session.shown = prompt
        self._show_answers()

    def _show_answers(self) -> None:
        if self._session and self.shown:
            waiting = self.running and self._session.asks(self.shown)
            self.query_one("#answers", AnswerPanes).show_prompt(self.shown, self.comparison.arms, waiting=waiting)

    def _show_scores(self) -> None:
        self.query_one(CompareFoot).show_scores(self._session.scores if self._session else [])

    def _settle(self) -> None:
        session, foot = self._session, self.query_one(CompareFoot)
        foot.settle(
            chosen=session is not None, running=self.running, exported=not session or bool(session.compared.records)
        )
        self._show_scores()
        # Before there are answers, the prompts have the width.
        empty = not self.running and not (session and session.answered)
        self.query_one(Panes).spread("prompts" if empty else None)
        self.set_class(empty, "-unanswered")
        # Not while answers come: it takes longer than a bar.
        foot.show_verdict(session.verdict if session else "")
        self.refresh_bindings()
