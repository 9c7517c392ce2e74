"""A chain's score is that of its view on whole logits; what is reused changes nothing and is counted."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from engine.adapter.attach import attach
from engine.depth.chain import identity
from engine.depth.scores import RowScores, joined
from engine.depth.scoring import ChainScorer
from engine.depth.view import chain_view
from engine.training.packing import TokenRow
from engine.weights.layout import derive_layout
from tests.tiny import tiny_model
from tests.unit.adapter_parts import random_adapter

LAYERS = 6
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 3},
    "qwen3": {},
    "gemma2": {"sliding_window": 5},
}
CHAINS = [identity(LAYERS), (0, 1, 4, 5), (0, 1, 2, 1, 2, 3, 4, 5), (0, 1, 2, 1, 2, 5), (3, 3, 3), (0, 1, 4, 5)]


def model_of(family: str) -> Any:
    return tiny_model(family, num_hidden_layers=LAYERS, **FAMILIES[family])


def row(seed: int) -> TokenRow:
    """Rows begin alike and differ in length."""
    chance = random.Random(seed)
    own = chance.choices(range(3, 300), k=chance.randint(1, 9))
    return TokenRow((7, 8, 9, *own), tuple(chance.choices(range(3, 300), k=3)))


def expected(view: Any, rows: list[TokenRow]) -> RowScores:
    """Row by row, from all logits of the view."""
    exact, losses = [], []
    for each in rows:
        logits = view(input_ids=torch.tensor([[*each.prompt, *each.answer]])).logits[0, len(each.prompt) - 1 : -1]
        answer = torch.tensor(each.answer)
        exact.append(bool((logits.argmax(-1) == answer).all()))
        losses.append(torch.nn.functional.cross_entropy(logits, answer).item())
    return RowScores(tuple(exact), tuple(losses))


def with_right_answers(view: Any, rows: list[TokenRow]) -> list[TokenRow]:
    """Every other row gets what the view itself writes for an answer."""
    made = []
    for number, each in enumerate(rows):
        ids = view.generate(torch.tensor([each.prompt]), max_new_tokens=3, do_sample=False, eos_token_id=None)
        made.append(each if number % 2 else TokenRow(each.prompt, tuple(ids[0, len(each.prompt) :].tolist())))
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_view(family: str) -> None:
    model = model_of(family)
    for chain in CHAINS[:5]:
        view = chain_view(model, chain)
        rows = with_right_answers(view, [row(seed) for seed in range(7)])
        scorer = ChainScorer(model, [rows[:2], rows[2:]], 0)
        found, right = joined(scorer.score(chain, part) for part in (0, 1)), expected(view, rows)
        assert found.exact == right.exact and found.right >= 4
        assert found.loss == pytest.approx(right.loss, abs=1e-4)


def test_many_rows_make_many_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = model_of("llama"), [row(seed) for seed in range(7)]
    whole = ChainScorer(model, [rows], 0).score(CHAINS[2], 0)
    monkeypatch.setattr("engine.depth.scoring._PACK_TOKENS", 25)
    parted = ChainScorer(model, [rows], 0).score(CHAINS[2], 0)
    assert parted.exact == whole.exact and parted.loss == pytest.approx(whole.loss, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_what_was_scored_before_makes_no_difference(family: str) -> None:
    model, rows = model_of(family), [row(seed) for seed in range(5)]
    warm = ChainScorer(model, [rows], 0)
    for chain in CHAINS:
        assert warm.score(chain, 0) == ChainScorer(model, [rows], 0).score(chain, 0)


def test_layers_are_run_once_from_the_first_that_differs() -> None:
    scorer = ChainScorer(model_of("llama"), [[row(1), row(2)]], 0)
    run = []
    for chain in CHAINS:
        before = scorer.layers_run
        scorer.score(chain, 0)
        run.append((scorer.layers_run - before) / 2)
    # The base; after 0, 1; after 0, 1, 2; after 0, 1, 2, 1, 2; all; nothing.
    assert run == [6, 2, 5, 1, 3, 0]


def test_little_memory_costs_time_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = model_of("llama"), [row(seed) for seed in range(3)]
    roomy = ChainScorer(model, [rows], 0)
    before = [roomy.score(chain, 0) for chain in CHAINS]
    monkeypatch.setattr("engine.depth.scoring._KEPT_BYTES", 3 * 30 * 32 * 4)
    tight = ChainScorer(model, [rows], 0)
    assert [tight.score(chain, 0) for chain in CHAINS] == before
    assert tight.layers_run > roomy.layers_run


def test_long_answers_get_their_logits_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a wish to stop is heard between them."""
    model, steps = model_of("llama"), []
    rows = with_right_answers(chain_view(model, CHAINS[1]), [row(seed) for seed in range(5)])
    whole = ChainScorer(model, [rows], 0).score(CHAINS[1], 0)
    monkeypatch.setattr("engine.depth.scoring._HEAD_TOKENS", 4)
    scorer = ChainScorer(model, [rows], 0, lambda: steps.append(1))
    parted = scorer.score(CHAINS[1], 0)
    assert parted.exact == whole.exact and parted.loss == pytest.approx(whole.loss, abs=1e-5)
    assert len(steps) == LAYERS + 2 + 4  # the base once, two layers more, 15 answer tokens in fours


def test_with_an_adapter_attached() -> None:
    model, rows = model_of("qwen3"), [row(seed) for seed in range(4)]
    bare = ChainScorer(model, [rows], 0).score(CHAINS[2], 0)
    with attach(model, random_adapter(derive_layout(model.config), size=0.2)) as attached:
        found = ChainScorer(attached.model, [rows], 0).score(CHAINS[2], 0)
        right = expected(chain_view(attached.model, CHAINS[2]), rows)
    assert found.loss == pytest.approx(right.loss, abs=1e-4) and found.loss != pytest.approx(bare.loss, abs=1e-2)


def test_block_influence_is_the_turn_of_the_hidden_states() -> None:
    model = model_of("llama")
    model.model.layers[2].mlp.down_proj.weight.zero_()
    model.model.layers[2].self_attn.o_proj.weight.zero_()
    influence = ChainScorer(model, [[row(1), row(2)]], 0).influence(0)
    assert len(influence) == LAYERS and influence[2] == pytest.approx(0, abs=1e-5)
    assert min(influence[:2] + influence[3:]) > 0.01


def test_the_model_is_left_without_hooks_though_it_was_stopped() -> None:
    model = model_of("llama")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ChainScorer(model, [[row(1)]], 0, on_step=stop).score(identity(LAYERS), 0)
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in model.model.layers)


def test_figures_of_scores() -> None:
    scores = joined([RowScores((True,), (0.0,)), RowScores((False,), (1.0,))])
    assert (scores.right, scores.accuracy, scores.mean_loss) == (1, 0.5, 0.5)
    assert scores.value == pytest.approx((0.5 + (1 + 0.36787944) / 2) / 2)
