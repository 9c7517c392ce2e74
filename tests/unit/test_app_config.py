"""config.toml: every mistake is named, none costs more than its own setting, and nothing a person wrote is lost."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.keys import Keys

from dnd_tui.config import config_folder, data_folder, load_settings, log_folder, new_file, save_settings
from dnd_tui.settings import NAMED_KEYS, Settings, about, checked_keys
from dnd_tui.themes import DARK
from engine.errors import EngineError

KNOWN = ("app.quit", "help.close", "generate")


def told(path: Path, text: str) -> tuple[Settings, list[str]]:
    path.write_text(text, encoding="utf-8")
    settings, problems = load_settings(path, KNOWN)
    return settings, [str(problem) for problem in problems]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_folders_follow_their_variables_and_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DND_TUI_CONFIG", str(tmp_path / "c"))
    monkeypatch.setenv("DND_TUI_DATA", str(tmp_path / "d"))
    assert (config_folder(), data_folder(), log_folder()) == (tmp_path / "c", tmp_path / "d", tmp_path / "d" / "logs")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("DND_TUI_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert data_folder().name == "dnd-tui" and data_folder() != tmp_path / "d"


def test_a_missing_file_gives_the_defaults(path: Path) -> None:
    assert load_settings(path, KNOWN) == (Settings(), [])
    assert not path.exists()


def test_every_setting_is_read(path: Path) -> None:
    settings, problems = told(
        path,
        'theme = "nord"\nbase = "b.gguf"\ndevice = "cpu"\ndtype = "bfloat16"\ngenerator = "mine"\ncount = 5\nseed = 3\n'
        'max_new_tokens = 9\nmetric = "last_number"\nanimations = false\neditor = "code --wait"\n'
        '[keys]\n"app.quit" = "Ctrl+Q"\nhelp.close = "f2, ?"\ngenerate = "shift+ctrl+g"\n',
    )
    assert problems == []
    keys = {"app.quit": "ctrl+q", "help.close": "f2,question_mark", "generate": "ctrl+shift+g"}
    assert settings == Settings(
        theme="nord",
        base="b.gguf",
        device="cpu",
        dtype="bfloat16",
        generator=path.parent / "mine",
        count=5,
        seed=3,
        max_new_tokens=9,
        metric="last_number",
        animations=False,
        editor="code --wait",
        keys=keys,
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("seed = 'x'", "config.toml: seed: must be a whole number, is 'x'"),
        ("seed = true", "config.toml: seed: must be a whole number, is True"),
        ("count = 0", "config.toml: count: must be at least 1, is 0"),
        ("animations = 1", "config.toml: animations: must be true or false, is 1"),
        ("theme = 3", "config.toml: theme: must be text, is 3"),
        ("base = ' '", "config.toml: base: must be text, is ' '"),
        ("dtype = 'int3'", "config.toml: dtype: must be one of auto, float32, bfloat16, float16, is 'int3'"),
        ("metric = ['rouge_l']", "config.toml: metric: must be text, is ['rouge_l']"),
        ("generator = '~nobody-here/x'", "config.toml: generator: names a home folder that does not exist"),
        ("sed = 3", 'config.toml: sed: no such setting; the nearest is "seed"'),
        ("zzz = 3", "config.toml: zzz: no such setting"),
        ("keys = 3", "config.toml: keys: must be a table, [keys], is 3"),
        ("keys.aap.quit = 'f1'", 'config.toml: keys.aap.quit: no such action; the nearest is "app.quit"'),
        ("keys.generate = ['f1']", "config.toml: keys.generate: must be text such as"),
        ("keys.generate = 'ctl+g'", 'config.toml: keys.generate: "ctl" of "ctl+g" is none of alt, ctrl'),
        ('"a\\u001b[31m" = 3', "config.toml: a\\x1b[31m: no such setting"),
    ],
)
def test_a_mistake_is_named_and_the_rest_counts(path: Path, line: str, problem: str) -> None:
    settings, problems = told(path, f"max_new_tokens = 7\n{line}\n")
    assert settings == Settings(max_new_tokens=7)
    assert len(problems) == 1 and problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'theme = "x"\nseed 3\n', "config.toml: line 2, column 6: is not TOML"),
        (b"a = 1\na = 2", "config.toml: line 2"),
        (b'a = 1\n# \xc3\xa9\nb = """c', "config.toml: line 3, column 9: is not TOML: Unterminated"),
        (b"a = 1\n\xc3\xa9 = '\xff'", "config.toml: line 2, column 6: is not UTF-8 text"),
        (b"a = " + b"[" * 100_000, "config.toml: the file: is nested too deeply"),
    ],
)
def test_a_broken_file_is_told_with_its_place_and_never_overwritten(path: Path, content: bytes, problem: str) -> None:
    path.write_bytes(content)
    settings, problems = load_settings(path, KNOWN)
    assert settings == Settings() and len(problems) == 1 and str(problems[0]).startswith(problem)
    with pytest.raises(EngineError, match="Nothing was saved"):
        save_settings(path, {"seed": 1})
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_told(path: Path) -> None:
    path.mkdir()
    assert [problem.where for problem in load_settings(path, KNOWN)[1]] == ["the file"]


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    settings, problems = load_settings(path, KNOWN)
    assert settings == Settings() or not problems


def test_a_new_file_explains_every_setting_and_sets_none(path: Path) -> None:
    settings, problems = told(path, new_file())
    assert (settings, problems) == (Settings(), [])
    for name, setting in about().items():
        assert name in new_file() and setting.help in new_file()


