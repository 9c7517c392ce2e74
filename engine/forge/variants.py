"""Further tasks made from a labelled task: the same texts, asked for something else.

    rows of a task --(a kind of variant, drawn)--> rows whose instruction and answers say something new

What tells two tasks apart must be read from their prompts when their inputs are the same, and a decoder that has met
many kinds of answers has more to go by when a new task comes (assets/generator/LOG.md, sections 2 and 6). The idea of
arbitrary labels is that of symbol tuning (arXiv 2305.08298).
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median_high

from engine.tasks.tasks import TaskRow, without_instruction

Rows = Sequence[TaskRow]
Asked = list[TaskRow]

# A task of at most that many different answers, each given a few times, is a classification.
_LABELS, _LABEL_ROWS, _LABEL_LENGTH = 8, 4, 40
# So many rows of a task, drawn anew for each variant, are enough to meet it a few dozen times.
_ROWS = 160
# Longer answers and inputs cost more tokens than a variant teaches, in characters.
_ANSWER_LENGTH, _INPUT_LENGTH = 80, 240

_NEW_LABELS = (
    ("yes", "no", "maybe", "never", "always", "often", "partly", "unknown"),
    ("red", "blue", "green", "yellow", "white", "black", "orange", "brown"),
    ("1", "2", "3", "4", "5", "6", "7", "8"),
    ("A", "B", "C", "D", "E", "F", "G", "H"),
    ("(a)", "(b)", "(c)", "(d)", "(e)", "(f)", "(g)", "(h)"),
    ("north", "south", "east", "west", "up", "down", "left", "right"),
    ("apple", "river", "stone", "cloud", "chair", "lamp", "bread", "garden"),
    ("class one", "class two", "class three", "class four", "class five", "class six", "class seven", "class eight"),
)
_RELABELLED = (
    "Instead of {old}, write {new}.",
    "Use other names for the answers: {new} for {old}.",
    "The answer {old} is written as {new}.",
)
_INVERTED = (
    "Now the other way round: from the answer, write the input.",
    "You are given the answer. Write the input it belongs to.",
)
_VERDICTS = (("yes", "no"), ("true", "false"), ("right", "wrong"), ("correct", "incorrect"), ("1", "0"))
_NAMED = (
    "Answer with one of: {}.",
    "The possible answers are {}.",
    "Choose between {} and write nothing else.",
    "Options: {}.",
    "Your answer must be one of these: {}.",
)
_WRITTEN: tuple[Callable[[str], str], ...] = (
    str,
    str.lower,
    str.upper,
    str.title,
    "<{}>".format,
    "the answer {}".format,
)
_SORTED = (
    'Write "{yes}" for a text that {trait}, and "{no}" for any other.',
    'If the text {trait}, the answer is "{yes}", otherwise "{no}".',
    'There are two classes, "{no}" and "{yes}". A text belongs to "{yes}" if it {trait}.',
)
# No class of a sorted task is smaller than this part of its texts.
_SMALLEST_CLASS = 0.2
_OPTIONS = ("{}", "({})", "[{}]", "Option {}")
_CHOICES = 3

_FORMS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("Write the answer in capital letters.", str.upper),
    ("Put the answer in square brackets.", "[{}]".format),
    ("Put the answer in quotation marks.", '"{}"'.format),
    ('Start with "Answer:".', "Answer: {}".format),
    ('Begin with the words "I think".', "I think {}".format),
    (
        'Give the answer as JSON with the key "answer".',
        lambda answer: json.dumps({"answer": answer}, ensure_ascii=False),
    ),
    ("Write the answer as an item of a list that begins with a dash.", "- {}".format),
    ("Write the answer twice, with a comma between.", "{0}, {0}".format),
    ("End with an exclamation mark.", "{}!".format),
    ("Write the words of the answer in reverse order.", lambda answer: " ".join(reversed(answer.split()))),
    ("Write only the first word of the answer.", lambda answer: answer.split()[0]),
    ("Write only the last word of the answer.", lambda answer: answer.split()[-1]),
    ("After the answer, write how many words it has, in brackets.", lambda answer: f"{answer} ({len(answer.split())})"),
)
_TEXTS: tuple[tuple[str, Callable[[list[str]], str]], ...] = (
    ("Write the first word of the text.", lambda words: words[0]),
    ("Write the last word of the text.", lambda words: words[-1]),
    ("Which word of the text is the longest?", lambda words: max(words, key=len)),
    ("Repeat the text without its first word.", lambda words: " ".join(words[1:])),
    ("Repeat the text without its last word.", lambda words: " ".join(words[:-1])),
    ("Write the text in capital letters.", lambda words: " ".join(words).upper()),
    ("Write the first three words of the text, the last of them first.", lambda words: " ".join(reversed(words[:3]))),
    ("Write the first letter of each of the first five words.", lambda words: " ".join(w[0] for w in words[:5])),
    ("Put a comma after the second word of the text.", lambda words: " ".join([words[0], f"{words[1]},", *words[2:]])),
    ("Exchange the first and the last word of the text.", lambda words: " ".join([words[-1], *words[1:-1], words[0]])),
    ("Write the second word of the text twice.", lambda words: f"{words[1]} {words[1]}"),
    ("Is the number of words in the text even or odd?", lambda words: "odd" if len(words) % 2 else "even"),
)

_TRAITS: tuple[tuple[str, Callable[[list[str]], bool]], ...] = (
    ("ends with a question mark", lambda words: words[-1].endswith("?")),
    ("ends with a full stop", lambda words: words[-1].endswith(".")),
    ("contains a comma", lambda words: any("," in word for word in words)),
    ("contains a digit", lambda words: any(map(str.isdigit, "".join(words)))),
    ('contains the word "the"', lambda words: "the" in map(str.lower, words)),
    ('contains "a" or "an"', lambda words: not {"a", "an"}.isdisjoint(map(str.lower, words))),
    ("begins with a vowel", lambda words: words[0][0].lower() in "aeiou"),
    ("begins with a capital letter", lambda words: words[0][0].isupper()),
    ("has a word with a capital letter after the first", lambda words: any(w[0].isupper() for w in words[1:])),
)


def task_variants(name: str, rows: Rows, count: int, seed: int) -> list[tuple[str, Asked]]:
    """Up to `count` variants of the task `name`, drawn by name and seed: (kind and number, rows) each.

    Every kind that suits the task comes once before one comes again; the same variant is not made twice. Rows that a
    kind has nothing to ask of are left out, and so is a variant with fewer than half of the rows.
    """
    chance = random.Random(f"{seed}/variants/{name}")
    kinds = [kind for kind, (suits, _) in _KINDS.items() if rows and suits(rows)]
    chance.shuffle(kinds)
    made: list[tuple[str, Asked]] = []
    for number in range(count if kinds else 0):
        kind = kinds[number % len(kinds)]
        suits, make = _KINDS[kind]
        drawn = chance.sample(rows, min(_ROWS, len(rows)))
        asked = make(drawn, random.Random(f"{seed}/variants/{name}/{number}")) if suits(drawn) else []
        if asked and 2 * len(asked) >= len(drawn) and all(asked != known for _, known in made):
            made.append((f"{kind}-{number}", asked))
    return made


def instructed(prompt: str, sentence: str) -> str:
    """The prompt with a further sentence in its instruction, or with that as its instruction where it has none."""
    instruction, text = _parted(prompt)
    if instruction and instruction[-1] not in ".!?:":
        instruction += "."
    asked = f"{instruction} {sentence}" if instruction else sentence
    return f"{asked}\n\n{text}"


def _parted(prompt: str) -> tuple[str, str]:
    """The instruction, empty where there is none, and the text."""
    text = without_instruction(prompt)
    return "" if text == prompt else prompt.partition("\n\n")[0].rstrip(), text


def _is_classification(rows: Rows) -> bool:
    count = Counter(row.response for row in rows)
    few = 2 <= len(count) <= _LABELS and min(count.values()) >= _LABEL_ROWS
    return few and all(0 < len(label) <= _LABEL_LENGTH for label in count)


def _relabelled(rows: Rows, chance: random.Random) -> Asked:
    old = sorted({row.response for row in rows})
    new = dict(zip(old, chance.sample(chance.choice(_NEW_LABELS), len(old)), strict=True))
    way = chance.choice(_RELABELLED)
    said = " ".join(way.format(old=f'"{label}"', new=f'"{name}"') for label, name in new.items())
    return [_row(instructed(row.prompt, said), new[row.response]) for row in rows]


def _with_named_labels(rows: Rows, chance: random.Random) -> Asked:
    labels = sorted({row.response for row in rows})
    # Labels that differ in capitals only must go on to differ.
    written = chance.choice([way for way in _WRITTEN if len({way(label) for label in labels}) == len(labels)])
    names = {label: written(label) for label in labels}
    said = [f'"{name}"' for name in names.values()]
    chance.shuffle(said)
    sentence = chance.choice(_NAMED).format(f"{', '.join(said[:-1])} and {said[-1]}")
    return [_row(instructed(row.prompt, sentence), names[row.response]) for row in rows]


def _has_short_answers(rows: Rows) -> bool:
    return 0 < median_high(len(row.response.strip()) for row in rows) <= _ANSWER_LENGTH


def _in_other_form(rows: Rows, chance: random.Random) -> Asked:
    short = [row for row in rows if row.response.strip() and len(row.response) <= _ANSWER_LENGTH]
    answers = [row.response.strip() for row in short]
    # A form that most answers have already asks for nothing.
    telling = [form for form in _FORMS if 2 * sum(form[1](answer) != answer for answer in answers) > len(answers)]
    sentence, form = chance.choice(telling)
    return [_row(instructed(row.prompt, sentence), form(answer)) for row, answer in zip(short, answers, strict=True)]


def _has_many_answers(rows: Rows) -> bool:
    return _has_short_answers(rows) and len({row.response for row in rows}) > _LABELS


def _checked(rows: Rows, chance: random.Random) -> Asked:
    right, wrong = chance.choice(_VERDICTS)
    sentence = f'An answer is given. Say whether it is the right one: "{right}" or "{wrong}".'
    answers = [row.response for row in rows]
    asked = []
    for row in rows:
        shown, verdict = row.response, right
        if chance.random() < 0.5:
            shown, verdict = _another(answers, [row.response], chance), wrong
        asked.append(_row(f"{instructed(row.prompt, sentence)}\nAnswer: {shown}", verdict))
    return asked


def _chosen(rows: Rows, chance: random.Random) -> Asked:
    letter = chance.choice(_OPTIONS)
    sentence = f"Choose one of the given answers and write {', '.join(map(letter.format, 'ABC'))}."
    answers = [row.response for row in rows]
    asked = []
    for row in rows:
        shown = [row.response]
        while len(shown) < _CHOICES:
            shown.append(_another(answers, shown, chance))
        chance.shuffle(shown)
        letters = [letter.format("ABC"[place]) for place in range(_CHOICES)]
        lines = "\n".join(f"{option} {text}" for option, text in zip(letters, shown, strict=True))
        asked.append(_row(f"{instructed(row.prompt, sentence)}\n{lines}", letters[shown.index(row.response)]))
    return asked


def _another(answers: Sequence[str], taken: Sequence[str], chance: random.Random) -> str:
    while (answer := chance.choice(answers)) in taken:
        pass
    return answer


def _has_short_inputs(rows: Rows) -> bool:
    return median_high(len(without_instruction(row.prompt)) for row in rows) <= _INPUT_LENGTH


def _can_be_inverted(rows: Rows) -> bool:
    return _has_short_inputs(rows) and _has_many_answers(rows) and bool(_parted(rows[0].prompt)[0])


def _inverted(rows: Rows, chance: random.Random) -> Asked:
    sentence = chance.choice(_INVERTED)
    asked = []
    for row in rows:
        instruction, text = _parted(row.prompt)
        if row.response.strip() and len(text) <= _INPUT_LENGTH:
            asked.append(_row(instructed(f"{instruction}\n\n{row.response}", sentence), text))
    return asked


def _asked_of_text(rows: Rows, chance: random.Random) -> Asked:
    sentence, answer = chance.choice(_TEXTS)
    return [_row(f"{sentence}\n\n{text}", answer(words)) for text, words in _short_texts(rows)]


def _can_be_sorted(rows: Rows) -> bool:
    return _has_short_inputs(rows) and bool(_telling_traits([words for _, words in _short_texts(rows)]))


def _telling_traits(texts: Sequence[list[str]]) -> list[tuple[str, Callable[[list[str]], bool]]]:
    if not texts:
        return []
    middle = median_high(map(len, texts))
    traits = [*_TRAITS, (f"has at least {middle} words", lambda words: len(words) >= middle)]
    least, most = _SMALLEST_CLASS * len(texts), (1 - _SMALLEST_CLASS) * len(texts)
    return [trait for trait in traits if least <= sum(map(trait[1], texts)) <= most]


def _sorted_by_trait(rows: Rows, chance: random.Random) -> Asked:
    texts = _short_texts(rows)
    trait, has_it = chance.choice(_telling_traits([words for _, words in texts]))
    yes, no = chance.choice([chance.choice(_VERDICTS), tuple(chance.sample(chance.choice(_NEW_LABELS), 2))])
    sentence = chance.choice(_SORTED).format(trait=trait, yes=yes, no=no)
    return [_row(f"{sentence}\n\n{text}", yes if has_it(words) else no) for text, words in texts]


def _short_texts(rows: Rows) -> list[tuple[str, list[str]]]:
    """The inputs that are short and have three words at least, each with its words."""
    texts = [without_instruction(row.prompt).strip() for row in rows]
    split = [(text, re.findall(r"\S+", text)) for text in texts if len(text) <= _INPUT_LENGTH]
    return [(text, words) for text, words in split if sum(word[0].isalpha() for word in words) >= 3]


def _row(prompt: str, response: str) -> TaskRow:
    return TaskRow(prompt, response, (response,))


_Kind = tuple[Callable[[Rows], bool], Callable[[Rows, random.Random], Asked]]
_KINDS: dict[str, _Kind] = {
    "labels": (_is_classification, _relabelled),
    "names": (_is_classification, _with_named_labels),
    "form": (_has_short_answers, _in_other_form),
    "check": (_has_many_answers, _checked),
    "choice": (_has_many_answers, _chosen),
    "inverse": (_can_be_inverted, _inverted),
    "text": (_has_short_inputs, _asked_of_text),
    "sort": (_can_be_sorted, _sorted_by_trait),
}
