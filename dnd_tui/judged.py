"""What the scores of the Compare screen show, and which prompts it keeps back as examples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from engine.events import AnswersScored
from engine.judge.verdict import verdict
from engine.tasks.labels import balanced, baselines, few_labels
from engine.tasks.metrics import normalised


def verdict_text(
    rows: Sequence[tuple[Sequence[str], Mapping[str, float]]],
    arms: Sequence[str],
    scored: AnswersScored,
    titles: Mapping[str, str],
) -> str:
    """Sentences about the subject: how many are right, chance and majority, which differences are sure.

    Args:
        rows: the known answers and the scores by arm of each judged prompt; none gives no text.
        arms: the subject first, then the others in the order in which they are named.
        titles: how an arm is called inside a sentence.
    """
    if not rows:
        return ""
    reached = baselines([references for references, _ in rows], scored.labels)
    scores = {arm: [own[arm] for _, own in rows] for arm in arms}
    found = verdict(scores, arms[0], scored.metric, reached, titles)
    words = f" ({reached.words})" if reached else ""
    return " ".join(f"{sentence}." for sentence in (found.sentence + words, *found.differences))


def kept_as_examples(
    answered: Mapping[int, Sequence[str]], numbers: Collection[int], examples: int, seed: int
) -> set[int]:
    """Which of the prompts that are to be run are kept back: without them there would be no examples for the others.

    At most half of them. Those that were kept back have the others as their examples when they are run later.

    Args:
        answered: the known answers of every listed prompt that has any, by its number.
        numbers: of the prompts that are to be run.
        examples: how many are wanted.
    """
    missing = examples - len(answered.keys() - set(numbers))
    if missing <= 0:
        return set()
    labels = few_labels(answered.values())
    own = [(normalised(answered[number][0]) if labels else "", number) for number in numbers if number in answered]
    return set(balanced(own, min(missing, len(numbers) // 2), seed))
