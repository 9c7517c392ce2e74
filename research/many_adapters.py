"""How the app's library of adapters grows: seconds to list and to search it.

python research/many_adapters.py FOLDER [COUNT]

Writes COUNT records (10,000) of the size that an adapter of the default base has, each with a folder for its adapter,
as the app's library holds them; then times reading the list (the first time, and again) and the search over it. The
files are in the system's cache, as after a first look.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from dnd_tui.screens.library.entries import Search
from dnd_tui.state.adapter_record import AdapterRecord, AdapterScore
from dnd_tui.state.library import ADAPTER_FOLDER, RECORD_FILE, VERSION, Library
from dnd_tui.state.stored import to_plain, write_line

WORDS = ["tickets", "billing", "colours", "animals", "plants", "towns", "rivers", "reviews", "mails", "notes"]


def record(number: int, chance: random.Random) -> AdapterRecord:
    """A record as a generation writes it, with the norms of sixty modules."""
    norms = {
        f"model.layers.{layer}.{kind}": (chance.random(), 0.0)
        for layer in range(30)
        for kind in ("self_attn.o_proj", "mlp.down_proj")
    }
    name = f"{chance.choice(WORDS)} {number}"
    scores = tuple(AdapterScore(arm=arm, metric="label", rows=40, mean=chance.random()) for arm in ("base", "adapted"))
    return AdapterRecord(
        id=f"20260101-000000-{number:06d}",
        name=name,
        folder=Path(),
        dataset=f"{name}.jsonl",
        source=Path(f"/data/{name}.jsonl"),
        made_from="examples",
        rows=32,
        verdict="32 of 40 right; the base alone 5; with examples in the prompt 31",
        base_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        base="default",
        device="auto",
        dtype="auto",
        made="2026-01-01T00:00:00+00:00",
        seconds={"load": 1.0, "context": 4.0, "solve": 3.0},
        warm=True,
        rank=8,
        parameters=921_600,
        bytes=3_700_000,
        norms=norms,
        scores=scores,
    )


def write(folder: Path, count: int) -> None:
    """As `Library` stores them, without its lock and its flush for each."""
    chance = random.Random(0)
    for number in range(count):
        made = record(number, chance)
        place = folder / made.id
        (place / ADAPTER_FOLDER).mkdir(parents=True, exist_ok=True)
        data = {name: value for name, value in to_plain(made).items() if name not in ("id", "folder")}
        (place / RECORD_FILE).write_text(write_line(VERSION, data, indent=2) + "\n")


def main() -> None:
    """Write, list, search."""
    folder, count = Path(sys.argv[1]), int((sys.argv[2:3] or ["10000"])[0])
    if not folder.exists():
        write(folder, count)
    library = Library(folder)
    for what in ("first list", "list again"):
        start, used = time.perf_counter(), time.process_time()
        entries = library.entries()
        print(f"{what}: {len(entries):,} adapters in {time.perf_counter() - start:.3f} s, "
              f"{time.process_time() - used:.3f} s of the processor")  # fmt: skip
    search = Search()
    for wanted in ("tickets", "tickets 99", "nothing of this kind"):
        start, used = time.perf_counter(), time.process_time()
        found = len(search.found(entries, wanted))
        print(f"search {wanted!r}: {found:,} in {time.perf_counter() - start:.3f} s, "
              f"{time.process_time() - used:.3f} s of the processor")  # fmt: skip
    start = time.perf_counter()
    library._named(replace(entries[0], id="new"), "tickets")  # type: ignore[arg-type]
    print(f"a name for a new one: {time.perf_counter() - start:.3f} s")


if __name__ == "__main__":
    main()
