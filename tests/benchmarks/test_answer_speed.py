"""How fast base and adapter answer side by side, by each decoder. Run by `make bench`.

Nothing is asserted about time: machines differ. Every figure is printed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.adapter.attach import BASE_ROW, AttachedModel
from engine.adapter.peft_folder import read_peft_folder
from engine.base.chat import stop_ids
from engine.base.load import LoadedBase
from engine.decode import AnswerPiece, stream_answers
from engine.events import Reporter
from engine.llama_cpp.base_file import base_file
from engine.llama_cpp.decoder import LlamaDecoder
from engine.llama_cpp.server import Asked, LlamaServer
from engine.llama_cpp.threads import llama_threads

pytestmark = pytest.mark.benchmark
pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")

PROMPT, ANSWER = 64, 64
ARMS = [BASE_ROW, "adapted"]
BUSY = "while True: sum(range(10**6))"


def prompt_of(number: int) -> list[int]:
    """`PROMPT` token ids, from the first on other ones for every number: nothing of it has been read before."""
    return [1000 + (number * 977 + place * 331) % 40000 for place in range(PROMPT)]


@contextmanager
def busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(1)
        yield
    finally:
        process.kill()
        process.wait()


class Answers:
    """A stream of answers to one prompt by all arms, with its times."""

    def __init__(self, pieces: Iterator[AnswerPiece]) -> None:
        began, used = time.perf_counter(), time.process_time()
        self.first: dict[int, float] = {}
        tokens = 0
        for piece in pieces:
            self.first.setdefault(piece.row, time.perf_counter() - began)
            tokens += piece.tokens if piece.done else 0
        whole = time.perf_counter() - began
        self.rate = tokens / whole
        self.used = 1000 * (time.process_time() - used) / tokens

    def __str__(self) -> str:
        first = ", ".join(f"{seconds:.2f}" for _, seconds in sorted(self.first.items()))
        return f"{self.rate:.1f} tokens/s, {self.used:.0f} ms of CPU a token, first tokens after {first} s"


def by_transformers(base: LoadedBase, attached: AttachedModel, number: int) -> Answers:
    prompts = [prompt_of(number)] * len(ARMS)
    given = {"max_new_tokens": ANSWER, "stop_ids": [], "adapter_names": ARMS}
    return Answers(stream_answers(attached, base.tokenizer, prompts, **given))  # type: ignore[arg-type]


def by_llama_cpp(base: LoadedBase, decoder: LlamaDecoder, number: int) -> Answers:
    prompts = [prompt_of(number)] * len(ARMS)
    given = {"max_new_tokens": ANSWER, "stop_ids": [], "adapter_names": ARMS}
    return Answers(decoder.stream_answers(base.tokenizer, prompts, **given))  # type: ignore[arg-type]


def test_base_and_adapter_side_by_side(default_base: LoadedBase, generated_adapter: Path) -> None:
    base, (adapter, _) = default_base, read_peft_folder(generated_adapter)
    print(f"\nbase and adapter, a prompt of {PROMPT} tokens, answers of {ANSWER}; {llama_threads()} threads are free")
    with AttachedModel(base) as attached:
        attached.add("adapted", adapter)
        attached.use("adapted")
        by_transformers(base, attached, 0)
        reference = by_transformers(base, attached, 1)
        print(f"transformers, float32: {reference}")
        with busy_process():
            print(f"  beside a busy process: {by_transformers(base, attached, 2)}")
    stops = stop_ids(base.tokenizer, base.model)
    for float_type in ("float32", "float16"):
        file = base_file(base, stops, float_type, Reporter())
        decoder = LlamaDecoder(file, base.model.config, {"adapted": adapter})
        began = time.perf_counter()
        by_llama_cpp(base, decoder, 0)
        cold = time.perf_counter() - began
        found = by_llama_cpp(base, decoder, 1)
        times = f"{found.rate / reference.rate:.1f} times transformers'"
        print(f"llama.cpp, {float_type}: {found}; {times}; loaded and answered once in {cold:.2f} s")
        with busy_process():
            print(f"  beside a busy process: {by_llama_cpp(base, decoder, 2)}")


def test_beside_llama_cpp_alone(default_base: LoadedBase) -> None:
    """One request of llama.cpp without anything of ours around it, on the same file."""
    base = default_base
    for float_type in ("float32", "float16"):
        file = base_file(base, stop_ids(base.tokenizer, base.model), float_type, Reporter())
        server = LlamaServer(file, [], slots=1, context=256)
        heard: list[float] = []

        def hear(token: int, heard: list[float] = heard) -> bool:
            heard.append(time.perf_counter())
            return False

        for number in (0, 1):
            heard.clear()
            server.ask(Asked(0, prompt_of(number), ANSWER, {}), hear)
        alone = (len(heard) - 1) / (heard[-1] - heard[0])
        del server
        decoder = LlamaDecoder(file, base.model.config, {})
        for number in (0, 1):
            given = {"max_new_tokens": ANSWER, "stop_ids": []}
            pieces = [
                (time.perf_counter(), piece.tokens)
                for piece in decoder.stream_answers(base.tokenizer, [prompt_of(number)], **given)  # type: ignore[arg-type]
            ]
        ours = (pieces[-1][1] - pieces[0][1]) / (pieces[-1][0] - pieces[0][0])
        print(f"\n{float_type}, the base alone: llama.cpp {alone:.1f} tokens/s, with ours around it {ours:.1f}")
