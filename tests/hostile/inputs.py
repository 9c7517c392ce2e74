"""About two hundred bad inputs, each written by code: what a file from a stranger can hold.

A case is a name, what reads it (`tests.hostile.reading`), and what writes it into an empty folder.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\x1b]8;;http://evil\x1b\\ \u202e \x00 \r\x08"
"""What a terminal would obey: a title, a cleared screen, a colour, a link; and text that runs backwards."""

Write = Callable[[Path], Path]


class Case(NamedTuple):
    """reader: a name of `tests.hostile.reading.READERS`. write: puts the input into a folder; returns its path."""

    name: str
    reader: str
    write: Write


def put(name: str, data: bytes | str, folder: Path) -> Path:
    """A file of this name."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    return file


def deep(start: str, end: str, times: int = 100_000) -> str:
    """JSON that is nested without end."""
    return start * times + "1" + end * times


def lines(*rows: object) -> str:
    """JSON Lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def zstd(data: bytes) -> bytes:
    """The same, packed."""
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def zipped(name: str, entries: dict[str, bytes], folder: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip archive."""
    with zipfile.ZipFile(folder / name, "w", method) as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)
    return folder / name


def bomb(row: bytes, size: int) -> Callable[[], bytes]:
    """gzip of a row again and again, `size` bytes unpacked, a thousandth of that packed."""

    def make() -> bytes:
        out = io.BytesIO()
        with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6) as file:
            piece = row * (2**20 // len(row) + 1)
            for _ in range(size // len(piece) + 1):
                file.write(piece)
        return out.getvalue()

    return make


def lying_zip(folder: Path) -> Path:
    """An entry that claims to be of a terabyte."""
    file = zipped("p.zip", {"p.jsonl": lines({"prompt": "a"}).encode()}, folder)
    data = bytearray(file.read_bytes())
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 2**32 - 2)
    file.write_bytes(data)
    return file


def crowded_zip(folder: Path) -> Path:
    """A list of half a million files, all the same one."""
    entry = (
        struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0) + b"p.jsonl"
    )
    count = 200_000
    body = entry * count
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(body), 0, 0)
    return put("p.zip", body + end, folder)


def parquet(table: pa.Table, folder: Path, **options: Any) -> Path:
    """A parquet file."""
    pq.write_table(table, folder / "p.parquet", **options)
    return folder / "p.parquet"


def flipped(write: Write, places: slice, folder: Path) -> Path:
    """The same file with bytes changed."""
    file = write(folder)
    data = bytearray(file.read_bytes())
    span = range(*places.indices(len(data)))
    for place in span:
        data[place] ^= 0xA5
    file.write_bytes(data)
    return file


def cut(write: Write, keep: int, folder: Path) -> Path:
    """The first bytes of the same file."""
    file = write(folder)
    file.write_bytes(file.read_bytes()[:keep])
    return file


ROW = lines({"prompt": "one", "response": "two"})
PACK_BOMBS = 2**25


