"""Putting LoRA adapters on a loaded base, by peft: on, off and away again without loading the base anew.

    base model --add--> the same object, its linear modules wrapped by peft --detach--> the same object as before

Notable
- Off means off: with no adapter selected every wrapped module calls its own base layer only, so logits are
  bit-equal to the base before anything was attached.
- The matrices are held in float32 also on a half-precision base (peft's `autocast_adapter_dtype`): the small
  products run in float32 and only their result is rounded to the base's dtype. `PeftModel.from_pretrained` does
  the same, so an exported folder gives the same logits as the adapter in memory.
- The base must be frozen and in eval mode, as `load_base` hands it out; attaching leaves it so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer

from engine.errors import EngineError
from engine.weights.layout import selecting
from engine.weights.lora import LoraAdapter

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

BASE_ROW = "__base__"
"""The name in `adapter_names` of a row that the base answers alone."""
ADAPTED = "adapted"
"""What `attach` calls the adapter."""


def attach(base: LoadedBase | torch.nn.Module, adapter: LoraAdapter | None) -> AttachedModel:
    """`base` with `adapter` on it, selected; for None the base alone.

    Raises:
        EngineError: the adapter does not fit the base; the first module that differs is named.
    """
    attached = AttachedModel(base)
    if adapter is not None:
        attached.add(ADAPTED, adapter)
        attached.use(ADAPTED)
    return attached


class AttachedModel:
    """A base with any number of adapters, of which one or none is selected; starts with none.

    As a context manager it detaches at the end of the block.
    """

    def __init__(self, base: LoadedBase | torch.nn.Module) -> None:
        """Take `base`, which must have nothing attached; it is not changed before `add`."""
        self.model: Any = base if isinstance(base, torch.nn.Module) else base.model
        if hasattr(self.model, "peft_config"):
            raise ValueError("this model has adapters attached already: detach them first")
        self._peft: Any = None  # a PeftModel while anything is attached
        self._selected: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters there are, in the order they were added."""
        return tuple(self._peft.peft_config) if self._peft is not None else ()

    @property
    def selected(self) -> str | None:
        """The adapter that is on; None is the base alone."""
        return self._selected

    def add(self, name: str, adapter: LoraAdapter) -> None:
        """Attach `adapter` as `name`; what is selected stays selected.

        Raises:
            EngineError: the adapter does not fit the base; the first module that differs is named.
        """
        if not name.isidentifier() or name in (*self.names, BASE_ROW):
            raise ValueError(f"{name!r} cannot be the name of an adapter here")
        check_fits(self.model, adapter)
        config = LoraConfig(
            r=adapter.layout.lora.rank,
            lora_alpha=adapter.layout.lora.alpha,
            target_modules=list(selecting(self.model, adapter.layout.modules, sorted(adapter.layout.kinds))),
            init_lora_weights=False,
            inference_mode=True,
        )
        # peft fills new matrices with random values before ours replace them: keep the caller's random state.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            if self._peft is None:
                self._peft = get_peft_model(self.model, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
        result: Any = set_peft_model_state_dict(self._peft, adapter.peft_state(), name)
        unset = [key for key in result.missing_keys if ".lora_" in key and key.endswith(f".{name}.weight")]
        self._peft.eval()
        self.use(self._selected)
        if unset or result.unexpected_keys:
            self.remove(name)
            raise EngineError("peft did not take this matrix", where=[*unset, *result.unexpected_keys][0])

    def remove(self, name: str) -> None:
        """Take `name` off; if it was selected, the base alone is. With the last one the base is as before."""
        self._known(name)
        others = [other for other in self.names if other != name]
        if not others:
            self.detach()
            return
        selected = None if self._selected == name else self._selected
        self._peft.set_adapter(others[0], inference_mode=True)
        self._peft.delete_adapter(name)
        self.use(selected)

    def use(self, name: str | None) -> None:
        """Select an adapter; None turns all off and leaves them attached."""
        if name is not None:
            self._known(name)
        self._selected = name
        if self._peft is None:
            return
        if name is None:
            self._peft.disable_adapter_layers()
        else:
            _turn_on(self._peft, name)

    def forward(self, *, adapter_names: Sequence[str] | None = None, **inputs: Any) -> Any:
        """The base model's own forward.

        Args:
            adapter_names: one name a row of the batch, `BASE_ROW` for the base alone; None: the selected one.
            inputs: as the base model takes them, for example `input_ids` and `attention_mask`.
        """
        with self._rows(adapter_names) as (model, names):
            return model(**names, **inputs)

    __call__ = forward

    def generate(self, *, adapter_names: Sequence[str] | None = None, **inputs: Any) -> Any:
        """The base model's own `generate`; `adapter_names` as in `forward`. No beams in a mixed batch."""
        with self._rows(adapter_names) as (model, names):
            return model.generate(**names, **inputs)

    def detach(self) -> Any:
        """Take everything off and return the base model: the same object, its own modules in their places."""
        if self._peft is not None:
            self._peft.unload()
            self._peft = None
        self._selected = None
        return self.model

    def __enter__(self) -> AttachedModel:
        """The attached model itself."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Detach."""
        self.detach()

    def _known(self, name: str) -> None:
        if name not in self.names:
            raise ValueError(f"no adapter {name!r}; there are: {', '.join(self.names) or 'none'}")

    @contextmanager
    def _rows(self, adapter_names: Sequence[str] | None) -> Iterator[tuple[Any, dict[str, list[str]]]]:
        """The model to call and the keyword argument that names to peft the adapter each row takes."""
        for name in set(adapter_names or ()) - {BASE_ROW}:
            self._known(name)
        if self._peft is None:
            yield self.model, {}
        elif adapter_names is None:
            yield self._peft, {}
        else:
            if self._selected is None:
                _turn_on(self._peft, self.names[0])
            try:
                yield self._peft, {"adapter_names": list(adapter_names)}
            except BaseException:
                _drop_row_hooks(self._peft)
                raise
            finally:
                if self._selected is None:
                    self._peft.disable_adapter_layers()


def check_fits(model: torch.nn.Module, adapter: LoraAdapter) -> None:
    """Compare the adapter's layout and matrices with the model's linear modules.

    Raises:
        EngineError: a module is missing, is not linear or has other sizes; a matrix is missing or has another shape.
    """
    hint = "The adapter was made for another base"
    for module in adapter.layout.modules:
        try:
            found = model.get_submodule(module.path)
        except AttributeError:
            raise EngineError("the base has no such module", where=module.path, hint=hint) from None
        if isinstance(found, LoraLayer):
            found = found.get_base_layer()
        if not isinstance(found, torch.nn.Linear):
            raise EngineError(f"is a {type(found).__name__}, not a linear module", where=module.path, hint=hint)
        if (found.in_features, found.out_features) != (module.in_features, module.out_features):
            problem = (
                f"the adapter maps {module.in_features} to {module.out_features} values, "
                f"the base {found.in_features} to {found.out_features}"
            )
            raise EngineError(problem, where=module.path, hint=hint)
        rank = adapter.layout.lora.rank
        halves = ("A", adapter.a, (rank, module.in_features)), ("B", adapter.b, (module.out_features, rank))
        for half, matrices, expected in halves:
            shape = tuple(matrices[module.path].shape) if module.path in matrices else None
            if shape != expected:
                problem = f"matrix {half} must have the shape {expected}, it has {shape or 'no value'}"
                raise EngineError(problem, where=module.path)


@contextmanager
def naming_adapter(folder: Path, base_id: str) -> Iterator[None]:
    """What `check_fits` finds wrong, as an error about the adapter's folder and the base; for people who named both."""
    try:
        yield
    except EngineError as error:
        problem = f"does not fit the base {base_id}: {error.where}: {error.problem}"
        raise EngineError(problem, where=str(folder), hint="Choose the base it was made for") from error


def _turn_on(model: Any, name: str) -> None:
    # In this order: enabling marks the matrices as trainable, inference_mode takes that back.
    model.enable_adapter_layers()
    model.set_adapter(name, inference_mode=True)


def _drop_row_hooks(model: torch.nn.Module) -> None:
    """What peft hooks in for a mixed batch it takes out only when the call ends well: do it after a failed one.

    Otherwise a generation that was cancelled would leave its rows' adapter names to every later call.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module._forward_pre_hooks.clear()
            module._forward_pre_hooks_with_kwargs.clear()
