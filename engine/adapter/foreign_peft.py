"""A PEFT folder that any tool wrote, read as what it is: somebody else's files.

Only adapter_config.json and adapter_model.safetensors are opened (and SHA256SUMS, where there is one). Nothing out of
them is used as a path, a program or a name of a class; a pickle is never read.

Notable
- Names of tensors as peft, unsloth, axolotl and LLaMA-Factory write them (`base_model.model.<path>.lora_A.weight`), and
  as they come out of a state dict: with the adapter's name after lora_A, without the prefix, with the parts that
  torch.compile, FSDP and activation checkpointing put in between.
- In the hub's cache the files of a snapshot are links to its blobs. These are followed, other links out of the folder
  are not.
- A key of rank_pattern or alpha_pattern stands for every module whose path, or the end of it after a dot, it matches as
  a regular expression; the first that matches counts (`get_pattern_key` of peft). The keys come out of somebody's file,
  and an expression can take years to match: `regex` gives up after a while, which `re` cannot.
- Embeddings and head are often saved along without having been trained. They are left out where they are the base's.
"""

from __future__ import annotations

import math
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import regex

from engine.adapter.foreign import (
    BROKEN,
    FLOAT_TYPES,
    MOST_TENSORS,
    Fitted,
    Foreign,
    Pair,
    Read,
    paired,
    shown,
    widened,
)
from engine.adapter.peft_folder import (
    CONFIG_FILE,
    DIGESTS_FILE,
    FOLDED_SETTINGS,
    LARGEST_ALPHA,
    LARGEST_RANK,
    WEIGHTS_FILE,
    check_sums,
    missing_hint,
    more_than_lora,
    open_weights,
    read_config,
)
from engine.errors import EngineError, setting

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig

