"""`generate --each` over many small datasets on a tiny base: in one process, in two, and once more.

python research/many_datasets.py FOLDER [COUNT]

Prints the seconds of the processor of each run, its children included, and whether the adapters are the same byte for
byte. Each process has one thread.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine.files import digest_file
from tests.tiny import tiny_model
from tests.tiny_tokenizer import tiny_tokenizer


def timed(command: list[str]) -> str:
    """Run a command; wall seconds and those of the processor."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{time.monotonic() - start:.1f} s, {used:.1f} s of the processor"


def digests(out: Path) -> dict[str, str]:
    """Of every adapter's weights, by name."""
    return {folder.name: digest_file(folder / "adapter_model.safetensors") for folder in out.iterdir()}


def main() -> None:
    """Write the datasets, run, compare."""
    folder, count = Path(sys.argv[1]).absolute(), int((sys.argv[2:3] or ["40"])[0])
    base, data = folder / "base", folder / "data"
    tiny_model("llama").save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    data.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    for number in range(count):
        words = ["".join(chance.choices("abcdefgh", k=4)) for _ in range(24)]
        rows = (json.dumps({"prompt": word, "response": word[::-1]}) for word in words)
        (data / f"{number:05}.jsonl").write_text("\n".join(rows))
    words = ["dnd_tui", "generate", str(data), "--each", "--base", str(base), "--device", "cpu", "--out"]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "--"]
    print("one process:", timed([sys.executable, "-m", *words, str(folder / "one")]), flush=True)
    print("two processes:", timed([*two, *words, str(folder / "two")]), flush=True)
    print("once more:", timed([sys.executable, "-m", *words, str(folder / "one")]), flush=True)
    same = digests(folder / "one") == digests(folder / "two")
    print(f"{len(digests(folder / 'one'))} adapters, {'the same' if same else 'OTHERS'} in two processes")


if __name__ == "__main__":
    main()
