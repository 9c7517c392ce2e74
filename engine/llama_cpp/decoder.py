"""Streams of answers by llama.cpp, shaped like those of `engine.decode`.

llama.cpp decodes a batch for one set of adapters only, and would let the second arm wait until the first one is done.
So arms take turns here: each gets a burst of a few tokens for all its prompts at once, then the next. Slots keep what
they have read, so a burst costs no token twice. A single arm is answered in one go.
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.adapter.attach import BASE_ROW
from engine.adapter.gguf import write_gguf_adapter
from engine.decode import AnswerPiece, TextStream
from engine.errors import EngineError, setting
from engine.llama_cpp.server import Asked, LlamaServer
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_BURST = 8
# So often a wish to stop is heard while a prompt is read.
_LISTEN_SECONDS = 0.05


class _Heard(NamedTuple):
    """A token of `row`, or (None) the end of its burst, with what went wrong."""

    row: int
    token: int | None
    time: float
    problem: str | None = None


class LlamaDecoder:
    """A base and adapters in llama.cpp, loaded at the first question and kept for the next ones.

    Args:
        base: the base's GGUF file. config: the base's.
        adapters: by name.
    """

    def __init__(self, base: Path, config: PretrainedConfig, adapters: Mapping[str, LoraAdapter]) -> None:
        self._base = base
        self._config = config
        self._adapters = dict(adapters)
        self._places = {name: place for place, name in enumerate(adapters)}
        self._server: LlamaServer | None = None
        # Those that streams which have not ended answer in.
        self._taken: set[int] = set()

    def stream_answers(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompts_ids: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        adapter_names: Sequence[str] | None = None,
        scale: float = 1.0,
        on_step: Callable[[], None] = lambda: None,
    ) -> Iterator[AnswerPiece]:
        """Answer all prompts greedily, as `engine.decode.stream_answers` does with the same arguments.

        A prompt keeps its slot: asked again at the same place with more turns after it, only these are read. Several
        streams can be read in turns, where `prepare` has made room for all of them.

        Args:
            adapter_names: for each prompt the adapter that answers it, `BASE_ROW` for none; None is the base for all.
            scale: the adapters' updates are multiplied with it.
            on_step: called before a batch is read, after every token and a few times a second.

        Raises:
            EngineError: llama.cpp cannot load the base or an adapter, or fails to answer.
        """
        if not prompts_ids:
            return
        names = list(adapter_names) if adapter_names is not None else [BASE_ROW] * len(prompts_ids)
        on_step()
        rows = [_Row(tokenizer, ids, max_new_tokens, frozenset(stop_ids)) for ids in prompts_ids]
        server = self.prepare(len(self._taken) + len(names), max(map(len, prompts_ids)) + max_new_tokens)
        slots = [slot for slot in range(server.slots) if slot not in self._taken][: len(names)]
        self._taken.update(slots)
        try:
            yield from self._turns(server, slots, names, rows, scale, frozenset(stop_ids), on_step)
        finally:
            self._taken.difference_update(slots)

    def _turns(
        self,
        server: LlamaServer,
        slots: Sequence[int],
        names: Sequence[str],
        rows: Sequence[_Row],
        scale: float,
        stops: frozenset[int],
        on_step: Callable[[], None],
    ) -> Iterator[AnswerPiece]:
        """A burst for each arm in turn, until all of their rows are done.

        Args:
            slots, names, rows: of each prompt its slot, the adapter that answers, and the answer.
        """
        arms = list(dict.fromkeys(names))
        # The first token of every arm comes as soon as can be.
        spent, burst = 0.0, 1
        with ThreadPoolExecutor(len(rows)) as pool:
            while going := {arm for arm, row in zip(names, rows, strict=True) if not row.done}:
                for arm in (arm for arm in arms if arm in going):
                    scales = {} if arm == BASE_ROW else {self._places[arm]: scale}
                    asked = {
                        place: row.asked(slots[place], burst if len(going) > 1 else row.left, scales)
                        for place, row in enumerate(rows)
                        if names[place] == arm and not row.done
                    }
                    began = time.perf_counter()
                    with closing(_answered(server, pool, asked, stops, on_step)) as tokens:
                        for heard in tokens:
                            piece = rows[heard.row].take(heard, spent + heard.time - began)
                            if piece:
                                yield piece
                    spent += time.perf_counter() - began
                burst = _BURST

    def prepare(self, slots: int, context: int) -> LlamaServer:
        """llama.cpp with room for so many answers side by side, of so many tokens, their prompts among them.

        Raises:
            EngineError: llama.cpp cannot load the base or an adapter.
            ValueError: there is less room, and a stream has not ended.
        """
        old = self._server
        if old is not None and old.slots >= slots and old.context >= context:
            return old
        if self._taken:
            raise ValueError("prepare llama.cpp for all streams that are read in turns before the first")
        if old is not None:
            slots, context = max(slots, old.slots), max(context, old.context)
        # Never two in memory.
        self._server = old = None
        with tempfile.TemporaryDirectory() as folder:
            files: list[Path] = []
            for name, adapter in self._adapters.items():
                files.append(Path(folder) / f"{len(files)}.gguf")
                write_gguf_adapter(files[-1], adapter, self._config, name=name)
            self._server = LlamaServer(self._base, files, slots=slots, context=context)
        return self._server


class _Row:
    """One answer as it comes. prompt, answer: token ids; left: tokens that it may still have."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], most: int, stops: frozenset[int]
    ) -> None:
        self.prompt = prompt
        self.answer: list[int] = []
        self.left = most
        self.stops = stops
        self.done = False
        self._text = TextStream(tokenizer)
        self._until = 0

    def asked(self, slot: int, most: int, scales: Mapping[int, float]) -> Asked:
        """The request for its next tokens, `most` at most."""
        most = min(most, self.left)
        self._until = len(self.answer) + most
        return Asked(slot, [*self.prompt, *self.answer], most, scales)

    def take(self, heard: _Heard, seconds: float) -> AnswerPiece | None:
        """The piece of a token, where there is something to show, and at the end of the answer."""
        if self.done:
            return None
        text, first = "", not self.answer
        if heard.token is None:
            # A burst that ends early, without a token that says so, ended the answer.
            self.done = len(self.answer) < self._until
        elif heard.token in self.stops:
            self.done = True
        else:
            self.answer.append(heard.token)
            self.left -= 1
            text = self._text.push(heard.token)
            self.done = not self.left
        if self.done:
            text += self._text.flush()
        if text or self.done or (first and self.answer):
            return AnswerPiece(heard.row, text, self.done, len(self.answer), seconds)
        return None


def _answered(
    server: LlamaServer,
    pool: ThreadPoolExecutor,
    burst: Mapping[int, Asked],
    stops: frozenset[int],
    on_step: Callable[[], None],
) -> Generator[_Heard, None, None]:
    """Ask for all of a burst at once; its tokens in the order in which they come, and the end of each row's.

    However it is left, llama.cpp works on none of it afterwards.
    """
    heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
    leaving = threading.Event()

    def ask(row: int, asked: Asked) -> None:
        def on_token(token: int) -> bool:
            heard.put(_Heard(row, token, time.perf_counter()))
            return token in stops or leaving.is_set()

        problem = server.ask(asked, on_token)
        heard.put(_Heard(row, None, time.perf_counter(), problem))

    asking = [pool.submit(ask, row, asked) for row, asked in burst.items()]
    going = len(asking)
    try:
        while going:
            try:
                found = heard.get(timeout=_LISTEN_SECONDS)
            except queue.Empty:
                on_step()
                continue
            if found.problem is not None:
                hint = f"Set {setting('decoder')} to transformers"
                raise EngineError(f"llama.cpp failed to answer: {found.problem}", hint=hint)
            going -= found.token is None
            yield found
            on_step()
    finally:
        leaving.set()
        wait(asking)
