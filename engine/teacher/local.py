"""A teacher on this machine: any base model that the program loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.base.chat import fitting_examples, stop_ids
from engine.decode import stream_answers
from engine.teacher.asking import Asking, TeacherAnswer

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

_BATCH = 8


def ask_local(base: LoadedBase, asking: Asking) -> None:
    """Answers by a loaded model; prompts of like length are answered together, the longest first."""
    _, ids = fitting_examples(base, asking.prompts, asking.examples, asking.max_new_tokens)
    order = sorted(range(len(ids)), key=lambda place: -len(ids[place]))
    used = 0
    for start in range(0, len(order), _BATCH):
        if not asking.goes_on(used):
            return
        places = order[start : start + _BATCH]
        texts = [""] * len(places)
        pieces = stream_answers(
            base.model,
            base.tokenizer,
            [ids[place] for place in places],
            max_new_tokens=asking.max_new_tokens,
            stop_ids=stop_ids(base.tokenizer, base.model),
            on_step=asking.on_wait,
        )
        for piece in pieces:
            texts[piece.row] += piece.text
            if piece.done:
                tokens = len(ids[places[piece.row]]) + piece.tokens
                used += tokens
                cut = piece.tokens >= asking.max_new_tokens
                asking.on_answer(places[piece.row], TeacherAnswer(texts[piece.row].strip(), base.ref.id, tokens, cut))
