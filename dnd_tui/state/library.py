"""The library of generated adapters.

    LIBRARY/ID/adapter/       the PEFT folder
    LIBRARY/ID/record.json    what is known of it
    LIBRARY/.deleted/ID/      as before, until a week after its deletion

Everything here touches the disk: not for the thread that draws the screen.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from dnd_tui.state.adapter_record import AdapterRecord, AdapterScore, DamagedAdapter
from dnd_tui.state.stored import PLACE_HINT, DamagedError, from_plain, one_writer, read_line, to_plain, write_line
from dnd_tui.text import one_line
from engine.errors import EngineError
from engine.files import tidy_folder, write_text

ADAPTER_FOLDER = "adapter"
RECORD_FILE = "record.json"
VERSION = 1
KEPT_DELETED_SECONDS = 7 * 24 * 3600
# An empty place this old is nobody's running job.
ABANDONED_SECONDS = 24 * 3600


class Library:
    """The adapters in `folder`, which is made at the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._deleted = folder / ".deleted"
        # By id: what its record file was like, and what was read of it.
        self._known: dict[str, tuple[tuple[int, int, int], AdapterRecord]] = {}

    def entries(self) -> list[AdapterRecord | DamagedAdapter]:
        """All adapters, the newest first. Places where one is being made, or was given up, are left out."""
        places = sorted(self._places(), key=lambda place: place.name, reverse=True)
        return [self._entry(place) for place in places if place.name in self._known or _is_finished(place)]

    def record(self, id: str) -> AdapterRecord:
        """One adapter.

        Raises:
            EngineError: there is none, or its record cannot be read.
        """
        entry = self._entry(self._place(id))
        if isinstance(entry, DamagedAdapter):
            raise EngineError(entry.problem, where=str(entry.folder.parent / RECORD_FILE))
        return entry

    def new_place(self) -> tuple[str, Path]:
        """A new id, and where the PEFT folder of that adapter is to be written; `add` follows when it is.

        Raises:
            EngineError: the library cannot be written.
        """
        with one_writer(self.folder):
            while True:
                id = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
                with suppress(FileExistsError):
                    (self.folder / id).mkdir()
                    return id, self.folder / id / ADAPTER_FOLDER

    def add(self, record: AdapterRecord) -> AdapterRecord:
        """Store the record of an adapter that is in its place; returned under the name that it got.

        Raises:
            EngineError: there is no such adapter folder, or the library cannot be written.
        """
        with one_writer(self.folder):
            if not (self._place(record.id) / ADAPTER_FOLDER).is_dir():
                raise EngineError("no adapter was written there", where=str(self.folder / record.id / ADAPTER_FOLDER))
            return self._store(self._named(record, record.name))

    def give_up(self, id: str) -> None:
        """Remove the place of a job that ended without an adapter; one that has a record stays."""
        place = self.folder / id
        if _is_id(id) and not (place / RECORD_FILE).exists():
            shutil.rmtree(place, ignore_errors=True)

    def rename(self, id: str, name: str) -> AdapterRecord:
        """Give an adapter another name, made unique; raises as `record` does."""
        return self._change(id, lambda record: self._named(record, name))

    def add_scores(self, id: str, scores: Iterable[AdapterScore]) -> AdapterRecord:
        """Put scores in, instead of earlier ones of the same arm and metric; raises as `record` does."""
        new = {(score.arm, score.metric): score for score in scores}
        return self._change(
            id,
            lambda record: replace(
                record, scores=tuple(({(old.arm, old.metric): old for old in record.scores} | new).values())
            ),
        )

    def set_picks(self, id: str, picks: Mapping[str, int]) -> AdapterRecord:
        """How often the person liked each arm's answer best, all comparisons together; raises as `record` does."""
        return self._change(id, lambda record: replace(record, picks=dict(picks)))

    def set_note(self, id: str, note: str) -> AdapterRecord:
        """What the person writes about an adapter; raises as `record` does."""
        return self._change(id, lambda record: replace(record, note=note))

    def delete(self, id: str) -> None:
        """Take an adapter, damaged or not, out of the library; `undo_delete` brings it back for a week.

        Raises:
            EngineError: there is none, or the library cannot be written.
        """
        with one_writer(self.folder):
            place = self._place(id)
            self._deleted.mkdir(exist_ok=True)
            os.utime(place)  # the time of the deletion, for `tidy`
            place.rename(self._deleted / id)

    def undo_delete(self, id: str) -> None:
        """Bring a deleted adapter back; if its name is taken now, it gets another.

        Raises:
            EngineError: it is not there any more, or the library cannot be written.
        """
        place = self._deleted / id
        with one_writer(self.folder):
            if not _is_id(id) or not place.is_dir():
                raise EngineError("is not there any more", where=str(place))
            place.rename(self.folder / id)
            entry = self._entry(self.folder / id)
            if isinstance(entry, AdapterRecord):
                self._store(self._named(entry, entry.name))

    def tidy(self) -> None:
        """Remove for good what was deleted a week ago, and what jobs left that were killed. Once, at the start.

        Raises:
            EngineError: the library cannot be written.
        """
        now = time.time()
        for place in _folders(self._deleted):
            if _is_id(place.name) and _age(place, now) <= KEPT_DELETED_SECONDS:
                continue
            gone = self._deleted / f".{place.name}"
            if _is_id(place.name):
                # Out of reach first: another app may bring it back while it is half removed.
                with one_writer(self.folder), suppress(FileNotFoundError):
                    place.rename(gone)
            shutil.rmtree(gone if _is_id(place.name) else place, ignore_errors=True)
        for place in self._places():
            # What is being written is known by its lock, not by its age: clocks jump.
            tidy_folder(place)
            if _age(place, now) > ABANDONED_SECONDS:
                with suppress(OSError):
                    place.rmdir()  # only if it is empty

    def _change(self, id: str, change: Callable[[AdapterRecord], AdapterRecord]) -> AdapterRecord:
        with one_writer(self.folder):
            return self._store(change(self.record(id)))

    def _store(self, record: AdapterRecord) -> AdapterRecord:
        # Where it lies gives these two.
        data = {name: value for name, value in to_plain(record).items() if name not in ("id", "folder")}
        write_text(self.folder / record.id / RECORD_FILE, write_line(VERSION, data, indent=2) + "\n")
        return record

    def _entry(self, place: Path) -> AdapterRecord | DamagedAdapter:
        try:
            about = os.stat(f"{place}/{RECORD_FILE}")
            # Whatever writes it, here or elsewhere, puts another file in its place.
            state = (about.st_ino, about.st_mtime_ns, about.st_size)
            known, record = self._known.get(place.name, (None, None))
            if record is None or known != state:
                data = read_line(VERSION, (place / RECORD_FILE).read_bytes())
                record = from_plain(AdapterRecord, data, id=place.name, folder=place / ADAPTER_FOLDER)
                self._known[place.name] = state, record
            if not os.path.isdir(f"{place}/{ADAPTER_FOLDER}"):
                raise DamagedError(f"its folder {ADAPTER_FOLDER} is missing")
            return record
        except DamagedError as error:
            problem = f"the record {error}"
        except OSError as error:
            self._known.pop(place.name, None)
            problem = f"no record to be read: {error.strerror}"
        return DamagedAdapter(id=place.name, folder=place / ADAPTER_FOLDER, problem=problem)

    def _named(self, record: AdapterRecord, name: str) -> AdapterRecord:
        """`record` under `name`, or with a number behind it if another adapter has that name."""
        wanted = one_line(name) or ADAPTER_FOLDER
        others = [each for each in self.entries() if isinstance(each, AdapterRecord) and each.id != record.id]
        taken = {other.name.casefold() for other in others}
        numbered = (f"{wanted} {number}" for number in count(2))
        return replace(record, name=next(free for free in chain([wanted], numbered) if free.casefold() not in taken))

    def _places(self) -> Iterator[Path]:
        return (place for place in _folders(self.folder) if _is_id(place.name))

    def _place(self, id: str) -> Path:
        place = self.folder / id
        if not _is_id(id) or not place.is_dir():
            raise EngineError("no such adapter", where=str(place), hint="It was deleted or moved: generate it again")
        return place


def _is_id(name: str) -> bool:
    """Whether a name is one of a folder in the library: no hidden one, no way out of it."""
    return bool(name) and Path(name).name == name and not name.startswith(".")


def _is_finished(place: Path) -> bool:
    return (place / RECORD_FILE).exists() or (place / ADAPTER_FOLDER).exists()


def _folders(folder: Path) -> list[Path]:
    try:
        return [folder / each.name for each in os.scandir(folder) if each.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EngineError(f"cannot be read: {error.strerror}", where=str(folder), hint=PLACE_HINT) from error


def _age(path: Path, now: float) -> float:
    """Seconds since a file or folder was changed; 0 if another program has just removed it."""
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0
