"""A teacher behind an OpenAI-compatible endpoint: many prompts at a time, tried again where that can help.

    prompts --chat completions, a few at a time--> answers, as they come

By the `openai` package: it knows when a refusal is worth another try (429, 5xx, a connection that breaks) and how long
to wait, by the server's own word or doubling. The key is read from the environment, sent to the endpoint and kept
nowhere.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from engine.errors import EngineError, setting
from engine.teacher.asking import Asking, TeacherAnswer

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# How often a wish to stop is heard.
_LOOKS = 0.2
_LONGEST_REASON = 200
_THOUGHTS = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)


@dataclass(frozen=True)
class Endpoint:
    """Where a teacher answers, and how it is asked.

    url: base URL of the API, such as http://127.0.0.1:8080/v1.
    model: None takes the first that the endpoint lists.
    key_from: the environment variable that holds the key; servers without keys need none.
    at_once: requests at a time. tries: further tries of a request that failed. seconds: a request may take.
    """

    url: str
    model: str | None = None
    key_from: str = "OPENAI_API_KEY"
    at_once: int = 4
    tries: int = 5
    seconds: float = 120.0

    @property
    def where(self) -> str:
        """The URL without what may be secret in it."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def is_endpoint(teacher: str) -> bool:
    """Whether a teacher is named by its URL; else it is a base model's name."""
    return teacher.lower().startswith(("http://", "https://"))


def ask_endpoint(endpoint: Endpoint, asking: Asking) -> None:
    """Ask for all answers.

    Raises:
        EngineError: the endpoint refuses, or does not answer after all tries. What it answered before was handed over.
    """
    asyncio.run(_ask_all(endpoint, asking))


async def _ask_all(endpoint: Endpoint, asking: Asking) -> None:
    from openai import AsyncOpenAI

    key = os.environ.get(endpoint.key_from) or "none"
    before = [
        {"role": role, "content": text}
        for pair in asking.examples
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    used = 0
    async with AsyncOpenAI(
        base_url=endpoint.url, api_key=key, timeout=endpoint.seconds, max_retries=endpoint.tries
    ) as client:
        requests = _Requests(endpoint, key)
        model = endpoint.model or await _watched(requests.first_model(client), asking.on_wait)

        async def one(place: int) -> tuple[int, TeacherAnswer]:
            messages = [*before, {"role": "user", "content": asking.prompts[place]}]
            return place, await requests.answer(client, model, messages, asking.max_new_tokens)

        left = iter(range(len(asking.prompts)))
        running: set[asyncio.Task[tuple[int, TeacherAnswer]]] = set()
        try:
            while True:
                while len(running) < endpoint.at_once and asking.goes_on(used):
                    place = next(left, None)
                    if place is None:
                        break
                    running.add(asyncio.create_task(one(place)))
                if not running:
                    return
                done, running = await asyncio.wait(running, timeout=_LOOKS, return_when=asyncio.FIRST_COMPLETED)
                # First what has come: an error of one request loses no answer of another.
                for task in sorted(done, key=lambda each: each.exception() is not None):
                    place, answer = task.result()
                    used += answer.tokens
                    asking.on_answer(place, answer)
                asking.on_wait()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _watched(asked: Any, on_wait: Callable[[], None]) -> Any:
    """The result of one request, while a wish to stop is heard."""
    task = asyncio.ensure_future(asked)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOKS)
            on_wait()
        return task.result()
    finally:
        task.cancel()


class _RefusedPrompt(Exception):
    """One request is wrong; others may be right."""


class _Requests:
    """Requests to an endpoint whose failures are for people, and without the key."""

    def __init__(self, endpoint: Endpoint, key: str) -> None:
        self._endpoint = endpoint
        self._key = key

    async def first_model(self, client: AsyncOpenAI) -> str:
        """The first model of the endpoint's list."""
        models = await self._tried(lambda: client.models.list(), lambda page: [each.id for each in page.data])
        if not models:
            raise self._error("offers no model", f"Name one with {setting('teacher_model')}")
        return str(models[0])

    async def answer(
        self, client: AsyncOpenAI, model: str, messages: list[dict[str, str]], max_new_tokens: int
    ) -> TeacherAnswer:
        """The answer of a model to a chat, or why it takes none."""
        asked: Any = messages
        try:
            return await self._tried(
                lambda: client.chat.completions.create(
                    model=model, messages=asked, temperature=0, max_tokens=max_new_tokens
                ),
                lambda completion: _read(completion, model),
            )
        except _RefusedPrompt as refused:
            return TeacherAnswer("", _called(model), refused=str(refused))

    async def _tried(self, ask: Callable[[], Any], read: Callable[[Any], Any]) -> Any:
        """What `read` finds in an answer; asked again where the answer is broken, as the package does for refusals."""
        import openai

        problem = ""
        async for _ in _pauses(self._endpoint.tries):
            try:
                return read(await ask())
            except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
                hint = f"Put a key that it takes into the environment variable {self._endpoint.key_from}"
                raise self._error(f"refuses the key ({error.status_code})", hint) from None
            except openai.APITimeoutError:
                hint = f"Ask fewer at a time with {setting('at_once')}, or allow more with {setting('timeout')}"
                problem = f"did not answer within {self._endpoint.seconds:g} s, tried {self._endpoint.tries + 1} times"
                raise self._error(problem, f"{hint}; the same command goes on") from None
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                raise _RefusedPrompt(self._reason(error)) from None
            except openai.APIStatusError as error:
                wrong = f"Check {setting('teacher')} and {setting('teacher_model')}"
                hint = wrong if error.status_code < 429 else "Try again later"
                problem = f"refuses: {error.status_code}, {self._reason(error)}"
                raise self._error(problem, f"{hint}; the same command goes on") from None
            except openai.APIConnectionError as error:
                reason = self._reason(error.__cause__ or error)
                hint = f"Start the server, or check {setting('teacher')}; the same command goes on"
                raise self._error(f"cannot be reached: {reason}", hint) from None
            except (ValueError, TypeError, AttributeError, LookupError, openai.APIResponseValidationError) as error:
                problem = self._reason(error)
        hint = "Look at the server's own log; the same command goes on"
        raise self._error(f"answers with something broken: {problem}", hint)

    def _reason(self, error: BaseException) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        return text.replace(self._key, "…")[:_LONGEST_REASON] if self._key != "none" else text[:_LONGEST_REASON]

    def _error(self, problem: str, hint: str) -> EngineError:
        return EngineError(problem, where=self._endpoint.where, hint=hint)


async def _pauses(tries: int) -> AsyncIterator[int]:
    """Once, and `tries` times more, each after a longer pause."""
    for number in range(tries + 1):
        if number:
            await asyncio.sleep(min(8.0, 0.25 * 2**number))
        yield number


def _called(model: str) -> str:
    """The model's name for cards. Some servers name the file they read, whose folders are nobody's business."""
    return PurePath(model).name if model.startswith(("/", "~", ".")) or model.lower().endswith(".gguf") else model


def _read(completion: Any, model: str) -> TeacherAnswer:
    """Raises one of the errors of looking into something that is not there, for what is no completion."""
    choice, usage = completion.choices[0], completion.usage
    text = _THOUGHTS.sub("", choice.message.content or "").strip()
    tokens = int(usage.total_tokens) if usage else 0
    return TeacherAnswer(text, _called(model), tokens, choice.finish_reason == "length")