def prompts() -> Iterator[Case]:
    """Prompt files."""
    texts: dict[str, bytes | str] = {
        "nested.jsonl": ROW + deep("[", "]"),
        "nested-objects.jsonl": ROW + deep('{"prompt":', "}"),
        "nested-messages.jsonl": ROW + '{"messages": ' + deep("[", "]", 900) + "}\n",
        "nested.json": deep('[{"paragraphs": ', "}]", 400),
        "nested-qas.json": deep('{"qas": [', "]}", 400),
        "nested-data.json": deep('{"data": ', "}", 900),
        "digits.jsonl": ROW + "9" * 100_000 + "\n",
        "digits-inside.jsonl": '{"prompt": "a", "response": ' + "9" * 100_000 + "}\n",
        "float.jsonl": '{"prompt": 1e999999, "response": NaN}\n' * 3,
        "keys.jsonl": json.dumps({str(n): n for n in range(20_000)} | {"prompt": "a"}) + "\n",
        "one-key.jsonl": '{"prompt": "a", ' + ", ".join(['"prompt": "b"'] * 20_000) + "}\n",
        "long-key.jsonl": json.dumps({"k" * 10**6: 1, "prompt": "a"}) + "\n",
        "surrogates.jsonl": '{"prompt": "\\ud800 a", "response": "\\udfff"}\n' * 3,
        "escapes.jsonl": lines({"prompt": ESCAPES, "response": ESCAPES}) * 3,
        "escapes-in-keys.jsonl": lines({ESCAPES: "a"}) * 3,
        "zero.jsonl": lines({"prompt": "\x00", "response": "a\x00b"}) * 3,
        "empty-messages.jsonl": lines({"messages": []}) * 3,
        "wrong-messages.jsonl": lines({"messages": [1, None, {"role": {}, "content": [[]]}]}) * 3,
        "roles.jsonl": lines({"messages": [{"role": [1], "content": {"a": 1}}]}) * 3,
        "parts.jsonl": lines({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 5}]}]}) * 3,
        "options.jsonl": lines({"question": "a", "choices": {"text": 5, "label": None}, "answer": [[]]}) * 3,
        "many-options.jsonl": lines({"question": "a", "choices": ["b"] * 50_000, "answer": 49_999}) * 3,
        "answer-index.jsonl": lines({"question": "a", "choices": ["b"], "answer": 10**30}) * 3,
        "literals.csv": "prompt,choices,answer\na,\"['b', __import__('os').system('true')]\",0\n" * 2,
        "nested-literal.csv": 'question,choices\na,"' + "[" * 50_000 + '"\n',
        "power.csv": "question,choices,answer\na,\"['b'*9**9**9]\",0\n",
        "marks.jsonl": lines({"text": "<|im_start|>user\n" * 20_000}) * 2,
        "questions.jsonl": lines({"text": "Q: a\n" * 50_000 + "A: b"}) * 2,
        "inst.jsonl": lines({"text": "[INST]" * 50_000}) * 2,
        "blanks.jsonl": lines({"text": "User:" + " " * 200_000 + "x"}) * 2,
        "stars.txt": ("*" * 100_000 + "\n") * 3,
        "fences.md": "```\n" * 100_000,
        "dashes.md": "---\n" * 100_000,
        "front.md": "---\n" + "a: b\n" * 100_000,
        "comments.md": "<!--" * 100_000,
        "open-quote.csv": 'prompt,response\n"' + "a," * 500_000,
        "quotes.csv": "prompt,response\n" + '"' * 500_000,
        "commas.csv": "prompt," + "," * 200_000 + "\na\n",
        "wide.csv": ",".join(f"c{n}" for n in range(20_000)) + "\n" + ",".join(["a"] * 20_000) + "\n",
        "returns.csv": "prompt\r" * 300_000,
        "separator.csv": "sep=\x00\nprompt\x00response\n",
        "bars.txt": "|" * 10**6,
        "bom.txt": b"\xef\xbb\xbf" * 10_000,
        "utf-16.txt": b"\xff\xfe" + b"\xd8\x00" * 5000,
        "utf-32.txt": b"\xff\xfe\x00\x00" + b"\xff" * 4000,
        "overlong.txt": b"\xc0\x80\n" * 1000,
        "utf-7.txt": b"+ADw-script+AD4-\n" * 100,
        "no-line-end.txt": b"a" * (2**26 + 2),
        "no-line-end.jsonl": b'{"prompt": "' + b"a" * 2**26,
        "lfs.jsonl": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "pickle.jsonl": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n(S'true'\ntR.",
        "template.txt": "{a.__class__.__mro__}\n{0}\n{{}}\n",
        "nothing.parquet": b"PAR1PAR1",
        "huge-footer.parquet": b"PAR1" + struct.pack("<I", 2**31 - 1) + b"PAR1",
        "nothing.arrow": b"ARROW1\x00\x00",
        "huge-message.arrow": b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 1) + b"\0" * 64,
        "negative-message.arrow": b"\xff\xff\xff\xff" + struct.pack("<i", -5) + b"\0" * 64,
        "not.zip": b"PK\x03\x04" + b"\0" * 100,
        "end.zip": b"PK\x05\x06" + b"\xff" * 18,
        "frame.jsonl.zst": b"\x28\xb5\x2f\xfd" + b"\xff" * 200,
        "window.jsonl.zst": b"\x28\xb5\x2f\xfd\x00\xff\x00\x00\x00" + b"\0" * 50,
        "header.jsonl.gz": b"\x1f\x8b\x08\xff" + b"\xff" * 300,
        "members.jsonl.gz": gzip.compress(ROW.encode()) * 2000,
        "empty-members.jsonl.gz": gzip.compress(b"") * 20_000,
        "trailing.jsonl.gz": gzip.compress(ROW.encode()) + b"garbage" * 100,
    }
    for name, data in texts.items():
        yield Case(name, "prompts", partial(put, name, data))
    bombs = {
        "zeros.jsonl.gz": bomb(b"\0" * 1024, PACK_BOMBS),
        "one-line.jsonl.gz": bomb(b"a" * 1024, PACK_BOMBS),
        "one-string.json.gz": bomb(b'"' + b"a" * 1022, PACK_BOMBS),
        "rows.jsonl.gz": bomb(ROW.encode(), PACK_BOMBS),
        "rows.txt.gz": bomb(b"a\n", PACK_BOMBS),
        "blank.txt.gz": bomb(b"\n", PACK_BOMBS),
        "brackets.json.gz": bomb(b"[", PACK_BOMBS),
        "numbers.json.gz": bomb(b"1,", PACK_BOMBS),
        "rows.csv.gz": bomb(b"a,b\n", PACK_BOMBS),
        "quote.csv.gz": bomb(b'"a', PACK_BOMBS),
        "text.md.gz": bomb(b"a\n", PACK_BOMBS),
        "zeros.parquet.gz": bomb(b"\0" * 1024, PACK_BOMBS),
    }
    for name, make in bombs.items():
        yield Case(name, "prompts", lambda folder, name=name, make=make: put(name, make(), folder))
    yield Case("rows.jsonl.zst bomb", "prompts", lambda folder: put("p.jsonl.zst", zstd(ROW.encode() * 2**19), folder))
    yield Case("rows zip bomb", "prompts", partial(zipped, "p.zip", {"p.jsonl": ROW.encode() * 2**19}))
    yield Case("bzip2 bomb", "prompts", lambda f: zipped("p.zip", {"p.txt": b"a" * 2**25}, f, zipfile.ZIP_BZIP2))
    yield Case("lzma bomb", "prompts", lambda f: zipped("p.zip", {"p.txt": b"a\n" * 2**22}, f, zipfile.ZIP_LZMA))
    yield Case("zip that lies", "prompts", lying_zip)
    yield Case("zip of many", "prompts", crowded_zip)
    yield Case("zip in zip", "prompts", lambda f: zipped("p.zip", {"p.zip": zipped("q.zip", {}, f).read_bytes()}, f))
    outside = {"../../out.jsonl": ROW.encode(), "/etc/passwd.jsonl": ROW.encode(), "a/../../b.jsonl": b""}
    yield Case("zip that leaves", "prompts", partial(zipped, "p.zip", outside))
    names = {f"{ESCAPES.replace(chr(0), '')}.jsonl": b"{broken"}
    yield Case("escapes in a zip", "prompts", partial(zipped, "p.zip", names))
    table = pa.table({"prompt": ["one"] * 1000, "response": ["two"] * 1000})
    for place in range(4, 400, 40):
        yield Case(
            f"parquet flipped at {place}", "prompts", partial(flipped, partial(parquet, table), slice(place, place + 3))
        )
        end = slice(-place - 3, -place)
        yield Case(f"parquet flipped at -{place}", "prompts", partial(flipped, partial(parquet, table), end))
    same = partial(parquet, pa.table({"prompt": ["a" * 2**20] * 64}), use_dictionary=False, compression="zstd")
    yield Case("parquet bomb", "prompts", same)
    once = partial(parquet, pa.table({"prompt": pa.array(["a"] * 2**21)}))
    yield Case("parquet of one value", "prompts", once)
    one = partial(parquet, pa.table({"prompt": ["a" * 2**26]}), use_dictionary=False, compression="zstd")
    yield Case("parquet of one long value", "prompts", one)
    deep_type = pa.list_(pa.string())
    for _ in range(60):
        deep_type = pa.list_(deep_type)
    yield Case("parquet of deep lists", "prompts", partial(parquet, pa.table({"prompt": pa.nulls(3, deep_type)})))
    yield Case("parquet of bytes", "prompts", partial(parquet, pa.table({"prompt": [b"\xff\xfe", b"\x00"]})))
    saved = {"state.json": "{}", "dataset_info.json": "{}"}
    for name, state in {
        "empty": {},
        "leaves": {"_data_files": [{"filename": "../../../etc/passwd"}], "_split": None},
        "fingerprint": {"_data_files": [{"filename": "a.arrow"}], "_fingerprint": {"a": []}},
        "wrong": {"_data_files": 5},
    }.items():
        files = saved | {"state.json": json.dumps(state)}
        yield Case(f"saved data set, {name}", "prompts", partial(folder_of, "saved", files))
    for name, splits in {"leaves": ["../../a"], "wrong": 5, "names": [ESCAPES]}.items():
        index = {"dataset_dict.json": json.dumps({"splits": splits})}
        yield Case(f"saved splits, {name}", "prompts", partial(folder_of, "saved", index))


