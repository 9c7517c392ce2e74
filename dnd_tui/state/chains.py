"""Chains of layers that were accepted: the chain of a data set, for one base and one adapter.

    CHAINS/ID/chain.json     the chain as the engine reads it (`engine.depth.record`)
    CHAINS/ID/record.json    what is known of it here

Everything here touches the disk: not for the thread that draws the screen.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnd_tui.state.stored import PLACE_HINT, DamagedError, from_plain, one_writer, read_line, to_plain, write_line
from engine.depth.scores import Judgement
from engine.errors import EngineError
from engine.files import digest_json, replacing_folder, write_json
from engine.requests import ModelChoice

CHAIN_FILE = "chain.json"
RECORD_FILE = "record.json"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class AcceptedChain:
    """A chain that was accepted.

    chain: in words; `length` layers, of a base of `layers`.
    base_id, fingerprint: of the base. base, device, dtype: how the person chose them.
    source, column, label, template: the prompts it was searched on, as in `PromptChoice`.
    dataset: the name of their file or folder, for people.
    held_out: the prompts it was judged on; None where those were rows of `source`.
    adapter: its PEFT folder. adapter_name: as the library calls it; both empty without one.
    right, rows: of the search. judged: None where the search was stopped before.
    when: ISO time.
    """

    chain: str
    length: int
    layers: int
    base_id: str
    fingerprint: str
    base: str
    device: str
    dtype: str
    source: Path
    column: str | None
    dataset: str
    held_out: Path | None
    adapter: Path | None
    adapter_name: str
    right: int
    rows: int
    judged: Judgement | None
    when: str
    label: str | None = None
    template: str | None = None

    @property
    def id(self) -> str:
        """Name of its place: the same for all chains of the same prompts, base and adapter."""
        plain = re.sub(r"[^\w.-]+", "-", Path(self.dataset).stem).strip(".-")[:60]
        # In ASCII: the name of a file may hold bytes that are no text.
        belongs = [ascii(str(self.source)), self.fingerprint, ascii(str(self.adapter))]
        return f"{plain or 'chain'}-{digest_json(belongs)[:12]}"

    @property
    def models(self) -> ModelChoice:
        """Base and device it was found with."""
        return ModelChoice(base=self.base, device=self.device, dtype=self.dtype)


class AcceptedChains:
    """The accepted chains in `folder`, which is made at the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest_first(self) -> list[AcceptedChain]:
        """All that can be read.

        Raises:
            EngineError: the folder cannot be read.
        """
        try:
            places = [place for place in self.folder.iterdir() if (place / RECORD_FILE).is_file()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EngineError(f"cannot be read: {error.strerror}", where=str(self.folder), hint=PLACE_HINT) from error
        found = [record for place in places if not place.name.startswith(".") and (record := _read(place))]
        return sorted(found, key=lambda record: record.when, reverse=True)

    def accept(self, record: AcceptedChain, chain: Mapping[str, Any]) -> Path:
        """Keep a chain, in place of an earlier one for the same prompts, base and adapter; the folder it is in.

        Args:
            chain: what goes into its chain.json.

        Raises:
            EngineError: it cannot be written.
        """
        place = self.place(record)
        with one_writer(self.folder), replacing_folder(place, replace=True) as part:
            write_json(part / CHAIN_FILE, dict(chain))
            text = write_line(VERSION, to_plain(record), indent=2)
            (part / RECORD_FILE).write_text(text + "\n", encoding="utf-8")
        return place

    def remove(self, record: AcceptedChain) -> None:
        """Forget a chain, if another app has not done so already.

        Raises:
            EngineError: it cannot be removed.
        """
        with one_writer(self.folder), suppress(FileNotFoundError):
            shutil.rmtree(self.place(record))

    def place(self, record: AcceptedChain) -> Path:
        """The folder of a chain, as `export-chain` takes it."""
        return self.folder / record.id


def _read(place: Path) -> AcceptedChain | None:
    try:
        return from_plain(AcceptedChain, read_line(VERSION, (place / RECORD_FILE).read_bytes()))
    except (OSError, DamagedError):
        return None
