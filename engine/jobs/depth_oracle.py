"""Labelled rows -> what chains exist for each, by its own label: an analysis, always told as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.adapter.attach import AttachedModel
from engine.adapter.peft_folder import read_peft_folder
from engine.base.device import dtype_name
from engine.base.load import LoadedBase
from engine.depth.chain import Chain, parse_chain
from engine.depth.oracle import ACTIONS, ORACLE, RowSearch, row_data, search_row, shares
from engine.depth.record import adapter_digest
from engine.depth.rows import distinct_rows
from engine.depth.scores import RowScores
from engine.depth.scoring import ChainScorer
from engine.depth.search import SearchSettings
from engine.depth.tree import TreeSettings
from engine.depth.view import decoder_layers
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json, read_json, write_json
from engine.jobs.depth_rows import fitting_rows, token_rows
from engine.jobs.results import Result
from engine.pipeline import load_chosen_base
from engine.requests import DepthOracleRequest
from engine.training.packing import TokenRow

ORACLE_FILE = "oracle.json"

_ADAPTER = "searched"


def depth_oracle_job(request: DepthOracleRequest, reporter: Reporter) -> Result:
    """Search chains for single rows, three times each; the shares of rows with a chain into `request.out`."""
    base = load_chosen_base(request.models, reporter)
    layers = len(decoder_layers(base.model))
    drawn = fitting_rows(request.source, request.column, 2 * request.rows, request.seed, base, reporter)
    rows = token_rows(base, distinct_rows(drawn)[: request.rows])
    settings = {
        "base": base.ref.fingerprint,
        "number_format": dtype_name(base.dtype),
        "adapter": adapter_digest(request.adapter),
        "set_of_rows": digest_json([[row.prompt, row.answer] for row in rows]),
        "chains": request.chains,
        "length_weight": request.length_weight,
        "seed": request.seed,
    }
    file = request.out / ORACLE_FILE
    done = _read(file, settings, layers) if file.exists() else []
    with AttachedModel(base) as attached, reporter.stage("oracle search", len(rows), "rows") as stage:
        if request.adapter:
            attached.add(_ADAPTER, read_peft_folder(request.adapter)[0])
            attached.use(_ADAPTER)
        stage.advance(len(done))
        for row in rows[len(done) :]:
            done.append(_searched(request, base, attached.model, row, lambda: stage.advance(0)))
            write_json(file, _data(settings, done, layers))
            stage.advance(1, right=sum(each["both"].base_right for each in done))
    data = _data(settings, done, layers)
    return Result(data | {"file": str(file), "seconds": dict(reporter.timings)}, (*_lines(data), ("file", str(file))))


def _searched(
    request: DepthOracleRequest, base: LoadedBase, model: Any, row: TokenRow, on_step: Callable[[], None]
) -> dict[str, RowSearch]:
    """The three searches of a row; they share hidden states, and a chain is scored once for all of them."""
    scorer = ChainScorer(model, [[row]], base.tokenizer.pad_token_id or 0, on_step)
    known: dict[Chain, RowScores] = {}

    def score(chain: Chain) -> RowScores:
        if chain not in known:
            known[chain] = scorer.score(chain, 0)
        return known[chain]

    def settings(kinds: tuple[str, ...]) -> SearchSettings:
        return SearchSettings(request.chains, request.seed, TreeSettings(kinds, length_weight=request.length_weight))

    influence = scorer.influence(0)
    return {name: search_row(score, influence, settings(kinds)) for name, kinds in ACTIONS.items()}


def _data(settings: Mapping[str, Any], done: list[dict[str, RowSearch]], layers: int) -> dict[str, Any]:
    return {
        "oracle": ORACLE,
        "settings": dict(settings),
        "layers": layers,
        "shares": shares(done, layers),
        "rows": [{name: row_data(search) for name, search in row.items()} for row in done],
    }


def _read(file: Path, settings: Mapping[str, Any], layers: int) -> list[dict[str, RowSearch]]:
    """The rows that are finished. Raises EngineError when they are of other settings."""
    data = read_json(file, hint="Choose another --out, or remove the file")
    try:
        other = next((name for name, value in settings.items() if data["settings"][name] != value), None)
        if other is None:
            return [{name: _row(row[name], layers) for name in ACTIONS} for row in data["rows"]]
    except (KeyError, TypeError, AttributeError, EngineError):
        raise EngineError("is not the file of an oracle search", where=str(file), hint="Choose another --out") from None
    problem = f"the oracle search here has another {other.replace('_', ' ')}"
    raise EngineError(problem, where=str(file.parent), hint="Choose another --out, or go back to that setting")


def _row(data: Mapping[str, Any], layers: int) -> RowSearch:
    text = data["shortest_right_chain"]
    return RowSearch(bool(data["base_right"]), text and parse_chain(text, layers), int(data["chains"]))


def _lines(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = data["shares"]
    lines = [("what this is", ORACLE), ("base", f"{_share_words(found['base'])} right")]
    for name in ACTIONS:
        each = found[name]
        told = f"{_share_words(each['found'])} right with a chain found by the label; "
        if name != "loop":
            told += f"a shorter one for {_share_words(each['shorter'])} that the base has right; "
        told += f"a correcting one for {_share_words(each['corrected'])} that it has wrong"
        lines.append((f"oracle, {name}", told))
    return lines


def _share_words(share: Mapping[str, Any]) -> str:
    if not share["of"]:
        return "0 of 0 rows"
    low, high = share["interval"]
    return f"{share['count']} of {share['of']} rows ({share['share']:.0%}, 95 % interval {low:.0%} to {high:.0%})"
