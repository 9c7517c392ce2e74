"""README and docs/: links lead somewhere, command lines parse, paths and options that are named exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from dnd_tui import cli, launch

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Pages in which options in running text are ours; in exports.md they are those of other programs.
OWN_OPTIONS = [page for page in PAGES if page.name not in ("exports.md", "contributing.md")]
OF_TORCHRUN = {"--standalone", "--nproc_per_node"}

LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def prose(text: str) -> str:
    return BLOCK.sub("", text)


def links(text: str) -> list[str]:
    return LINK.findall(INLINE.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """What GitHub makes of headings: lower case, no punctuation, - for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    found = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            found.append(link)
    return found


def shell_lines(text: str) -> Iterator[list[str]]:
    """The words of every command line in blocks of shell, without comments."""
    for language, block in BLOCK.findall(text):
        if language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                if words := shlex.split(line, comments=True):
                    yield words


def own_words(words: list[str]) -> list[str] | None:
    """What follows our name, however we are started; None where another program is."""
    for at, word in enumerate(words):
        if word in ("dnd-tui", "dnd_tui", ".venv/bin/dnd-tui"):
            rest = list(takewhile(lambda each: each not in ("|", "&&", ";"), words[at + 1 :]))
            return [each for each in rest if each != "--headless"]
    return None


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words are for, and its arguments; a path alone opens the app.

    Raises:
        LookupError: there is no such command.
    """
    group, rest = get_command(cli.app), words
    if rest[:1] == ["lab"]:
        group, rest = group.commands["lab"], rest[1:]
        if not rest:
            return group, rest
    of_app = get_command(launch.app)
    name = rest[0] if rest else "open"
    for each in (group, of_app):
        # Hidden ones are old names.
        if name in each.commands and not each.commands[name].hidden:
            return each.commands[name], rest[1:]
    if name.startswith("-"):
        return group, rest
    if "." in name or "/" in name:
        return of_app.commands["open"], rest
    raise LookupError(f"there is no command {name!r}")


def options(command: Any) -> set[str]:
    return {option for each in command.params for option in each.opts} | {"--help", "-h"}


def parse(words: list[str]) -> None:
    """As the command line does it, up to running; raises what it raises."""
    command, arguments = command_of(words)
    unknown = {word.partition("=")[0] for word in arguments if word.startswith("--")} - options(command)
    assert not unknown, f"{' '.join(words)}: no option {unknown}"
    if "--help" not in arguments and arguments:
        command.make_context(words[0], list(arguments))


def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_seen() -> None:
    text = "[a](docs/app.md) ![b](nowhere.svg) [c](README.md#nowhere) [d](https://x.org) [e](docs/glossary.md#frame)"
    assert broken(ROOT / "README.md", text) == ["nowhere.svg", "README.md#nowhere"]


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(PAGES[0].read_text(encoding="utf-8"))}
    assert set(PAGES[1:]) <= linked


def test_command_lines_parse(page: Path) -> None:
    for words in shell_lines(page.read_text(encoding="utf-8")):
        own = own_words(words)
        if own is not None:
            parse(own)


def test_commands_in_running_text_exist(page: Path) -> None:
    for code in INLINE.findall(prose(page.read_text(encoding="utf-8"))):
        own = own_words(code.split()) if code.startswith("dnd-tui ") else None
        if own and "COMMAND" not in own:
            command, arguments = command_of(own)
            assert {word for word in arguments if word.startswith("--")} <= options(command), code


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("dnd-tui generrate p.jsonl --out a", "no command"),
        ("dnd-tui evaluate --tasks t --out o", "no command"),
        ("dnd-tui --headless generate p.jsonl --out a --nosuch 3", "nosuch"),
        ("dnd-tui generate p.jsonl", "out"),
        ("dnd-tui export a --out b --format tarball", "tarball"),
        ("torchrun -m -- dnd_tui lab evaluate --tasks t --out o --armm base", "armm"),
    ],
)
def test_a_wrong_line_is_seen(line: str, problem: str) -> None:
    own = own_words(line.split())
    assert own is not None
    with pytest.raises(Exception, match=problem):
        parse(own)


@pytest.mark.parametrize("page", OWN_OPTIONS, ids=lambda page: page.name)
def test_options_in_running_text_exist(page: Path) -> None:
    group = get_command(cli.app)
    groups = (group, group.commands["lab"], get_command(launch.app))
    commands = [command for each in groups for command in (each, *each.commands.values())]
    known = OF_TORCHRUN.union(*(options(command) for command in commands))
    named = {
        word
        for code in INLINE.findall(prose(page.read_text(encoding="utf-8")))
        for word in re.findall(r"(?<!\S)--[a-z][\w-]*", code)
    }
    assert named <= known


def test_paths_in_running_text_exist(page: Path) -> None:
    text = INLINE.findall(prose(page.read_text(encoding="utf-8")))
    named = [code for code in text if re.fullmatch(r"(engine|dnd_tui|assets|tests|research|docs)(/[\w.-]+)+/?", code)]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_arm_is_in_the_docs() -> None:
    from engine.tasks.arms import ARMS, GROUPS

    text = (ROOT / "docs" / "evaluating.md").read_text(encoding="utf-8")
    # A range stands for the counts between.
    between = {"prompts_4", "prompts_16", "prompts_64"}
    assert [arm for arm in (*ARMS, *GROUPS) if f"`{arm}`" not in text and arm not in between] == []
