"""How an entry of the library is shown and found."""

from __future__ import annotations

from datetime import datetime

from dnd_tui.state.adapter_record import AdapterRecord, DamagedAdapter
from dnd_tui.text import duration, one_line, short_path, when_words
from engine.text import readable_size

Entry = AdapterRecord | DamagedAdapter


COLUMNS = ("Name", "Base → adapted", "Made", "Dataset", "Time", "Base")


def cells(entry: Entry, today: datetime) -> tuple[str, ...]:
    """What stands under `COLUMNS`."""
    if isinstance(entry, DamagedAdapter):
        return (entry.id, "damaged", "", "", "", "")
    return (
        one_line(entry.name),
        scores(entry),
        when_words(entry.made, today),
        one_line(entry.dataset),
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
    column = f", column {entry.column}" if entry.column else ""
    chosen = [name for name in (entry.device, entry.dtype) if name != "auto"]
    lines = [
        ("name", entry.name),
        ("dataset", short_path(entry.source)),
        ("prompts", f"{entry.count or 'as many as fit'}, seed {entry.seed}{column}"),
        ("base", entry.base_id),
        ("generator", f"{entry.generator or 'released'}, {entry.generator_digest[:12]}"),
        ("made", ", ".join([entry.made[:16].replace("T", " "), *chosen])),
        ("time", f"{duration(sum(entry.seconds.values()))}, {'warm' if entry.warm else 'cold'}"),
        ("adapter", f"{entry.parameters:,} parameters, {readable_size(entry.bytes)}"),
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


def matches(entry: Entry, wanted: str) -> bool:
    """Whether every word of `wanted` stands somewhere in what is known of it."""
    known = "\n".join(value for _, value in facts(entry)).casefold()
    return all(word in known for word in wanted.casefold().split())