def folder_of(name: str, files: dict[str, bytes | str], folder: Path) -> Path:
    """A folder with these files."""
    for file, data in files.items():
        put(f"{name}/{file}", data, folder)
    return folder / name


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], begin: int = 0, end: int = 0, dtype: str = "F32") -> dict[str, Any]:
    """A tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


PATH = "base_model.model.model.layers.0.self_attn.q_proj"
PAIR = {f"{PATH}.lora_A.weight": entry([2, 32], 0, 256), f"{PATH}.lora_B.weight": entry([32, 2], 256, 512)}
CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"],
    "base_model_name_or_path": "them/base",
}  # fmt: skip
BAD_WEIGHTS: dict[str, bytes] = {
    "empty": b"",
    "short": b"\0" * 4,
    "no header": struct.pack("<Q", 0),
    "endless header": struct.pack("<Q", 2**63 - 1),
    "large header": safetensors(b" " * (2**20)),
    "header past the end": safetensors({}, length=2**30),
    "no JSON": safetensors(b"\xff" * 64),
    "nested": safetensors(deep('{"a":', "}", 20_000).encode()),
    "nested list": safetensors(deep("[", "]", 100_000).encode()),
    "list": safetensors([1, 2, 3]),
    "billions": safetensors({f"{PATH}.lora_A.weight": entry([2, 2**40], 0, 2**43)}),
    "overflow": safetensors({f"{PATH}.lora_A.weight": entry([2**33, 2**33], 0, 0)}),
    "negative": safetensors({f"{PATH}.lora_A.weight": entry([-1, 2], 0, 8)}, b"\0" * 8),
    "huge number": safetensors({f"{PATH}.lora_A.weight": entry([10**30, 2], 0, 8)}, b"\0" * 8),
    "overlapping": safetensors(
        {f"{PATH}.lora_A.weight": entry([2, 32], 0, 256), f"{PATH}.lora_B.weight": entry([32, 2], 0, 256)}, b"\0" * 256
    ),
    "backwards": safetensors({f"{PATH}.lora_A.weight": entry([2, 32], 256, 0)}, b"\0" * 256),
    "unknown type": safetensors({f"{PATH}.lora_A.weight": entry([2, 32], 0, 256, "F7")}, b"\0" * 256),
    "empty tensors": safetensors(
        {f"{PATH}.lora_A.weight": entry([2, 0], 0, 0), f"{PATH}.lora_B.weight": entry([0, 2], 0, 0)}
    ),
    "no numbers": safetensors(PAIR, b"\xff" * 512),
    "many tensors": safetensors({f"{PATH}.{n}.lora_A.weight": entry([0], 0, 0) for n in range(70_000)}),
    "scalar": safetensors({f"{PATH}.lora_A.weight": entry([], 0, 4)}, b"\0" * 4),
    "many dimensions": safetensors({f"{PATH}.lora_A.weight": entry([1] * 5000, 0, 4)}, b"\0" * 4),
    "long name": safetensors({"a" * 10**6: entry([1], 0, 4)}, b"\0" * 4),
    "escapes": safetensors({ESCAPES: entry([1], 0, 4)}, b"\0" * 4),
    "numbered layers": safetensors(
        {
            PATH.replace("0", "9" * 5000) + f".lora_{half}.weight": value
            for half, value in zip("AB", PAIR.values(), strict=True)
        },
        b"\0" * 512,
    ),
    "dots": safetensors(
        {
            f"base_model.model.{'.' * 300}.lora_{half}.weight": value
            for half, value in zip("AB", PAIR.values(), strict=True)
        },
        b"\0" * 512,
    ),
    "metadata": safetensors({"__metadata__": {"a": {"b": 1}}} | PAIR, b"\0" * 512),
    "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
}
GOOD_WEIGHTS = safetensors(PAIR, b"\0" * 512)
BAD_CONFIGS: dict[str, object] = {
    "rank": {"r": 10**400},
    "text rank": {"r": "2"},
    "infinite rank": {"r": float("inf")},
    "negative rank": {"r": -2},
    "alpha": {"lora_alpha": 10**300},
    "nan alpha": {"lora_alpha": float("nan")},
    "name that leaves": {"base_model_name_or_path": "../../../../etc/passwd"},
    "name of escapes": {"base_model_name_or_path": ESCAPES},
    "long name": {"base_model_name_or_path": "a" * 10**5},
    "list for a name": {"base_model_name_or_path": [1, {}]},
    "target modules": {"target_modules": {"a": [1]}},
    "pattern for a target": {"target_modules": "(a+)+$" * 50},
    "auto_mapping": {"auto_mapping": {"base_model_class": "os", "parent_library": "subprocess"}},
    "megatron": {"megatron_config": {"a": 1}, "megatron_core": "os"},
    "runtime": {"runtime_config": {"ephemeral_gpu_offload": True}},
    "rank pattern": {"rank_pattern": {"(a*)*b": 2}},
    "rank pattern of many": {"rank_pattern": {f"(a|a)*{n}$": 2 for n in range(3000)}},
    "alpha pattern": {"alpha_pattern": {"^(([a-z])+.)+[A-Z]([a-z])+$": 4}},
    "modules to save": {"modules_to_save": ["../../x"]},
    "bias": {"bias": {"a": 1}},
    "setting of escapes": {ESCAPES: 1},
    "kind": {"peft_type": [ESCAPES]},
    "layers": {"layers_to_transform": [[1]] * 1000, "layers_pattern": "(a+)+"},
    "revision": {"revision": "../.."},
}
BAD_JSON: dict[str, bytes | str] = {
    "empty": "",
    "list": "[]",
    "nested": deep('{"a":', "}"),
    "digits": '{"r": ' + "9" * 100_000 + "}",
    "latin": b'{"r": "\xe9"}',
    "large": b" " * (3 * 2**20) + b"{}",
    "zeros": b"\0" * 100,
    "null": "null",
}


def adapters() -> Iterator[Case]:
    """Adapter folders, opened as ours and imported as another tool's."""
    good = json.dumps(CONFIG)
    for reader in ("adapter", "import"):
        for name, data in BAD_WEIGHTS.items():
            files = {"adapter_config.json": good, "adapter_model.safetensors": data}
            yield Case(f"{reader}, weights: {name}", reader, partial(folder_of, "a", files))
        for name, changes in BAD_CONFIGS.items():
            text = json.dumps(CONFIG | changes)  # type: ignore[operator]
            files = {"adapter_config.json": text, "adapter_model.safetensors": GOOD_WEIGHTS}
            yield Case(f"{reader}, config: {name}", reader, partial(folder_of, "a", files))
        for name, text in BAD_JSON.items():
            files = {"adapter_config.json": text, "adapter_model.safetensors": GOOD_WEIGHTS}
            yield Case(f"{reader}, config: {name} JSON", reader, partial(folder_of, "a", files))
            files = {"adapter_config.json": good, "adapter_model.safetensors": GOOD_WEIGHTS, "provenance.json": text}
            yield Case(f"{reader}, record: {name} JSON", reader, partial(folder_of, "a", files))
        sums = {"adapter_config.json": good, "adapter_model.safetensors": GOOD_WEIGHTS}
        for name, text in {"leaves": "0" * 64 + "  ../../../etc/passwd\n", "bytes": b"\xff\x00\n" * 1000}.items():
            yield Case(f"{reader}, sums: {name}", reader, partial(folder_of, "a", sums | {"SHA256SUMS": text}))
        for target in ("/dev/zero", "/etc/passwd", "../../../nowhere"):
            yield Case(f"{reader}, link to {target}", reader, partial(linked, target))
        yield Case(f"{reader}, pipe", reader, piped)
        yield Case(f"{reader}, folder for a file", reader, partial(folder_of, "a", {"adapter_config.json/x": ""}))
        origin = {"command": ESCAPES, "timings": {ESCAPES: 1.0}, "source": ESCAPES, "digest": "", "format": "peft"}
        record = json.dumps(origin | {"changes": [ESCAPES]})
        yield Case(f"{reader}, record of escapes", reader, partial(folder_of, "a", sums | {"provenance.json": record}))


