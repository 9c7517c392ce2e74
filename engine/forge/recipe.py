"""The recipe of a generator: every setting of `collect` and `train`, as data (a JSON file).

A recipe file names only what differs from the defaults, for example
`{"multi_task": {"steps": 200}, "exclude": ["sni_task105_*"]}`; an unknown key is an error that lists the known ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from engine.errors import EngineError
from engine.files import digest_json, read_json
from engine.weights.layout import LoraSpec


@dataclass(frozen=True)
class FrameRecipe:
    """What the generated matrices are measured from.

    kind: "shared_a": A is frozen, seeded, row-orthonormal and the same for every task, only B is generated;
        "full": A and B are both generated, as published.
    """

    kind: str = "shared_a"
    lora: LoraSpec = field(default_factory=LoraSpec)


@dataclass(frozen=True)
class DataRecipe:
    """Which rows of a task are used.

    row_tokens: longer rows (prompt and answer, in base model tokens) are left out.
    task_rows: tasks with fewer rows left are left out.
    pack_tokens: rows of one task are packed into one sequence of at most that many tokens (their prefix once).
    pack_rows: at most that many rows in one packed sequence.
    pad_to: sequences are padded to a multiple of that many tokens; with few lengths, little is compiled.
    """

    row_tokens: int = 256
    task_rows: int = 40
    pack_tokens: int = 384
    pack_rows: int = 8
    pad_to: int = 1


@dataclass(frozen=True)
class MultiTaskRecipe:
    """The one adapter trained on all tasks, from which everything else starts.

    steps: optimizer steps; packs: packed sequences a step, each of another task.
    learning_rate: peak, cosine to zero after `warmup_steps`.
    """

    steps: int = 300
    packs: int = 8
    learning_rate: float = 2e-3
    warmup_steps: int = 10


@dataclass(frozen=True)
class LibraryRecipe:
    """Adapters of single tasks, started from the multi-task adapter.

    tasks: at most that many, drawn by the seed; 0 is all of them.
    adapters: trained side by side in one batch. steps, packs, learning_rate: of each adapter.
    keep: checkpoints kept, one at each of the last steps.
    pull: strength of the squared distance to the multi-task adapter in the loss.
    """

    tasks: int = 0
    adapters: int = 8
    steps: int = 30
    packs: int = 1
    learning_rate: float = 1e-3
    keep: int = 4
    pull: float = 1e-3


@dataclass(frozen=True)
class DecoderRecipe:
    """The decoder: `cascade` lists the (N, L, C) after each block but the last, which is the weight tokens' own shape.

    prompts, prompt_tokens: N and L of the condition. kernel: odd width of every convolution.
    scale: size of what the decoder gives out, in root mean squares of the library's differences. 1 suits the warm
        start; the language loss alone learns far faster with more, since Adam's steps grow with it
        (assets/generator/LOG.md, sections 4 and 5).
    """

    prompts: int = 32
    prompt_tokens: int = 128
    cascade: tuple[tuple[int, int, int], ...] = ((48, 32, 128), (96, 16, 128), (192, 8, 192))
    kernel: int = 3
    scale: float = 16.0


@dataclass(frozen=True)
class WarmStartRecipe:
    """Weight-space stage: weighted squared error on the difference from the multi-task adapter.

    steps: 0, because on a library of few steps a task it fits noise (assets/generator/LOG.md, section 3); as published,
        and in the released generator, it comes first.
    noise: standard deviation added to the condition, target_noise: to the weight tokens.
    """

    steps: int = 0
    tasks: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 20
    noise: float = 1e-4
    target_noise: float = 1e-5


@dataclass(frozen=True)
class LanguageLossRecipe:
    """Language-model loss through the generated adapter.

    steps: optimizer steps. tasks: generated adapters a step, packs: packed sequences for each.
    hide_instruction: part of the adapters whose packs lose the prompts' first paragraph, so that the adapter must
        carry it.
    other_adapter: part of the other packs, whose instruction is in sight, that are answered with another task's
        adapter: a new task's adapter will be wrong somewhere, and must not drown what the prompt itself asks.
    few_prompts: part of the conditions made from 1 to N prompts instead of N.
    judge_every: so many steps apart, and after the last, the loss on the held-out tasks is measured and logged; the
        generator is taken as it was where that loss was lowest. 0 takes the last state unseen.
    swap_every: every so many steps the same packs are also answered with another task's adapter, and where they lost
        their instruction the loss asks for a difference of at least `margin` (nats a token); 0 leaves it out.
    frame_learning_rate: peak for the frame's own B, which is then trained along with the decoder and stays what an
        empty condition gives; 0 leaves the frame as collected.
    drop_condition: part of the adapters made from an empty condition; teaches the decoder nothing, so it needs a
        frame that is trained.
    """

    steps: int = 200
    tasks: int = 6
    packs: int = 1
    learning_rate: float = 2e-3
    warmup_steps: int = 10
    hide_instruction: float = 0.25
    other_adapter: float = 0.0
    swap_every: int = 5
    margin: float = 0.1
    few_prompts: float = 0.25
    judge_every: int = 25
    weight_decay: float = 0.01
    frame_learning_rate: float = 0.0
    drop_condition: float = 0.0


@dataclass(frozen=True)
class DistillationRecipe:
    """Context distillation (arXiv 2209.15189): a generated adapter acts as the frame does that reads the context.

    The loss is the divergence of the generated adapter, whose query lacks the context, from the frame, whose query has
    it, on the answers' tokens.

    steps: optimizer steps, after those of the language loss; 0 leaves this stage out.
    tasks: generated adapters a step, one packed sequence of queries each.
    in_sight: part of the adapters whose queries keep their instruction: with it nothing may change.
    answered: part of the adapters whose context is `examples` answered rows besides the instruction; their conditions
        hold these rows, too.
    few_prompts, learning_rate, warmup_steps, weight_decay, judge_every: as for the language loss.
    """

    steps: int = 0
    tasks: int = 6
    in_sight: float = 0.25
    answered: float = 0.25
    examples: int = 8
    few_prompts: float = 0.25
    learning_rate: float = 2e-3
    warmup_steps: int = 30
    weight_decay: float = 0.01
    judge_every: int = 50


@dataclass(frozen=True)
class Recipe:
    """Everything.

    exclude: names (or patterns) of tasks never used, whatever their split.
    held_out: so many tasks, drawn by the seed, are kept from all training; the loss on them shows
        which state of the generator to take.
    compile: let torch compile the base for the training steps and, on CUDA, capture its kernels as graphs. Worth it on
        a GPU, where a step is mostly launches, with `data.pad_to` at `data.pack_tokens` or half of it; every new shape
        takes a while.
    """

    frame: FrameRecipe = field(default_factory=FrameRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    multi_task: MultiTaskRecipe = field(default_factory=MultiTaskRecipe)
    library: LibraryRecipe = field(default_factory=LibraryRecipe)
    decoder: DecoderRecipe = field(default_factory=DecoderRecipe)
    warm_start: WarmStartRecipe = field(default_factory=WarmStartRecipe)
    language_loss: LanguageLossRecipe = field(default_factory=LanguageLossRecipe)
    distillation: DistillationRecipe = field(default_factory=DistillationRecipe)
    exclude: tuple[str, ...] = ()
    held_out: int = 8
    compile: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


_GONE = ("variants", "variant_share")


def read_recipe(source: Path | None) -> Recipe:
    """The recipe of a file; the defaults without one. Raises EngineError on an unknown or ill-typed key."""
    return recipe_from_json({} if source is None else read_json(source), str(source or "recipe"))


def recipe_from_json(data: dict[str, Any], where: str = "recipe") -> Recipe:
    """Plain data -> Recipe. Raises EngineError as `read_recipe`, also where variants of tasks are asked for."""
    rows = data.get("data") if isinstance(data, dict) else None
    if isinstance(rows, dict):
        # Recipes of earlier libraries and generators name these two, mostly to state that there are none.
        if rows.get("variants"):
            hint = "Leave data.variants out: they gained nothing (assets/generator/LOG.md, sections 7 and 9)"
            raise EngineError("no further tasks are made from the training tasks any more", where=where, hint=hint)
        data = {**data, "data": {key: value for key, value in rows.items() if key not in _GONE}}
    recipe = _build(Recipe, data, where)
    assert isinstance(recipe, Recipe)
    return recipe


def data_of_history(recipe: dict[str, Any]) -> DataRecipe:
    """Which rows were used by what was made with a recipe once, whatever else it asked for."""
    rows = {key: value for key, value in recipe.get("data", {}).items() if key not in _GONE}
    return recipe_from_json({"data": rows}).data


def training_identity(library: dict[str, Any], recipe: Recipe, seed: int) -> str:
    """What must be the same for a training run to be continued.

    Args:
        library: what its library.json holds.
    """
    return digest_json([library, recipe.to_json(), seed])


def _build(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise EngineError(f"should be a table of settings, not {type(data).__name__}", where=where)
    types = get_type_hints(kind)
    known = [entry.name for entry in fields(kind)]
    if unknown := sorted(set(data) - set(known)):
        raise EngineError(f"unknown setting {unknown[0]!r}", where=where, hint=f"Known: {', '.join(known)}")
    values = {key: _value(types[key], value, f"{where}, {key}") for key, value in data.items()}
    return kind(**values)


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, where)  # type: ignore[arg-type]
    if kind is bool:
        if not isinstance(value, bool):
            raise EngineError(f"should be true or false, not {value!r}", where=where)
        return value
    if kind in (int, float, str):
        number = kind is float and isinstance(value, int)
        if isinstance(value, bool) or not (number or isinstance(value, kind)):
            raise EngineError(f"should be {kind.__name__}, not {value!r}", where=where)
        if kind is not str and value < 0:
            raise EngineError(f"should not be negative, it is {value}", where=where)
        return kind(value)
    if not isinstance(value, list):
        raise EngineError(f"should be a list, not {value!r}", where=where)
    return tuple(tuple(item) if isinstance(item, list) else item for item in value)
