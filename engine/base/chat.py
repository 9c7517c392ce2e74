"""A base's own way to be asked and to end an answer, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.base.templates import RunawayTemplateError, rendered
from engine.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from engine.base.load import LoadedBase

_MARK = "0mark0"  # stands in for an answer; neither a template nor a tokenizer changes it


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Token ids of one user turn up to where the answer begins.

    Without a chat template: the prompt and a newline, after the start token if the tokenizer sets one.

    Raises:
        EngineError: the base's chat template does not take a user turn.
    """
    return prompts_ids(tokenizer, [prompt])[0]


def prompts_ids(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    examples: Sequence[tuple[str, str]] = (),
    system: str = "",
) -> list[list[int]]:
    """`prompt_ids` of many prompts in one call of the tokenizer, which is several times faster.

    Args:
        examples: (prompt, answer) pairs that stand before each prompt, as turns where there is a chat template.
        system: what stands before all of it; "" leaves that to the chat template.
    """
    if not prompts:
        return []
    turns = [prompt_text(tokenizer, prompt, examples, system) for prompt in prompts]
    if tokenizer.chat_template is None:
        batch = [list(ids) for ids in tokenizer(turns).input_ids]
        # Some tokenizers close every text; the answer has to come before the end.
        return [ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids for ids in batch]
    return [list(ids) for ids in tokenizer(turns, add_special_tokens=False).input_ids]


def prompt_text(
    tokenizer: PreTrainedTokenizerBase, prompt: str, examples: Sequence[tuple[str, str]] = (), system: str = ""
) -> str:
    """One user turn as text, up to where the answer begins; (prompt, answer) `examples` and `system` before it.

    A template that has no place for a system turn, or leaves it out, gets its text at the head of the first user turn.

    Raises:
        EngineError: the base's chat template does not take a user turn.
    """
    if tokenizer.chat_template is None:
        first = f"{system}\n\n" if system else ""
        return first + "".join(f"{asked}\n{answer}\n\n" for asked, answer in examples) + f"{prompt}\n"
    turns = [*example_turns(examples), ("user", prompt)]
    if system:
        with suppress(EngineError):
            shown = _render(tokenizer, [("system", system), *turns], answer_next=True)
            # Some trim what they are given.
            if system.strip() in shown:
                return shown
        turns[0] = ("user", f"{system}\n\n{turns[0][1]}")
    return _render(tokenizer, turns, answer_next=True)


def example_turns(examples: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(prompt, answer) pairs as turns, each of a role and a text."""
    return [turn for pair in examples for turn in zip(("user", "assistant"), pair, strict=True)]


def fitting_examples(
    base: LoadedBase, prompts: Sequence[str], examples: Sequence[tuple[str, str]], max_new_tokens: int
) -> tuple[list[tuple[str, str]], list[list[int]]]:
    """Those of some (prompt, answer) examples that leave room for every prompt and its answer, the longest left out.

    Returns:
        The examples, and the token ids of each prompt with them before it.
    """
    kept = list(examples)
    limit = context_window(base)
    while True:
        ids = prompts_ids(base.tokenizer, prompts, kept)
        if not limit or not kept or max(map(len, ids)) + max_new_tokens <= limit:
            return kept, ids
        kept.remove(max(kept, key=lambda pair: len(pair[0]) + len(pair[1])))


def fitting_turns(
    base: LoadedBase, message: str, earlier: Sequence[tuple[str, str]], system: str, max_new_tokens: int
) -> tuple[int, list[int]]:
    """A message after the (message, answer) turns before it, of which the oldest are left out where they do not fit.

    What fits leaves room in what the base can read for an answer, of half of it at most.

    Returns:
        How many turns were left out, and the token ids.

    Raises:
        EngineError: the message alone, with the system text, leaves no room for an answer.
    """
    limit = context_window(base)
    for left_out in range(len(earlier) + 1):
        [ids] = prompts_ids(base.tokenizer, [message], earlier[left_out:], system)
        if limit is None or len(ids) + min(max_new_tokens, limit // 2) <= limit:
            return left_out, ids
    problem = f"the message has {len(ids):,} tokens with what stands before it, and the base reads {limit:,}"
    raise EngineError(problem, hint="Send a shorter one, or shorten the system text")


def context_window(base: LoadedBase) -> int | None:
    """How many tokens the base reads, question and answer together; None where its config has no limit."""
    limit: int | None = getattr(base.model.config.get_text_config(), "max_position_embeddings", None)
    return limit


def answer_ids(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """Token ids of an answer and of the token that ends the turn."""
    return answers_ids(tokenizer, [response])[0]


def answers_ids(tokenizer: PreTrainedTokenizerBase, responses: Sequence[str]) -> list[list[int]]:
    """`answer_ids` of many responses in one call of the tokenizer."""
    if not responses:
        return []
    end = end_of_turn_id(tokenizer)
    closing = [] if end is None else [end]
    return [list(ids) + closing for ids in tokenizer(list(responses), add_special_tokens=False).input_ids]


def stop_ids(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> list[int]:
    """Every token id that ends an answer: of the model's generation config, the tokenizer and the template."""
    config = getattr(model, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    from_config = ends if isinstance(ends, list) else [ends]
    return sorted({end for end in [*from_config, tokenizer.eos_token_id, end_of_turn_id(tokenizer)] if end is not None})


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills up shorter rows of a batch, which nothing looks at; 0 where the tokenizer names none."""
    return tokenizer.pad_token_id or 0


# Asked for every row of a task; rendering a template takes longer than tokenising the row.
@lru_cache(maxsize=4)
def end_of_turn_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that the chat template puts after an answer, else the end-of-text token."""
    if tokenizer.chat_template is None:
        return tokenizer.eos_token_id
    turns = [("user", "x"), ("assistant", _MARK)]
    after = _ids(tokenizer, _render(tokenizer, turns, answer_next=False).rpartition(_MARK)[2].lstrip())
    # Added tokens, not `all_special_ids`: Gemma's end of turn is no declared special token.
    if after and after[0] in tokenizer.added_tokens_decoder:
        return after[0]
    return tokenizer.eos_token_id


def _render(tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], *, answer_next: bool) -> str:
    """Turns, each of a role and a text, as the base reads them."""
    parts = _takes_parts(tokenizer)
    given = [{"role": role, "content": [{"type": "text", "text": text}] if parts else text} for role, text in turns]
    return rendered(tokenizer, given, answer_next=answer_next)


@lru_cache(maxsize=4)
def _takes_parts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a turn's text must be a list of parts, of which others may be images: plain text would be lost."""

    def shows(content: str | list[dict[str, str]]) -> bool:
        try:
            return _MARK in rendered(tokenizer, [{"role": "user", "content": content}], answer_next=False)
        except RunawayTemplateError:
            raise
        except EngineError:
            return False

    return not shows(_MARK) and shows([{"type": "text", "text": _MARK}])


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)
