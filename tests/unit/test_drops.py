"""Whatever a terminal pastes for dropped files is read back into exactly these files; all else stays text."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import dnd_tui.drops as drops
from dnd_tui.drops import LONGEST_TEXT, MOST_PATHS, explain_missing, find_drop, looks_like_paths, readings, showable
from tests.spellings import SPELLINGS, on_windows

NO_REMOTE: dict[str, str] = {}


def put(folder: Path, *names: str) -> list[Path]:
    """Empty files; a name that ends with a slash is a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.touch()
    return [folder / name for name in names]


def dropped(text: str) -> list[Path] | None:
    drop = find_drop(text)
    return list(drop.paths) if drop else None


NAMES = {
    "plain": ["prompts.jsonl"],
    "several": ["one.txt", "two.txt", "three.txt"],
    "spaces": ["my prompts.jsonl", " leading", "two  in a row", "trailing "],
    "quotes": ["it's.txt", 'say "hi".txt', "both ' and \".txt", "'all quoted'"],
    "backslashes": ["a\\b.txt", "a\\ b.txt", "ends with\\", "\\", "C:\\looks like windows"],
    "for a shell": ["$HOME.txt", "`x`.txt", "a&b;c|d.txt", "(1) [2] {3}.txt", "*?.txt", "#1.txt", "~.txt", "-rf", "!x"],
    "percent": ["100%.txt", "%41.txt", "a%20b.txt", "file:a"],
    "unicode": ["prómpts.txt", "数据 集.jsonl", "🙂.txt", "no\u00a0break.txt", "9.41\u202fAM.png", "a\u2028b.txt"],
    "tab": ["a\tb.txt"],
    "folders": ["a folder/", "nested/deep one/", "dots.in.name/"],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("case", NAMES)
def test_every_spelling_of_strange_names(tmp_path: Path, case: str, spelling: str) -> None:
    paths = put(tmp_path / "some where", *NAMES[case])
    assert dropped(SPELLINGS[spelling](paths)) == paths


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", [name for names in NAMES.values() for name in names])
def test_every_spelling_of_one_file(tmp_path: Path, name: str, spelling: str) -> None:
    paths = put(tmp_path, name)
    assert dropped(SPELLINGS[spelling](paths)) == paths
    assert dropped(SPELLINGS[spelling](paths) + " \n") == paths


strange_names = st.lists(
    st.text(
        st.one_of(
            st.sampled_from(" \\'\"$`%~:&\t\u00a0\u202f"),
            st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/"),
        ),
        max_size=20,
    ),
    min_size=1,
    max_size=4,
)


@given(strange_names)
def test_round_trip(ends: list[str]) -> None:
    # The number in front keeps apart what would be two spellings of one another, such as `a b` and `a\ b`.
    with tempfile.TemporaryDirectory() as folder:
        try:
            paths = put(Path(folder), *(f"{number}{end}" for number, end in enumerate(ends)))
        except OSError:  # a name that the file system does not take
            assume(False)
        for name, spelling in SPELLINGS.items():
            assert dropped(spelling(paths)) == paths, name


pasted = st.one_of(
    st.text(st.characters()),
    st.lists(
        st.sampled_from(
            ["/", "/tmp", "~", "~/", "~root/", "'", '"', "\\", " ", "\n", "\r\n", "\t", "file://", "file:///", "%2",
             "%00", "%ff", "%0a", "C:\\", "\\\\", "\u202f", "\u00a0", "a", ".", "..", "\ud800", "\x00", "\x1b", "\x85"]
        ),
        max_size=30,
    ).map("".join),
)  # fmt: skip


@given(pasted)
def test_no_text_raises(text: str) -> None:
    readings(text)
    drop = find_drop(text)
    explain_missing(text, NO_REMOTE)
    if drop:
        assert looks_like_paths(text)
        assert drop.paths
        assert all(path.is_absolute() and path.exists() for path in drop.paths)


@given(pasted)
def test_a_line_is_only_ever_read_as_absolute_paths(text: str) -> None:
    assert all(places and all(map(os.path.isabs, places)) for places in readings(text))


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "\n\n", "/", "~", " / ", "//", "plain words", "here.txt", "./here.txt", "'here.txt'", "~nobody-here/x",
        "What is in {file}?", "{file} and more", "{file} {file}.missing", "{file}\n{file}.missing", "{file}\nwords",
        "{file}\x1b[0m", "{file}\x00", "{file}\x07", "'{file}", '"{file}', "{file}\\", "file://elsewhere{file}",
        "file://{file}%00", "file://{file}%0a", "file://{file}%ff", "file:", "http://localhost{file}",
    ],
)  # fmt: skip
def test_text_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (file,) = put(tmp_path, "here.txt")
    assert dropped(text.replace("{file}", str(file))) is None