def test_every_example_of_a_new_file_is_a_good_value(path: Path) -> None:
    lines = [line.removeprefix("# ") if " = " in line else line for line in new_file().splitlines()]
    settings, problems = told(path, "\n".join(lines).replace("action.name", "app.quit"))
    assert problems == []
    assert settings.keys == {"app.quit": "ctrl+g,f5"} and settings.count == 32 and settings.seed == Settings.seed


def test_saving_into_no_file_puts_settings_in_place_of_their_examples(path: Path) -> None:
    save_settings(path, {"seed": 4, "generator": Path("/g/é"), "keys": {"help.close": "f2"}})
    settings, problems = load_settings(path, KNOWN)
    assert (settings, problems) == (Settings(seed=4, generator=Path("/g/é"), keys={"help.close": "f2"}), [])
    text = path.read_text(encoding="utf-8")
    assert "# Seed of everything drawn at random.\nseed = 4\n" in text and "# seed" not in text
    assert [line for line in text.splitlines() if line not in new_file().splitlines()] == [
        'generator = "/g/é"',
        "seed = 4",
        '"help.close" = "f2"',
    ]


def test_saving_keeps_comments_order_and_line_ends(path: Path) -> None:
    path.write_bytes(b'# mine\r\nseed = 3  # lucky\r\n\r\ncount = 5\r\n[keys] # these\r\nhelp.close = "f2" # two\r\n')
    save_settings(path, {"seed": 4, "count": None, "keys": {"help.close": "f3", "app.quit": "ctrl+q"}})
    assert path.read_bytes() == (
        b'# mine\r\nseed = 4  # lucky\r\n\r\n[keys] # these\r\nhelp.close = "f3" # two\r\n"app.quit" = "ctrl+q"\n'
    )
    save_settings(path, {"keys": {"help.close": None}})
    assert load_settings(path, KNOWN)[0] == Settings(seed=4, keys={"app.quit": "ctrl+q"})


def test_a_setting_goes_before_the_tables(path: Path) -> None:
    path.write_text('text = """\n# theme = "a"\n"""\n[other]\n# seed = 3\n', encoding="utf-8")
    save_settings(path, {"seed": 4, "theme": "nord"})
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    assert data == {"text": '# theme = "a"\n', "seed": 4, "theme": "nord", "other": {}}


def test_what_is_wrong_elsewhere_stays(path: Path) -> None:
    path.write_text("nonsense = 1\nkeys = 3\n", encoding="utf-8")
    save_settings(path, {"theme": "nord", "keys": {"generate": "f5"}})
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    assert data == {"nonsense": 1, "theme": "nord", "keys": {"generate": "f5"}}


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(path: Path, tmp_path: Path, exists: bool) -> None:
    real = tmp_path / "dotfiles" / "dnd.toml"
    if exists:
        real.parent.mkdir()
        real.write_text("seed = 1 # one\n", encoding="utf-8")
    path.symlink_to(real)
    save_settings(path, {"seed": 2})
    assert path.is_symlink() and load_settings(real, KNOWN)[0].seed == 2
    assert not exists or real.read_text(encoding="utf-8") == "seed = 2 # one\n"
    assert [each.name for each in real.parent.iterdir()] == ["dnd.toml"]


def test_only_settings_can_be_saved(path: Path) -> None:
    with pytest.raises(ValueError, match="no such setting: sede"):
        save_settings(path, {"sede": 1})
    assert not path.exists()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "theme": st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip),
            "seed": st.integers(-(2**63), 2**63 - 1),
            "animations": st.booleans(),
            "count": st.none() | st.integers(1, 999),
            "keys": st.dictionaries(st.sampled_from(KNOWN), st.sampled_from(["f1", "ctrl+a,slash"])),
        },
    ),
    st.sampled_from(["", "# seed = 1\nseed = 2 # s\n[keys]\n'app.quit' = 'f9'\n", "keys = {generate = 'f9'}\n"]),
)
def test_what_is_saved_is_what_is_loaded(tmp_path_factory: pytest.TempPathFactory, changes: dict, text: str) -> None:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(text, encoding="utf-8")
    before = load_settings(path, KNOWN)[0]
    save_settings(path, changes)
    after, problems = load_settings(path, KNOWN)
    expected = vars(before) | changes | {"keys": {**before.keys, **changes.get("keys", {})}}
    assert (vars(after), problems) == (expected, [])


def test_every_named_key_of_textual_is_known() -> None:
    for key in Keys:
        if "<" not in key.value and key.value not in ("ctrl-at", "shift+escape"):
            assert checked_keys(key.value) == key.value.replace("@", "at")
    assert "comma" in NAMED_KEYS and "question_mark" in NAMED_KEYS


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ctrl+g,f5", "ctrl+g,f5"),
        ("Shift+Ctrl+LEFT", "ctrl+shift+left"),
        ("G", "G"),
        ("ctrl+G", "ctrl+g"),
        ("/", "slash"),
        ("ctrl+/", "ctrl+slash"),
        ("+", "plus"),
        ("é", "é"),
    ],
)
def test_keys_as_textual_writes_them(written: str, meant: str) -> None:
    assert checked_keys(written) == meant


@pytest.mark.parametrize("wrong", ["", "f1,", ",", "ctrl+", "ctrl++", "contrl+a", "shift+a", "f99", "pgdown", "\x1b"])
def test_keys_that_do_not_exist(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"key|none of|written as|character"):
        checked_keys(wrong)


def test_reading_settings_imports_no_textual() -> None:
    code = "import sys, dnd_tui.config; print({'textual', 'tomlkit', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_theme_without_settings_is_the_apps_own() -> None:
    assert Settings().theme == DARK.name
