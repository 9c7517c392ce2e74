"""The jobs on chains of layers: search one, export one, choose one for each prompt, and two analyses of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from engine.adapter.check import CHECK_PROMPT
from engine.adapter.peft_folder import read_peft_folder
from engine.base.chat import prompt_ids
from engine.base.device import dtype_name
from engine.base.load import LoadedBase, resolve_base
from engine.depth.arms import TaskArms
from engine.depth.chain import format_chain, length_words
from engine.depth.dataset import find_chain
from engine.depth.export import export_chain
from engine.depth.oracle import ORACLE_FILE, oracle_lines, search_rows
from engine.depth.predictor import NOTHING_TO_CHOOSE, PREDICTOR_FILE, choose_chains, make_predictor, read_predictor
from engine.depth.record import CHAIN_FILE, chain_of, read_chain
from engine.depth.rows import MOST_HELD_OUT, DepthRows, depth_rows, distinct_rows, fitting_rows, split_rows, token_rows
from engine.depth.table import MARKDOWN_FILE, DepthTable
from engine.depth.view import decoder_layers
from engine.errors import EngineError, setting
from engine.events import Reporter
from engine.files import write_json
from engine.jobs.checks import DepthPrompts, prepare_generate
from engine.jobs.generate import generate_job
from engine.jobs.prompts import TO_SCORE, labelled_rows
from engine.jobs.results import Result
from engine.pipeline import load_chosen_base, load_pipeline
from engine.prompts import PromptRow, PromptSet
from engine.prompts.prompt_set import counted_rows
from engine.requests import (
    ChainChoiceRequest,
    ChainExportRequest,
    ContextChoice,
    DepthOracleRequest,
    DepthRequest,
    DepthTableRequest,
    GenerateRequest,
    PromptChoice,
)
from engine.solver.plan import GENERATOR
from engine.tasks.tasks import Task
from engine.text import readable_size


def depth_job(request: DepthRequest, prompts: DepthPrompts, reporter: Reporter) -> Result:
    """Search a chain, judge it and the menu on held-out rows, measure its speed; all of it into `request.out`."""
    base = load_chosen_base(request.models, reporter)
    decoder_layers(base.model)  # before rows are read: whether its layers can be run in another order at all
    rows = _rows(request, prompts, base, reporter)
    found = find_chain(request, base, rows, reporter)
    figures, lines, file = found.figures(), found.lines(), request.out / CHAIN_FILE
    if request.predictor:
        trial = make_predictor(request, base, rows, found, reporter)
        figures["predictor"] = trial.figures() if trial else {"offered": False, "reason": NOTHING_TO_CHOOSE}
        lines += trial.lines() if trial else [("predictor", f"not offered: {NOTHING_TO_CHOOSE}")]
    data = chain_of(base.ref, found.best.chain, request.adapter, figures).to_json()
    write_json(file, data)
    return _result(data | {"file": str(file)}, [*lines, ("file", str(file))], reporter)


def export_chain_job(request: ChainExportRequest, reporter: Reporter) -> Result:
    """Write a chain in one of the forms, reload it and compare its logits."""
    base = load_chosen_base(request.models, reporter)
    layers = len(decoder_layers(base.model))
    adapter = read_peft_folder(request.adapter)[0] if request.adapter else None
    record = read_chain(request.chain, base.ref, request.adapter)
    size, differences = export_chain(
        base,
        record,
        adapter,
        request.out,
        request.format,
        prompt_ids(base.tokenizer, CHECK_PROMPT),
        may_replace=request.replace,
        reporter=reporter,
    )
    data = {
        "folder": str(request.out),
        "format": request.format,
        "chain": format_chain(record.chain),
        "bytes": size,
        "logit_difference": differences.logits,
        "merge_difference": differences.rounding,
    }
    lines = [
        ("chain", length_words(record.chain, layers)),
        ("reloaded", f"largest logit difference {differences.logits:.1e}"),
    ]
    if adapter is not None and request.format == "dense":
        lines.append(("merging", f"largest logit difference {differences.rounding:.1e}"))
    lines.append((request.format, f"{request.out} ({readable_size(size)})"))
    return _result(data, lines, reporter)


def choose_chain_job(request: ChainChoiceRequest, prompts: PromptSet, reporter: Reporter) -> Result:
    """The chain that the predictor of a search takes for each prompt.

    Raises:
        EngineError: the predictor showed no reliable gain on held-out rows, or does not fit base, adapter or encoder.
    """
    ref = resolve_base(request.models.base, trust_remote_code=request.models.trust_remote_code, reporter=reporter)
    record = read_predictor(request.search, ref, request.adapter)
    if not record.offered:
        problem, where = f"this predictor is not offered: {record.reason}", str(request.search / PREDICTOR_FILE)
        hint = "Take the best chain of the search for all prompts, or the base itself"
        raise EngineError(problem, where=where, hint=hint)
    with reporter.stage("read", unit="rows") as stage:
        rows = [row for row in counted_rows(prompts.every_row(), stage) if row.prompt]
    chosen = choose_chains(request, record, [row.prompt for row in rows], reporter)
    data = [{"number": row.number, "chain": format_chain(chain)} for row, chain in zip(rows, chosen, strict=True)]
    counts = Counter(chosen).most_common()
    lines = [(f"{count} of {len(rows)}", length_words(chain, record.origin.layers)) for chain, count in counts]
    return _result({"prompts": data}, lines, reporter)


def depth_oracle_job(request: DepthOracleRequest, prompts: PromptSet, reporter: Reporter) -> Result:
    """Search chains for single rows, three times each; the shares of rows with a chain into `request.out`."""
    base = load_chosen_base(request.models, reporter)
    decoder_layers(base.model)
    drawn = _drawn(prompts, 2 * request.rows, request.seed, base, reporter)
    data = search_rows(request, base, token_rows(base, distinct_rows(drawn)[: request.rows]), reporter)
    file = str(request.out / ORACLE_FILE)
    return _result(data | {"file": file}, [*oracle_lines(data), ("file", file)], reporter)


def depth_table_job(
    request: DepthTableRequest, tasks: Sequence[tuple[Task, DepthPrompts]], reporter: Reporter
) -> Result:
    """The table over the tasks of a request; what is finished in `request.out` is not done again."""
    pipeline = load_pipeline(request.models, reporter)
    base, generator = pipeline.base, str(pipeline.about["sha256"])
    settings = {
        "base": base.ref.id,
        "number_format": dtype_name(base.dtype),
        "device": str(base.model.device),
        "generator": generator[:12],
        "chains": request.chains,
        "rows": request.rows,
        "seed": request.seed,
    }
    table = DepthTable(settings)
    for task, prompts in tasks:
        search = DepthRequest(
            models=request.models,
            source=task.train_path,
            held_out=task.test_path,
            out=request.out / task.name,
            chains=request.chains,
            rows=request.rows,
            seed=request.seed,
        )
        try:
            rows = _rows(search, prompts, base, reporter)
        except EngineError as error:
            # Too few different rows, mostly: the other tasks are measured all the same.
            table.left_out[task.name] = str(error)
            reporter.note(f"{task.name} is left out: {error.text(setting)}", warning=True)
            table.write(request.out)
            continue
        generate = partial(_generate, search, reporter)
        for cells in TaskArms(search, base, task, rows, generator, generate, reporter).measured():
            table.tasks[task.name] = cells
            table.write(request.out)
    return _result(table.to_json(), [*table.lines(), ("table", str(request.out / MARKDOWN_FILE))], reporter)


def _generate(search: DepthRequest, reporter: Reporter, out: Path) -> None:
    """The adapter of the prompts that a chain is searched on."""
    prompts = PromptChoice(source=search.source, column="prompt", seed=search.seed)
    alone = ContextChoice(made_from=GENERATOR)
    request = GenerateRequest(models=search.models, prompts=prompts, solve=alone, out=out)
    generate_job(request, prepare_generate(request), reporter)


def _rows(request: DepthRequest, prompts: DepthPrompts, base: LoadedBase, reporter: Reporter) -> DepthRows:
    """The rows of a search, parted. Raises EngineError when there are too few, or they cannot be read."""
    # Enough for both sides, even when some come again.
    most = 4 * (request.rows + MOST_HELD_OUT)
    rows = _drawn(prompts.search, most, request.seed, base, reporter)
    others = _drawn(prompts.held_out, most, request.seed, base, reporter) if prompts.held_out else None
    split = split_rows(
        rows, request.rows, request.seed, source=request.source, held_out=others, held_out_source=request.held_out
    )
    return depth_rows(base, split)


def _drawn(prompts: PromptSet, count: int, seed: int, base: LoadedBase, reporter: Reporter) -> list[PromptRow]:
    """Up to `count` labelled rows, drawn at random; too long ones are left out and reported."""
    rows, _ = labelled_rows(prompts, count, seed, TO_SCORE, reporter)
    return fitting_rows(base, rows, reporter)


def _result(data: dict[str, object], lines: Sequence[tuple[str, str]], reporter: Reporter) -> Result:
    return Result(data | {"seconds": dict(reporter.timings)}, tuple(lines))
