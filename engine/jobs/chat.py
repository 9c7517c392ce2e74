"""The next answers of a chat: every arm goes on from its own.

    earlier messages, each with its answers --(base's chat template, an arm at a time)--> prompts --> answers, streamed

Nothing of a chat is kept between two messages but models, and what llama.cpp's slots have read: they go on from there.
"""

from __future__ import annotations

from typing import Any

from engine.adapter.attach import AttachedModel
from engine.adapter.peft_folder import read_peft_folder
from engine.base.chat import context_window, fitting_turns, stop_ids
from engine.base.device import explain_out_of_memory
from engine.base.load import LoadedBase
from engine.decode import chooser, stream_answers
from engine.errors import EngineError, setting
from engine.events import AnswerText, Reporter, TurnsLeftOut
from engine.jobs.answering import answering, answering_arms, chain_views
from engine.jobs.results import Result
from engine.judge.compare import Stream, in_turns
from engine.llama_cpp.decoder import LlamaDecoder
from engine.pipeline import load_chosen_base
from engine.requests import ChatRequest

# llama.cpp is loaded anew where a chat outgrows it; so it gets twice the room each time, and this at first.
_FIRST_ROOM = 2048


def chat_job(request: ChatRequest, reporter: Reporter) -> Result:
    """Stream an answer of each arm to the message.

    Raises:
        EngineError: there is no message, or it is longer than what the base reads.
    """
    if not request.message.strip():
        raise EngineError("there is no message to answer")
    chooser(request.temperature, request.sampling_seed, ())
    base = load_chosen_base(request.models, reporter)
    adapters = {f"adapter_{place}": read_peft_folder(folder)[0] for place, folder in enumerate(request.adapters)}
    # Before anything is attached: llama.cpp's file is made of the base alone.
    decoder, by = answering(request, base, adapters, 1, reporter)
    asked = {arm: _asked(request, base, arm, reporter) for arm in request.arms}
    answers = dict.fromkeys(request.arms, "")
    # From the first adapter on: wherever the job is left, the base is clean for the next one.
    with AttachedModel(base) as attached:
        with reporter.stage("attach"):
            arms = answering_arms(request, base, adapters, attached if decoder is None else None)
            views = chain_views(request, base, attached)
        with (
            reporter.stage("answer", len(asked), unit="answers") as stage,
            explain_out_of_memory(setting("max_new_tokens")),
        ):
            given: dict[str, Any] = {
                "max_new_tokens": _longest(request, base, asked),
                "stop_ids": stop_ids(base.tokenizer, base.model),
                "on_step": lambda: stage.advance(0),
            }
            streams = []
            if arms:
                ids, names = [asked[arm] for arm in arms], list(arms.values())
                streams.append(Stream(list(arms), [], _pieces(request, base, attached, decoder, ids, names, given)))
            for arm, view in views.items():
                drawn = chooser(request.temperature, request.sampling_seed, [request.number])
                pieces = stream_answers(view, base.tokenizer, [asked[arm]], choose=drawn, **given)
                streams.append(Stream([arm], [], pieces))
            for stream, piece in in_turns(streams):
                arm = stream.arms[piece.row]
                answers[arm] += piece.text
                figures = (piece.text, piece.done, piece.tokens, piece.seconds)
                reporter.emit(AnswerText(request.number, arm, *figures, asked=len(asked[arm])))
                stage.advance(int(piece.done))
    data = {"arms": list(request.arms), "message": request.number, "answers": answers, "decoder": vars(by)}
    return Result(data, ())


def _asked(request: ChatRequest, base: LoadedBase, arm: str, reporter: Reporter) -> list[int]:
    """What an arm reads: the messages that it answered, as far back as they fit, and the new one."""
    earlier = [(each.message, each.answers[arm]) for each in request.earlier if arm in each.answers]
    left_out, ids = fitting_turns(base, request.message, earlier, request.system, request.max_new_tokens)
    if left_out:
        reporter.emit(TurnsLeftOut(arm, left_out, context_window(base) or 0))
    return ids


def _longest(request: ChatRequest, base: LoadedBase, asked: dict[str, list[int]]) -> int:
    """Tokens of the longest answer that every arm has room for."""
    window = context_window(base)
    longest = max(map(len, asked.values()))
    return min(request.max_new_tokens, window - longest) if window else request.max_new_tokens


def _pieces(
    request: ChatRequest,
    base: LoadedBase,
    attached: AttachedModel,
    decoder: LlamaDecoder | None,
    ids: list[list[int]],
    names: list[str],
    given: dict[str, Any],
) -> Any:
    """Answers of base and adapters: by llama.cpp, or in one batch."""
    if decoder is not None:
        room, needed = _FIRST_ROOM, max(map(len, ids)) + given["max_new_tokens"]
        while room < needed:
            room *= 2
        window = context_window(base)
        decoder.prepare(len(ids), min(room, max(window, needed)) if window else room)
        return decoder.stream_answers(base.tokenizer, ids, adapter_names=names, **given)
    drawn = chooser(request.temperature, request.sampling_seed, [request.number] * len(ids))
    # The only one is selected as a whole, which is faster.
    mixed = names if attached.names and names != [attached.selected] else None
    return stream_answers(attached, base.tokenizer, ids, adapter_names=mixed, choose=drawn, **given)
