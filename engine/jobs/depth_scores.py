"""Scores of chains as the jobs on depth need them: what they depend on, and those on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.base.device import dtype_name, out_of_memory_told
from engine.base.load import LoadedBase
from engine.depth.chain import Chain
from engine.depth.record import adapter_digest
from engine.depth.scores import RowScores, joined
from engine.depth.scoring import ChainScorer
from engine.events import Reporter
from engine.jobs.depth_rows import DepthRows
from engine.training.packing import TokenRow

# Rows of a padded batch when chains are judged.
_JUDGED_AT_ONCE = 16


def scored_with(base: LoadedBase, adapter: Path | None, rows: DepthRows) -> dict[str, Any]:
    """All that a score of the search depends on besides the chain: `belongs_to` of a `ScoreMemory`."""
    return {
        "base": base.ref.fingerprint,
        "number_format": dtype_name(base.dtype),
        "adapter": adapter_digest(adapter),
        "set_of_rows": rows.digest,
    }


def held_out_scores(
    base: LoadedBase, model: Any, chains: Sequence[Chain], rows: Sequence[TokenRow], reporter: Reporter
) -> dict[Chain, RowScores]:
    """By chain, the scores on all of `rows`, in their order.

    Args:
        model: of `base`, with or without an adapter attached.
        rows: those of like length beside one another.
    """
    batches = [rows[start : start + _JUDGED_AT_ONCE] for start in range(0, len(rows), _JUDGED_AT_ONCE)]
    parts: dict[Chain, list[RowScores]] = {chain: [] for chain in chains}
    with reporter.stage("judge", len(parts) * len(batches), "batches") as stage, out_of_memory_told("--rows"):
        for batch in batches:
            # A scorer a batch: what it keeps of one is of no use for the next.
            scorer = ChainScorer(model, [batch], base.tokenizer.pad_token_id or 0, lambda: stage.advance(0))
            for chain, known in parts.items():
                known.append(scorer.score(chain, 0))
                stage.advance(1)
    return {chain: joined(known) for chain, known in parts.items()}
