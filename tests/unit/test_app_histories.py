"""Recent sources and past runs: kept, bounded, shared by two apps, and never lost because of a bad line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.state import stored
from dnd_tui.state.histories import AskedHistory, AskedPrompt, PastRun, RecentSources, RunHistory
from dnd_tui.state.stored import DamagedError, from_plain, read_line, to_plain, write_line
from engine.errors import EngineError


def run(command: str, **more: Any) -> PastRun:
    return PastRun(**{"command": command, "when": "2025-01-01T00:00:00", "seconds": 1.5, "outcome": "done"} | more)


class Folder:
    """A data folder and the notes told about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []

    @property
    def recent(self) -> RecentSources:
        return RecentSources(self.path, warn=self.notes.append)

    @property
    def runs(self) -> RunHistory:
        return RunHistory(self.path, warn=self.notes.append)

    @property
    def asked(self) -> AskedHistory:
        return AskedHistory(self.path, warn=self.notes.append)

    def commands(self) -> list[str]:
        return [each.command for each in self.runs.newest_first()]

    def names(self) -> list[str]:
        return sorted(each.name for each in self.path.iterdir() if each.name != ".lock")


@pytest.fixture
def data(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


def test_nothing_is_made_by_reading(data: Folder) -> None:
    assert data.recent.newest_first() == [] and data.runs.find("x") == []
    assert not data.path.exists()


def test_recent_sources_newest_first_each_once(data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").touch()
    for name, rows in (("a.jsonl", 1), ("b.csv", None), ("a.jsonl", 3)):
        data.recent.add(Path(name), rows=rows, format=name[-3:])
    first, second = data.recent.newest_first()
    assert (first.path, first.rows, first.missing) == (tmp_path / "a.jsonl", 3, False)
    assert (second.path, second.rows, second.missing) == (tmp_path / "b.csv", None, True)
    assert first.when >= second.when
    (tmp_path / "b.csv").touch()
    assert [each.missing for each in data.recent.newest_first()] == [False, False]


def test_a_source_whose_name_is_no_text_is_kept(data: Folder, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n\xe2\x80\xa8.txt"))
    data.recent.add(path, rows=1, format="txt")
    assert [each.path for each in data.recent.newest_first()] == [path]


def asked(prompt: str, **more: Any) -> AskedPrompt:
    given = {"answers": {"base": "No.", "Topics": "Sport"}, "when": "2025-01-01T00:00:00", "base": "tiny/base"} | more
    return AskedPrompt(prompt=prompt, adapters=("Topics",), **given)


def test_what_was_asked_is_found_by_words_of_anything(data: Folder) -> None:
    assert data.asked.newest_first() == [] and not data.path.exists()
    data.asked.add([asked("Who won?"), asked("Where?", turn=2, system="Be a Pirate."), asked("[b]When[/b]\n\x1b")])
    data.asked.add([asked("Who won?", when="2025-02-03T04:05:06", source="topics.jsonl")])
    every = data.asked.newest_first()
    assert [each.prompt for each in every] == ["Who won?", "[b]When[/b]\n\x1b", "Where?", "Who won?"]
    assert every[2].turn == 2 and every[2].answers == {"base": "No.", "Topics": "Sport"}

    def found(words: str) -> list[int]:
        return [at for at, each in enumerate(every) if each.holds(words)]

    assert found("") == found("SPORT tiny/base topics") == [0, 1, 2, 3]
    assert found("who 2025-02") == found("topics.jsonl") == [0]
    assert found("pirate chat") == [2] and found("nowhere") == []


def test_many_at_once_are_one_writing_and_the_oldest_go(data: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    write = stored.write_text
    monkeypatch.setattr(stored, "write_text", lambda path, text: (written.append(path), write(path, text)))
    data.asked.add([asked(f"prompt {number}") for number in range(2003)])
    assert len(written) == 1
    kept = data.asked.newest_first()
    assert (len(kept), kept[0].prompt, kept[-1].prompt) == (2000, "prompt 2002", "prompt 3")


def test_histories_are_bounded(data: Folder) -> None:
    for number in range(53):
        data.recent.add(Path(f"/p/{number}"), rows=1, format="txt")
    assert [each.path.name for each in data.recent.newest_first()] == [str(number) for number in range(52, 2, -1)]
    for number in range(500):
        lines = data.path / "runs.jsonl"
        with open(lines, "a", encoding="utf-8") as file:
            file.write(write_line(1, to_plain(run(str(number)))) + "\n")
    data.runs.add(run("new"))
    assert data.commands() == ["new", *(str(number) for number in range(499, 0, -1))]


def test_runs_are_found_by_words_in_any_order_and_case(data: Folder) -> None:
    data.runs.add(run("dnd-tui generate Topics.jsonl --out a"))
    data.runs.add(run("dnd-tui compare topics.jsonl", outcome="failed", error="the device is out of memory"))
    data.runs.add(run("dnd-tui info", outcome="cancelled"))
    found = [(each.command.split()[1], each.outcome) for each in data.runs.find("TOPICS dnd")]
    assert found == [("compare", "failed"), ("generate", "done")]
    assert [each.error for each in data.runs.find("memory failed")] == ["the device is out of memory"]
    assert len(data.runs.find(" ")) == 3 and data.runs.find("memory generate") == []


NEWER = b'{"version": 2, "command": "new", "more": 1}'
WRONG = [
    b"{half",
    b"\xff\xfe",
    b"3",
    b'{"command": "no version"}',
    NEWER,
    write_line(1, {"command": "c", "when": "t", "seconds": 1}).encode(),
    write_line(1, {"command": "c", "when": "t", "seconds": True, "outcome": "done"}).encode(),
    write_line(1, {"command": "c", "when": "t", "seconds": 1, "outcome": "lost"}).encode(),
    write_line(1, {"command": "c", "when": "t", "seconds": 1, "outcome": "done", "extra": 1}).encode(),
    b"[" * 100_000,
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_a_bad_line_is_moved_aside_with_a_note(data: Folder, wrong: bytes) -> None:
    data.runs.add(run("first"))
    file = data.path / "runs.jsonl"
    good = file.read_bytes()
    file.write_bytes(good + wrong + b"\n" + good.replace(b"first", b"second") + wrong)
    assert data.commands() == ["second", "first"]
    aside, kept = data.names()
    assert kept == "runs.jsonl" and (data.path / aside).read_bytes() == (wrong + b"\n") * 2
    assert file.read_bytes() == good + good.replace(b"first", b"second")
    assert len(data.notes) == 1 and f"2 lines could not be read and went to {aside}" in data.notes[0]
    assert data.commands() == ["second", "first"] and len(data.notes) == 1


def test_adding_moves_bad_lines_aside_too(data: Folder) -> None:
    data.path.mkdir()
    (data.path / "runs.jsonl").write_bytes(NEWER)
    data.runs.add(run("one"))
    assert data.commands() == ["one"] and "version 2" in data.notes[0]
    assert [(data.path / name).read_bytes() for name in data.names()[:1]] == [NEWER + b"\n"]


def test_what_cannot_be_read_or_written_is_told(data: Folder) -> None:
    (data.path / "runs.jsonl").mkdir(parents=True)
    with pytest.raises(EngineError, match="cannot be read"):
        data.runs.newest_first()
    with pytest.raises(EngineError, match="cannot be"):
        Folder(Path("/proc/nowhere")).runs.add(run("one"))


def test_two_apps_lose_nothing_of_each_other(data: Folder) -> None:
    code = (
        "import sys; from pathlib import Path; from dnd_tui.state.histories import RecentSources\n"
        "for n in range(20): RecentSources(Path(sys.argv[1]), warn=print).add(Path(f'/{sys.argv[2]}/{n}'), rows=n,"
        " format='txt')"
    )
    apps = [subprocess.Popen([sys.executable, "-c", code, str(data.path), name]) for name in "ab"]
    assert [app.wait(timeout=60) for app in apps] == [0, 0]
    found = [str(each.path) for each in data.recent.newest_first()]
    assert sorted(found) == sorted(f"/{name}/{number}" for name in "ab" for number in range(20))
    assert data.notes == [] and data.names() == ["recent.jsonl"]


TEXT = st.text(st.characters())


@given(TEXT, st.floats(0, 1e9), st.sampled_from(["done", "failed", "cancelled"]), TEXT)
def test_a_line_holds_any_run(command: str, seconds: float, outcome: Any, error: str) -> None:
    one = PastRun(command=command, when="now", seconds=seconds, outcome=outcome, error=error)
    line = write_line(1, to_plain(one))
    assert "\n" not in line and line.isascii()
    assert from_plain(PastRun, read_line(1, line.encode())) == one


@given(st.binary() | st.recursive(st.none() | st.integers() | TEXT, st.lists).map(lambda x: json.dumps(x).encode()))
def test_no_line_breaks_the_reader(line: bytes) -> None:
    with pytest.raises(DamagedError):
        from_plain(PastRun, read_line(1, line))


@dataclass(frozen=True)
class Inner:
    path: Path | None = None


@dataclass(frozen=True)
class Outer:
    pairs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    inner: tuple[Inner, ...] = ()


def test_records_in_records() -> None:
    one = Outer({"a": (1.0, 2.5)}, (Inner(Path("p")), Inner()))
    assert from_plain(Outer, json.loads(json.dumps(to_plain(one)))) == one


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"pairs": {"a": [1.0]}}, "pairs is of the wrong type"),
        ({"pairs": {"a": 1.0}}, "pairs is of the wrong type"),
        ({"inner": [{"path": 3}]}, "path is of the wrong type"),
        ({"inner": [{"pth": None}]}, "pth is not known"),
        ({"inner": {}}, "inner is of the wrong type"),
        ([], "is no Outer"),
    ],
)
def test_other_types_are_refused(wrong: Any, problem: str) -> None:
    with pytest.raises(DamagedError, match=problem):
        from_plain(Outer, wrong)
