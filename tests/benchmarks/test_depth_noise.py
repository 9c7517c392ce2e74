"""Labels without sense on the real base: how often a search says "no reliable gain". Run by `make bench`; takes long.

Smaller or larger by the environment:

    DND_TUI_NOISE_SEEDS    how many shuffles, 10
    DND_TUI_NOISE_CHAINS   chains a search, 50
    DND_TUI_NOISE_ROWS     rows a search, 32
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from engine.base.load import LoadedBase
from engine.depth.truth import NO_GAIN
from engine.events import Reporter
from engine.jobs import run
from engine.requests import DepthRequest, ModelChoice

pytestmark = pytest.mark.benchmark

SEEDS = int(os.environ.get("DND_TUI_NOISE_SEEDS", "10"))
CHAINS = int(os.environ.get("DND_TUI_NOISE_CHAINS", "50"))
ROWS = int(os.environ.get("DND_TUI_NOISE_ROWS", "32"))

QUESTION = "Decide what the sentence is about: weather, food, sport or music. Answer with one word."
WHO = ("Her brother", "The old man", "My neighbour", "A friend of ours", "Their aunt", "The teacher", "His cousin")
WHAT = {
    "weather": ("watched the storm come in", "felt the first snow", "hoped the fog would lift", "waited for the rain"),
    "food": ("baked a loaf of bread", "peeled the potatoes", "ordered a bowl of soup", "put cheese on the rice"),
    "sport": ("ran the marathon", "scored the winning goal", "lost the final set", "trained for the regatta"),
    "music": ("tuned the violin", "sang in the choir", "wrote a slow song", "played the drums"),
}
WHEN = ("on Monday", "in the morning", "before noon", "last winter", "again")


def sentences() -> list[tuple[str, str]]:
    """(prompt, topic), 560 of them."""
    return [
        (f"{QUESTION}\n\n{who} {what} {when}.", topic)
        for topic, several in WHAT.items()
        for what in several
        for who in WHO
        for when in WHEN
    ]


def test_shuffled_labels_are_no_reliable_gain(
    default_base: LoadedBase, generated_adapter: Path, tmp_path: Path
) -> None:
    """With an adapter that answers in the form of the labels: otherwise nothing is right, and nothing could be gained.

    At least 9 of 10 must say so; by the test's level 19 of 20 are expected.
    """
    verdicts = []
    for seed in range(SEEDS):
        chance = random.Random(seed)
        rows = chance.sample(sentences(), ROWS + 100)
        labels = [topic for _, topic in rows]
        chance.shuffle(labels)
        source = tmp_path / f"{seed}.jsonl"
        lines = (
            json.dumps({"prompt": prompt, "response": label}) for (prompt, _), label in zip(rows, labels, strict=True)
        )
        source.write_text("\n".join(lines))
        request = DepthRequest(
            models=ModelChoice(device="cpu"), source=source, out=tmp_path / str(seed), adapter=generated_adapter,
            chains=CHAINS, rows=ROWS, seed=seed,
        )  # fmt: skip
        data = run(request, Reporter()).to_json()
        search, held_out = data["search"], data["held_out"]
        verdicts.append(held_out["verdict"])
        print(
            f"\nseed {seed}: {search['base']['right']} to {search['right']} of {search['rows']} on the rows of the "
            f"search, {held_out['base_right']} to {held_out['chain_right']} of {held_out['rows']} held out "
            f"(p = {held_out['p_value']:.2g}): {held_out['verdict']}"
        )
    said = verdicts.count(NO_GAIN)
    print(f"{said} of {len(verdicts)} seeds with shuffled labels say {NO_GAIN!r}")
    assert said >= 0.9 * len(verdicts)
