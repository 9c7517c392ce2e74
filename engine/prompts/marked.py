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

# Marks that no other text has. [INST] opens a user's turn, [/INST] the assistant's.
_SURE = re.compile(
    r"<\|im_start\|>[ ]*(\w+)[ ]*\n?"
    r"|<\|start_header_id\|>[ ]*(\w+)[ ]*<\|end_header_id\|>\s*"
    r"|<start_of_turn>[ ]*(\w+)[ ]*\n?"
    r"|<\|(user|assistant|system|human|model|bot|prompter)\|>\n?"
    r"|(?i:\#\#\#[ ]*(human|user|assistant|instruction|input|response|system|question|answer|output|prompt|ai|bot"
    r"|gpt|context)[ ]*:[ ]*\n?)"
    r"|(\[/?INST\])"
)
_ENDS = re.compile(
    r"</?s>|<[|](?:im_end|eot_id|end|endoftext|begin_of_text|end_of_text)[|]>|<end_of_turn>|<bos>|<eos>|<\|/?s\|>"
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


def marked_turns(text: str, *, sure: bool = False) -> Turns | None:
    """The turns of a text that ends with an assistant's answer to a user; None for any other text.

    A text that ends where the answer would begin stays one prompt, examples in it included.

    Args:
        sure: only marks that no other text has.
    """
    if (turns := _answered(text, _SURE)) is not None or sure:
        return turns
    start = text.lstrip()
    for pattern in (*_LIKELY, _IN_LINE):
        if pattern.match(start) and (turns := _answered(start, pattern)) is not None:
            return turns
    return None


def marked_role(line: str) -> tuple[str | None, str]:
    """The role that a line begins with, and the rest of the line; (None, line) where it begins with none."""
    for pattern in (_SURE, _LIKELY[0]):
        if (mark := pattern.match(line)) and (role := _role(mark)) is not None:
            return role, _ENDS.sub("", line[mark.end() :]).strip()
    return None, line


def _answered(text: str, pattern: re.Pattern[str]) -> Turns | None:
    turns: list[dict[str, str]] = []
    for role, content in _cut(text, pattern):
        if turns and turns[-1]["role"] == role == USER:  # an instruction and its input
            turns[-1]["content"] = "\n\n".join(filter(None, (turns[-1]["content"], content)))
        else:
            turns.append({"role": role, "content": content})
    if not turns or turns[-1]["role"] != ASSISTANT or not turns[-1]["content"]:
        return None
    return turns if any(turn["role"] == USER and turn["content"] for turn in turns) else None


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