def test_a_name_that_continues_behind_the_path_is_not_cut(tmp_path: Path) -> None:
    short, long = put(tmp_path, "a", "a b")
    assert dropped(f"{short} b") == [long]
    assert dropped(f"{short} {long}") == [short, long]


def test_the_raw_text_goes_first(tmp_path: Path) -> None:
    literal, _ = put(tmp_path, "a\\ b", "a b")
    assert dropped(str(literal)) == [literal]


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file, other = put(tmp_path, "my prompts.txt", "b.txt")
    assert dropped("~/my prompts.txt") == [file]
    assert dropped("~/my\\ prompts.txt ~/b.txt") == [file, other]


def test_an_address_of_this_host(tmp_path: Path) -> None:
    (file,) = put(tmp_path, "a b.txt")
    assert dropped(file.as_uri().replace("file://", f"file://{socket.gethostname().upper()}")) == [file]
    assert dropped(file.as_uri().replace("file://", "FILE:")) == [file]


@pytest.mark.parametrize(
    ("on_disk", "in_text"),
    [
        ("Screenshot 2026-01-02 at 9.41.00\u202fAM.png", "Screenshot 2026-01-02 at 9.41.00 AM.png"),
        ("Screenshot 2026-01-02 at 9.41.00 AM.png", "Screenshot 2026-01-02 at 9.41.00\u202fAM.png"),
        ("a\u00a0b\u202fc.txt", "a b\u00a0c.txt"),
        ("of a\u00a0folder/a\u202fb.txt", "of a folder/a b.txt"),
    ],
)
@pytest.mark.parametrize("spelling", ["kitty", "Terminal.app, iTerm2", "GNOME Terminal", "addresses, in lines"])
def test_kinds_of_spaces(tmp_path: Path, on_disk: str, in_text: str, spelling: str) -> None:
    (file,) = put(tmp_path, on_disk)
    assert dropped(SPELLINGS[spelling]([tmp_path / in_text])) == [file]


def test_two_files_that_differ_in_the_kind_of_space_are_not_confused(tmp_path: Path) -> None:
    plain, narrow = put(tmp_path, "a b", "a\u202fb")
    assert dropped(str(plain)) == [plain]
    assert dropped(str(narrow)) == [narrow]
    assert dropped(str(tmp_path / "a\u00a0b")) is None, "it could be either"


@pytest.mark.parametrize(
    ("on_disk", "in_text"),
    [("caf\u00e9.jsonl", "cafe\u0301.jsonl"), ("u\u0308ber/cafe\u0301 1.csv", "\u00fcber/caf\u00e9 1.csv")],
)
def test_accents_in_either_spelling(tmp_path: Path, on_disk: str, in_text: str) -> None:
    (file,) = put(tmp_path, on_disk)
    assert dropped(str(tmp_path / in_text)) == [file]


@pytest.mark.parametrize("share", ["\\\\wsl$\\Ubuntu", "\\\\wsl.localhost\\ubuntu", "file://wsl.localhost/Ubuntu"])
def test_files_of_wsl_as_windows_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    monkeypatch.setenv("WSL_DISTRO_NAME", "Ubuntu")
    (file,) = put(tmp_path, "new prompts.jsonl")
    inside = str(file) if share.startswith("file:") else str(file).replace("/", "\\")
    assert dropped(share + inside.replace(" ", "%20" if share.startswith("file:") else " ")) == [file]
    monkeypatch.setenv("WSL_DISTRO_NAME", "Debian")
    assert dropped(share + inside) is None, "another distribution may have a file of the same name"