_KEY = re.compile(
    r"(?:module\.)?(?:base_model\.model\.)?(?P<path>[\w.-]{1,400}?)\.lora_(?P<half>[AB])(?:\.(?P<adapter>[^.]{1,200}))?\.weight",
    re.ASCII,
)
_WRAPPERS = re.compile(r"(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_AS_BASE = f"use that model with {setting('base')}"
_MERGE = f"Merge it into its base where it was made (merge_and_unload of peft) and {_AS_BASE}"
# What stands in a name that is none of a LoRA matrix, and what that means.
_OTHERS = (
    ("lora_embedding_", "is LoRA of the embeddings"),
    ("lora_magnitude_vector", "belongs to DoRA, which scales the base's own weights too"),
    (".bias", "is a trained bias"),
    ("modules_to_save", "is a weight that was trained whole"),
)
_WHOLE = re.compile(r"(?:base_model\.model\.)?(?:[\w]+\.){0,4}(?P<which>embed_tokens|lm_head)\.weight", re.ASCII)
_LONGEST_KEY = 400
_MOST_LACKING = 4
_MOST_EXPRESSIONS, _MOST_KEYS = 2**10, 2**14
# Seconds that all expressions of a file may take; those that tools write take a few milliseconds.
_MATCHING = 2.0
_LITERAL = re.compile(r"\w+(\.\w+)*", re.ASCII)
_PLAIN = "Only what peft itself writes is read"
Number = TypeVar("Number", int, Fraction)


@dataclass(frozen=True, kw_only=True)
class ForeignPeft(Foreign):
    """A PEFT folder, and what its config states of ranks and scales.

    rank_of, alpha_of: by the module's path in the adapter's own file; ask only for paths that a base has.
    root: whether the scale is that of rsLoRA, alpha / sqrt(r) instead of alpha / r.
    whole: by the name of a weight that is no LoRA matrix: "embed_tokens" or "lm_head".
    promised: whether its config adapts a module of the base, by its path; raises EngineError where nobody can find out.
    """

    rank_of: Callable[[str], int]
    alpha_of: Callable[[str], Fraction]
    root: bool
    whole: Mapping[str, str]
    promised: Callable[[], Callable[[str], bool]]

    def check_weights(self, model: Any) -> tuple[str, ...]:
        """Embeddings and head of the file are left out where they are the base's; modules that it lacks are named."""
        import torch

        for name, which in self.whole.items():
            own = model.get_input_embeddings() if which == "embed_tokens" else model.get_output_embeddings()
            with open_weights(self.weights, "pt") as tensors:
                saved = tensors.get_tensor(name)
            wanted = own.weight.detach().to("cpu", saved.dtype)
            if not torch.equal(saved, wanted):
                problem = (
                    "is not the base's own weight, so it was trained whole; only LoRA of linear modules is imported"
                )
                raise EngineError(problem, where=f"{self.weights}, {shown(name)}", hint=_MERGE)
        left = [f"Its {which} is the base's own and was left out." for which in self.whole.values()]
        linear = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
        return (*left, *self._lacking(linear))

    def _lacking(self, linear: Sequence[str]) -> list[str]:
        """What the config adapts and the file has no matrices of, in a sentence."""
        there = {pair.path.removeprefix("model.") for pair in self.pairs}
        others = [path for path in linear if path.removeprefix("model.") not in there]
        with suppress(EngineError):
            promised = self.promised()
            if lacking := [path for path in others if promised(path)]:
                named = ", ".join(lacking[:_MOST_LACKING]) + (", …" if len(lacking) > _MOST_LACKING else "")
                count = f"{len(lacking)} module{'' if len(lacking) == 1 else 's'}"
                return [f"Its config adapts {count} more, of which the file has no matrices: {named}."]
        return []

    def scales_for(self, fitted: Fitted) -> dict[str, Fraction]:
        """By the config, whose ranks are checked; of rsLoRA, the float that peft has."""
        scales = {}
        for path, pair in fitted.pairs.items():
            rank, alpha = self.rank_of(pair.path), self.alpha_of(pair.path)
            if pair.rank != rank:
                problem = f"is of rank {pair.rank}, the config has {rank}"
                raise EngineError(problem, where=f"{self.weights}, {shown(pair.path)}", hint=BROKEN)
            scales[path] = Fraction(float(alpha) / math.sqrt(rank)) if self.root else alpha / rank
        return scales

    @contextmanager
    def reading(self, config: PretrainedConfig) -> Iterator[Read]:
        """The matrices as they are in the file."""
        import torch

        with open_weights(self.weights, "pt") as tensors:

            def matrix(name: str) -> Tensor:
                # A copy: what safetensors hands out can be the file itself.
                return tensors.get_tensor(name).to(torch.float32, copy=True)

            yield lambda path, pair: (matrix(pair.a), matrix(pair.b))


def open_foreign_peft(folder: Path) -> ForeignPeft:
    """Look through config and header of a PEFT folder.

    Raises:
        EngineError: it is not LoRA alone, a file is missing or broken, or leads out of the folder.
    """
    try:
        config_file = _own_file(folder, CONFIG_FILE)
        config = read_config(config_file)
        _check_config(config, str(folder / CONFIG_FILE))
        weights = _own_file(folder, WEIGHTS_FILE)
        if (folder / DIGESTS_FILE).exists():
            _own_file(folder, DIGESTS_FILE)
            check_sums(folder)
        with open_weights(weights, "numpy") as tensors:
            names = tensors.keys()
            if len(names) > MOST_TENSORS:
                raise EngineError(f"holds {len(names):,} tensors", where=str(weights), hint=BROKEN)
            entries = {name: tensors.get_slice(name) for name in names}
            header = {name: (entry.get_dtype(), tuple(entry.get_shape())) for name, entry in entries.items()}
    except OSError as error:
        raise EngineError(f"cannot be read: {error}", where=str(folder)) from error
    where = str(folder / WEIGHTS_FILE)
    whole = {name: found["which"] for name in header if (found := _WHOLE.fullmatch(name))}
    pairs = _pairs({name: about for name, about in header.items() if name not in whole}, where)
    place = str(folder / CONFIG_FILE)
    named = config.get("base_model_name_or_path")
    return ForeignPeft(
        weights=weights,
        pairs=pairs,
        named_base=named if isinstance(named, str) and named else None,
        changes=_changes(config, {kind for kind, _ in header.values()}),
        rank_of=_by_path(config, "r", "rank_pattern", _rank, place),
        alpha_of=_by_path(config, "lora_alpha", "alpha_pattern", _alpha, place),
        root=bool(config.get("use_rslora")),
        whole=whole,
        promised=lambda: _promised(config, place),
    )


def _own_file(folder: Path, name: str) -> Path:
    """The file itself, after a look at whether it is a plain one and belongs to the folder."""
    file = folder / name
    if not file.exists():
        raise EngineError(f"has no {name}", where=str(folder), hint=missing_hint(folder))
    real, home = file.resolve(), folder.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else None
    if home not in real.parents and real.parent != blobs:
        hint = "Copy the file itself into the folder, if you know what it is"
        raise EngineError(f"is a link to {real}, outside of the folder", where=str(file), hint=hint)
    if not stat.S_ISREG(real.stat().st_mode):
        raise EngineError("is not a plain file", where=str(file), hint="An adapter consists of plain files")
    return real


def _check_config(config: dict[str, Any], where: str) -> None:
    if "lora_parameters" in config and "peft_type" not in config:
        hint = f"Only PEFT folders and GGUF adapters are imported: make a model of it by mlx_lm.fuse and {_AS_BASE}"
        raise EngineError("is the config of an MLX folder, not of a PEFT folder", where=where, hint=hint)
    reason = more_than_lora(config, FOLDED_SETTINGS)
    if reason:
        raise EngineError(f"{reason}; only LoRA alone is imported", where=where, hint=_MERGE)


def _pairs(header: Mapping[str, tuple[str, tuple[int, ...]]], where: str) -> tuple[Pair, ...]:
    halves: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    adapters: set[str | None] = set()
    for name, (kind, shape) in header.items():
        found = _KEY.fullmatch(name)
        place = f"{where}, {shown(name)}"
        if found is None:
            problem = next((problem for part, problem in _OTHERS if part in name), "is no matrix of LoRA")
            raise EngineError(f"{problem}; only LoRA of linear modules is imported", where=place, hint=_MERGE)
        if kind not in FLOAT_TYPES:
            raise EngineError(f"is of type {kind}, not one of {', '.join(FLOAT_TYPES)}", where=place, hint=BROKEN)
        adapters.add(found["adapter"])
        path = _WRAPPERS.sub("", found["path"]).removeprefix("base_model.model.")
        if halves.setdefault(path, {}).setdefault(found["half"], (name, shape))[0] != name:
            raise EngineError("is there twice, under two names", where=place, hint=BROKEN)
    if len(adapters) > 1:
        named = ", ".join(sorted(shown(each or "one without a name") for each in adapters)[:5])
        raise EngineError(f"holds several adapters: {named}", where=where, hint="Save each in a folder of its own")
    return paired(halves, where)


def _changes(config: Mapping[str, Any], kinds: Iterable[str]) -> tuple[str, ...]:
    changes = ["Its scale is that of rsLoRA, alpha / sqrt(rank)."] if config.get("use_rslora") else []
    changes += [f"Its {name}_pattern gives some modules another {name}." for name in ("rank", "alpha")
             if config.get(f"{name}_pattern")]  # fmt: skip
    return (*changes, *widened(kinds))


def _promised(config: Mapping[str, Any], where: str) -> Callable[[str], bool]:
    """Whether peft would adapt a module of this path: by target_modules, without those that other settings leave out.

    Of what peft reads otherwise ("all-linear", layers by number) nothing is promised.
    """
    wanted, without = config.get("target_modules"), config.get("exclude_modules")
    if not wanted or wanted == "all-linear" or config.get("layers_to_transform") is not None:
        return lambda path: False
    takes, leaves = _named(wanted, f"{where}, target_modules"), _named(without, f"{where}, exclude_modules")
    return lambda path: takes(path) and not leaves(path)


def _named(modules: Any, where: str) -> Callable[[str], bool]:
    """Whether a path is one of these: ends of paths in a list, or an expression that matches the whole."""
    if isinstance(modules, str):
        matcher = _matcher({modules: 0}, where) if not _LITERAL.fullmatch(modules) else None
        return (lambda path: matcher(path) is not None) if matcher else (lambda path: path == modules)
    names = tuple(f".{name}" for name in modules) if isinstance(modules, list) else ()
    return lambda path: f".{path}".endswith(names)


def _by_path(
    config: Mapping[str, Any], name: str, pattern_name: str, read: Callable[[Any, str], Number], where: str
) -> Callable[[str], Number]:
    """What a setting is for a module, by its path.

    Raises:
        EngineError: it is none that peft writes.
    """
    usual, pattern = read(config.get(name), f"{where}, {name}"), config.get(pattern_name) or {}
    where = f"{where}, {pattern_name}"
    if not isinstance(pattern, dict) or len(pattern) > _MOST_KEYS:
        raise EngineError("is not a JSON object, or a very long one", where=where, hint=_PLAIN)
    values = {key: read(value, f"{where}, {key[:100]}") for key, value in pattern.items()}
    key_of = _matcher(values, where)
    return lambda path: values.get(key_of(path) or "", usual)


def _rank(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_RANK:
        problem = f"{repr(value)[:40]} is not a rank, a whole number from 1 to {LARGEST_RANK}"
        raise EngineError(problem, where=where, hint=_PLAIN)
    return value


def _alpha(value: Any, where: str) -> Fraction:
    # Not so small either that its float32 would be none.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 2**-20 <= value <= LARGEST_ALPHA:
        problem = f"{repr(value)[:40]} is not an alpha, a number above 0 and up to {LARGEST_ALPHA}"
        raise EngineError(problem, where=where, hint=_PLAIN)
    return Fraction(value)


def _matcher(pattern: Mapping[str, Any], where: str) -> Callable[[str], str | None]:
    """The first key that matches a path; None for none."""
    # Nearly always the keys are paths, or ends of paths: thousands of them are looked up, not tried.
    literal = {key: place for place, key in enumerate(pattern) if _LITERAL.fullmatch(key)}
    others = [
        (place, key, _compiled(key, f"{where}, {key[:100]}")) for place, key in enumerate(pattern) if key not in literal
    ]
    if len(others) > _MOST_EXPRESSIONS:
        raise EngineError(f"has {len(others)} patterns that are no paths", where=where, hint=_PLAIN)
    left = _MATCHING

    def matches(expression: regex.Pattern[str], path: str, key: str) -> bool:
        nonlocal left
        began = time.perf_counter()
        try:
            return expression.match(path, timeout=max(left, 1e-3)) is not None
        except TimeoutError:
            raise EngineError("takes too long to match", where=f"{where}, {key[:100]}", hint=_PLAIN) from None
        finally:
            left -= time.perf_counter() - began

    def key_of(path: str) -> str | None:
        parts = path.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts)))
        found = [(literal[end], end) for end in ends if end in literal]
        found += [(place, key) for place, key, expression in others if matches(expression, path, key)]
        return min(found)[1] if found else None

    return key_of


def _compiled(key: str, where: str) -> regex.Pattern[str]:
    if len(key) > _LONGEST_KEY:
        raise EngineError("is a very long pattern", where=where, hint=_PLAIN)
    try:
        return regex.compile(rf"(.*\.)?({key})$")
    except regex.error as error:
        raise EngineError(f"is no pattern ({error})", where=where, hint=_PLAIN) from None
