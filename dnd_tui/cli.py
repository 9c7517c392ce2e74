"""The command `dnd-tui`: the app, or one subcommand a request; none of the work.

    dnd-tui [PATH]           --> launch.py, the terminal app
    dnd-tui --headless ...   --(options.py)--> request --(headless.py)--> engine.jobs.run --> stdout, exit code

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from dnd_tui import __version__
from dnd_tui.headless import WRONG_USE, complain, run
from dnd_tui.options import (
    ADAPTER_BESIDE,
    ADAPTER_TO_IMPORT,
    ADAPTER_TO_REFINE,
    ADAPTERS_TO_COMBINE,
    CHAIN_BESIDE,
    CHAIN_FORMAT,
    CONTEXT_OF_TEACHER,
    EXAMPLES_FOR_TEACHER,
    EXAMPLES_IN_CHECK,
    EXAMPLES_IN_CONTEXT,
    FIRST_SEED,
    LABELLED_PROMPTS,
    LIBRARY_FOR_ARMS,
    LIBRARY_TO_TRAIN_ON,
    MODULES_OF_FRESH,
    MOST_STEPS,
    PLANNED_OUT,
    PROMPTS_ON_SHEET,
    PROMPTS_TO_ANSWER,
    PROMPTS_TO_CHOOSE_FOR,
    PROMPTS_TO_TEACH,
    RANK_OF_FRESH,
    RANK_TO_SOLVE,
    ROWS_A_STEP,
    ROWS_A_TASK,
    ROWS_BY_ROW,
    ROWS_HELD_OUT,
    ROWS_SEARCHED,
    ROWS_TRAINED_ON,
    SEED_OF_PROMPTS,
    SHEET_OUT,
    START_OF_SOLVING,
    TEACHER_OF_ARM,
    Option,
    build,
    parameters,
)
from engine.jobs.command_line import NAME
from engine.jobs.declared import JOBS
from engine.requests import (
    ChainChoiceRequest,
    ChainExportRequest,
    CollectRequest,
    CombineRequest,
    CompareRequest,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
    EvaluateRequest,
    ExportRequest,
    GenerateRequest,
    ImportRequest,
    InfoRequest,
    LeaveOneOutRequest,
    ModelsRequest,
    PlanRequest,
    RefineRequest,
    Request,
    SheetRequest,
    TeachRequest,
    TrainingTimeRequest,
    TrainRequest,
)


@dataclass(frozen=True)
class Command:
    """One subcommand; `differing` holds the options that are not as in other commands."""

    request_type: type[Request]
    help: str
    differing: Mapping[str, Option] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As it is typed."""
        return JOBS[self.request_type].command


