"""How an entry of the library is shown and found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from dnd_tui.state.adapter_record import MADE_FROM_WORDS, AdapterRecord, DamagedAdapter
from dnd_tui.text import answers_words, duration, one_line, short_path, when_words
from dnd_tui.widgets.cells import fitted
from engine.solver.plan import GENERATOR
from engine.text import readable_size

Entry = AdapterRecord | DamagedAdapter


# Sums can be long; the facts have all of it.
_WIDEST_FROM = 24
COLUMNS = ("Name", "Base → adapted", "Made", "From", "Time", "Base")


def cells(entry: Entry, today: datetime) -> tuple[str, ...]:
    """What stands under `COLUMNS`."""
    if isinstance(entry, DamagedAdapter):
        return (entry.id, "damaged", "", "", "", "")
    return (
        one_line(entry.name),
        scores(entry),
        when_words(entry.made, today),
        fitted(one_line(entry.source_words), _WIDEST_FROM).rstrip(),
        duration(sum(entry.seconds.values())),
        one_line(entry.base_id.rpartition("/")[2]),
    )


def scores(record: AdapterRecord) -> str:
    """The mean of every arm under the metric measured last, the base's first."""
    if not record.scores:
        return "not measured"
    metric = record.scores[-1].metric
    return " → ".join(f"{score.mean:.2f}" for score in record.scores if score.metric == metric)


def facts(entry: Entry) -> list[tuple[str, str]]:
    """Everything that is known of it."""
    if isinstance(entry, DamagedAdapter):
        return [("damaged", entry.problem), ("folder", short_path(entry.folder))]
    chosen = [name for name in (entry.device, entry.dtype) if name != "auto"]
    rank = f"rank {entry.rank}, " if entry.rank else ""
    lines = [
        ("name", entry.name),
        *_origin(entry),
        ("base", entry.base_id),
        ("made", ", ".join([entry.made[:16].replace("T", " "), *chosen])),
        ("time", f"{duration(sum(entry.seconds.values()))}, {'warm' if entry.warm else 'cold'}"),
        ("adapter", f"{rank}{entry.parameters:,} parameters, {readable_size(entry.bytes)}"),
    ]
    for metric in dict.fromkeys(score.metric for score in entry.scores):
        means = [score for score in entry.scores if score.metric == metric]
        told = ", ".join(f"{score.arm} {score.mean:.3f}" for score in means)
        lines.append((metric, f"{told} on {means[0].rows} row{'' if means[0].rows == 1 else 's'}"))
    if any(entry.picks.values()):
        lines.append(("picks", ", ".join(f"{arm} {count}" for arm, count in entry.picks.items())))
    if entry.note:
        lines.append(("note", entry.note))
    return [*lines, ("folder", short_path(entry.folder))]


def _origin(record: AdapterRecord) -> list[tuple[str, str]]:
    """What it was made of."""
    if record.source is not None:
        column = f", column {record.column}" if record.column else ""
        prompts = f"{record.count or 'as many as fit'}, seed {record.seed}{column}"
        dataset = ("dataset", short_path(record.source))
        if record.made_from == GENERATOR:
            generator = f"{record.generator or 'released'}, {record.generator_digest[:12]}"
            return [dataset, ("prompts", prompts), ("generator", generator)]
        labels = f", labels {record.label}" if record.label else ""
        made_from = MADE_FROM_WORDS.get(record.made_from, record.made_from)
        return [
            dataset,
            ("made from", f"{made_from}, seed {record.seed}{column}{labels}"),
            *([("answers", answers_words(record.rows or 0, record.taught_by))] if record.taught_by else []),
            *([("trained from", record.start_name)] if record.start else []),
            *([("instruction", one_line(record.context))] if record.context else []),
            ("held out", record.verdict or "not checked"),
        ]
    if record.imported is not None:
        return [("imported from", short_path(record.imported)), *(("changed", each) for each in record.changes)]
    return [("sum of", record.source_words), ("kept", kept_words(record.kept))]


def kept_words(kept: Mapping[str, float]) -> str:
    """How much of a sum its rank keeps; see `AdapterRecord.kept`."""
    if not kept:
        return "all, the sum is exact"
    kinds = {kind: share for kind, share in kept.items() if kind != "all"}
    least = min(kinds, key=lambda kind: kinds[kind], default="")
    told = f"; least of {least}, {kinds[least]:.2%}" if len(kinds) > 1 else ""
    return f"{kept['all']:.2%} of the squared norm{told}"


def finished_words(record: AdapterRecord) -> str:
    """What is said of an adapter that has just been made."""
    if record.origin == "imported":
        return " ".join([f"Imported as {record.name}.", *record.changes])
    return f"Added {record.name}, rank {record.rank}; kept {kept_words(record.kept)}"


def matches(entry: Entry, wanted: str) -> bool:
    """Whether every word of `wanted` stands somewhere in what is known of it."""
    known = "\n".join(value for _, value in facts(entry)).casefold()
    return all(word in known for word in wanted.casefold().split())
