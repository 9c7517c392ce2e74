"""Our greedy decoding against `generate`, and streamed text against text decoded as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from judge_parts import TOKENIZER, random_adapter, tiny

from engine.adapter.attach import BASE_ROW, attach
from engine.decode import TextStream, answer_all, stream_answers

STOP = 7


def prompts_of(lengths: list[int], common: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    beginning = torch.randint(10, 250, (common,), generator=generator).tolist()
    return [beginning + torch.randint(10, 250, (length,), generator=generator).tolist() for length in lengths]


def generated(model: Any, prompt: list[int], max_new_tokens: int, stops: list[int]) -> str:
    """The answer of greedy `generate` to one prompt alone."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=stops,
        pad_token_id=0,
    )
    answer = [token for token in out[0, len(prompt) :].tolist() if token not in stops]
    return str(TOKENIZER.decode(answer, skip_special_tokens=True))


def stops_inside(model: Any, prompts: list[list[int]]) -> list[int]:
    """Stop tokens that make the answers to `prompts` end at different steps."""
    found = []
    for number, prompt in enumerate(prompts[:3]):
        ids = torch.tensor([prompt])
        mask = torch.ones_like(ids)
        out = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=20, pad_token_id=0)
        found.append(int(out[0, len(prompt) + 2 + 4 * number]))
    return found


@pytest.mark.parametrize("common", [0, 20], ids=["nothing in common", "common beginning"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "lfm2"])
def test_answers_are_those_of_greedy_generate(kind: str, common: int) -> None:
    model = tiny(kind)
    prompts = prompts_of([3, 11, 1, 30, 7, 7], common)
    stops = stops_inside(model, prompts)
    expected = [generated(model, prompt, 20, stops) for prompt in prompts]
    assert len({len(text) for text in expected}) > 2, "the answers should end at different steps"

    answers = answer_all(model, TOKENIZER, prompts, max_new_tokens=20, stop_ids=stops, batch=4)

    assert answers == expected


def test_common_beginning_is_read_once_and_done_rows_leave_the_batch() -> None:
    model = tiny("llama")
    prompts = prompts_of([3, 5, 9], 20)
    stops = stops_inside(model, prompts)
    shapes = []
    model.register_forward_pre_hook(lambda *call: shapes.append(tuple(call[-1]["input_ids"].shape)), with_kwargs=True)

    list(stream_answers(model, TOKENIZER, prompts, max_new_tokens=20, stop_ids=stops))

    assert shapes[:2] == [(1, 20), (3, 9)]
    rows = [rows for rows, _ in shapes[2:]]
    assert rows == sorted(rows, reverse=True) and rows[-1] < 3
    assert all(new == 1 for _, new in shapes[2:])


def test_each_row_ends_with_one_done_piece_and_pieces_join_to_the_answer() -> None:
    model = tiny("qwen2")
    prompts = prompts_of([4, 9, 2], 0)
    steps = []
    pieces = list(
        stream_answers(model, TOKENIZER, prompts, max_new_tokens=12, stop_ids=[STOP], on_step=lambda: steps.append(1))
    )

    for row, prompt in enumerate(prompts):
        own = [piece for piece in pieces if piece.row == row]
        assert [piece.done for piece in own] == [False] * (len(own) - 1) + [True]
        assert "".join(piece.text for piece in own) == generated(model, prompt, 12, [STOP])
    assert len(steps) == 1 + 12, "before the prompts are read, and after each token"


@pytest.mark.parametrize("kind", ["llama", "lfm2"])
def test_every_answer_is_seen_at_its_first_token_and_timed_in_its_own_batch(kind: str) -> None:
    """Also where the model takes its prompts one by one."""
    prompts = prompts_of([4, 9, 2], 0)
    pieces = list(stream_answers(tiny(kind), TOKENIZER, prompts, max_new_tokens=12, stop_ids=[]))
    for row in range(3):
        own = [piece for piece in pieces if piece.row == row]
        assert own[0].tokens == 1 and own[-1].tokens == 12
        seconds = [piece.seconds for piece in own]
        assert seconds == sorted(set(seconds)) and seconds[0] > 0


def test_a_wish_to_stop_is_heard_before_the_prompts_are_read() -> None:
    model = tiny("llama")
    calls: list[object] = []
    model.register_forward_pre_hook(lambda *call: calls.append(call))

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(stream_answers(model, TOKENIZER, [[20]], max_new_tokens=5, stop_ids=[], on_step=stop))
    assert not calls


@pytest.mark.parametrize("kind", ["llama", "lfm2"])
def test_tokens_are_those_that_were_chosen(kind: str) -> None:
    """`choose` sees each row under its own number, also when others have left the batch or it is answered alone."""
    stop = 100

    def choose(logits: torch.Tensor, rows: Sequence[int], step: int) -> torch.Tensor:
        assert logits.shape == (len(rows), 257)
        return torch.tensor([stop if step > row + 2 else 10 * row + step for row in rows])

    texts = [""] * 3
    prompts = prompts_of([4, 9, 2], 0)
    for piece in stream_answers(tiny(kind), TOKENIZER, prompts, max_new_tokens=12, stop_ids=[stop], choose=choose):
        texts[piece.row] += piece.text
    assert texts == [TOKENIZER.decode([10 * row + step for step in range(1, row + 3)]) for row in range(3)]


def test_a_stop_at_the_first_token_is_an_empty_answer() -> None:
    model = tiny("llama")
    [prompt] = prompts_of([6], 0)
    first = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
    [piece] = stream_answers(model, TOKENIZER, [prompt], max_new_tokens=5, stop_ids=[first])
    assert (piece.row, piece.text, piece.done, piece.tokens) == (0, "", True, 0)


def test_no_prompts_no_answers() -> None:
    assert answer_all(tiny("llama"), TOKENIZER, [], max_new_tokens=5, stop_ids=[STOP], batch=4) == []


def test_an_error_of_on_step_stops_the_answers() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer_all(tiny("llama"), TOKENIZER, [[20]], max_new_tokens=5, stop_ids=[], batch=1, on_step=stop)


def test_rows_of_one_batch_can_use_different_adapters() -> None:
    base = tiny("llama")
    prompts = prompts_of([5, 12, 8], 16)
    plain = answer_all(base, TOKENIZER, prompts, max_new_tokens=10, stop_ids=[STOP], batch=3)
    with attach(base, random_adapter(base.config)) as attached:
        adapted = answer_all(attached, TOKENIZER, prompts, max_new_tokens=10, stop_ids=[STOP], batch=3)
        assert adapted != plain

        texts = [""] * 6
        names = [BASE_ROW, "adapted"] * 3
        both = [prompt for prompt in prompts for _ in range(2)]
        for piece in stream_answers(attached, TOKENIZER, both, max_new_tokens=10, stop_ids=[STOP], adapter_names=names):
            texts[piece.row] += piece.text
    assert texts[0::2] == plain
    assert texts[1::2] == adapted


@given(st.text(max_size=30))
def test_streamed_text_is_the_text(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    stream = TextStream(TOKENIZER)
    pieces = [stream.push(token) for token in ids]
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    assert "".join(pieces) + stream.flush() == text


@given(st.lists(st.integers(0, 255), max_size=30))
def test_streamed_broken_bytes_are_the_decoded_whole(ids: list[int]) -> None:
    stream = TextStream(TOKENIZER)
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.flush() == TOKENIZER.decode(ids)