def linked(target: str, folder: Path) -> Path:
    """An adapter whose weights are a link."""
    place = folder_of("a", {"adapter_config.json": json.dumps(CONFIG)}, folder)
    (place / "adapter_model.safetensors").symlink_to(target)
    return place


def piped(folder: Path) -> Path:
    """An adapter whose weights are a pipe, which nobody writes to."""
    place = folder_of("a", {"adapter_config.json": json.dumps(CONFIG)}, folder)
    os.mkfifo(place / "adapter_model.safetensors")
    return place


def gguf(fields: bytes = b"", tensors: int = 0, count: int = 0, version: int = 3, more: bytes = b"") -> bytes:
    """A GGUF file with any header."""
    return b"GGUF" + struct.pack("<IQQ", version, tensors, count) + fields + more


def text(value: str | bytes) -> bytes:
    """A string of a GGUF header."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def field(name: str, kind: int, value: bytes) -> bytes:
    """A field of a GGUF header."""
    return text(name) + struct.pack("<I", kind) + value


_ADAPTER = field("general.type", 8, text("adapter")) + field("adapter.type", 8, text("lora"))
_LLAMA = field("general.architecture", 8, text("llama"))
BAD_GGUF: dict[str, bytes] = {
    "empty": b"",
    "magic": b"GGUF",
    "version": gguf(version=2**31),
    "fields": gguf(count=2**63),
    "tensors": gguf(tensors=2**63),
    "endless string": gguf(struct.pack("<Q", 2**62), count=1),
    "endless value": gguf(text("a") + struct.pack("<IQ", 8, 2**62), count=1),
    "endless array": gguf(text("a") + struct.pack("<IIQ", 9, 4, 2**62), count=1),
    "arrays in arrays": gguf(text("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000, count=1),
    "unknown type": gguf(field("a", 99, b"\0" * 8), count=1),
    "type is a number": gguf(field("general.type", 4, struct.pack("<I", 1)), count=1),
    "architecture": gguf(_ADAPTER + field("general.architecture", 8, text(ESCAPES)), count=3),
    "architecture of bytes": gguf(_ADAPTER + field("general.architecture", 8, text(b"\xff\xfe")), count=3),
    "alpha": gguf(_ADAPTER + _LLAMA + field("adapter.lora.alpha", 6, struct.pack("<f", float("nan"))), count=4),
    "no tensors": gguf(_ADAPTER + _LLAMA, count=3),
    "twice": gguf(_ADAPTER + _ADAPTER + _LLAMA, count=5),
    "dimensions": gguf(_ADAPTER + _LLAMA, 1, 3, more=text("blk.0.attn_q.weight.lora_a") + struct.pack("<I", 2**31)),
    "billions": gguf(
        _ADAPTER + _LLAMA, 1, 3,
        more=text("blk.0.attn_q.weight.lora_a") + struct.pack("<IQQIQ", 2, 2**40, 2**20, 0, 0) + b"\0" * 64,
    ),
    "past the end": gguf(
        _ADAPTER + _LLAMA, 1, 3,
        more=text("blk.0.attn_q.weight.lora_a") + struct.pack("<IQQIQ", 2, 32, 2, 0, 2**62) + b"\0" * 64,
    ),
    "alignment": gguf(_ADAPTER + _LLAMA + field("general.alignment", 4, struct.pack("<I", 0)), count=4),
    "many fields": gguf(b"".join(field(f"f{n}", 0, b"\0") for n in range(100_000)), count=100_000),
}  # fmt: skip


def gguf_files() -> Iterator[Case]:
    """GGUF files: as an adapter to import, and as a base."""
    for reader in ("import", "base"):
        for name, data in BAD_GGUF.items():
            yield Case(f"{reader}, GGUF: {name}", reader, partial(put, "a.gguf", data))


LOOPS = {
    "range": "{% for i in range(10**12) %}a{% endfor %}",
    "nested ranges": "{% for i in range(90000) %}" * 3 + "{% endfor %}" * 3,
    "text times": "{{ 'a' * 10**10 }}",
    "power": "{{ 2 ** (2 ** 60) }}",
    "doubling": "{% set n = namespace(a='a') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "format": "{{ '%999999999d' % 1 }}",
    "format method": "{{ '{:>9999999999}'.format(1) }}",
    "center": "{{ 'a' | center(10**10) }}",
    "list": "{{ ([0] * 10**10) | length }}",
    "macro": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "recursion": "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__['os'].system('true') }}",
    "init": "{{ messages.__init__.__globals__ }}",
    "attr": "{{ '' | attr('__class__') }}",
    "map": "{{ ['a'] | map(attribute='__class__') | list }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os }}",
    "extends": "{% extends '/etc/passwd' %}",
    "change": "{{ messages.append(1) }}{{ messages.clear() }}",
    "raise": "{{ raise_exception('" + "no" * 5000 + "') }}",
    "broken": "{% for %}",
    "unknown": "{{ nothing.at.all }}",
    "filter": "{{ 1 | nothing }}",
    "zero": "{{ 1 // 0 }}",
    "wrong types": "{{ messages + 1 }}",
    "deep": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "escapes": "{{ raise_exception('\x1b]0;owned\x07\x1b[2J') }}",
    "words": "{{ lipsum(10**8) }}",
    "cycle": "{{ (messages * 10**8) | map('string') | join }}",
    "json": "{{ ([messages] * 10**7) | tojson }}",
}


def templates() -> Iterator[Case]:
    """Chat templates of a base."""
    for name, template in LOOPS.items():
        yield Case(f"template: {name}", "template", partial(put, "chat_template.jinja", template))


def described(name: str, changes: dict[str, object], folder: Path) -> Path:
    """A folder with generator.json."""
    about: dict[str, object] = {
        "format": 1, "sha256": "", "layout": {}, "condition": {}, "cascade": [], "kernel": 3, "base": {}, "history": {},
        "frame": "shared_a", "tokens": [1, 1, 1],
    }  # fmt: skip
    files: dict[str, bytes | str] = {
        "generator.json": json.dumps(about | changes),
        "generator.safetensors": GOOD_WEIGHTS,
    }
    return folder_of("g", files, folder)


def records() -> Iterator[Case]:
    """Generators, chains, settings, records of the library, replies of teachers."""
    for name, changes in {
        "newer": {"format": 2},
        "format": {"format": [ESCAPES]},
        "base": {"base": 5},
        "layout": {"layout": {"lora": 5, "modules": "a"}},
        "layout list": {"layout": []},
        "rank": {"layout": {"lora": {"rank": 10**30, "alpha": 1, "target_modules": ["a"]}, "modules": []}},
        "modules": {"layout": {"lora": {"rank": 1, "alpha": 1, "target_modules": []}, "modules": [{"path": ESCAPES}]}},
        "kernel": {"kernel": 10**9},
        "cascade": {"cascade": [[10**9, 10**9, 10**9]]},
        "condition": {"condition": {"prompts": 10**12, "tokens": 10**12}},
        "history": {"history": [1]},
        "tokens": {"tokens": 5},
        "name": {"base": {"id": ESCAPES, "fingerprint": 5}},
    }.items():
        yield Case(f"generator: {name}", "generator", partial(described, name, changes))
    for name, data in (BAD_JSON | {"weights": "{}"}).items():
        yield Case(f"generator: {name} JSON", "generator", partial(folder_of, "g", {"generator.json": data}))
    base = {"id": "a", "fingerprint": "b", "layers": 2}
    chain: dict[str, object] = {"format": 1, "chain": "0-1", "layers": [0, 1], "base": base, "adapter": None}
    for name, changes in {
        "newer": {"format": 2},
        "long": {"chain": ",".join(["0-1"] * 10**5)},
        "ranges": {"chain": "0-999999," * 1000, "base": base | {"layers": 10**6}},
        "layers": {"base": base | {"layers": 10**12}, "chain": "0-999999"},
        "nan layers": {"base": base | {"layers": float("nan")}},
        "infinite layers": {"base": base | {"layers": float("inf")}},
        "escapes": {"chain": ESCAPES},
        "list": {"chain": [1]},
        "base": {"base": [1]},
        "layers list": {"layers": {"a": 1}},
    }.items():
        text = json.dumps(chain | changes)
        yield Case(f"chain: {name}", "chain", partial(put, "chain.json", text))
    for name, data in BAD_JSON.items():
        yield Case(f"chain: {name} JSON", "chain", partial(put, "chain.json", data))
    for name, data in {
        "nested": "a = " + "[" * 50_000,
        "tables": "[" + ".".join(["a"] * 20_000) + "]\n",
        "digits": "seed = " + "9" * 100_000,
        "bytes": b"\xff\xfe",
        "keys": "[keys]\n" + "".join(f'"{n}" = 5\n' for n in range(20_000)),
        "escapes": f'theme = "{ESCAPES.encode("unicode_escape").decode().replace(chr(92) + "x", chr(92) + "u00")}"\n',
        "wrong": "seed = []\ntheme = 5\nkeys = 1\nbase = {}\n",
        "dates": "seed = 1979-05-27T07:32:00Z\n",
        "infinite": "seed = inf\n",
        "twice": "seed = 1\nseed = 2\n",
        "zeros": b"\0" * 100,
        "quotes": 'theme = """' + '"' * 100_000,
    }.items():
        yield Case(f"config: {name}", "config", partial(put, "config.toml", data))
    for name, data in (
        BAD_JSON
        | {
            "newer version": '{"version": 2}',
            "version of text": '{"version": "1"}',
            "unknown": '{"version": 1, "a": 1}',
            "types": '{"version": 1, "name": 5, "base_id": [], "device": {}}',
            "numbers": '{"version": 1, "seconds": {"a": 1e999}, "parameters": 1e30}',
        }
    ).items():
        yield Case(f"library: {name}", "library", partial(put, "library/x/record.json", data))
    for name, data in BAD_JSON.items():
        yield Case(f"recipe: {name} JSON", "recipe", partial(put, "recipe.json", data))
        yield Case(f"tasks: {name} JSON", "tasks", partial(put, "tasks/tasks.json", data))
        yield Case(f"sheet: {name} JSON", "sheet", partial(put, "answers.jsonl", data))
    for name, index in {
        "leaves": {"../../a": {"split": "seen"}},
        "wrong": {"a": 5},
        "types": {"a": {"split": [], "metric": 5, "source": {}}},
        "escapes": {ESCAPES.replace("\0", ""): {"split": "seen"}},
    }.items():
        yield Case(f"tasks: {name}", "tasks", partial(put, "tasks/tasks.json", json.dumps(index)))
    for name, reply in {
        "no choices": {"choices": []},
        "null": None,
        "list": [1, 2],
        "text": "hello",
        "choices of text": {"choices": "abc"},
        "message": {"choices": [{"message": None}]},
        "content": {"choices": [{"message": {"content": {"a": 1}}}]},
        "content list": {"choices": [{"message": {"content": [1, 2]}}]},
        "tokens": {"choices": [{"message": {"content": "a"}}], "usage": {"total_tokens": "many"}},
        "tokens nan": {"choices": [{"message": {"content": "a"}}], "usage": {"total_tokens": float("nan")}},
        "negative tokens": {"choices": [{"message": {"content": "a"}}], "usage": {"total_tokens": -(10**9)}},
        "escapes": {"choices": [{"message": {"content": ESCAPES}}]},
        "thoughts": {"choices": [{"message": {"content": "<think>" * 50_000}}]},
        "long": {"choices": [{"message": {"content": "a" * (8 * 2**20)}}]},
        "models": {"data": [{"id": {"a": 1}}]},
        "error": {"error": {"message": ESCAPES * 1000}},
    }.items():
        yield Case(f"teacher: {name}", "teacher", partial(put, "reply.json", json.dumps(reply)))
    for name, data in {
        "nested": deep("[", "]"),
        "bytes": b"\xff" * 100,
        "empty": b"",
        "half": b'{"choices": [',
    }.items():
        yield Case(f"teacher: {name} JSON", "teacher", partial(put, "reply.json", data))


