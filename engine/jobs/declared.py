"""Every job, declared once: what is refused before it, what runs it, how a person types it, what an interrupt leaves.

    request --check or prepare (light)--> runner, imported when it is asked for --> Result

`engine.jobs.run`, the engine process, the command line and the app take all of it from `JOBS`. Light: no heavy library
is imported here, and none by checks. To add a job: its request type in `engine.requests`, an entry here, the words for
its options in `dnd_tui.options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.requests import (
    ChainChoiceRequest,
    ChainExportRequest,
    ChatRequest,
    CollectRequest,
    CombineRequest,
    CompareRequest,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
    EvaluateRequest,
    ExportRequest,
    GenerateEachRequest,
    GenerateRequest,
    ImportRequest,
    InfoRequest,
    LeaveOneOutRequest,
    LoadRequest,
    ModelsRequest,
    PlanRequest,
    PreviewRequest,
    RefineRequest,
    Request,
    ServeModelRequest,
    SheetRequest,
    TeachRequest,
    TrainingTimeRequest,
    TrainRequest,
)

NOTHING = "nothing was written to disk"
WHOLE = "{out} is as it was, or complete; it is never half written"
GOES_ON = "what is finished is kept in {out}; the same command goes on from there"

# Of options that are not called like their fields, in every command.
_FLAGS = {
    "made_from": "from",
    "answered": "rows",
    "modules": "module",
    "adapters": "adapter",
    "numbers": "row",
    "texts": "text",
    "arms": "arm",
    "only": "task",
    "tables": "table",
    "weights": "weight",
    "names": "name",
}


@dataclass(frozen=True)
class Job:
    """How a request is done.

    runner: "module:function", as of check and prepare: they are imported when they are asked for. Called with the
        request and a reporter; after `prepare`, with its result between them.
    command: its name on the command line; "" for jobs of the app alone. help: what it does, in one sentence.
    lab: it stands under `dnd-tui lab`: made for those who train generators and judge arms.
    switch: an option, without dashes, with which the command makes this request and not its usual one.
    positional: fields that are typed without a name.
    inner: fields that nobody types: the command fills them itself.
    flags: options, without dashes, whose names differ from the field's in this command.
    check: called with the request; raises EngineError for what can be seen to be impossible before heavy imports.
    prepare: the same, and returns what it has read, for the runner.
    kept: what an interrupt leaves, for people; {out} stands for where the request writes.
    heavy: the import takes seconds and is a stage of its own.
    """

    runner: str
    command: str = ""
    help: str = ""
    lab: bool = False
    switch: str = ""
    positional: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    check: str = ""
    prepare: str = ""
    kept: str = NOTHING
    heavy: bool = True

    def flag(self, name: str) -> str:
        """`--max-new-tokens` for the field `max_new_tokens`."""
        return f"--{self.flags.get(name) or _FLAGS.get(name) or name.replace('_', '-')}"


JOBS: Mapping[type[Request], Job] = {
    LoadRequest: Job("engine.jobs.generate:load_job"),
    GenerateRequest: Job(
        "engine.jobs.generate:generate_job",
        "generate",
        "Make a LoRA adapter from what stands in prompts: answered examples, an instruction, or the prompts alone.",
        positional=("source",),
        prepare="engine.jobs.checks:prepare_generate",
        kept=WHOLE,
    ),
    GenerateEachRequest: Job(
        "engine.jobs.each:generate_each_job",
        "generate",
        "Make an adapter of each dataset, in a folder of its name; what is finished there is skipped.",
        switch="each",
        positional=("sources",),
        prepare="engine.jobs.checks:prepare_generate_each",
        kept="finished adapters are kept in {out}; the same command goes on from there",
    ),
    RefineRequest: Job(
        "engine.jobs.refine:refine_job",
        "refine",
        "Train a LoRA adapter, or a fresh one, on answered prompts until it gains no more.",
        positional=("adapter", "source"),
        prepare="engine.jobs.checks:prepare_refine",
        kept="{out} holds the best adapter so far, or the run, which the same command goes on with",
    ),
    SheetRequest: Job(
        "engine.jobs.prompts:sheet_job",
        "answer-sheet",
        "Write a few prompts that differ to a file, for you to answer; an adapter is made from that.",
        positional=("source",),
        check="engine.jobs.checks:check_sheet",
        kept=WHOLE,
        heavy=False,
    ),
    TeachRequest: Job(
        "engine.jobs.teach:teach_job",
        "teach",
        "Let a larger model answer prompts that have no answers, into a file for you to look through.",
        positional=("source",),
        flags={"count": "rows"},
        prepare="engine.jobs.checks:prepare_teach",
        kept="{out} has the answers so far; the same command asks for the others",
    ),
    CompareRequest: Job(
        "engine.jobs.answer:compare_job",
        "compare",
        "Answer prompts with base and adapted model side by side.",
        positional=("source",),
        prepare="engine.jobs.compared:prepare_compare",
    ),
    ChatRequest: Job(
        "engine.jobs.chat:chat_job",
        "chat",
        "Talk with a base or an adapter: a line of stdin is a message.",
        positional=("adapters",),
        inner=("message", "earlier"),
        check="engine.jobs.checks:check_chat",
        kept="the message that was being answered is left out of the chat",
    ),
    ServeModelRequest: Job(
        "engine.jobs.serve_model:serve_model_job",
        "serve-model",
        "Serve a base and adapters by llama.cpp: an OpenAI-compatible server with a chat page.",
        positional=("adapters",),
        check="engine.jobs.checks:check_serve_model",
    ),
    EvaluateRequest: Job(
        "engine.jobs.evaluate:evaluate_job",
        "evaluate",
        "Make the quality table of a generator over tasks.",
        lab=True,
        check="engine.jobs.checks:check_evaluate",
        kept=GOES_ON,
    ),
    LeaveOneOutRequest: Job(
        "engine.jobs.leave_one_out:leave_one_out_job",
        "leave-one-out",
        "Put the tables of generators judged on a set each into one.",
        lab=True,
        kept=WHOLE,
        heavy=False,
    ),
    ExportRequest: Job(
        "engine.jobs.adapters:export_job",
        "export",
        "Write an adapter, checked, in the form that another program reads.",
        positional=("adapter",),
        check="engine.jobs.checks:check_export",
        kept=WHOLE,
    ),
    CombineRequest: Job(
        "engine.jobs.adapters:combine_job",
        "combine",
        "Average adapters of one base, or add them up with weights; or reduce the rank of one.",
        positional=("adapters",),
        check="engine.jobs.checks:check_combine",
        kept=WHOLE,
    ),
    ImportRequest: Job(
        "engine.jobs.adapters:import_job",
        "import",
        "Check an adapter that another tool made and write it as one of ours.",
        positional=("source",),
        prepare="engine.jobs.checks:prepare_import",
        kept=WHOLE,
    ),
    CollectRequest: Job(
        "engine.jobs.forge:collect_job",
        "collect",
        "Train the LoRA library that a generator learns from.",
        lab=True,
        kept=GOES_ON,
    ),
    TrainRequest: Job(
        "engine.jobs.forge:train_job",
        "train",
        "Train a generator on a library.",
        lab=True,
        check="engine.jobs.checks:check_train",
        kept=GOES_ON,
    ),
    PlanRequest: Job(
        "engine.jobs.plan:plan_job",
        "plan",
        "Show what collect or train would do, and what is done already.",
        lab=True,
        positional=("kind",),
        heavy=False,
    ),
    TrainingTimeRequest: Job(
        "engine.jobs.measure:training_time_job",
        "measure",
        "Time real LoRA training on labelled prompts, to compare with generating.",
        lab=True,
        positional=("source",),
        prepare="engine.jobs.checks:prepare_measure",
    ),
    DepthRequest: Job(
        "engine.jobs.depth:depth_job",
        "depth",
        "Find layers of the base to skip or loop for labelled prompts, without training.",
        positional=("source",),
        prepare="engine.jobs.checks:prepare_depth",
        kept="{out} keeps the scores so far and the best chain of them; the same command goes on from there",
    ),
    DepthTableRequest: Job(
        "engine.jobs.depth:depth_table_job",
        "depth-table",
        "Make the table of skipped and looped layers over tasks, with and without a generated adapter.",
        lab=True,
        prepare="engine.jobs.checks:prepare_depth_table",
        kept=GOES_ON,
    ),
    DepthOracleRequest: Job(
        "engine.jobs.depth:depth_oracle_job",
        "depth-oracle",
        "Search layers for each row by the row's own label: an analysis, not an accuracy that can be had.",
        lab=True,
        positional=("source",),
        prepare="engine.jobs.checks:prepare_depth_oracle",
        kept=GOES_ON,
    ),
    ChainChoiceRequest: Job(
        "engine.jobs.depth:choose_chain_job",
        "choose-chain",
        "Choose a chain of layers for each prompt, after depth --predictor showed a gain.",
        positional=("search", "source"),
        prepare="engine.jobs.checks:prepare_chain_choice",
    ),
    ChainExportRequest: Job(
        "engine.jobs.depth:export_chain_job",
        "export-chain",
        "Write a chain of layers in a form that other programs read.",
        positional=("chain",),
        check="engine.jobs.checks:check_chain_export",
        kept=WHOLE,
    ),
    ModelsRequest: Job(
        "engine.jobs.inspect:list_models_job",
        "models",
        "List or fetch base models, encoders, generators.",
        kept="what has arrived is kept; the same command goes on from there",
    ),
    InfoRequest: Job(
        "engine.jobs.inspect:info_job",
        "info",
        "Show what a file or folder is, or what this installation has.",
        positional=("target",),
    ),
    PreviewRequest: Job("engine.jobs.preview:preview_job", heavy=False),
}
