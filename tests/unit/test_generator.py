"""The generator and its artifact on a tiny layout."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine.condition import ConditionSpec, fill_condition
from engine.errors import EngineError
from engine.forge.card import generator_card
from engine.forge.train import weighted_squared_error
from engine.generator.artifact import ABOUT, TENSORS, check_base, load_generator, read_about, save_generator
from engine.generator.generator import Generator, GeneratorSpec, token_scales
from engine.weights.frame import Frame, fresh_frame, generated_shapes, in_half_precision
from engine.weights.layout import LoraSpec, derive_layout
from engine.weights.tokens import TokenGrid
from tests.tiny import tiny_config

SPEC = ConditionSpec(prompts=4, tokens=6, channels=8, encoder="an encoder")


def make_generator(kind: str = "shared_a", trained: bool = True) -> Generator:
    layout = derive_layout(tiny_config("llama"), LoraSpec(rank=2, alpha=4))
    fresh = fresh_frame(layout, kind, seed=1)
    torch.manual_seed(0)
    frame = Frame(layout, kind, fresh.a, {path: in_half_precision(torch.randn(b.shape)) for path, b in fresh.b.items()})
    spec = GeneratorSpec(SPEC, ((4, 4, 8), (6, 3, 8)), 3, {"id": "tiny", "fingerprint": "f"}, {"tasks": {"a": "hash"}})
    generator = Generator(spec, frame, torch.full((_tokens(frame),), 0.25))
    if trained:
        torch.nn.init.normal_(generator.decoder.blocks[-1].over_n.weight)
    return generator.eval().requires_grad_(False)


def _tokens(frame: Frame) -> int:
    from engine.weights.tokens import token_grid

    return token_grid(generated_shapes(frame.layout, frame.kind), frame.layout.lora.rank).tokens


def hidden(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 6, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["shared_a", "full"])
@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_any_number_of_prompts_gives_an_adapter_of_the_layout(kind: str, count: int) -> None:
    generator = make_generator(kind)
    adapter = generator.generate(hidden(count))
    for module in adapter.layout.modules:
        assert adapter.a[module.path].shape == (2, module.in_features)
        assert adapter.b[module.path].shape == (module.out_features, 2)
        assert torch.equal(adapter.a[module.path], generator.frame.a[module.path]) == (kind == "shared_a")
        assert not torch.equal(adapter.b[module.path], generator.frame.b[module.path])


def test_an_empty_condition_gives_the_frame_exactly() -> None:
    generator = make_generator()
    adapter = generator.generate(None)
    assert all(torch.equal(adapter.b[path], b) for path, b in generator.frame.b.items())


def test_other_prompts_give_another_adapter_and_the_same_the_same() -> None:
    generator = make_generator()
    one, again, other = (generator.generate(hidden(4, seed)).peft_state() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_of_more_prompts_than_a_condition_holds_the_mean_of_several_is_made() -> None:
    generator, ten = make_generator(), hidden(10)
    most = generator.spec.condition.prompts
    assert most == 4
    parts = [generator.decode(ten[first::3]) for first in range(3)]  # of 4, 3 and 3 prompts
    assert torch.allclose(generator.decode(ten), torch.stack(parts).mean(0))


def test_fewer_prompts_are_repeated_in_turn() -> None:
    three = hidden(3)
    assert torch.equal(fill_condition(three, 5), three[[0, 1, 2, 0, 1]])
    assert torch.equal(fill_condition(hidden(7), 5), hidden(7)[:5])
    with pytest.raises(EngineError, match="at least one prompt"):
        fill_condition(hidden(0), 5)


def test_scales_are_powers_of_two_by_matrix() -> None:
    grid = make_generator().grid
    names = list(dict.fromkeys(grid.token_owner))
    spread = {name: 0.1 * (index + 1) for index, name in enumerate(names)} | {names[0]: 0.0}
    scales = token_scales(grid, spread)
    assert torch.equal(torch.log2(scales), torch.log2(scales).round())
    assert scales[0] == pytest.approx(0.25) and scales.shape == (grid.tokens,)


def test_the_artifact_gives_back_the_same_generator(tmp_path: Path) -> None:
    generator = make_generator("full")
    for value in generator.decoder.state_dict().values():
        value.copy_(value.half().float())  # what the artifact stores
    save_generator(tmp_path / "g", generator, generator_card(generator))
    loaded = load_generator(tmp_path / "g")
    assert loaded.spec == generator.spec
    one, other = generator.generate(hidden(4)).peft_state(), loaded.generate(hidden(4)).peft_state()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["README.md", ABOUT, TENSORS]


def test_a_tampered_artifact_is_refused(tmp_path: Path) -> None:
    generator = make_generator()
    folder = tmp_path / "g"

    def fresh() -> None:
        save_generator(folder, generator, "card")

    fresh()
    tensors = folder / TENSORS
    content = bytearray(tensors.read_bytes())
    content[-3] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(EngineError, match="differs from the hash"):
        load_generator(folder)
    fresh()
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(EngineError, match=r"generator\.safetensors: is damaged"):
        load_generator(folder)
    fresh()
    tensors.unlink()
    with pytest.raises(EngineError, match="no such file"):
        load_generator(folder)
    fresh()
    about = json.loads((folder / ABOUT).read_text())
    for change, message in (
        ({"format": 99}, "has format 99"),
        ({"cascade": [[4, 4, 9], [6, 3, 8]]}, "does not fit generator.json"),
        ({"condition": {"prompts": 4}}, "lacks or garbles a field"),
    ):
        (folder / ABOUT).write_text(json.dumps(about | change))
        with pytest.raises(EngineError, match=message):
            load_generator(folder)
    with pytest.raises(EngineError, match="is not a generator"):
        load_generator(tmp_path)


def test_a_generator_refuses_a_base_it_was_not_made_for(tmp_path: Path) -> None:
    generator = make_generator()
    save_generator(tmp_path / "g", generator, "card")
    about = read_about(tmp_path / "g")
    config = tiny_config("llama")
    check_base(about, SimpleNamespace(id="tiny", fingerprint="other", config=config))
    check_base(about, SimpleNamespace(id="renamed", fingerprint="f", config=config))
    wrong = [
        SimpleNamespace(id="other", fingerprint="other", config=config),
        SimpleNamespace(id="tiny", fingerprint="f", config=tiny_config("llama", num_hidden_layers=3)),
        SimpleNamespace(id="tiny", fingerprint="f", config=tiny_config("qwen2", hidden_size=64)),
    ]
    for ref in wrong:
        with pytest.raises(EngineError, match="made for tiny, not for"):
            check_base(about, ref)


def test_values_that_are_not_finite_never_become_an_adapter() -> None:
    generator = make_generator()
    with pytest.raises(EngineError, match="not finite"):
        generator.generate(torch.full((4, 6, 8), torch.inf))


def test_the_warm_start_loss_never_counts_padding() -> None:
    grid = TokenGrid((("x.lora_B", (5, 2)),), 2, 4)  # two tokens, the second with three empty columns
    made, target = torch.randn(3, 2, 2, 4), torch.randn(3, 2, 2, 4)
    weight = torch.tensor([2.0, 0.5])
    loss = weighted_squared_error(made, target, grid.mask, weight)
    spoiled = torch.where(grid.mask, made, 1e6)
    assert torch.equal(loss, weighted_squared_error(spoiled, target, grid.mask, weight))
    squares = (made - target).pow(2)
    expected = (2.0 * squares[:, 0].sum() + 0.5 * squares[:, 1, :, :1].sum()) / (3 * 10)
    assert torch.allclose(loss, expected)
