"""What counts as a right answer."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EngineError
from engine.tasks.metrics import METRICS, first_label, is_number, last_number, normalised, score


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Yes ", "yes"),
        ("Yes.", "yes"),
        ("[D]", "d"),
        ("(D).", "d"),
        ('"(D)."', "d"),
        ("\N{LEFT DOUBLE QUOTATION MARK}Oui\N{RIGHT DOUBLE QUOTATION MARK}", "oui"),
        ("the  big\n cat", "the big cat"),
        ("(a) or (b)", "(a) or (b)"),
        ('"a" and "b"', '"a" and "b"'),
        ("don't", "don't"),
        ("} ] )", "} ] )"),
        ("()", "()"),
        (".", "."),
        ("", ""),
    ],
)
def test_normalised(text: str, expected: str) -> None:
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("(d)", ["[D]"], 1.0),
        ("shimon  Peres.", ["Shimon Peres"], 1.0),
        ("Netanyahu", ["Peres", "netanyahu"], 1.0),
        ("Yes\n\nThe reason is clear.", ["Yes"], 0.0),
        ("The answer is yes", ["yes"], 0.0),
        ("", ["yes"], 0.0),
        ("yes", [], 0.0),
    ],
)
def test_exact_match(answer: str, references: list[str], expected: float) -> None:
    assert score("exact_match", answer, references) == expected


@pytest.mark.parametrize(
    ("answer", "references", "expected"),
    [
        ("the cat sat", ["the cat sat"], 1.0),
        # Longest common subsequence "the sat": precision 2/2, recall 2/3.
        ("The sat!", ["the cat sat"], 0.8),
        ("nothing", ["the cat sat"], 0.0),
        ("the cat", ["a dog", "the cat"], 1.0),
        ("", ["the cat"], 0.0),
        ("\u732b", ["\u732b"], 1.0),
        ("\u72ac", ["\u732b"], 0.0),
    ],
)
def test_rouge_l(answer: str, references: list[str], expected: float) -> None:
    assert score("rouge_l", answer, references) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", 80),
        ("80.0", 80),
        ("It is 69.", 69),
        ("0.09", Fraction(9, 100)),
        (".5", Fraction(1, 2)),
        ("1,000", 1000),
        ("1,234,567.5 people", Fraction(2469135, 2)),
        ("1,2,3", 3),
        ("12,3456", 3456),
        ("$5", 5),
        ("-$5", -5),
        ("$-5", -5),
        ("-81", -81),
        ("\N{MINUS SIGN}3", -3),
        ("x=-4", -4),
        ("3-5", 5),
        ("(2)-5", 5),
        ("- 5 apples", 5),
        ("50%", 50),
        ("3/4", Fraction(3, 4)),
        ("-3/4 of it", Fraction(-3, 4)),
        ("03/04/2008", 2008),
        ("5/0", 0),
        (r"$\boxed{\frac{3}{4}}.$", Fraction(3, 4)),
        (r"\boxed{10\pi}", 10),
        ("<<8*.25=2>>2.\n#### 18", 18),
        ("none", None),
        ("", None),
    ],
)
def test_last_number(text: str, expected: Fraction | int | None) -> None:
    assert last_number(text) == expected


def test_a_very_long_number_is_a_number() -> None:
    assert last_number("9" * 5000) == 10**5000 - 1


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("First 3, then 74.0 marbles", "74", 1.0),
        ("74 marbles, not 73", "74", 0.0),
        ("many", "74", 0.0),
        ("x + y", "x + y", 1.0),
        ("x", "x + y", 0.0),
    ],
)
def test_last_number_score(answer: str, reference: str, expected: float) -> None:
    assert score("last_number", answer, [reference]) == expected


TOPICS = ("billing", "refund", "not entailment", "entailment", "a", "b")


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("Billing.", "billing"),
        ("**Refund**: the customer paid for billing twice", "refund"),
        ("It is Not  entailment", "not entailment"),
        ("Entailment, not entailment", "entailment"),
        ("prebilling, refunds", None),
        ("I do not know", None),
        ("", None),
        ("(B) because of (A)", "b"),
        ("b", "b"),
        ("b, not a", "b"),
        # "a" is a word of its own too.
        ("This is a question for (B)", "b"),
        ("The answer is B", "b"),
        ("It is a refund", "refund"),
    ],
)
def test_the_label_that_is_named_first(answer: str, named: str | None) -> None:
    assert first_label(answer, TOPICS) == named


@pytest.mark.parametrize(
    ("answer", "references", "labels", "expected"),
    [
        ("Refund, I think", ["Refund"], TOPICS, 1.0),
        ("Billing or refund", ["refund"], TOPICS, 0.0),
        # Without the other labels it cannot be seen that another one is named first.
        ("Billing or refund", ["refund"], (), 1.0),
        ("not entailment", ["entailment"], TOPICS, 0.0),
        ("spam", ["Spam"], TOPICS, 1.0),
        ("ham", ["spam"], TOPICS, 0.0),
        ("yes", [], ("yes",), 0.0),
    ],
)
def test_label_score(answer: str, references: list[str], labels: tuple[str, ...], expected: float) -> None:
    assert score("label", answer, references, labels=labels) == expected


@pytest.mark.parametrize(("text", "number"), [("42.", True), ("-1,000.5", True), ("3/4", True), ("4 legs", False)])
def test_is_number(text: str, number: bool) -> None:
    assert is_number(text) is number


def test_unknown_metric_lists_the_metrics() -> None:
    with pytest.raises(EngineError, match=r"bleu.*exact_match, rouge_l, last_number, label"):
        score("bleu", "a", ["a"])


texts = st.text(max_size=40) | st.text("0123456789.,-/$ ()[]{}\"'\\frac", max_size=40)


@given(st.sampled_from(list(METRICS)), texts, st.lists(texts, max_size=3))
def test_scores_lie_between_0_and_1(metric: str, answer: str, references: list[str]) -> None:
    assert 0.0 <= score(metric, answer, references) <= 1.0


@given(st.sampled_from(list(METRICS)), texts, st.lists(texts, max_size=2))
def test_the_reference_itself_scores_1(metric: str, reference: str, others: list[str]) -> None:
    assert score(metric, reference, [*others, reference]) == pytest.approx(1.0)


@given(texts)
def test_normalised_twice_is_normalised_once(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


labels_drawn = st.sampled_from(["billing", "Refund", "(A)", "[b]", "yes", "not entailment", "entailment", "C++", "7"])


@given(labels_drawn, labels_drawn, st.lists(labels_drawn))
def test_an_answer_that_is_a_label_scores_as_exact_match(answer: str, reference: str, labels: list[str]) -> None:
    known = [answer, *labels]
    assert score("label", answer, [reference], labels=known) == score("exact_match", answer, [reference])


@given(labels_drawn, labels_drawn, texts | labels_drawn)
def test_text_after_the_first_label_changes_nothing(first: str, reference: str, text: str) -> None:
    labels = ["billing", "Refund", "(A)", "[b]", "yes", "not entailment", "entailment", "C++", "7"]
    alone = score("label", first, [reference], labels=labels)
    assert score("label", f"{first}; {text}", [reference], labels=labels) == alone
