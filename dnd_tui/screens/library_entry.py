"""How an entry of the library is shown and found."""

from __future__ import annotations

from dnd_tui.state.adapter_record import AdapterRecord, DamagedAdapter
from dnd_tui.text import duration, figure, one_line
from engine.text import readable_size

Entry = AdapterRecord | DamagedAdapter


def cells(entry: Entry) -> tuple[str, ...]:
    """Name, dataset, base, made, time, scores."""
    if isinstance(entry, DamagedAdapter):
        return (entry.id, "damaged", "", "", "", "")
    return (
        one_line(entry.name),
        one_line(entry.dataset),
        one_line(entry.base_id.rpartition("/")[2]),
        _moment(entry.made),
        duration(sum(entry.seconds.values())),
        scores(entry),
    )


def scores(record: AdapterRecord) -> str:
    """The mean of every arm under the metric measured last."""
    if not record.scores:
        return "not measured"
    metric = record.scores[-1].metric
    return ", ".join(f"{score.arm} {score.mean:.2f}" for score in record.scores if score.metric == metric)


def facts(entry: Entry) -> list[tuple[str, str]]:
    """Everything that is known of it."""
    if isinstance(entry, DamagedAdapter):
        return [("damaged", entry.problem), ("folder", str(entry.folder))]
    lines = [
        ("name", entry.name),
        ("dataset", str(entry.source)),
        (
            "prompts",
            f"{entry.column or 'column found'}, {entry.count or 'as many as the generator takes'}, seed {entry.seed}",
        ),
        ("base", entry.base_id),
        ("generator", f"{entry.generator or 'released'}, {entry.generator_digest[:12]}"),
        ("made", f"{_moment(entry.made)} on {entry.device}, {entry.dtype}"),
        ("time", f"{duration(sum(entry.seconds.values()))}, {'warm' if entry.warm else 'cold'}"),
        ("adapter", f"{entry.parameters:,} parameters, {readable_size(entry.bytes)}"),
    ]
    lines += [(f"{score.arm}, {score.metric}", f"{figure(score.mean)} on {score.rows} rows") for score in entry.scores]
    if entry.picks:
        lines.append(("picks", ", ".join(f"{arm} {count}" for arm, count in entry.picks.items())))
    if entry.note:
        lines.append(("note", entry.note))
    return [*lines, ("folder", str(entry.folder))]


def matches(entry: Entry, wanted: str) -> bool:
    """Whether every word of `wanted` stands somewhere in what is known of it."""
    known = "\n".join(value for _, value in facts(entry)).casefold()
    return all(word in known for word in wanted.casefold().split())


def _moment(iso: str) -> str:
    return iso[:16].replace("T", " ")
