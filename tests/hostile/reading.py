"""What reads each kind of input, as the product does, to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dnd_tui.config import load_settings
from dnd_tui.state.library import Library
from engine.adapter.foreign import fit, fold, plan
from engine.adapter.foreign_gguf import open_foreign_gguf
from engine.adapter.foreign_peft import open_foreign_peft
from engine.adapter.kind import adapter_path, known_kind
from engine.adapter.peft_folder import read_peft_folder
from engine.base.chat import _takes_parts, end_of_turn_id, prompts_ids
from engine.base.load import BaseRef, load_base, resolve_base
from engine.depth.record import read_chain
from engine.events import Reporter
from engine.forge.recipe import read_recipe
from engine.generator.artifact import check_base, load_generator
from engine.jobs import run
from engine.prompts import describe, read_prompts
from engine.prompts.answer_sheet import read_sheet
from engine.requests import InfoRequest, ModelChoice
from engine.tasks.tasks import read_rows, read_tasks
from engine.teacher.endpoint import Endpoint, _Requests
from tests.tiny import tiny_config
from tests.tiny_tokenizer import tiny_tokenizer

REF = BaseRef("tiny", "tiny", "", None, tiny_config("llama"), "fingerprint")


def info(path: Path) -> str:
    """What the command prints of it."""
    return str(run(InfoRequest(models=ModelChoice(), target=path), Reporter()).summary())


def prompts(path: Path) -> str:
    """Described, then read to the end."""
    found = read_prompts(path)
    told = str(describe(found))
    for row in found:
        told = told[:1000] + row.prompt[:10]
    return told


def adapter(path: Path) -> str:
    """As one of ours."""
    told = info(path)
    read_peft_folder(path)
    return told


def imported(path: Path) -> None:
    """As another tool's."""
    kind = known_kind(path)
    foreign: Any = (open_foreign_peft if kind == "peft" else open_foreign_gguf)(adapter_path(path))
    foreign.check_base(REF.config)
    fitted = fit(foreign.pairs, REF.config)
    made = plan(fitted, foreign.scales_for(fitted))
    with foreign.reading(REF.config) as read:
        fold(made, read)


def base(path: Path) -> None:
    """Found, loaded, asked."""
    loaded = load_base(resolve_base(str(path)), device="cpu")
    prompts_ids(loaded.tokenizer, ["hello"])


@cache
def _tokenizer() -> Any:
    return tiny_tokenizer()


def template(path: Path) -> None:
    """Rendered for a prompt, and for an answered one."""
    tokenizer = _tokenizer()
    tokenizer.chat_template = path.read_text(errors="replace")
    for known in (end_of_turn_id, _takes_parts):
        known.cache_clear()
    prompts_ids(tokenizer, ["hello"])
    end_of_turn_id(tokenizer)


def generator(path: Path) -> str:
    """Shown, loaded, compared with a base."""
    told = info(path)
    about = load_generator(path)
    check_base(about.spec.history, REF)  # type: ignore[arg-type]
    return told


def teacher(path: Path) -> str:
    """The reply of an endpoint to a question, and to the question for its models."""
    from openai import AsyncOpenAI, _base_client

    httpx: Any = getattr(_base_client, "httpx2", None) or _base_client.httpx  # type: ignore[attr-defined]

    reply = httpx.MockTransport(lambda request: httpx.Response(200, content=path.read_bytes()))

    async def ask() -> str:
        async with AsyncOpenAI(
            base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0, http_client=httpx.AsyncClient(transport=reply)
        ) as client:
            requests = _Requests(Endpoint("http://127.0.0.1:9/v1", tries=0), "k")
            told = str(await requests.answer(client, "m", [], 5))
            return told[:1000] + await requests.first_model(client)

    return asyncio.run(ask())


def tasks(path: Path) -> None:
    """A folder of tasks and their rows."""
    for task in read_tasks(path.parent, None):
        read_rows(task.train_path)


READERS: Mapping[str, Callable[[Path], object]] = {
    "prompts": prompts,
    "adapter": adapter,
    "import": imported,
    "base": base,
    "template": template,
    "generator": generator,
    "chain": lambda path: read_chain(str(path), REF, None),
    "config": lambda path: [str(problem) for problem in load_settings(path, None)[1]],
    "library": lambda path: str(Library(path.parents[1]).entries()),
    "recipe": read_recipe,
    "tasks": tasks,
    "sheet": read_sheet,
    "teacher": teacher,
}
