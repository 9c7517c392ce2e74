"""The text of a bug report: what is in it, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.bug_report import JOURNAL_LINES, bug_report, tail, without_home
from dnd_tui.journal import Entry
from dnd_tui.settings import Settings


def test_versions_machine_settings_and_logs_are_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.setenv("TERM_PROGRAM", "ghostty")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("SSH_CONNECTION", "203.0.113.7 1 2 3")
    settings = Settings(seed=3, keys={"app.quit": "f12"})
    text = bug_report(settings, [Entry("it broke", "line 1\nline 2")], "boom", (80, 24))
    for part in ("dnd-tui ", "python 3.", "textual 8", "torch 2", "terminal 80 x 24", "TERM xterm-kitty"):
        assert part in text, part
    assert "TERM_PROGRAM ghostty" in text and "COLORTERM truecolor" in text and "over SSH" in text
    # That it goes over SSH matters, from where does not.
    assert "203.0.113.7" not in text and "not over SSH" not in text
    assert "seed = 3\nkeys = {'app.quit': 'f12'}\n" in text and "theme" not in text
    assert "it broke" in text and "line 2" in text and "boom" in text


def test_defaults_and_empty_logs_are_told_as_none() -> None:
    text = bug_report(Settings(), [], "", (80, 24))
    assert "### Settings that differ from the defaults\n\n```\nnone\n```" in text
    assert text.count("none\n") == 3


def test_only_the_last_lines_of_the_journal() -> None:
    text = bug_report(Settings(), [Entry(f"entry {number}.") for number in range(JOURNAL_LINES + 50)], "", (80, 24))
    assert "entry 49." not in text and "entry 50." in text and f"entry {JOURNAL_LINES + 49}." in text


def test_a_log_can_hold_fences_and_escape_sequences() -> None:
    text = bug_report(Settings(), [], "a\n```\n# no title\n```\n\x1b[31mred", (80, 24))
    assert "\n````\na\n```\n# no title\n" in text and text.rstrip().endswith("````")
    assert "\x1b" not in text and "\\x1b[31mred" in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/ann/data/x.jsonl", "~/data/x.jsonl"),
        ("'/home/ann'", "'~'"),
        ("/home/ann", "~"),
        ("at /home/ann/a and /home/ann/b", "at ~/a and ~/b"),
        ("/home/anna/x", "/home/anna/x"),
        ("/home/ann-old/x", "/home/ann-old/x"),
        ("/backup/home/ann/x", "/backup/home/ann/x"),
        ("file:///home/ann/x", "file://~/x"),
    ],
)
def test_the_home_folder_is_not_named(text: str, told: str) -> None:
    assert without_home(text, Path("/home/ann")) == told


def test_a_home_that_is_everything_hides_nothing() -> None:
    assert without_home("/usr/lib", Path("/")) == "/usr/lib"


def test_the_persons_own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    text = bug_report(Settings(generator=Path("/home/ann/mine")), [Entry("read /home/ann/x")], "/home/ann/y", (80, 24))
    assert "/home/ann" not in text and "~/mine" in text and "~/x" in text and "~/y" in text


def test_the_end_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    assert tail(file) == ""
    file.write_text("one\ntwo\nthree\n")
    assert tail(file) == "one\ntwo\nthree\n"
    assert tail(file, 9) == "three\n"
    file.write_bytes(b"\xff\xfe broken\n")
    assert "broken" in tail(file)
    assert tail(tmp_path) == ""


@given(lines=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]))), size=st.integers(1, 200))
def test_the_end_is_made_of_whole_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int) -> None:
    file = tmp_path_factory.mktemp("logs") / "a.log"
    text = "".join(f"{line}\n" for line in lines)
    file.write_bytes(text.encode())
    end = tail(file, size)
    assert text.endswith(end) and len(end.encode()) <= size
    assert len(end) == len(text) or text[: len(text) - len(end)].endswith("\n")
