"""Finding and loading a base: every kind of folder, and every way in which one can be unusable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFWriter
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from engine.base.load import fingerprint, load_base, resolve_base
from engine.errors import EngineError
from engine.events import Note, Reporter, StageFinished
from engine.weights.layout import derive_layout
from tests.tiny import tiny_model
from tests.tiny_tokenizer import tiny_tokenizer

FAMILIES = ["llama", "qwen2", "qwen3", "gemma"]


@pytest.fixture
def copy(tiny_llama_folder: Path, tmp_path: Path) -> Path:
    """A tiny Llama that a test may break."""
    return Path(shutil.copytree(tiny_llama_folder, tmp_path / "copy"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_of_each_family_loads_frozen(family: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"tiny_{family}_folder")
    ref = resolve_base(str(folder))
    base = load_base(ref, device="cpu")
    assert ref.id == folder.name
    assert base.dtype == torch.float32
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert len(derive_layout(ref.config).modules) == 2 * 7
    assert base.model(torch.tensor([[1, 5, 9]])).logits.shape == (1, 3, 300)


def test_weights_arrive_as_saved(tiny_llama_folder: Path) -> None:
    state = load_base(resolve_base(str(tiny_llama_folder)), device="cpu").model.state_dict()
    for name, tensor in load_file(tiny_llama_folder / "model.safetensors").items():
        assert torch.equal(state[name], tensor), name


def test_dtype_is_what_was_asked_for(tiny_llama_folder: Path) -> None:
    base = load_base(resolve_base(str(tiny_llama_folder)), device="cpu", dtype="bfloat16")
    assert base.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.bfloat16}


def test_loading_is_a_stage(tiny_llama_folder: Path) -> None:
    events: list[object] = []
    load_base(resolve_base(str(tiny_llama_folder)), device="cpu", reporter=Reporter(events.append))
    assert [event.stage for event in events if isinstance(event, StageFinished)] == ["load"]


def test_nothing_is_printed(tiny_llama_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_base(resolve_base(str(tiny_llama_folder)), device="cpu")
    assert capfd.readouterr() == ("", "")


def test_fingerprint_is_the_same_for_a_copy_and_another_for_other_weights(tiny_llama_folder: Path, copy: Path) -> None:
    original = resolve_base(str(tiny_llama_folder)).fingerprint
    assert resolve_base(str(copy)).fingerprint == original
    state = load_file(copy / "model.safetensors")
    state["model.layers.1.mlp.down_proj.weight"][0, 0] += 1
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    assert resolve_base(str(copy)).fingerprint != original


def test_fingerprint_is_of_the_shape_and_not_of_the_writing(tiny_llama_folder: Path, copy: Path) -> None:
    original = resolve_base(str(tiny_llama_folder)).fingerprint
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"transformers_version": "9.9", "use_cache": False}))
    assert resolve_base(str(copy)).fingerprint == original
    (copy / "config.json").write_text(json.dumps(config | {"num_attention_heads": 2}))
    assert resolve_base(str(copy)).fingerprint != original


def refused(name: object) -> str:
    with pytest.raises(EngineError) as caught:
        load_base(resolve_base(str(name)), device="cpu")
    assert caught.value.hint
    return str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "no config.json" in refused(tmp_path)


def test_pickled_weights_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    assert "pickled weights are not read" in refused(copy)


@pytest.mark.parametrize("size", [0, 7, 500, 20_000])
def test_truncated_weights_are_told(copy: Path, size: int) -> None:
    data = (copy / "model.safetensors").read_bytes()
    assert len(data) > 20_000
    (copy / "model.safetensors").write_bytes(data[:size])
    assert "the weights cannot be loaded" in refused(copy)


def test_a_missing_tensor_is_not_made_up(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    del state["model.layers.1.mlp.down_proj.weight"]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    assert "the weights lack model.layers.1.mlp.down_proj.weight" in refused(copy)


def test_a_tensor_of_another_shape_is_told(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    state["model.layers.1.mlp.down_proj.weight"] = torch.zeros(3, 3)
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    assert "the weights cannot be loaded" in refused(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "nobody-knows"}', "{}", "\udcff"])
def test_a_broken_config_is_told(copy: Path, text: str) -> None:
    (copy / "config.json").write_text(text, errors="surrogateescape")
    assert "config" in refused(copy)


@pytest.mark.parametrize("rest", ["none", "half"])
def test_a_missing_or_broken_tokenizer_is_told(copy: Path, rest: str) -> None:
    for file in [*copy.glob("tokenizer*"), *copy.glob("special_tokens*"), *copy.glob("*.jinja")]:
        file.unlink()
    if rest == "half":
        (copy / "tokenizer.json").write_text('{"version": "1.0"')
    assert "the tokenizer cannot be loaded" in refused(copy)


SMALL = {"vocab_size": 300, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
BERT = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    T5ForConditionalGeneration(T5Config(**SMALL)).save_pretrained(tmp_path)
    assert "is an encoder-decoder model" in refused(tmp_path)


def test_a_masked_language_model_is_refused(tmp_path: Path) -> None:
    BertForMaskedLM(BertConfig(**BERT)).save_pretrained(tmp_path)
    assert "BertForMaskedLM is not a causal language model" in refused(tmp_path)


def test_a_model_without_linear_layers_is_refused(tmp_path: Path) -> None:
    # GPT-2 keeps its matrices in a Conv1D class of its own; only the output head is linear.
    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert "no linear layer that LoRA can adapt" in refused(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(copy: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    (copy / "own.py").write_text(f"open({str(trace)!r}, 'w')\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (copy / "config.json").write_text(json.dumps(config))
    assert "without running code" in refused(copy)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(100), b"hello"])
def test_a_broken_gguf_file_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(EngineError):
        resolve_base(str(file))


@pytest.mark.parametrize("name", ["./not/there", "/no/such/folder", "~/x/y", "a/b/c", "", "..", "no.gguf", "a b"])
def test_a_name_that_is_nothing_is_told(name: str) -> None:
    with pytest.raises(EngineError):
        resolve_base(name)


@pytest.mark.parametrize("method", ["awq", "gptq", "bitsandbytes", "fp8", "newest"])
def test_a_quantised_checkpoint_is_refused_before_its_weights_are_read(copy: Path, method: str) -> None:
    change_config(copy, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(EngineError, match=rf"quantised \({method}\)") as error:
        resolve_base(str(copy))
    assert "made from" in str(error.value.hint)


def test_weights_that_mlx_quantised_are_refused(copy: Path) -> None:
    change_config(copy, quantization={"group_size": 64, "bits": 4})
    with pytest.raises(EngineError, match=r"quantised \(mlx\)"):
        resolve_base(str(copy))


def test_what_is_no_base_is_named_as_what_it_is(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"Name the model in it: {copy}"):
        resolve_base(str(tmp_path))
    (copy / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(EngineError, match="Git LFS pointer"):
        resolve_base(str(copy))
    (copy / "model.safetensors").rename(copy / "adapter_model.safetensors")
    (copy / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(EngineError, match="is an adapter, not a base"):
        resolve_base(str(copy))


@pytest.mark.parametrize(
    ("architecture", "kind", "told"),
    [("llama", "adapter", "is an adapter, not a base"), ("clip", "mmproj", "the part of a model that reads images")],
)
def test_a_gguf_file_of_something_else_is_refused_by_its_header(
    tmp_path: Path, architecture: str, kind: str, told: str
) -> None:
    writer = GGUFWriter(tmp_path / "a.gguf", architecture)
    writer.add_type(kind)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.close):
        write()
    with pytest.raises(EngineError, match=told):
        resolve_base(str(tmp_path / "a.gguf"))


def test_a_model_that_reads_images_and_writes_nothing_is_refused(copy: Path) -> None:
    change_config(copy, model_type="clip", architectures=["CLIPModel"])
    with pytest.raises(EngineError, match="CLIPModel is not a causal language model"):
        resolve_base(str(copy))


def test_a_part_of_a_split_gguf_file_is_named(tmp_path: Path) -> None:
    part = tmp_path / "model-00002-of-00003.gguf"
    part.write_bytes(b"GGUF")
    with pytest.raises(EngineError, match="one of 3 parts") as error:
        resolve_base(str(part))
    assert "llama-gguf-split --merge" in str(error.value.hint)


def test_an_adapter_beside_the_weights_is_not_put_on_the_base(copy: Path, tmp_path: Path) -> None:
    adapted = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    before = resolve_base(str(copy)).fingerprint
    adapted.save_pretrained(copy)
    events: list[Any] = []
    base = load_base(resolve_base(str(copy)), device="cpu", reporter=Reporter(events.append))
    assert not any("lora" in name for name, _ in base.model.named_parameters())
    assert [event.text for event in events if isinstance(event, Note) and event.warning] == [
        "an adapter that lies beside the base's weights is left out"
    ]
    assert base.ref.fingerprint == before


def test_a_folder_of_the_hub_cache_is_the_model_that_it_holds(copy: Path, tmp_path: Path) -> None:
    model = tmp_path / "hub" / "models--owner--small-one"
    snapshot = model / "snapshots" / "0123abc"
    shutil.copytree(copy, snapshot)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123abc")
    one, two = resolve_base(str(snapshot)), resolve_base(str(model))
    assert one.id == two.id == "owner/small-one" and one.fingerprint == two.fingerprint
    assert one.fingerprint == fingerprint(one.config, [], commit="0123abc")
    assert load_base(two, device="cpu").model is not None


def change_config(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
