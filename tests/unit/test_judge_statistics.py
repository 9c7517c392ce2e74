"""Bootstrap, sign test and recovery against figures worked out by hand or by another library."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.judge.statistics import difference, recovery, sign_test


def test_bootstrap_of_two_tasks_is_the_one_worked_out_by_hand() -> None:
    # Two differences 0 and 1: the resampled mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    found = difference("generated", "base", [0.0, 1.0], seed=0)
    assert found is not None
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    assert (found.wins, found.losses, found.tasks) == (1, 0, 2)


def test_bootstrap_of_ten_tasks_is_the_one_worked_out_by_hand() -> None:
    # One task of ten is better by 1: the resampled mean is k / 10 with k binomial(10, 1/10). P(k = 0) = 0.349 is above
    # 2.5 %, so the lower end is 0; P(k <= 2) = 0.930 and P(k <= 3) = 0.987, so the upper end is 0.3.
    found = difference("generated", "base", [1.0] + [0.0] * 9, seed=3)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.0, 0.3))


def test_bootstrap_of_equal_differences_has_no_width() -> None:
    found = difference("generated", "base", [-0.25] * 4, seed=0)
    assert found is not None
    assert (found.mean, found.low, found.high) == (-0.25, -0.25, -0.25)
    assert (found.wins, found.losses) == (0, 4)


def test_where_lower_is_better_less_is_a_win() -> None:
    found = difference("generated", "base", [-0.25, -0.5, 0.1], seed=0, lower_is_better=True)
    assert found is not None
    assert (found.wins, found.losses) == (2, 1) and found.mean < 0


def test_same_seed_same_interval() -> None:
    values = [0.1, -0.3, 0.7, 0.2, 0.05]
    assert difference("a", "b", values, seed=5) == difference("a", "b", values, seed=5)
    assert difference("a", "b", [], seed=5) is None


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (18, 6, 2 * (1 + 24 + 276 + 2024 + 10626 + 42504 + 134596) / 2**24),  # 75 % of 24 tasks
        (12, 12, 1.0),
    ],
)
def test_sign_test_by_hand(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p)
    assert sign_test(losses, wins) == sign_test(wins, losses)


@given(st.integers(0, 40), st.integers(0, 40))
def test_sign_test_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    # scikit-learn, which the sentence encoder needs, brings it.
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected)


def test_recovery_is_the_ratio_of_the_mean_gains() -> None:
    found = recovery([0.1, 0.3, 0.2], [0.4, 0.4, 0.4], seed=0)
    assert found is not None
    assert (found.tasks, found.gain, found.part) == pytest.approx((3, 0.4, 0.5))
    assert found.low is not None and found.high is not None
    assert 0.25 <= found.low < 0.5 < found.high <= 0.75


def test_equal_to_the_oracle_recovers_all_of_it_without_doubt() -> None:
    gains = [0.5, 0.1, 0.7, 0.2]
    found = recovery(gains, gains, seed=1)
    assert found is not None
    assert (found.part, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("oracle", [[0.0, 0.0], [0.5, -0.4], [-0.1, -0.2], [1e-3, -1e-3]])
def test_no_recovery_where_the_oracle_surely_gains_nothing(oracle: list[float]) -> None:
    found = recovery([0.3, 0.3], oracle, seed=0)
    assert found is not None
    assert (found.part, found.low, found.high) == (None, None, None)
    assert found.gain == pytest.approx(sum(oracle) / 2)
    assert recovery([], [], seed=0) is None


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=12))
def test_recovery_is_in_its_interval_or_not_stated(gains: list[tuple[float, float]]) -> None:
    found = recovery([own for own, _ in gains], [oracle for _, oracle in gains], seed=0)
    assert found is not None
    if found.part is None:
        assert found.gain_low <= 0
    else:
        assert found.gain > 0 and found.low is not None and found.high is not None
        assert found.low <= found.high