def test_windows_paths_keep_their_backslashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under WSL they are found where its drives are mounted."""
    monkeypatch.setattr(drops, "WINDOWS_DRIVES", str(tmp_path))
    one, two = put(tmp_path, "c/Users/me/new prompts.jsonl", "d/table.csv")
    assert dropped("C:\\Users\\me\\new prompts.jsonl") == [one]
    assert dropped("d:/table.csv") == [two]
    assert dropped(on_windows(["C:\\Users\\me\\new prompts.jsonl", "D:\\table.csv"])) == [one, two]
    assert dropped(on_windows(["D:\\table.csv", "C:\\Users\\me\\new prompts.jsonl"]) + "\r\n") == [two, one]
    assert dropped("file:///C:/Users/me/new%20prompts.jsonl") == [one]


def test_a_text_may_be_so_long_and_no_longer() -> None:
    # Its path is short; that of `tmp_path` may be too long for so many of them.
    with tempfile.TemporaryDirectory() as folder:
        check_longest_texts(*put(Path(folder), "a"))


def check_longest_texts(file: Path) -> None:
    assert dropped(" ".join([str(file)] * MOST_PATHS)) == [file] * MOST_PATHS
    assert dropped("\n".join([str(file)] * MOST_PATHS)) == [file] * MOST_PATHS
    assert dropped(" ".join([str(file)] * (MOST_PATHS + 1))) is None
    assert dropped("\n".join([str(file)] * (MOST_PATHS + 1))) is None
    assert dropped(str(file) + " " * (LONGEST_TEXT - len(str(file)))) == [file]
    assert dropped(str(file) + " " * LONGEST_TEXT) is None


def test_what_cannot_be_looked_into_is_text(tmp_path: Path) -> None:
    (file,) = put(tmp_path, "file")
    (tmp_path / "broken link").symlink_to(tmp_path / "nowhere")
    assert dropped(str(file / "below a file")) is None
    assert dropped(str(tmp_path / "broken link")) is None
    assert dropped(str(tmp_path / ("x" * 5000))) is None


# -- why it is missing


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    error = explain_missing(f"'{tmp_path}/not here.txt' ", NO_REMOTE)
    assert error is not None
    assert error.where == f"{tmp_path}/not here.txt"
    assert error.problem == "is not on this machine"
    assert error.hint and "moved" in error.hint


def test_of_several_the_first_missing_one_is_named(tmp_path: Path) -> None:
    (file,) = put(tmp_path, "a")
    error = explain_missing(f"{file} {tmp_path}/b {tmp_path}/c", NO_REMOTE)
    assert error is not None
    assert error.where == f"{tmp_path}/b"
    assert "2 of the 3" in error.problem


@pytest.mark.parametrize(
    ("text", "environment", "hint"),
    [
        ("/Users/me/prompts.jsonl", {"SSH_CONNECTION": "10.0.0.2 5 10.0.0.1 22"}, "runs over SSH"),
        ('"C:\\Users\\me\\a b.jsonl"', {"SSH_CONNECTION": "10.0.0.2 5 10.0.0.1 22"}, "runs over SSH"),
        ("C:\\Users\\me\\a b.jsonl", {"WSL_DISTRO_NAME": "Ubuntu"}, "/mnt/c/Users/me/a b.jsonl"),
        ("C:\\Users\\me\\prompts.jsonl", NO_REMOTE, "a path of Windows"),
        ("\\\\wsl$\\Debian\\home\\a.txt", {"WSL_DISTRO_NAME": "Ubuntu"}, "the distribution Debian"),
        ("\\\\server\\share\\prompts.jsonl", NO_REMOTE, "a path of Windows"),
        ("file://elsewhere/home/me/prompts.jsonl", NO_REMOTE, "another machine"),
    ],
)
def test_the_hint_says_why(text: str, environment: dict[str, str], hint: str) -> None:
    error = explain_missing(text, environment)
    assert error is not None
    assert error.hint and hint in error.hint


@pytest.mark.parametrize("text", ["", "plain words", "relative/path.txt", "/", "and /or", "/one line\nnot the other"])
def test_text_that_looks_like_no_path_is_not_explained(text: str) -> None:
    assert explain_missing(text, NO_REMOTE) is None


def test_what_is_there_is_not_explained(tmp_path: Path) -> None:
    assert explain_missing(str(tmp_path), NO_REMOTE) is None


def test_a_long_path_is_shortened_for_the_screen() -> None:
    error = explain_missing("/" + "x" * 5000, NO_REMOTE)
    assert error is not None and error.where is not None and len(error.where) <= 200


def test_names_that_a_terminal_would_obey_are_not_shown() -> None:
    assert showable("prómpts\u202f1 🙂.txt")
    assert not any(map(showable, ["a\x1b[2Jb", "a\nb", "a\tb", "a\x85b", "not utf-8 \udcff"]))
