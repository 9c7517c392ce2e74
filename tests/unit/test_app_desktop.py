"""The clipboard and the editor of the person's own machine."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnd_tui.desktop import EditedText, LocalCopy, copy_locally, edit_command
from engine.errors import EngineError


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a screen, and no program but those put into the folder."""
    for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "WAYLAND_DISPLAY", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setenv("PATH", str(tmp_path))
    # A machine that runs tests may be slow.
    monkeypatch.setattr("dnd_tui.desktop.PATIENCE_SECONDS", 60)
    return tmp_path


linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the clipboard needs no tool")


@linux
def test_a_text_goes_to_the_clipboard_tool(desktop: Path) -> None:
    program(desktop, "xclip", f"/bin/cat > '{desktop}/copied'; echo noise >&2")
    assert copy_locally("é\n$x") is LocalCopy.DONE
    assert (desktop / "copied").read_bytes() == "é\n$x".encode()


@linux
def test_without_a_tool_that_is_said(desktop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert copy_locally("x") is LocalCopy.NO_TOOL
    assert capfd.readouterr() == ("", "")


@linux
def test_a_tool_that_hangs_is_ended(desktop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(desktop, "xclip", f"echo $$ > '{desktop}/pid'; exec /bin/sleep 60")
    monkeypatch.setattr("dnd_tui.desktop.PATIENCE_SECONDS", 2)
    assert copy_locally("x") is LocalCopy.TOO_SLOW
    if (desktop / "pid").exists():  # else the machine was too slow to start it
        state = Path(f"/proc/{(desktop / 'pid').read_text().strip()}/stat")
        until = time.monotonic() + 20  # a kill is sent at once; on a busy machine it arrives when its turn comes
        while (ended := not state.exists() or ") Z " in state.read_text()) is False and time.monotonic() < until:
            time.sleep(0.05)
        assert ended


@linux
def test_over_ssh_nothing_is_run(desktop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(desktop, "xclip", f"/bin/cat > '{desktop}/copied'")
    monkeypatch.setenv("SSH_CONNECTION", "1.2.3.4 5 6.7.8.9 22")
    assert copy_locally("x") is LocalCopy.REMOTE
    assert not (desktop / "copied").exists()


def test_the_editor_is_the_persons_choice(desktop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path("a b.md")
    for name in ("ed-config", "ed-visual", "ed-editor", "vi"):
        program(desktop, name, "")
    assert edit_command(None, file) == ["vi", "a b.md"]
    monkeypatch.setenv("EDITOR", "ed-editor --wait 'x y'")
    assert edit_command(None, file) == ["ed-editor", "--wait", "x y", "a b.md"]
    monkeypatch.setenv("VISUAL", "ed-visual")
    assert edit_command(None, file) == ["ed-visual", "a b.md"]
    assert edit_command("ed-config -n", file) == ["ed-config", "-n", "a b.md"]


@pytest.mark.parametrize(
    ("editor", "problem"),
    [(None, "no editor was found"), ("nope -w", "nope: no such editor"), ("ed 'x", "cannot be read"), (" ", "found")],
)
def test_an_editor_that_cannot_be_run_is_told(desktop: Path, editor: str | None, problem: str) -> None:
    with pytest.raises(EngineError, match=f"{problem}.*config.toml"):
        edit_command(editor, Path("a"))


@pytest.mark.parametrize(
    ("text", "script", "edited"),
    [
        ("one", ":", "one"),
        ("one", 'printf "two\\nlines\\n" > "$1"', "two\nlines"),
        ("one\n", 'printf "two\\n" > "$1"', "two\n"),
        ("é\r\nb", 'printf "c" >> "$1"; echo junk > "$1~"', "é\r\nbc"),
        ("one", 'printf "" > "$1"', ""),
    ],
)
def test_a_text_goes_through_the_editor(desktop: Path, text: str, script: str, edited: str) -> None:
    editor = program(desktop, "ed", script)
    with EditedText(text, suffix=".md") as file:
        assert file.path.suffix == ".md" and file.path.parent.stat().st_mode & 0o077 == 0
        subprocess.run(edit_command(str(editor), file.path), check=True)
        assert file.read() == edited
    assert not file.path.parent.exists()


@pytest.mark.parametrize(
    ("script", "problem"), [('/bin/rm "$1"', "cannot be read"), ("printf '\\377' > \"$1\"", "UTF-8")]
)
def test_a_text_that_did_not_come_back_is_told(desktop: Path, script: str, problem: str) -> None:
    editor = program(desktop, "ed", script)
    with EditedText("one") as file:
        subprocess.run(edit_command(str(editor), file.path), check=True)
        with pytest.raises(EngineError, match=problem):
            file.read()
