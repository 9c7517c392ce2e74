"""A base whose layers are read one at a time gives the adapter that it gives in memory."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from greenlet import getcurrent
from safetensors.torch import load_file, save_file

from engine.base.load import LoadedBase, load_base, resolve_base
from engine.base.streamed import in_step
from engine.errors import Cancelled, EngineError
from engine.events import Note, Reporter
from engine.solver.solve import SolveSettings, read_context, solve, solve_streamed
from engine.training.losses import answer_figures
from engine.weights.lora import LoraAdapter
from tests.tiny import tiny_model
from tests.tiny_tokenizer import tiny_tokenizer
from tests.unit.test_solver_residual import other
from tests.unit.test_solver_solve import FAMILIES, made_groups

WINDOWED = ("mistral", "gemma2", "gemma3", "phi3")
"""With a sliding window rows are lines of their own, context included: the same but for rounding."""


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared here are the ways, not the rounding of some CPUs."""
    monkeypatch.setattr("engine.solver.solve.short_products", nullcontext)


def saved(model: Any, folder: Path, shards: str = "50GB") -> Path:
    model.save_pretrained(folder, max_shard_size=shards)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def loaded(folder: Path, **choices: Any) -> LoadedBase:
    return load_base(resolve_base(str(folder)), device="cpu", **choices)


def on_meta(base: LoadedBase) -> list[bool]:
    assert base.streamed
    return [all(part.is_meta for part in layer.parameters()) for layer in base.streamed.layers]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gpt_neox"])
def test_the_adapter_is_the_same_as_in_memory(family: str, tmp_path: Path) -> None:
    folder, groups = saved(other(family), tmp_path), made_groups()
    base, settings = loaded(folder), SolveSettings(rank=4)
    context = read_context(base, groups)
    wanted = solve(base, context, settings)
    streamed = loaded(folder, stream_layers=True)
    found = solve_streamed(streamed, groups, settings, checked={})
    assert list(found.adapter.a) == list(wanted.a) and found.right == context.right
    assert _apart(found.adapter, wanted) < (1e-3 if family in WINDOWED else 1e-12)
    assert all(on_meta(streamed))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in streamed.model.base_model.modules())


def test_rows_that_are_read_besides_are_right_where_they_are_in_memory(tmp_path: Path) -> None:
    folder, groups = saved(tiny_model("llama", num_hidden_layers=4), tmp_path, "20KB"), made_groups(rows=12)
    assert len(list(folder.glob("*.safetensors"))) > 1
    base = loaded(folder)
    # Answers that the base gives to half of the rows.
    rows = [row.student for group in groups for row in group]
    for number in range(0, len(rows), 2):
        given = base.model.generate(torch.tensor([rows[number].prompt]), max_new_tokens=2, do_sample=False)
        answer = tuple(given[0, len(rows[number].prompt) :].tolist())
        rows[number] = type(rows[number])(rows[number].prompt, answer)
    checked = {"base": (rows, False), "solved": (rows, True)}
    found = solve_streamed(loaded(folder, stream_layers=True), groups, SolveSettings(rank=8), checked=checked)
    assert list(found.checked["base"]) == [right for _, _, right in answer_figures(base, rows, 64)]
    assert sum(found.checked["base"]) == 12
    from engine.adapter.attach import attach

    with attach(base, found.adapter):
        assert list(found.checked["solved"]) == [right for _, _, right in answer_figures(base, rows, 64)]


def test_each_layer_is_read_once_and_no_two_are_there_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = loaded(saved(tiny_model("qwen2", num_hidden_layers=5), tmp_path), stream_layers=True)
    seen, opened = [], base.streamed.loaded  # type: ignore[union-attr]

    def counted(number: int) -> Any:
        assert all(on_meta(base))
        seen.append(number)
        return opened(number)

    monkeypatch.setattr(base.streamed, "loaded", counted)
    solve_streamed(base, made_groups(), SolveSettings(), checked={})
    assert seen == [0, 0, 1, 2, 3, 4]  # the first one also to find what writes into the stream


