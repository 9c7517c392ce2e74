"""How fast shorter and longer chains decode, and what a default search takes. Run by `make bench`.

Nothing is asserted about time: machines differ. Every figure is printed.
"""

from __future__ import annotations

import time

import pytest

from engine.base.load import LoadedBase
from engine.depth.chain import Chain, format_chain, parse_chain
from engine.depth.rows import part_sizes
from engine.depth.scores import RowScores
from engine.depth.scoring import ChainScorer
from engine.depth.search import SearchSettings, search_chains
from engine.depth.view import chain_view, measure_speed
from engine.training.packing import TokenRow

pytestmark = pytest.mark.benchmark

ROWS, TOKENS, ANSWER = 32, 64, 4


def test_decoding_with_fewer_and_with_more_layers(default_base: LoadedBase) -> None:
    model = default_base.model
    prompt = default_base.tokenizer("The river runs past old mills and quiet gardens. " * 6).input_ids
    chains = [parse_chain(text, 30) for text in ("0-11,18-29", "0-25,28-29", "0-12,10-29")]
    views = {format_chain(chain): chain_view(model, chain) for chain in chains}
    speed = measure_speed({"base": model, **views}, default_base.tokenizer, prompt)
    print(f"\none prompt of {len(prompt)} tokens, CPU, {default_base.dtype}")
    for name, one in speed.items():
        ratio = one.decode / speed["base"].decode
        print(f"{name:12} reads {one.prefill:6.0f}, writes {one.decode:5.1f} tokens/s ({ratio:.2f} x)")


def test_a_default_search(default_base: LoadedBase) -> None:
    """32 rows of 64 tokens with nothing in common, which is the slowest case, and labels without sense."""
    chance = default_base.tokenizer("old mills and quiet gardens before it meets a silver sea").input_ids
    rows = [
        TokenRow(tuple(chance[(3 * row + place) % len(chance)] + row for place in range(TOKENS - ANSWER)), (5, 6, 7, 8))
        for row in range(ROWS)
    ]
    edges = [sum(part_sizes(ROWS)[:part]) for part in range(5)]
    scorer = ChainScorer(default_base.model, [rows[edges[part] : edges[part + 1]] for part in range(4)], 0)
    seen: set[Chain] = set()

    def score(chain: Chain, part: int) -> RowScores:
        seen.add(chain)
        return scorer.score(chain, part)

    began = time.perf_counter()
    search_chains(score, scorer.influence(0), SearchSettings())
    naive = ROWS * sum(map(len, seen))
    print(
        f"\n{len(seen)} chains on up to {ROWS} rows of {TOKENS} tokens: {time.perf_counter() - began:.0f} s, "
        f"{scorer.layers_run / naive:.0%} of the work of a full search"
    )