COMMANDS = (
    Command(
        GenerateRequest,
        "Make a LoRA adapter from what stands in prompts: answered examples, an instruction, or the prompts alone.",
        {"held_out": ROWS_HELD_OUT, "rank": RANK_TO_SOLVE, "examples": EXAMPLES_IN_CONTEXT, "start": START_OF_SOLVING},
    ),
    Command(
        RefineRequest,
        "Train a LoRA adapter, or a fresh one, on answered prompts until it gains no more.",
        {
            "adapter": ADAPTER_TO_REFINE,
            "source": LABELLED_PROMPTS,
            "answered": ROWS_TRAINED_ON,
            "held_out": ROWS_HELD_OUT,
            "rank": RANK_OF_FRESH,
            "modules": MODULES_OF_FRESH,
            "steps": MOST_STEPS,
            "examples": EXAMPLES_IN_CHECK,
        },
    ),
    Command(
        SheetRequest,
        "Write a few prompts that differ to a file, for you to answer; an adapter is made from that.",
        {"count": PROMPTS_ON_SHEET, "out": SHEET_OUT},
    ),
    Command(
        TeachRequest,
        "Let a larger model answer prompts that have no answers, into a file for you to look through.",
        {"count": PROMPTS_TO_TEACH, "out": SHEET_OUT, "examples": EXAMPLES_FOR_TEACHER, "context": CONTEXT_OF_TEACHER},
    ),
    Command(
        CompareRequest,
        "Answer prompts with base and adapted model side by side.",
        {"source": PROMPTS_TO_ANSWER, "seed": SEED_OF_PROMPTS, "chain": CHAIN_BESIDE},
    ),
    Command(
        EvaluateRequest,
        "Make the quality table of a generator over tasks.",
        {"rows": ROWS_A_TASK, "library": LIBRARY_FOR_ARMS, "seed": FIRST_SEED, "teacher": TEACHER_OF_ARM},
    ),
    Command(LeaveOneOutRequest, "Put the tables of generators judged on a set each into one."),
    Command(ExportRequest, "Write an adapter, checked, in the form that another program reads."),
    Command(
        CombineRequest,
        "Add adapters of one base up, with weights; or reduce the rank of one.",
        {"adapters": ADAPTERS_TO_COMBINE},
    ),
    Command(
        ImportRequest,
        "Check an adapter that another tool made and write it as one of ours.",
        {"source": ADAPTER_TO_IMPORT},
    ),
    Command(CollectRequest, "Train the LoRA library that a generator learns from."),
    Command(TrainRequest, "Train a generator on a library."),
    Command(
        PlanRequest,
        "Say what collect or train would do, and what is done already.",
        {"library": LIBRARY_TO_TRAIN_ON, "out": PLANNED_OUT},
    ),
    Command(
        TrainingTimeRequest,
        "Time real LoRA training on labelled prompts, to compare with generating.",
        {"batch": ROWS_A_STEP},
    ),
    Command(
        DepthRequest,
        "Find layers of the base to skip or loop for labelled prompts, without training.",
        {"source": LABELLED_PROMPTS, "rows": ROWS_SEARCHED, "adapter": ADAPTER_BESIDE},
    ),
    Command(
        DepthTableRequest,
        "Make the table of skipped and looped layers over tasks, with and without a generated adapter.",
        {"rows": ROWS_SEARCHED},
    ),
    Command(
        DepthOracleRequest,
        "Search layers for each row by the row's own label: an analysis, not an accuracy that can be had.",
        {"source": LABELLED_PROMPTS, "rows": ROWS_BY_ROW, "adapter": ADAPTER_BESIDE},
    ),
    Command(
        ChainChoiceRequest,
        "Say which chain of layers to take for which prompt, after depth --predictor showed a gain.",
        {"source": PROMPTS_TO_CHOOSE_FOR, "adapter": ADAPTER_BESIDE},
    ),
    Command(
        ChainExportRequest,
        "Write a chain of layers in a form that other programs read.",
        {"adapter": ADAPTER_BESIDE, "format": CHAIN_FORMAT},
    ),
    Command(ModelsRequest, "List or fetch base models, encoders, generators."),
    Command(InfoRequest, "Say what a file or folder is, or what this installation has."),
)

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    # Help by rich costs 0.1 s more at every start.
    rich_markup_mode=None,
    subcommand_metavar="--headless COMMAND [ARGS]...",
    options_metavar="",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Help on a command: {NAME} --headless COMMAND --help",
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    headless: Annotated[bool, typer.Option("--headless", help="Run one command without the app.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Drop prompts, get a LoRA adapter: examples or an instruction go into the weights once, in seconds.

    Without --headless: `dnd-tui [PATH]` opens the app (options: `dnd-tui open --help`), `dnd-tui serve` serves it to
    a browser.
    """
    arguments: list[str] = ctx.obj
    command = ctx.invoked_subcommand
    if version:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit
    # Shown in the usage line of every command, so that it can be copied.
    ctx.info_name = f"{NAME} --headless"
    names = ", ".join(each.name for each in COMMANDS)
    if headless and command is None:
        complain(f"--headless needs a command: {names}")
        raise typer.Exit(WRONG_USE)
    if not headless and not {"-h", "--help"} & set(arguments):
        complain(f"{command} needs --headless. Run: {shlex.join([NAME, '--headless', *arguments])}")
        raise typer.Exit(WRONG_USE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if _is_for_app(given):
        from dnd_tui.launch import launch

        launch(given)
    app(args=given, prog_name=NAME, obj=given)


def _is_for_app(given: Sequence[str]) -> bool:
    """Whether the app is asked for: no --headless, no command, no help on all of it."""
    first = given[0] if given else None
    return "--headless" not in given and first not in {"-h", "--help", "--version", *(each.name for each in COMMANDS)}


def _add(command: Command) -> None:
    def body(**values: Any) -> None:
        as_json, debug = values.pop("json"), values.pop("debug")
        raise typer.Exit(run(build(command.request_type, values), as_json=as_json, debug=debug))

    flags = [
        _flag("json", "Print the data as JSON (one object a line) instead of text."),
        _flag("debug", "Show the traceback of an error and the warnings of libraries."),
    ]
    body.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        parameters(command.request_type, command.differing) + flags
    )
    app.command(command.name, help=command.help, options_metavar="[OPTIONS]")(body)


def _flag(name: str, text: str) -> inspect.Parameter:
    info = typer.Option(f"--{name}", help=text, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, info])


for _command in COMMANDS:
    _add(_command)