def test_someone_who_stops_it_leaves_no_hook_and_no_weights(tmp_path: Path) -> None:
    base = loaded(saved(tiny_model("llama", num_hidden_layers=4), tmp_path), stream_layers=True)

    def stop(norms: Any) -> None:
        if any(".1." in path for path in norms):
            raise Cancelled

    with pytest.raises(Cancelled):
        solve_streamed(base, made_groups(), SolveSettings(), checked={}, on_layer=stop)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in base.model.base_model.modules())
    assert all(on_meta(base))
    # The next one goes through.
    assert solve_streamed(base, made_groups(), SolveSettings(), checked={}).adapter.a


def test_passes_take_turns_layer_by_layer(tmp_path: Path) -> None:
    base = loaded(saved(tiny_model("llama", num_hidden_layers=3), tmp_path), stream_layers=True)
    order: list[tuple[str, int]] = []
    names: dict[Any, str] = {}
    for number, layer in enumerate(base.streamed.layers):  # type: ignore[union-attr]
        layer.register_forward_hook(lambda *_, number=number: order.append((names[getcurrent()], number)))

    def read(name: str) -> str:
        names[getcurrent()] = name
        base.model.base_model(input_ids=torch.tensor([[1, 5, 9]]), use_cache=False)  # type: ignore[operator]
        return name

    assert base.streamed and in_step(base.streamed, [lambda: read("a"), lambda: read("b")]) == ["a", "b"]
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_a_layer_that_adds_more_than_the_first_one_is_found(tmp_path: Path) -> None:
    base = loaded(saved(tiny_model("llama", num_hidden_layers=3), tmp_path), stream_layers=True)
    last = base.streamed.layers[2]  # type: ignore[union-attr]
    last.register_forward_hook(lambda module, inputs, output: output * 1.5, prepend=True)
    with pytest.raises(EngineError, match="adds more"):
        solve_streamed(base, made_groups(), SolveSettings(), checked={})


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    folder = saved(tiny_model("llama"), tmp_path)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"layers\.1\.mlp\.up_proj"):
        loaded(folder, stream_layers=True)


def test_what_does_not_fit_is_rounded_and_then_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tiny_model("llama", tie_word_embeddings=False), tmp_path)
    count = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    notes: list[Any] = []

    def of(free: int, **choices: Any) -> LoadedBase:
        monkeypatch.setattr("engine.base.memory.free_memory", lambda: free)
        return loaded(folder, reporter=Reporter(notes.append), **choices)

    whole = of(10 * count, stream_layers=None)
    assert whole.dtype == torch.float32 and whole.streamed is None and not _texts(notes)
    short = of(4 * count, stream_layers=None)
    assert short.dtype == torch.bfloat16 and short.streamed is None and "bfloat16" in _texts(notes)
    streamed = of(2 * count, stream_layers=None)
    assert streamed.dtype == torch.bfloat16 and streamed.streamed and "one layer at a time" in _texts(notes)
    # Work that needs the whole base takes it, with a warning; a format that was chosen stays.
    assert of(2 * count).streamed is None
    assert of(2 * count, dtype="float32").dtype == torch.float32


def _apart(one: LoraAdapter, other: LoraAdapter) -> float:
    """How far the updates are apart, in parts of their size."""
    updates = [(one.b[path] @ one.a[path], other.b[path] @ other.a[path]) for path in other.a]
    return max(float((mine - its).norm() / its.norm()) for mine, its in updates)


def test_other_names_in_the_files_are_refused(tmp_path: Path) -> None:
    """transformers renames tensors of some families as it loads them."""
    with pytest.raises(EngineError, match="no tensor lm_head"):
        loaded(saved(other("gpt_neox"), tmp_path), stream_layers=True)


def _texts(events: list[Any]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Note))
