"""An adapter of any tool -> a checked PEFT folder of ours."""

from __future__ import annotations

from typing import Literal

from engine.adapter.check import CHECK_PROMPT
from engine.adapter.consumers import consumers
from engine.adapter.export import Choice, write_checked_export
from engine.adapter.foreign import Foreign, fit, fold, plan
from engine.adapter.formats import FORMATS
from engine.adapter.provenance import Imported
from engine.base.chat import prompt_ids
from engine.base.source import source_of
from engine.events import Reporter
from engine.files import digest_file
from engine.jobs.command_line import card_line
from engine.jobs.export import difference_lines
from engine.jobs.results import Result, stage_lines, verdict_lines, verdicts_data
from engine.pipeline import find_chosen_base, load_chosen_base
from engine.requests import ImportRequest
from engine.text import readable_size


def import_job(request: ImportRequest, opened: tuple[Literal["peft", "gguf"], Foreign], reporter: Reporter) -> Result:
    """Check what another tool wrote, bring it into our form and write it, read back and compared as an export is."""
    kind, foreign = opened
    with reporter.stage("read"):
        digest = digest_file(foreign.weights)
    ref = find_chosen_base(request.models, reporter)
    foreign.check_base(ref.config)
    fitted = fit(foreign.pairs, ref.config)
    made = plan(fitted, foreign.scales_for(fitted))
    base = load_chosen_base(request.models, reporter, ref)
    named = foreign.named_base
    if named and named != base.ref.id:
        warning = f"The adapter names {named} as its base; it is checked on {base.ref.id}, and the import names that"
        reporter.note(warning, warning=True)
    with reporter.stage("convert", unit="modules") as stage, foreign.reading(base.ref.config) as read:
        adapter = fold(made, read, stage)
    changes = (*foreign.changes, *made.changes)
    imported = Imported(
        source=request.source.absolute().name,
        digest=digest,
        format=kind,
        changes=changes,
        command=card_line(request, "source", "out"),
        timings=dict(reporter.timings),
    )
    export = write_checked_export(
        request.out,
        adapter,
        base,
        prompt_ids(base.tokenizer, CHECK_PROMPT),
        Choice(replace=request.replace),
        base_id=base.ref.id,
        provenance=imported,
        reporter=reporter,
    )
    verdicts = consumers(export.target.absolute(), export.layout, source_of(base.ref))
    lora = export.layout.lora
    data = {
        "adapter": str(export.target),
        "bytes": export.bytes,
        "format": kind,
        "rank": lora.rank,
        "alpha": lora.alpha,
        "modules": len(export.layout.modules),
        "parameters": export.layout.parameters,
        "base": base.ref.id,
        "named_base": named,
        "changes": list(changes),
        "norms": {path: adapter.norm(path) for path in adapter.a},
        "logit_difference": export.differences.logits,
        "consumers": verdicts_data(verdicts),
        "seconds": dict(reporter.timings),
    }
    lines = (
        *stage_lines(reporter.timings),
        *difference_lines(export.differences),
        *(("changed", each) for each in changes),
        ("adapter", f"{export.target} ({readable_size(export.bytes)}, rank {lora.rank}, of a {FORMATS[kind].title})"),
        *verdict_lines(verdicts),
    )
    return Result(data, lines)
