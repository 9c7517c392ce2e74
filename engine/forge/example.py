"""A small folder of tasks and a short recipe, to try `collect` and `train` with: rows made by rule, here.

Each task rewrites a word or two numbers in its own way. A generator of so few tasks knows nothing else; the folder
shows what one looks like and how a run goes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.files import replacing_folder, write_json, write_text

RECIPE_NAME = "recipe.json"
"""The recipe of the example, in its folder."""

_WORDS = [
    "apple",
    "book",
    "lamp",
    "chair",
    "table",
    "door",
    "window",
    "garden",
    "river",
    "bridge",
    "cloud",
    "stone",
    "flower",
    "tree",
    "bird",
    "horse",
    "engine",
    "letter",
    "number",
    "paper",
    "pencil",
    "island",
    "office",
    "ocean",
    "orange",
    "umbrella",
    "eagle",
    "arm",
    "ear",
    "onion",
    "road",
    "street",
    "village",
    "mountain",
    "pocket",
    "button",
    "ticket",
    "parcel",
    "spoon",
    "bottle",
    "candle",
    "hammer",
    "ladder",
    "mirror",
    "pillow",
    "basket",
    "blanket",
    "carpet",
]
_TEST_ROWS = 12
_RECIPE = {
    "data": {"row_tokens": 64, "task_rows": 24, "pack_tokens": 128},
    "multi_task": {"steps": 60, "packs": 4},
    "library": {"steps": 8},
    "language_loss": {"steps": 60, "tasks": 4, "judge_every": 20},
    "held_out": 3,
}

_Pair = tuple[str, str]


def _of_words(rewrite: Callable[[str], str]) -> list[_Pair]:
    return [(word, rewrite(word)) for word in _WORDS]


def _of_two_words(choose: Callable[[str, str], str]) -> list[_Pair]:
    others = _WORDS[7:] + _WORDS[:7]
    return [(f"{one}, {other}", choose(one, other)) for one, other in zip(_WORDS, others, strict=True)]


def _of_numbers(count: Callable[[int, int], int]) -> list[_Pair]:
    pairs = [(one * 7 % 23, one * 5 % 19 + 24 * (one % 2)) for one in range(len(_WORDS))]
    return [(f"{one} and {other}", str(count(one, other))) for one, other in pairs]


def example_tasks() -> dict[str, tuple[str, list[_Pair]]]:
    """Instruction and (input, answer) rows of each task, by name."""
    return {
        "plural": ("Write the plural of the word.", _of_words(lambda word: f"{word}s")),
        "capitals": ("Write the word in capital letters.", _of_words(str.upper)),
        "capitalised": ("Write the word with a capital first letter.", _of_words(str.capitalize)),
        "first_letter": ("Answer with the first letter of the word.", _of_words(lambda word: word[0])),
        "last_letter": ("Answer with the last letter of the word.", _of_words(lambda word: word[-1])),
        "letters": ("How many letters has the word?", _of_words(lambda word: str(len(word)))),
        "backwards": ("Write the word backwards.", _of_words(lambda word: word[::-1])),
        "twice": ("Write the word twice, with a hyphen between.", _of_words(lambda word: f"{word}-{word}")),
        "brackets": ("Put the word into brackets.", _of_words(lambda word: f"({word})")),
        "article": ("Put a or an in front of the word.", _of_words(_with_article)),
        "second": ("Answer with the second of the words.", _of_two_words(lambda one, other: other)),
        "alphabet": ("Which of the words comes first in the alphabet?", _of_two_words(min)),
        "both_lengths": (
            "How many letters have both words together?",
            _of_two_words(lambda a, b: str(len(a) + len(b))),
        ),
        "sum": ("Add the numbers.", _of_numbers(lambda one, other: one + other)),
        "larger": ("Which number is larger?", _of_numbers(max)),
    }


def write_example(folder: Path) -> None:
    """Write the tasks and their recipe to `folder`, whole or not at all.

    Raises:
        EngineError: something else is there, or the disk does not take it.
    """
    index: dict[str, Any] = {}
    with replacing_folder(folder) as part:
        for name, (instruction, pairs) in example_tasks().items():
            index[name] = {"metric": "exact_match", "split": "seen", "source": "made by rule"}
            rows = [json.dumps({"prompt": f"{instruction}\n\n{text}", "response": answer}) for text, answer in pairs]
            random.Random(name).shuffle(rows)
            for kind, lines in (("test", rows[:_TEST_ROWS]), ("train", rows[_TEST_ROWS:])):
                write_text(part / f"{name}.{kind}.jsonl", "".join(f"{line}\n" for line in lines))
        write_json(part / "tasks.json", index)
        write_json(part / RECIPE_NAME, _RECIPE)


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
