"""A search for a chain of layers that is always the same: its events, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnd_tui.config import data_folder
from dnd_tui.state.chains import AcceptedChain, AcceptedChains
from engine.depth.chain import edited, edits, format_chain, identity, parse_chain
from engine.depth.scores import Judgement, RowScores, judge
from engine.events import ChainScored, Event, StageFinished, StageStarted

LAYERS = 30
BASE = {"id": "HuggingFaceTB/SmolLM2-135M-Instruct", "fingerprint": "5" * 64, "layers": LAYERS}
BEST = "0-13,13-29"
MENU = ("0-12,14,18-26,28-29", "0-24,27-29", BEST)
RIGHT = {"0-29": 80, MENU[0]: 71, MENU[1]: 79, BEST: 77}
_SEARCHED = {"0-29": 26, MENU[0]: 20, MENU[1]: 26, BEST: 28}


def chain_events() -> list[Event]:
    """Two hundred chains in the tree, some of them looked at again."""
    base = identity(LAYERS)
    made = [edited(base, edit) for edit in edits(base, ("skip", "loop"), longest=45)][::3][:190]
    looked_at = [(format_chain(chain), len(chain), 8, (len(chain) * 7 + at) % 9) for at, chain in enumerate(made)]
    again = [(chain, len(parse_chain(chain, LAYERS)), 32, right) for chain, right in _SEARCHED.items()]
    events: list[Event] = [StageFinished(stage, took) for stage, took in (("import", 2.1), ("load", 3.4))]
    for chain, layers, rows, right in [("0-29", LAYERS, 8, 7), *looked_at, *again]:
        round = 2 if rows == 32 else 0
        value = right / rows * (0.5 if rows == 8 else 1.0)
        events.append(ChainScored(chain, layers, rows, right, value, round, BEST if round else "0-29", 0.15))
    events += [StageStarted("search", 265, "chains"), StageFinished("search", 168.0)]
    return [*events, StageFinished("judge", 30.0), StageFinished("speed", 9.5)]


def chain_data() -> dict[str, Any]:
    """What the depth job answers."""
    base = {"accuracy": 0.8125, "loss": 0.5, "rows": 32}
    menu = [
        {
            "chain": chain,
            "length": len(parse_chain(chain, LAYERS)),
            "search": base | {"right": _SEARCHED[chain], "value": _SEARCHED[chain] / 32},
            "held_out": _judged(chain, len(MENU)),
        }
        for chain in MENU
    ]
    return {
        "format": 1,
        "chain": BEST,
        "layers": list(parse_chain(BEST, LAYERS)),
        "base": BASE,
        "adapter": None,
        "search": {"chains": 201, "seed": 0, "share": 0.15, "base": base | {"right": 26, "value": 26 / 32}}
        | base
        | {"right": 28, "value": 28 / 32},
        "held_out": _judged(BEST, 1),
        "menu": menu,
        "speed": {"base": {"prefill": 84.7, "decode": 17.4}, "chain": {"prefill": 81.9, "decode": 16.8}},
    }


def accept_chain(prompts: Path) -> None:
    """A chain accepted long ago."""
    record = AcceptedChain(
        chain=MENU[1],
        length=28,
        layers=LAYERS,
        base_id=str(BASE["id"]),
        fingerprint=str(BASE["fingerprint"]),
        base="default",
        device="auto",
        dtype="auto",
        source=prompts,
        column=None,
        dataset=prompts.name,
        held_out=None,
        adapter=None,
        adapter_name="",
        right=26,
        rows=32,
        judged=_judgement(MENU[1], 1),
        when="2024-11-02T12:00:00+00:00",
    )
    AcceptedChains(data_folder() / "chains").accept(record, chain_data())


def _judged(chain: str, tests: int) -> dict[str, Any]:
    return vars(_judgement(chain, tests)) | {"loss": 0.5}


def _judgement(chain: str, tests: int) -> Judgement:
    """Five rows more than the difference are changed in both directions."""
    base = [place < RIGHT["0-29"] for place in range(100)]
    lost = max(RIGHT["0-29"] - RIGHT[chain], 0) + 5
    won = range(80, RIGHT[chain] + lost)
    own = [(before and place >= lost) or place in won for place, before in enumerate(base)]
    return judge(RowScores(tuple(base), (0.5,) * 100), RowScores(tuple(own), (0.5,) * 100), tests)
