"""The command `library`: what is in the library of the app, and notes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnd_tui.cli import main
from dnd_tui.config import data_folder
from dnd_tui.state.adapter_record import AdapterRecord, AdapterScore
from dnd_tui.state.library import Library
from tests.unit.test_app_library import put

SCORES = tuple(
    AdapterScore(arm=arm, metric="label", rows=40, mean=mean) for arm, mean in (("base", 0.1), ("adapted", 0.8))
)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setenv("DND_TUI_DATA", str(tmp_path))
    return Library(data_folder() / "library")


def called(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        main(["library", *arguments])
    return end.value.code


def test_the_list_has_names_scores_and_folders(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    assert called() == 0 and "The library is empty" in capsys.readouterr().out
    assert called("--json") == 0 and capsys.readouterr().out == ""
    older, newer = put(library, name="animals\x1b[2J"), put(library, scores=SCORES)
    assert called() == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"topics  label 0.10 → 0.80, 40 rows  2025-01-01 00:00  {newer.folder}"
    assert second.startswith("animals\\x1b[2J  not measured") and str(older.folder) in second
    assert called("--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in records] == ["topics", older.name] and records[0]["folder"] == str(newer.folder)


def test_a_note_is_written_printed_and_taken_away(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    record = put(library)
    assert called("note", "Topics") == 0 and capsys.readouterr().out == "no note on topics\n"
    assert called("note", "topics", "good on\nshort tickets") == 0
    assert library.record(record.id).note == "good on\nshort tickets"
    assert called("note", record.id) == 0 and capsys.readouterr().out.endswith("good on\nshort tickets\n")
    assert called() == 0 and capsys.readouterr().out.endswith("    good on short tickets\n")
    assert called("note", "topics", "") == 0 and library.record(record.id).note == ""


def test_an_unknown_name_is_an_error_with_the_nearest(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    put(library)
    assert called("note", "topic", "x") == 1
    told = capsys.readouterr().err
    assert told == 'error: topic: no adapter of this name is in the library. The nearest is "topics"\n'


def test_a_damaged_adapter_is_left_out(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    record = put(library)
    (record.folder.parent / "record.json").write_text("{")
    assert called() == 0 and "empty" in capsys.readouterr().out
    assert not [entry for entry in library.entries() if isinstance(entry, AdapterRecord)]


def test_a_mistyped_word_leads_there(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["librari"])
    assert "Did you mean dnd-tui library?" in capsys.readouterr().err
