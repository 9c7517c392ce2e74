"""Chat templates are programs that come with a model: they are rendered with a bound on time and memory.

jinja's sandbox, by which transformers renders them, keeps attributes and files away from them, but lets them run and
grow for as long as they like. Here each line of a template, and each call, looks at the clock; what is allocated
meanwhile is bounded by the system; and powers and products of numbers, which one line can spend hours on, by their
size.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SECONDS = 2.0
"""That a rendering may take; ten thousand times what it does take."""
_BYTES = 2**26
"""That a rendering may allocate, beside a few times its turns."""
_COPIES = 16
_LONGEST_NUMBER = 4096  # bits
_LONGEST_REASON = 300
_HINT = "Take another base, or mend its chat_template"


def rendered(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, Any]], *, answer_next: bool) -> str:
    """The turns as text, by the chat template of a tokenizer; a turn's content is a text, or a list of parts.

    Raises:
        EngineError: the template does not take them, is broken, does not end, or grows without bounds.
    """
    _bound_numbers()
    size = _BYTES + _COPIES * sum(len(str(turn["content"])) for turn in turns)
    try:
        with _deadline(SECONDS), _allocating(size):
            return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer_next))
    except _TooLong:
        problem = f"takes longer than {SECONDS:g} s"
    except MemoryError:
        problem = "grows without bounds"
    except RecursionError:
        problem = "calls itself without end"
    except Exception as error:  # whatever a program of somebody else's may raise
        reason = str(error)[:_LONGEST_REASON].rstrip(".") or type(error).__name__
        problem = f"the base's chat template does not work: {reason}"
        raise EngineError(problem, where="chat template", hint=_HINT) from error
    raise RunawayTemplateError(f"the base's chat template {problem}", where="chat template", hint=_HINT)


class RunawayTemplateError(EngineError):
    """The template takes what no template needs; it would do so again with other turns."""


class _TooLong(BaseException):
    """Not an Exception: jinja's own handlers must let it pass."""


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raises `_TooLong` in Python code of this thread that runs for longer."""
    end = time.monotonic() + seconds
    before = sys.gettrace()

    def look(frame: FrameType, event: str, value: Any) -> Any:
        if time.monotonic() > end:
            raise _TooLong
        return look

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def _allocating(most: int) -> Iterator[None]:
    """Raises MemoryError for more than `most` bytes beside what the process has, where the system has such a bound."""
    used = Path("/proc/self/statm")
    if not used.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = int(used.read_text().split()[0]) * resource.getpagesize() + most
    limits = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@cache
def _bound_numbers() -> None:
    """Templates that are compiled from now on compute powers and products of numbers below a bound."""
    from jinja2.exceptions import SecurityError
    from transformers.utils import chat_template_utils

    class Bounded(chat_template_utils.ImmutableSandboxedEnvironment):  # type: ignore[misc]
        # They are not computed ahead either, when the template is compiled.
        intercepted_binops = frozenset({"**", "*"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if isinstance(left, int) and isinstance(right, int):
                bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
                if bits > _LONGEST_NUMBER:
                    raise SecurityError("a number is too large")
            return super().call_binop(context, operator, left, right)

    chat_template_utils.ImmutableSandboxedEnvironment = Bounded
    # Those from before were compiled without the bound.
    for name in ("_compile_jinja_template", "_cached_compile_jinja_template"):
        getattr(getattr(chat_template_utils, name, None), "cache_clear", lambda: None)()
