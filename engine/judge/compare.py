"""Answers of the base and of adapters to the same prompts: side by side as they are decoded, or all at once.

All at once, to held-out rows, for what an adapter is worth: with references the answers are scored. Without, there is
a teacher: the share of prompts on which the adapted model answers as the base that reads the context needs no labels.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.adapter.attach import BASE_ROW, AttachedModel
from engine.base.chat import fitting_examples, prompts_ids, stop_ids
from engine.base.device import explain_out_of_memory
from engine.decode import AnswerPiece, answer_all, chooser, stream_answers
from engine.errors import setting
from engine.events import AnswerText, Reporter, Stage
from engine.tasks.metrics import score
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.adapter.attach import AttachedModel
    from engine.base.images import ImagePrompts
    from engine.base.load import LoadedBase
    from engine.llama_cpp.decoder import LlamaDecoder
    from engine.prompts import PromptRow


# Answers in one batch, of all arms together. More would delay the first token and fill the memory.
_ANSWERS_AT_ONCE = 16


@dataclass(frozen=True)
class ComparedRow:
    """One prompt with its answers by arm and, where there are references, its scores by arm."""

    number: int
    prompt: str
    images: tuple[str, ...]
    references: tuple[str, ...]
    answers: dict[str, str]
    scores: dict[str, float]


@dataclass(frozen=True)
class ArmTiming:
    """What a query costs in one arm. The arms of a prompt share a batch, or take turns: alone, each would be faster.

    asked: tokens of a query, the prompt with all that stands before it; mean of the arm's answers.
    first_token_seconds: from when a batch began to be read to the first token; mean of the arm's answers.
    seconds: the same to the last token of the answer: seconds a query.
    tokens: of all answers.
    tokens_per_second: of one answer, after its first token; 0 when no answer went on after it.
    """

    asked: float
    first_token_seconds: float
    seconds: float
    tokens: int
    tokens_per_second: float


@dataclass(frozen=True)
class Comparison:
    """Answers of all arms.

    metric: the metric of the scores.
    means: mean score by arm over the rows with references; empty when no row has any.
    timings: by arm.
    examples: by arm, how many of its examples stood before every prompt.
    """

    rows: list[ComparedRow]
    metric: str
    means: dict[str, float]
    timings: dict[str, ArmTiming]
    examples: dict[str, int]

    def scores(self) -> dict[str, list[float]]:
        """By arm, the scores of the rows with references, in their order."""
        scored = [row.scores for row in self.rows if row.scores]
        return {arm: [scores[arm] for scores in scored] for arm in self.means}


def compare(
    base: LoadedBase,
    attached: AttachedModel,
    arms: Mapping[str, str],
    rows: Iterable[PromptRow],
    *,
    max_new_tokens: int,
    metric: str,
    reporter: Reporter,
    labels: Sequence[str] = (),
    examples: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    views: Mapping[str, Any] | None = None,
    decoder: LlamaDecoder | None = None,
    images: ImagePrompts | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    total: int | None = None,
) -> Comparison:
    """Answer `rows` with all arms, those of one prompt in one batch; views and examples take turns with that batch.

    Emits an `AnswerText` a piece, with the prompt's number as its row.

    Args:
        arms: by the name of an arm, the adapter of `attached` that answers, `BASE_ROW` for none. Adapters may differ
            in rank and modules.
        rows: read as they are needed.
        labels: all answers that there are, for the metric "label".
        examples: by the name of a further arm, (prompt, answer) turns that the base reads before each prompt. Where
            they leave no room in what the base can read, the longest are left out from then on, with a note.
        views: by the name of a further arm, the model that answers: the layers of the base in another order.
        decoder: answers greedily in the place of the models, by adapters of the same names; None has the models answer.
            With it there are no views.
        images: reads the images of rows that have some; each such row is a batch of its own, its arms one by one. None
            leaves images out.
        temperature: 0 takes the likeliest token; above it tokens are drawn, in all arms with the same random numbers.
        seed: of the drawn tokens.
        total: how many rows there are, where that is known.

    Raises:
        EngineError: an unknown metric, an impossible temperature, the device is out of memory.
        Cancelled: the person asked for it; heard before a batch is read and at every token.
    """
    # What cannot be done should be reported before the answers, not after them.
    score(metric, "", ())
    chooser(temperature, seed, ())
    compared: list[ComparedRow] = []
    views = views or {}
    shown = {arm: list(pairs) for arm, pairs in (examples or {}).items()}
    own, *others = arms
    names = [own, *shown, *others, *views]
    clock = _Clock(names, max_new_tokens)
    warned = False
    with reporter.stage("answer", total, unit="prompts") as stage, explain_out_of_memory(setting("rows")):
        for part in _parts(rows, max(1, _ANSWERS_AT_ONCE // len(names)), alone=images is not None):
            texts = [row.prompt for row in part]
            if images is None and not warned and (blind := [row for row in part if row.images]):
                reporter.note(f"the base reads no images: left out, from prompt {blind[0].number} on", warning=True)
                warned = True

            def answers(
                own: Sequence[str],
                model: Any,
                prompts: list[list[int]],
                adapters: list[str] | None,
                seen: Mapping[str, Any] | None = None,
            ) -> Stream:
                given: dict[str, Any] = {
                    "max_new_tokens": max_new_tokens,
                    "stop_ids": stop_ids(base.tokenizer, base.model),
                    "on_step": lambda: stage.advance(0),
                }
                asked = prompts * len(own)
                if decoder is not None:
                    pieces = decoder.stream_answers(base.tokenizer, asked, adapter_names=adapters, **given)
                else:
                    pieces = stream_answers(
                        model,
                        base.tokenizer,
                        asked,
                        adapter_names=adapters if attached.names else None,
                        # Used up before the next part.
                        choose=chooser(temperature, seed, [row.number for row in part] * len(own)),  # noqa: B023
                        images=seen,
                        **given,
                    )
                return Stream(own, [len(ids) for ids in prompts], pieces)

            alone, seen = _asked(base, part, (), images)
            # The model keeps where the tokens of an image are: all arms of a row may share that, other rows not.
            groups = [list(arms)] if seen is None else [[arm] for arm in arms]
            streams = [answers(of, attached, alone, [arms[arm] for arm in of for _ in part], seen) for of in groups]
            for arm, pairs in shown.items():
                shown[arm], ids = fitting_examples(base, texts, pairs, max_new_tokens)
                if len(shown[arm]) < len(pairs):
                    room = f"{len(shown[arm])} of {len(pairs)} examples, the shorter ones, fit into what the base reads"
                    reporter.note(f"{room}, from prompt {part[0].number} on")
                ids, more = (ids, None) if seen is None else _asked(base, part, shown[arm], images)
                streams.append(answers([arm], attached, ids, [BASE_ROW] * len(part), more))
            streams += [answers([arm], view, alone, None, seen) for arm, view in views.items()]
            if decoder is not None:
                decoder.prepare(len(names) * len(part), max(max(each.asked) for each in streams) + max_new_tokens)
            fresh = [
                ComparedRow(row.number, row.prompt, row.images, row.references, dict.fromkeys(names, ""), {})
                for row in part
            ]
            for stream, piece in in_turns(streams):
                arm, place = stream.arms[piece.row // len(part)], piece.row % len(part)
                row, asked = fresh[place], stream.asked[place]
                row.answers[arm] += piece.text
                if piece.done and row.references:
                    row.scores[arm] = score(metric, row.answers[arm], row.references, labels=labels)
                clock.take(arm, place, asked, piece)
                figures = (piece.text, piece.done, piece.tokens, piece.seconds)
                reporter.emit(AnswerText(row.number, arm, *figures, row.scores.get(arm), asked))
            compared += fresh
            stage.advance(len(part))
    fitted = {arm: len(pairs) for arm, pairs in shown.items()}
    return Comparison(compared, metric, _means(names, compared), clock.timings(), fitted)


class Stream(NamedTuple):
    """Answers of some arms to the prompts of a part: first those of the first arm.

    asked: tokens of each prompt.
    """

    arms: Sequence[str]
    asked: Sequence[int]
    pieces: Iterator[AnswerPiece]


def in_turns(streams: list[Stream]) -> Iterator[tuple[Stream, AnswerPiece]]:
    """Some pieces of each in turn, as many as it has arms, until all have ended."""
    while streams:
        going = []
        for stream in streams:
            pieces = list(islice(stream.pieces, len(stream.arms)))
            yield from ((stream, piece) for piece in pieces)
            if pieces:
                going.append(stream)
        streams = going


def _asked(
    base: LoadedBase, part: Sequence[PromptRow], examples: Sequence[tuple[str, str]], images: ImagePrompts | None
) -> tuple[list[list[int]], Mapping[str, Any] | None]:
    """The token ids of each prompt; of the only one, if it has images, also what else the model takes with it."""
    if images is not None and part[0].images:
        ids, more = images.read(part[0].prompt, part[0].images, examples)
        return [ids], more
    return prompts_ids(base.tokenizer, [row.prompt for row in part], examples), None


def _parts(rows: Iterable[PromptRow], size: int, *, alone: bool) -> Iterator[list[PromptRow]]:
    """Up to `size` rows each. `alone`: a row with images is a part of its own."""
    part: list[PromptRow] = []
    for row in rows:
        if part and (len(part) == size or (alone and (row.images or part[0].images))):
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def _means(arms: Iterable[str], rows: Sequence[ComparedRow]) -> dict[str, float]:
    scored = [row.scores for row in rows if row.scores]
    return {arm: sum(scores[arm] for scores in scored) / len(scored) for arm in arms} if scored else {}


class _Clock:
    """Sums up the times of the answers, arm by arm."""

    def __init__(self, arms: Iterable[str], max_new_tokens: int) -> None:
        self._max_new_tokens = max_new_tokens
        self._sums = {arm: _Sums() for arm in arms}
        self._first: dict[tuple[str, int], float] = {}  # of the answers that are not done

    def take(self, arm: str, place: int, asked: int, piece: AnswerPiece) -> None:
        """The next piece of the answer of `arm` to the prompt at `place` of its part, of `asked` tokens."""
        first = self._first.setdefault((arm, place), piece.seconds)
        if not piece.done:
            return
        del self._first[arm, place]
        sums = self._sums[arm]
        sums.answers += 1
        sums.asked += asked
        sums.first += first
        sums.seconds += piece.seconds
        sums.tokens += piece.tokens
        # The token that ends an answer takes its time too; an answer that is cut off has none.
        sums.later_tokens += min(piece.tokens, self._max_new_tokens - 1)

    def timings(self) -> dict[str, ArmTiming]:
        """All of it, at the end."""
        return {arm: sums.timing() for arm, sums in self._sums.items()}


@dataclass
class _Sums:
    answers: int = 0
    asked: int = 0
    first: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    later_tokens: int = 0

    def timing(self) -> ArmTiming:
        answers = max(1, self.answers)
        later = self.seconds - self.first
        rate = self.later_tokens / later if later else 0.0
        return ArmTiming(self.asked / answers, self.first / answers, self.seconds / answers, self.tokens, rate)


_ADAPTER = "checked"
# Rows answered at a time; with examples in the prompt, each has keys and values of its own for its part of the prompt.
_BATCH = 16


@dataclass(frozen=True)
class AskedArm:
    """A way to ask: the prompt of each row, (prompt, answer) examples before it, and the adapter that answers."""

    prompts: Sequence[str]
    examples: Sequence[tuple[str, str]] = ()
    adapter: LoraAdapter | None = None


@dataclass(frozen=True)
class ArmAnswers:
    """texts: an answer a row. tokens: mean length of what was asked. seconds: to answer the first row alone."""

    texts: Sequence[str]
    tokens: float
    seconds: float

    def to_json(self) -> dict[str, object]:
        """Figures as plain data."""
        return {"tokens_per_query": self.tokens, "seconds_per_query": self.seconds}


def ask_arms(
    base: LoadedBase, arms: Mapping[str, AskedArm], max_new_tokens: int, stage: Stage
) -> dict[str, ArmAnswers]:
    """Greedy answers of every arm, by its name. `stage` counts rows of all arms.

    Rows are answered together, and what they begin with is read once for all. What a query costs is therefore timed
    with one row by itself.
    """
    found = {}
    tokenizer, stops = base.tokenizer, stop_ids(base.tokenizer, base.model)
    for name, arm in arms.items():
        asked = prompts_ids(tokenizer, arm.prompts, arm.examples)
        with AttachedModel(base) as attached:
            if arm.adapter is not None:
                attached.add(_ADAPTER, arm.adapter)
                attached.use(_ADAPTER)
            answer = partial(
                answer_all,
                attached,
                tokenizer,
                max_new_tokens=max_new_tokens,
                stop_ids=stops,
                batch=_BATCH,
                on_step=lambda: stage.advance(0),
            )
            texts = answer(asked)
            began = time.perf_counter()
            answer(asked[:1])
        found[name] = ArmAnswers(texts, sum(map(len, asked)) / max(1, len(asked)), time.perf_counter() - began)
        stage.advance(len(asked))
    return found
