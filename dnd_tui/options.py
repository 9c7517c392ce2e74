"""The options of a command, derived from its request dataclass.

    request class --(its fields, ModelChoice and PromptChoice laid flat)--> command-line parameters
    values of those parameters --> request

Names, types and defaults are the request's own. Only what a person reads is written here: one
`Option` a field. A field without one is an error at the first run of any command.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from engine.adapter.formats import CHAIN_FORMATS, FORMATS, NUMBER_SIZES
from engine.jobs.command_line import choice_in, leaves
from engine.jobs.declared import JOBS, Job
from engine.requests import DECODERS, Request
from engine.tasks.arms import ARMS
from engine.tasks.metrics import METRICS


@dataclass(frozen=True)
class Option:
    """How one field looks on the command line.

    help: shown by `--help`.
    metavar: the name of the value in the help; None is typer's own.
    default: what happens without it, where the field's default does not show that.
    choices: the only values accepted.
    minimum: smallest number accepted.
    """

    help: str
    metavar: str | None = None
    default: str | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None


OPTIONS: Mapping[str, Option] = {
    "source": Option("Prompt file, or folder of prompts.", "PROMPTS"),
    "sources": Option("Prompt files or folders of prompts, or one folder that holds such.", "PROMPTS"),
    "column": Option("Column that holds the prompts.", "NAME", "found by its name"),
    "label": Option("Column that holds the answers.", "NAME", "found by its name"),
    "template": Option(
        'What prompts are made of instead of a column, for example "Classify: {ticket}\\nTopic:"; names in braces are '
        "columns, and for plain text any name.",
        "TEXT",
    ),
    "text_files": Option(
        "What is a prompt in text files. lines: each line, or part between --- lines. files: each file. auto: what the "
        "files of a folder look like.",
        choices=("auto", "lines", "files"),
    ),
    "made_from": Option(
        "What the adapter is made from. examples: answered rows. instruction: what all prompts begin with, or "
        "--context. both. generator: the prompts alone.",
        choices=("auto", "examples", "instruction", "both", "generator"),
    ),
    "context": Option(
        "Instruction that prompts need not begin with afterwards: a text, or a text file.",
        "TEXT|FILE",
        "what all prompts begin with",
    ),
    "answered": Option("How many rows the adapter is solved from, at most.", "N", minimum=2),
    "modules": Option(
        "Kind of module that gets an update; may be given several times.",
        "NAME",
        "all that write into the residual stream",
    ),
    "fit_steps": Option("Gradient steps on the answers after solving.", "N", "8 where there are answers", minimum=0),
    "count": Option(
        "How many prompts are sampled; of more than the generator was trained with, several adapters are averaged.",
        "N",
        "as many as the generator was trained with",
        minimum=1,
    ),
    "seed": Option("Seed of everything drawn at random.", "N"),
    "adapter": Option("LoRA adapter, a PEFT folder.", "ADAPTER"),
    "adapters": Option("LoRA adapter, a PEFT folder; may be given several times.", "DIR", "generated from PROMPTS"),
    "rows": Option("How many prompts are answered, from the first on, without --row and --text.", "N", minimum=1),
    "numbers": Option("Answer the prompt with this number, from 1; may be given several times.", "N", minimum=1),
    "texts": Option("Answer this prompt; may be given several times.", "TEXT"),
    "max_new_tokens": Option("Longest answer, in tokens.", "N", minimum=1),
    "temperature": Option("0 takes the likeliest token; higher is more varied.", "T", minimum=0),
    "sampling_seed": Option("Seed of the tokens drawn above temperature 0, the same for all adapters.", "N"),
    "metric": Option(
        "How answers are scored where there are labels.", default="the one that fits the labels", choices=METRICS
    ),
    "decoder": Option(
        "What writes the answers: llama.cpp is several times as fast on a CPU; auto takes it where it answers as "
        "transformers does.",
        choices=DECODERS,
    ),
    "examples": Option(
        "The base also answers with so many answered rows of the file before each prompt; rows that are answered are "
        "never among them.",
        "N",
        minimum=0,
    ),
    "with_base": Option("The base alone answers too."),
    "system": Option('What is read before the first message, such as "Answer in one sentence."', "TEXT", "none"),
    "tasks": Option("Folder of tasks: tasks.json, NAME.train.jsonl, NAME.test.jsonl.", "DIR"),
    "library": Option("Folder that collect wrote.", "DIR"),
    "arms": Option(
        "Arm or group of arms to measure; may be given several times. Groups: table (all arms of the quality table), "
        "untrained (those without the oracle), solved, refined, prompts (what the prompts carry), library (each of its "
        "LoRAs). "
        f"Arms: {', '.join(ARMS)}.",
        "NAME",
        "table",
    ),
    "only": Option("Judge this task; a name or pattern, may be given several times.", "NAME", "all"),
    "seeds": Option("With how many seeds the arms that draw something are measured.", "N", minimum=1),
    "oracle_steps": Option("Training steps of the LoRA on each task's own labels.", "N", minimum=1),
    "hide_instruction": Option(
        "Judge rows without their prompts' first paragraph: what an adapter knows of the task by itself."
    ),
    "tables": Option("Folder that evaluate wrote; given once for each held-out set.", "DIR"),
    "split": Option("Which tasks of tasks.json are evaluated.", "NAME"),
    "batch": Option("How many answers are written at the same time.", "N", minimum=1),
    "seconds": Option("How many seconds training goes on at most.", "S", minimum=1),
    "rate": Option("Learning rate of Adam.", "R"),
    "steps": Option("How many training steps are timed, after one that is not.", "N", minimum=1),
    "kind": Option("Which command: collect or train.", "COMMAND", choices=("collect", "train")),
    "record": Option("Write the scores into the generator's own description and card."),
    "out": Option("Folder to write to.", "DIR"),
    "teacher": Option(
        "Who answers: the base URL of an OpenAI-compatible endpoint, such as http://127.0.0.1:8080/v1, or a model of "
        "this machine: a hub id, a folder, or a .gguf file.",
        "URL|MODEL",
    ),
    "teacher_model": Option("The endpoint's name of the model.", "NAME", "the first that it offers"),
    "key_from": Option("Environment variable that holds the endpoint's key.", "NAME"),
    "most_tokens": Option(
        "Ask no more once so many tokens were used, of prompts and answers together.", "N", "no limit", minimum=1
    ),
    "at_once": Option("Requests at a time to an endpoint.", "N", minimum=1),
    "tries": Option("Further tries of a request to an endpoint that failed.", "N", minimum=0),
    "timeout": Option("Seconds that a request to an endpoint may take.", "S", minimum=1),
    "replace": Option("Replace what is already at --out."),
    "format": Option("What is written.", choices=tuple(FORMATS)),
    "float_type": Option("Number format; bfloat16 not for gguf and ollama.", choices=tuple(NUMBER_SIZES)),
    "weights": Option("Weight of an adapter in the sum; one for each, in their order.", "W", "the average"),
    "names": Option(
        "What an adapter is called in the card of the sum; one for each, in their order.",
        "NAME",
        "the names of their folders",
    ),
    "rank": Option("Rank of the result, by a truncated SVD.", "R", "exact: the ranks add up", minimum=1),
    "note": Option("What you have to say about the adapter; its card holds it.", "TEXT", "none"),
    "zip": Option("Write one zip file instead of a folder."),
    "start": Option("Folder of a generator whose multi-task adapter is trained on.", "DIR", "a fresh adapter"),
    "recipe": Option("Training settings, a JSON file.", "FILE", "built-in settings; for train those of the library"),
    "fetch": Option("Fetch this model now; may be given several times.", "NAME"),
    "held_out": Option("Labelled prompts to judge on.", "PROMPTS", "rows of PROMPTS that the search does not see"),
    "chains": Option("How many chains of layers the search looks at.", "N", minimum=1),
    "predictor": Option("Also learn which chain to take for which prompt, and try that on the rows to judge on."),
    "search": Option("Folder that depth --predictor wrote.", "DIR"),
    "length_weight": Option("Weight of the chain's length in the search.", "W", minimum=0),
    "moves": Option("What the search may do with layers.", choices=("both", "skip", "loop")),
    "chain": Option("What depth wrote (its folder, chain.json), or a chain such as 0-12,10-12,15-29.", "CHAIN"),
    "target": Option("Prompt file or folder, adapter or generator.", "PATH", "this installation"),
    "base": Option("Base model: a name of `models`, hub id, folder, .gguf file.", "MODEL"),
    "generator": Option("Folder of a generator.", "DIR", "the released one"),
    "device": Option('Where the model runs: "auto", "cpu", "cuda", "cuda:1" or "mps".', "DEVICE"),
    "dtype": Option("Number format of the base model.", choices=("auto", "float32", "bfloat16", "float16")),
    "stream_layers": Option(
        "Read the base's layers from its files one at a time; without it only where the base does not fit into memory."
    ),
    "host": Option("Address to listen at. Where others can reach it, they need the key that is printed.", "HOST"),
    "port": Option("Port to listen at.", "N", minimum=1),
    "trust_remote_code": Option("Run the code that comes with a model of the hub."),
}

_ROWS_HELD_OUT = Option("How many rows are kept back to check the adapter, at most; 0 checks nothing.", "N", minimum=0)
_LABELLED_PROMPTS = Option("Prompt file with labels, or folder of them.", "PROMPTS")
_SHEET_OUT = Option("File to write to, such as answers.jsonl.", "FILE")
_ROWS_SEARCHED = Option("How many rows the search looks at.", "N", minimum=8)
_ADAPTER_BESIDE = Option("LoRA adapter that is attached to the base, a PEFT folder.", "DIR", "none")

DIFFERING: Mapping[str, Mapping[str, Option]] = {
    "generate": {
        "source": Option("Prompt file, or folder of prompts; several with --each.", "PROMPTS"),
        "held_out": _ROWS_HELD_OUT,
        "rank": Option("Rank of the solved matrices, 1 to 64.", "R", minimum=1),
        "examples": Option("How many answered rows stand in each context, at most.", "N", minimum=1),
        "start": Option(
            "What the solved adapter is added to; auto takes what answers more rows.",
            choices=("auto", "base", "generator"),
        ),
    },
    "refine": {
        "adapter": Option(
            "LoRA adapter that training begins with, a PEFT folder; none begins with a fresh one.",
            "ADAPTER|none",
        ),
        "source": _LABELLED_PROMPTS,
        "answered": Option(
            "How many answered rows are trained on, at most; a fifth of them only decides when to stop.",
            "N",
            minimum=2,
        ),
        "held_out": _ROWS_HELD_OUT,
        "rank": Option("Rank of a fresh adapter, 1 to 64.", "R", minimum=1),
        "modules": Option(
            "Kind of module that a fresh adapter changes; may be given several times.",
            "NAME",
            "all that write into the residual stream",
        ),
        "steps": Option("How many steps are taken at most.", "N", minimum=1),
        "examples": Option("How many answered rows the base gets before each prompt in the check.", "N", minimum=0),
    },
    "answer-sheet": {
        "count": Option("How many prompts are written.", "N", minimum=2),
        "out": _SHEET_OUT,
    },
    "teach": {
        "count": Option("How many prompts are answered, at most.", "N", minimum=1),
        "out": _SHEET_OUT,
        "examples": Option(
            "How many rows with answers of their own the teacher reads before each prompt, at most.", "N", minimum=0
        ),
        "context": Option(
            "Instruction that the teacher reads before each prompt: a text, or a text file. --out does not hold it.",
            "TEXT|FILE",
            "none",
        ),
    },
    "serve-model": {
        "adapters": Option(
            "LoRA adapter, a PEFT folder; the first one answers unless a request chooses another.", "ADAPTER", "none"
        ),
    },
    "compare": {
        "source": Option("Prompt file, or folder of prompts.", "PROMPTS", "none, with --text and --adapter"),
        "seed": Option("Seed of the prompts that an adapter is generated from, and of the examples.", "N"),
        "chain": Option(
            "Chain of layers that answers too: what depth wrote, or a chain such as 0-12,10-12,15-29.", "CHAIN", "none"
        ),
    },
    "chat": {
        "adapters": Option(
            "Who answers: a LoRA adapter, a PEFT folder, or several; or a base, as of --base.", "ADAPTER|BASE", "--base"
        ),
        "chain": Option(
            "Chain of layers that answers too: what depth wrote, or a chain such as 0-12,10-12,15-29.", "CHAIN", "none"
        ),
    },
    "evaluate": {
        "rows": Option("How many test rows of each task are answered.", "N", minimum=1),
        "library": Option("Folder that collect wrote, for the arms made from it.", "DIR", "those arms are left out"),
        "seed": Option("First seed of everything drawn at random.", "N"),
        "teacher": Option(
            "Who answers for the arm taught_32: an endpoint's base URL, or a model of this machine.",
            "URL|MODEL",
            "that arm is left out",
        ),
    },
    "combine": {
        "adapters": Option("LoRA adapters of one base, PEFT folders.", "ADAPTER"),
    },
    "import": {
        "source": Option(
            "LoRA adapter of any tool: a PEFT folder, a .gguf file, or the folder of a GGUF export.", "SOURCE"
        ),
    },
    "plan": {
        "library": Option("Folder that collect wrote.", "DIR", "needed for train"),
        "out": Option("Folder the command would write to.", "DIR", "an empty one"),
    },
    "measure": {
        "batch": Option("How many rows a training step takes.", "N", minimum=1),
    },
    "depth": {
        "source": _LABELLED_PROMPTS,
        "rows": _ROWS_SEARCHED,
        "adapter": _ADAPTER_BESIDE,
    },
    "depth-table": {
        "rows": _ROWS_SEARCHED,
    },
    "depth-oracle": {
        "source": _LABELLED_PROMPTS,
        "rows": Option("How many rows are searched, each by its own label.", "N", minimum=1),
        "adapter": _ADAPTER_BESIDE,
    },
    "choose-chain": {
        "source": Option("Prompt file, or folder of prompts; needs no labels.", "PROMPTS"),
        "adapter": _ADAPTER_BESIDE,
    },
    "export-chain": {
        "adapter": _ADAPTER_BESIDE,
        "format": Option(
            "mergekit: a passthrough merge. dense: a model folder. peft: a LoRA folder with layer_replication. "
            "json: chain.json alone.",
            choices=tuple(CHAIN_FORMATS),
        ),
    },
}
"""By command, the options that it explains in its own words."""


def parameters(request_type: type[Request]) -> list[inspect.Parameter]:
    """The keyword parameters of the command that makes a `request_type`."""
    job = JOBS[request_type]
    differing = DIFFERING.get(job.command, {})
    switched = _switched(request_type)
    found = []
    for name, kind, default in leaves(request_type):
        # With the switch there may be several of what is typed without a name.
        asked: Any = tuple[kind, ...] if switched and name in job.positional else kind  # type: ignore[valid-type]
        found.append(_parameter(name, differing.get(name) or OPTIONS[name], asked, default, job))
    if switched:
        switch = JOBS[switched].switch
        info = typer.Option(f"--{switch}", help=JOBS[switched].help, show_default=False)
        kind = inspect.Parameter.KEYWORD_ONLY
        found.append(inspect.Parameter(switch, kind, default=False, annotation=Annotated[bool, info]))
    return sorted(found, key=lambda parameter: parameter.name not in job.positional)


def build_asked(request_type: type[Request], values: dict[str, Any]) -> Any:
    """The request that the words of a command make: of this type, or of the one that its switch stands for.

    Raises:
        ValueError: several of what the command takes one of, without the switch.
    """
    switched = _switched(request_type)
    if switched is None:
        return build(request_type, values)
    given = values.pop(JOBS[request_type].positional[0])
    switch = JOBS[switched].switch
    if values.pop(switch):
        return build(switched, values | {JOBS[switched].positional[0]: given})
    if len(given) != 1:
        raise ValueError(f"{len(given)} of what one adapter is made from; --{switch} makes an adapter of each")
    return build(request_type, values | {JOBS[request_type].positional[0]: given[0]})


def _switched(request_type: type[Request]) -> type[Request] | None:
    """The request that the same command makes with a switch; None where it has none."""
    command = JOBS[request_type].command
    return next((kind for kind, job in JOBS.items() if job.switch and job.command == command), None)


def build(request_type: type[Any], values: Mapping[str, Any]) -> Any:
    """The request whose fields, however deep, have these values."""
    hints = get_type_hints(request_type)
    made = {}
    inner = JOBS[request_type].inner if request_type in JOBS else ()
    for field in fields(request_type):
        if field.name in inner:
            continue
        kind: Any = hints[field.name]
        choice = choice_in(kind)
        value = values[field.name] if choice is None else _built_choice(choice, values)
        made[field.name] = tuple(value or ()) if get_origin(kind) is tuple else value
    return request_type(**made)


def names(request_type: type[Request]) -> tuple[str, ...]:
    """The names of all plain fields of a request, those of the nested choices too."""
    return tuple(name for name, _, _ in leaves(request_type))


def _built_choice(choice: type[Any], values: Mapping[str, Any]) -> Any:
    """The choice, or None if a value that it requires was not given."""
    required = [field.name for field in fields(choice) if field.default is MISSING]
    return None if any(values[name] is None for name in required) else build(choice, values)


def _parameter(name: str, option: Option, kind: Any, default: Any, job: Job) -> inspect.Parameter:
    annotation = kind
    if option.choices:
        annotation = Literal[option.choices]
        if type(None) in get_args(kind):
            annotation = annotation | None
    elif get_origin(kind) is tuple:
        annotation = list[get_args(kind)[0]]  # type: ignore[misc]
    shown = option.default or (kind is not bool and default not in (None, MISSING, ()))
    info: Any
    if name in job.positional:
        info = typer.Argument(help=option.help, metavar=option.metavar, show_default=shown)
    else:
        # A switch named explicitly gets no --no-... twin.
        info = typer.Option(
            job.flag(name), help=option.help, metavar=option.metavar, show_default=shown, min=option.minimum
        )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[annotation, info],
    )
