"""The prompts of text and Markdown files.

.txt    one prompt a non-empty line; or, when some line is exactly `---`, prompts of many lines with such lines
        between them; or, when it is asked for, the whole file
.md     the whole file is one prompt, or parts between `---` lines; front matter is left out, and a `---` in a
        fence or under a heading is no separator
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import fmean, pstdev

from engine.errors import EngineError
from engine.prompts.located import Located, Rows
from engine.prompts.streams import LINE_LIMIT, text_lines

_SEPARATOR = "---"
_FRONT_MATTER_LINE = re.compile(r"[\w-]+\s*:|\s|#|- |$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
# What a line of text is not: the beginning of another block.
_OTHER_BLOCK = re.compile(r" {0,3}(#{1,6}\s|>|[-*+]\s|\d+[.)]\s|\||`{3}|~{3})| {4}|\t")
_HEADING = 80
# Lines of a part, above those of any front matter.
_TOGETHER = 10_000
# Text files of a folder, and lines of each, that tell whether a file or a line is a prompt.
_LOOKED_AT, _LOOKED_LINES = 32, 200
_UNLIKE = 0.6


def read_lines_or_parts(path: Path) -> Rows:
    """Rows of a .txt file."""
    if is_parted(path):
        yield from _parts(path)
        return
    for number, line in text_lines(path):
        if line.strip():
            yield Located("line", number, line.strip())


def read_markdown(path: Path) -> Rows:
    """Rows of a .md file."""
    yield from _parts(path, markdown=True)


def read_whole(path: Path) -> Rows:
    """The text of a file as its only row."""
    text = io.StringIO()
    size = 0
    for _, line in text_lines(path):
        text.write(line)
        size = _bounded(size + len(line), path, 1)
    if whole := text.getvalue().strip():
        yield Located("line", 1, whole)


def look_like_prompts(files: Sequence[Path]) -> bool:
    """Whether each of several text files is one prompt, as a mail is, and not a list of prompts, one a line.

    Lists have lines of like length and no blank ones between; half of the first files decide.
    """
    looked = [found for path in files[:_LOOKED_AT] if (found := _is_one_text(path)) is not None]
    return 2 * sum(looked) > len(looked)


def _is_one_text(path: Path) -> bool | None:
    """None for a file of one line, which is both, and one without text."""
    with closing(text_lines(path)) as numbered:
        lines = [line.strip() for _, line in islice(numbered, _LOOKED_LINES)]
    if _SEPARATOR in lines:
        return False
    while lines and not lines[-1]:
        lines.pop()
    lengths = [len(line) for line in lines if line]
    if len(lengths) < 2:
        return None
    blank = len(lengths) < len(lines) - lines.index(next(filter(None, lines)))
    return blank or pstdev(lengths) > _UNLIKE * fmean(lengths)


def is_parted(path: Path) -> bool:
    """Whether some line of a text file parts prompts."""
    with closing(text_lines(path)) as lines:
        return any(line.rstrip() == _SEPARATOR for _, line in lines)


def _parts(path: Path, markdown: bool = False) -> Rows:
    """Prompts of many lines between lines that are exactly `---`; the place is that of the first line."""
    part: list[str] = []
    before: list[str] = []
    began = 1
    size = 0
    first = True
    fence = ""
    for number, line in text_lines(path):
        separates = line.rstrip() == _SEPARATOR
        if markdown and (mark := _FENCE.match(line)):
            fence = mark[1] if not fence else "" if _closes(line, fence) else fence
        # In Markdown a block of "key: value" between two `---` at the very top is about the file
        top = first and began == 2
        if separates and not (markdown and (fence or (not top and _is_heading(part)))):
            text = "".join([*before, *part]).strip()
            header = markdown and top and not before and all(map(_FRONT_MATTER_LINE.match, part))
            if text and not header:
                yield Located("line", began, text)
            first = first and number == 1
            part, before, began, size = [], [], number + 1, 0
            continue
        part.append(line)
        size = _bounded(size + len(line), path, began)
        if len(part) > _TOGETHER:
            # Short lines by themselves take up thirty times their size. The last two are still looked at.
            before.append("".join(part[:-2]))
            part = part[-2:]
    if text := "".join([*before, *part]).strip():
        yield Located("line", began, text)


def _closes(line: str, fence: str) -> bool:
    return line.strip().startswith(fence) and not line.strip().strip(fence[0])


def _is_heading(part: list[str]) -> bool:
    """Whether a `---` after these lines underlines the last of them: one line of text that is no sentence."""
    if not part or not part[-1].strip() or (len(part) > 1 and part[-2].strip()):
        return False
    line = part[-1].strip()
    return len(line) <= _HEADING and not _OTHER_BLOCK.match(part[-1]) and line[-1] not in ".?!:;,…"


def _bounded(size: int, path: Path, began: int) -> int:
    if size > LINE_LIMIT:
        raise EngineError(
            f"the prompt is longer than {LINE_LIMIT // 2**20} MiB",
            where=f"{path}, line {began}",
            hint=f"Part prompts by lines that are exactly {_SEPARATOR}",
        )
    return size
