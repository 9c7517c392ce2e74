"""The command line shown for a request makes that very request again."""

from __future__ import annotations

import shlex
import sys
import types
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.cli import main
from dnd_tui.options import DIFFERING, OPTIONS
from engine.jobs.command_line import command_line, command_words
from engine.jobs.declared import JOBS
from engine.jobs.results import Result
from engine.requests import CompareRequest, GenerateRequest, InfoRequest, ModelChoice, ModelsRequest, PromptChoice


def parsed(line: str) -> Any:
    """The request that reaches the engine when a shell runs `line`."""
    seen: list[Any] = []

    def run(request: Any, reporter: Any) -> Result:
        seen.append(request)
        return Result({}, ())

    jobs = types.ModuleType("engine.jobs")
    jobs.run = run  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
        patch.setitem(sys.modules, "engine.jobs", jobs)
        # It asks the engine for more than that.
        patch.setattr("dnd_tui.chat.chat", lambda request, **looks: seen.append(request) or 0)
        main(shlex.split(line)[1:])
    assert left.value.code == 0
    return seen[0]


# What a program can be given as an argument, with everything a shell or an option parser could trip over.
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["-", "--", "--out", "-x", "it's", '"', "a b", "$HOME", "*", "\n", "~", "#", "é", "=", "--a=b", "\udcff"]
)


def values(request_type: type[Any], command_name: str) -> st.SearchStrategy[Any]:
    """Requests of a type, every field drawn from what the command line says it takes."""
    hints = get_type_hints(request_type)

    def of_kind(kind: Any, name: str, least_many: int = 0) -> st.SearchStrategy[Any]:
        if is_dataclass(kind):
            return values(kind, command_name)  # type: ignore[arg-type]
        if get_origin(kind) is tuple:
            return st.lists(of_kind(get_args(kind)[0], name), min_size=least_many, max_size=3).map(tuple)
        if type(None) in get_args(kind):
            return st.none() | of_kind(get_args(kind)[0], name)
        option = DIFFERING.get(command_name, {}).get(name) or OPTIONS[name]
        if option.choices:
            return st.sampled_from(option.choices)
        if kind in (int, float):
            of = st.integers if kind is int else st.floats
            least = None if option.minimum is None else kind(option.minimum)
            more: dict[str, Any] = {} if kind is int else {"allow_nan": False, "allow_infinity": False}
            return of(min_value=least, **more)
        return {str: WORDS, bool: st.booleans(), Path: WORDS.map(Path)}[kind]

    required, optional = {}, {}
    inner = JOBS[request_type].inner if request_type in JOBS else ()
    for field in (each for each in fields(request_type) if each.name not in inner):
        needed = field.default is MISSING
        (required if needed else optional)[field.name] = of_kind(hints[field.name], field.name, int(needed))
    return st.fixed_dictionaries(required, optional=optional).map(lambda drawn: request_type(**drawn))


@pytest.mark.parametrize("request_type", [kind for kind, job in JOBS.items() if job.command])
@given(data=st.data())
def test_the_line_of_a_request_makes_that_request(request_type: Any, data: st.DataObject) -> None:
    request = data.draw(values(request_type, JOBS[request_type].command))
    assert parsed(command_line(request)) == request


def test_only_what_differs_from_the_defaults_is_said() -> None:
    prompts = PromptChoice(source=Path("my prompts.jsonl"), count=None, seed=0)
    request = GenerateRequest(models=ModelChoice(device="cpu"), prompts=prompts, out=Path("a"))
    assert command_line(request) == "dnd-tui generate 'my prompts.jsonl' --out a --device cpu"
    assert command_line(InfoRequest(models=ModelChoice())) == "dnd-tui info"
    assert command_line(ModelsRequest(fetch=("a", "b"))) == "dnd-tui models --fetch a --fetch b"


def test_a_choice_that_is_left_out_is_not_said() -> None:
    request = CompareRequest(models=ModelChoice(), adapters=(Path("a"),), texts=("-hello",))
    assert command_words(request) == ["dnd-tui", "compare", "--adapter", "a", "--text=-hello"]


def test_a_file_named_like_an_option_stays_a_file() -> None:
    request = InfoRequest(models=ModelChoice(), target=Path("--help"), column="text")
    assert command_line(request) == "dnd-tui info --column text -- --help"


def test_a_request_without_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="no command makes a PromptChoice"):
        command_words(PromptChoice(source=Path("p")))  # type: ignore[arg-type]