BAD_BASES: dict[str, object] = {
    "no type": {},
    "unknown type": {"model_type": ESCAPES},
    "type list": {"model_type": [1]},
    "code": {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}},
    "code for a known type": {"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "evil.Model"}},
    "code elsewhere": {"model_type": "llama", "auto_map": {"AutoConfig": "them/other--evil.Config"}},
    "layers": {"model_type": "llama", "num_hidden_layers": 10**9},
    "negative layers": {"model_type": "llama", "num_hidden_layers": -1},
    "hidden": {"model_type": "llama", "hidden_size": 10**12},
    "text hidden": {"model_type": "llama", "hidden_size": "a"},
    "no heads": {"model_type": "llama", "num_attention_heads": 0},
    "vocabulary": {"model_type": "llama", "vocab_size": 10**15},
    "experts": {"model_type": "mixtral", "num_local_experts": 10**9},
    "rope": {"model_type": "llama", "rope_scaling": {"type": ESCAPES, "factor": -1}},
    "quantised": {"model_type": "llama", "quantization_config": {"quant_method": ESCAPES}},
    "architectures": {"model_type": "llama", "architectures": [5, {}]},
    "activation": {"model_type": "llama", "hidden_act": "os.system"},
}


def bases() -> Iterator[Case]:
    """Model folders."""
    evil = "open('/tmp/dnd-tui-was-here', 'w')\nclass Config: pass\nclass Model: pass\n"
    for name, config in BAD_BASES.items():
        files: dict[str, bytes | str] = {"config.json": json.dumps(config), "evil.py": evil}
        files["model.safetensors"] = safetensors({"a": entry([1], 0, 4)}, b"\0" * 4)
        yield Case(f"base: {name}", "base", partial(folder_of, "b", files))
    small = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    for name, data in BAD_WEIGHTS.items():
        files = {"config.json": json.dumps(small), "model.safetensors": data}
        yield Case(f"base, weights: {name}", "base", partial(folder_of, "b", files))
    for name, data in BAD_JSON.items():
        files = {"config.json": data, "model.safetensors": GOOD_WEIGHTS}
        yield Case(f"base: {name} JSON", "base", partial(folder_of, "b", files))


CASES: tuple[Case, ...] = (*prompts(), *adapters(), *gguf_files(), *templates(), *records(), *bases())
