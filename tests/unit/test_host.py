"""The engine process: jobs in order, cancel, crashes, and nothing left behind."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path

import pytest

from engine.events import StageFinished
from engine.host import EngineProcess, Failed, Finished, JobEnded, JobEvent, JobStarted, Message, Stopped
from engine.host.__main__ import Server
from engine.host.messages import Submit
from engine.requests import GenerateRequest, InfoRequest, LoadRequest, ModelChoice, PromptChoice

PATIENCE = 90


class Front:
    """A front end that waits for messages."""

    def __init__(self, log: Path | None = None) -> None:
        self._messages: queue.Queue[Message] = queue.Queue()
        self.engine = EngineProcess(self._messages.put, log)
        self.seen: list[Message] = []

    def wait(self, wanted: type, job: int) -> Message:
        while True:
            message = self._messages.get(timeout=PATIENCE)
            self.seen.append(message)
            if isinstance(message, wanted) and message.job == job:
                return message

    def outcome(self, job: int) -> object:
        ended = self.wait(JobEnded, job)
        assert isinstance(ended, JobEnded)
        return ended.outcome

    @property
    def stages(self) -> list[str]:
        return [m.event.stage for m in self.seen if isinstance(m, JobEvent) and isinstance(m.event, StageFinished)]


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    front = Front(tmp_path / "engine.log")
    yield front
    front.engine.close()


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.txt"
    file.write_text("one\ntwo\n")
    return file


def info(target: Path) -> InfoRequest:
    return InfoRequest(models=ModelChoice(), target=target)


def loading() -> LoadRequest:
    """A job that spends seconds in imports before it can hear anything."""
    return LoadRequest(models=ModelChoice(base="/nowhere"))


def gone(pid: int) -> bool:
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_a_job_reports_and_ends_with_its_result(front: Front, prompts: Path) -> None:
    job = front.engine.submit(info(prompts))
    outcome = front.outcome(job)
    assert isinstance(outcome, Finished) and outcome.result.to_json()["rows"] == 2
    assert isinstance(front.seen[0], JobStarted) and not front.seen[0].warm
    assert "import" in front.stages


def test_jobs_are_done_in_order_by_one_process(front: Front, prompts: Path) -> None:
    first, second = front.engine.submit(info(prompts)), front.engine.submit(info(prompts))
    front.outcome(first)
    pid = front.engine.pid
    started = front.wait(JobStarted, second)
    assert isinstance(started, JobStarted) and started.warm
    front.outcome(second)
    assert front.engine.pid == pid


def test_an_error_for_people_arrives_whole(front: Front) -> None:
    outcome = front.outcome(front.engine.submit(info(Path("/no/such/file"))))
    assert isinstance(outcome, Failed)
    assert (outcome.problem, outcome.where) == ("no such file or folder", "/no/such/file")
    assert outcome.hint and "Traceback" in outcome.details and not outcome.crashed


@pytest.mark.parametrize("moment", ["before it has begun", "while it imports"])
def test_cancel_ends_a_job_that_hears_nothing(front: Front, prompts: Path, moment: str) -> None:
    job = front.engine.submit(loading())
    if moment == "while it imports":
        front.wait(JobStarted, job)
    front.engine.cancel(job)
    assert front.outcome(job) == Stopped()
    assert isinstance(front.outcome(front.engine.submit(info(prompts))), Finished)


def test_a_job_that_waits_is_cancelled_without_touching_the_one_under_way(front: Front, prompts: Path) -> None:
    first, second, third = (front.engine.submit(info(prompts)) for _ in range(3))
    front.engine.cancel(second)
    outcomes = {}
    while len(outcomes) < 3:
        message = front._messages.get(timeout=PATIENCE)
        if isinstance(message, JobEnded):
            outcomes[message.job] = type(message.outcome)
    assert outcomes == {first: Finished, second: Stopped, third: Finished}


def test_kill_in_mid_job_ends_the_job_and_the_next_one_runs(front: Front, prompts: Path, tmp_path: Path) -> None:
    job = front.engine.submit(loading())
    front.wait(JobStarted, job)
    waiting = front.engine.submit(info(prompts))
    assert front.engine.pid
    os.kill(front.engine.pid, signal.SIGKILL)
    outcome = front.outcome(job)
    assert isinstance(outcome, Failed) and outcome.crashed and "killed" in outcome.problem and outcome.hint
    assert isinstance(front.outcome(waiting), Finished)


def crashed(front: Front, number: signal.Signals) -> object:
    """The outcome of a job whose process got this signal."""
    job = front.engine.submit(loading())
    front.wait(JobStarted, job)
    assert front.engine.pid
    os.kill(front.engine.pid, number)
    return front.outcome(job)


def test_a_crash_tells_its_signal_and_last_words(front: Front) -> None:
    outcome = crashed(front, signal.SIGSEGV)
    assert isinstance(outcome, Failed) and "SIGSEGV" in outcome.problem
    assert "Segmentation fault" in outcome.details  # faulthandler wrote it into the log


def test_weights_that_are_cut_off_while_they_are_read(front: Front) -> None:
    outcome = crashed(front, signal.SIGBUS)
    assert isinstance(outcome, Failed) and "cut off meanwhile" in outcome.problem and outcome.hint


def test_a_process_that_was_killed_while_idle_is_started_anew(front: Front, prompts: Path) -> None:
    front.outcome(front.engine.submit(info(prompts)))
    pid = front.engine.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert isinstance(front.outcome(front.engine.submit(info(prompts))), Finished)
    assert front.engine.pid != pid


def test_close_leaves_no_process_behind(front: Front) -> None:
    job = front.engine.submit(loading())
    front.wait(JobStarted, job)
    pid = front.engine.pid
    assert pid
    front.engine.close()
    assert gone(pid)


def test_the_engine_ends_when_its_front_end_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from engine.host import EngineProcess\n"
        "from engine.requests import LoadRequest, ModelChoice\n"
        "engine = EngineProcess(lambda message: None)\n"
        "engine.submit(LoadRequest(models=ModelChoice(base='/nowhere')))\n"
        "print(engine.pid, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout
        pid = int(front.stdout.readline())
        front.kill()
    assert gone(pid)


def test_models_stay_in_memory_for_the_next_job(front: Front, tmp_path: Path, prompts: Path) -> None:
    request = GenerateRequest(
        models=ModelChoice(device="cpu"), prompts=PromptChoice(source=prompts), out=tmp_path / "adapter", replace=True
    )
    for _ in range(2):
        assert isinstance(front.outcome(front.engine.submit(request)), Finished)
    notes = [m.event.note for m in front.seen if isinstance(m, JobEvent) and isinstance(m.event, StageFinished)
             and m.event.stage == "load"]  # fmt: skip
    assert notes == ["", "", "already in memory", "already in memory"]


def test_the_handle_imports_nothing_heavy() -> None:
    script = "import sys, engine.host; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_process_whose_interrupt_was_swallowed_takes_no_other_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library made another error of it: what it had half imported stays so."""
    front, connection = Pipe()
    server = Server(connection)
    done: list[object] = []

    def run(request: object, reporter: object) -> None:
        done.append(request)
        server._cancelled.add(1)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("half imported") from None

    monkeypatch.setattr("engine.jobs.run", run)
    for number in (1, 2):
        server._jobs.put(Submit(number, InfoRequest(models=ModelChoice())))
    handler = signal.signal(signal.SIGINT, server.interrupt)
    try:
        server.work()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(done) == 1
    assert isinstance(front.recv(), JobStarted) and isinstance(front.recv(), JobEnded) and not front.poll()
