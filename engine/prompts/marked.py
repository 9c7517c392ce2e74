"""Chats written as one text: the marks of chat templates, `### Human:`, `User:`, `Q:` -> turns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from engine.prompts.chats import ASSISTANT, SYSTEM, USER, Turns

# A text with more is no chat.
_MOST_MARKS = 5000
_WORDS = {
    USER: "user|human|prompter|instruction|input|question|prompt|q|customer",
    ASSISTANT: "assistant|gpt|model|bot|ai|response|answer|output|completion|a|chatbot|agent",
    SYSTEM: "system|developer|context",
}
_ROLE = {word: role for role, words in _WORDS.items() for word in words.split("|")}

# The marks of chat templates; some write a wide bar (U+FF5C). [INST] opens a user's turn, [/INST] the assistant's.
_TOKENS = (
    r"<\|im_start\|>[ ]*(\w+)[ ]*\n?"
    r"|<\|(?:start_header_id|header_start|start_of_role)\|>[ ]*(\w+)[ ]*"
    r"<\|(?:end_header_id|header_end|end_of_role)\|>\s*"
    r"|<\|start\|>(\w+)(?:<\|channel\|>final)?<\|message\|>"
    r"|<\|start\|>\w+<\|channel\|>(analysis|commentary)[^<]*<\|message\|>"
    r"|<start_of_turn>[ ]*(\w+)[ ]*\n?"
    r"|<[|\uff5c](?i:(user|assistant|system|human|model|bot|prompter|chatbot)(?:_token)?)[|\uff5c]>:?\n?"
    r"|(\[/?INST\])"
)
_TOKEN = re.compile(_TOKENS)
# Marks that no other text has.
_SURE = re.compile(
    _TOKENS + r"|(?i:\#\#\#[ ]*(human|user|assistant|instruction|input|response|system|question|answer|output|prompt"
    r"|ai|bot|gpt|context)[ ]*:[ ]*\n?)"
)
_ENDS = re.compile(
    r"</?s>|<\|/?s\|>|<bos>|<eos>|<end_of_turn>|<(?:BOS|EOS)_TOKEN>|<\|(?:START|END)_OF_TURN_TOKEN\|>"
    r"|<\|(?:im_end|eot_id|eot|eom|end|return|call|endoftext|begin_of_text|end_of_text)\|>"
    r"|<\uff5c(?:begin|end)\u2581of\u2581sentence\uff5c>"
)
_SYSTEM_INSIDE = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)


def _lines(*schemes: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(rf"^[ \t*]*({scheme}|system)[ ]*:[ *]*", re.I | re.M) for scheme in schemes)


# Words that other texts have too: a text has to begin with one, and its partners only count in the same scheme.
_LIKELY = _lines(
    "user|human|customer|assistant|ai|bot|gpt|model|chatbot|agent",
    "q|question|a|answer",
    "instruction|prompt|input|response|output|completion",
)
_IN_LINE = re.compile(r"(?:^|(?<=\s))(User|Human|Assistant|AI|Bot|System)[ ]*:[ ]*")
# After an introduction too: nothing but chats writes these in capitals.
_CAPITALS = re.compile(r"(?:^|(?<=\s))(USER|ASSISTANT)[ ]*:[ ]*")


def marked_turns(text: str, *, sure: bool = False) -> Turns | None:
    """The turns of a text that ends with an assistant's answer to a user; None for any other text.

    A text that ends where the answer would begin stays one prompt, examples in it included; but where a chat template
    wrote it, it is a chat that waits for its answer.

    Args:
        sure: only marks that no other text has.
    """
    turns = _answered(text, _SURE) or _asked(text)
    if turns is not None or sure:
        return turns
    start = text.lstrip()
    for pattern in (*_LIKELY, _IN_LINE):
        if pattern.match(start) and (turns := _answered(start, pattern)) is not None:
            return turns
    return _answered(start, _CAPITALS)


def marked_role(line: str) -> tuple[str | None, str]:
    """The role that a line begins with, and the rest of the line; (None, line) where it begins with none."""
    for pattern in (_SURE, *_LIKELY[:2]):
        if (mark := pattern.match(line)) and (role := _role(mark)) is not None:
            return role, _ENDS.sub("", line[mark.end() :]).strip()
    return None, line


def without_ends(text: str) -> str:
    """A text without the marks that end a turn."""
    return _ENDS.sub("", text)


def _asked(text: str) -> Turns | None:
    """The turns of a text that a chat template wrote from its start, and that waits for an answer."""
    if _TOKEN.match(without_ends(text).lstrip()) is None:
        return None
    turns = _turns(text, _TOKEN)
    return turns if any(turn["role"] == USER and turn["content"] for turn in turns) else None


def _answered(text: str, pattern: re.Pattern[str]) -> Turns | None:
    turns = _turns(text, pattern)
    if not turns or turns[-1]["role"] != ASSISTANT or not turns[-1]["content"]:
        return None
    return turns if any(turn["role"] == USER and turn["content"] for turn in turns) else None


def _turns(text: str, pattern: re.Pattern[str]) -> list[dict[str, str]]:
    turns: list[dict[str, str]] = []
    for role, content in _cut(text, pattern):
        if turns and turns[-1]["role"] == role == USER:  # an instruction and its input
            turns[-1]["content"] = "\n\n".join(filter(None, (turns[-1]["content"], content)))
        else:
            turns.append({"role": role, "content": content})
    return turns


def _cut(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """(role, words) of each marked part; what stands before the first mark is the system's."""
    marks = list(islice(pattern.finditer(text), _MOST_MARKS + 1))
    if not 0 < len(marks) <= _MOST_MARKS:
        return
    if preamble := _ENDS.sub("", text[: marks[0].start()]).strip():
        yield SYSTEM, preamble
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        role = _role(mark)
        if role is None:  # a tool's turn
            continue
        content = _ENDS.sub("", text[mark.end() : end])
        if role == USER and (inside := _SYSTEM_INSIDE.search(content)):
            yield SYSTEM, inside[1].strip()
            content = content[: inside.start()] + content[inside.end() :]
        yield role, content.strip()


def _role(mark: re.Match[str]) -> str | None:
    word = next(group for group in mark.groups() if group).lower()
    return {"[inst]": USER, "[/inst]": ASSISTANT}.get(word) or _ROLE.get(word)
