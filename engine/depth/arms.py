"""The arms of one task of the table: searched on its training rows, judged on its test rows, measured in turns.

TASK/base.json, skip.json, loop.json, both.json, adapter.json, adapter_chain.json    a finished arm each
TASK/speed.json                                                                      all arms, measured in turns
TASK/search.json, search-adapter-….json                                              scores of the searches
TASK/adapter-…/                                                                      the adapter, a PEFT folder
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.depth.chain import MOVES, Chain, format_chain, identity, parse_chain
from engine.depth.dataset import STATE_FILE, ChainSearch
from engine.depth.rows import DepthRows
from engine.depth.scores import RowScores
from engine.depth.scoring import adapted_model, digest_rows, held_out_scores, scored_with
from engine.depth.search import ScoredChain, SearchSettings
from engine.depth.table import ADAPTER, ADAPTER_CHAIN, ARMS, BASE, CHAIN_ARMS, Cell, TaskCells
from engine.depth.view import Speed, chain_view, measure_speed
from engine.errors import ANOTHER_OUT, EngineError
from engine.events import Reporter
from engine.files import read_json, write_json
from engine.requests import DepthRequest
from engine.tasks.tasks import Task

if TYPE_CHECKING:
    from engine.base.load import LoadedBase

# Of the speed of all arms of a task: enough for all rounds, unless the machine has much else to do.
_MEASURED_SECONDS = 90.0


@dataclass
class TaskArms:
    """What is finished in `request.out` is not done again.

    request: the search of the task.
    generator: SHA-256 of the generator. generate: writes the adapter of the task's training prompts to a folder.
    """

    request: DepthRequest
    base: LoadedBase
    task: Task
    rows: DepthRows
    generator: str
    generate: Callable[[Path], object]
    reporter: Reporter

    def measured(self) -> Iterator[TaskCells]:
        """Measure what is not finished; what is there at first, and after every arm that is judged and written."""
        cells = {arm: cell for arm in ARMS if (cell := self._read_cell(arm)) is not None}
        so_far = partial(TaskCells, self.task.name, self.task.split, len(self.rows.searched))
        yield so_far(dict(cells))
        for arms, adapter in (((BASE, *CHAIN_ARMS), None), ((ADAPTER, ADAPTER_CHAIN), self._adapter)):
            if missing := [arm for arm in arms if arm not in cells]:
                for arm, cell in self._judged(missing, adapter).items():
                    cells[arm] = cell
                    judged = {"held_out": asdict(cell.scores), "settings": self._settings(arm)}
                    write_json(self._file(arm), cell.summary() | judged)
                    yield so_far(dict(cells))
        yield so_far(cells, self._speeds({arm: cells[arm].chain for arm in ARMS}))

    @property
    def _adapter(self) -> Path:
        return self.request.out / f"adapter-{self.generator[:8]}"

    @property
    def _layers(self) -> int:
        return int(self.base.ref.config.num_hidden_layers)

    def _judged(self, arms: list[str], adapter: Path | None) -> dict[str, Cell]:
        """Search what is to be searched, judge all of it in one pass over the held-out rows."""
        if adapter:
            self._make_adapter()
        with adapted_model(self.base, adapter) as model:
            found = self._searched([arm for arm in arms if arm not in (BASE, ADAPTER)], model, adapter)
            chains = {arm: found[arm].chain if arm in found else identity(self._layers) for arm in arms}
            scores = held_out_scores(self.base, model, list(chains.values()), self.rows.held_out, self.reporter)
        return {
            arm: Cell(chain, scores[chain], found[arm].scores.right if arm in found else None)
            for arm, chain in chains.items()
        }

    def _searched(self, arms: list[str], model: Any, adapter: Path | None) -> dict[str, ScoredChain]:
        """The best chain of each arm on the rows of the search; the searches share scores and hidden states."""
        file = self.request.out / (f"search-{adapter.name}.json" if adapter else STATE_FILE)
        search = ChainSearch(self.base, model, adapter, self.rows, file)
        found = {}
        for arm in arms:
            kinds = MOVES["both" if arm == ADAPTER_CHAIN else arm]
            settings = SearchSettings(self.request.chains, self.request.seed, kinds)
            found[arm] = search.run(settings, self.reporter, f"search {self.task.name}, {ARMS[arm].lower()}")[0]
        return found

    def _make_adapter(self) -> None:
        if not self._adapter.exists():
            self.generate(self._adapter)

    def _speeds(self, chains: Mapping[str, Chain]) -> dict[str, Speed]:
        """Of all arms on the same prompt, kept in a file; measured again for other chains or another device."""
        settings = {arm: format_chain(chain) for arm, chain in chains.items()}
        settings["device"] = str(self.base.model.device)
        file = self._file("speed")
        kept = read_json(file) if file.exists() else {}
        if kept.get("settings") != settings:
            self._make_adapter()
            kept = {"settings": settings, "speed": self._measured_speeds(chains)}
            write_json(file, kept)
        return {arm: Speed(**speed) for arm, speed in kept["speed"].items()}

    def _measured_speeds(self, chains: Mapping[str, Chain]) -> dict[str, dict[str, float]]:
        """In turns; arms with the same chain are measured once."""
        adapted = (ADAPTER, ADAPTER_CHAIN)
        names = {arm: ("adapter " if arm in adapted else "") + format_chain(chain) for arm, chain in chains.items()}
        # Views made before the adapter comes stay without it.
        views = {names[arm]: chain_view(self.base.model, chains[arm]) for arm in (BASE, *CHAIN_ARMS)}
        with adapted_model(self.base, self._adapter) as model:
            views |= {names[arm]: chain_view(model, chains[arm]) for arm in adapted}
            with self.reporter.stage(f"speed {self.task.name}") as stage:
                tokenizer, prompt, on_step = self.base.tokenizer, self.rows.longest_prompt, partial(stage.advance, 0)
                found = measure_speed(views, tokenizer, prompt, on_step, seconds=_MEASURED_SECONDS)
        return {arm: asdict(found[name]) for arm, name in names.items()}

    def _file(self, arm: str) -> Path:
        return self.request.out / f"{arm}.json"

    def _settings(self, arm: str) -> dict[str, Any]:
        """All that an arm's cell depends on."""
        settings = scored_with(self.base, None, self.rows.searched)
        settings["held_out"] = digest_rows(self.rows.held_out)
        if arm in (ADAPTER, ADAPTER_CHAIN):
            settings["generator"] = self.generator
        if arm not in (BASE, ADAPTER):
            settings |= {"chains": self.request.chains, "seed": self.request.seed}
        return settings

    def _read_cell(self, arm: str) -> Cell | None:
        """The finished arm; None if there is none, or one of other settings."""
        file = self._file(arm)
        if not file.exists():
            return None
        data = read_json(file, hint=f"{ANOTHER_OUT}, or remove the file")
        try:
            if data["settings"] != self._settings(arm):
                return None
            held_out = data["held_out"]
            scores = RowScores(tuple(held_out["exact"]), tuple(held_out["loss"]))
            return Cell(parse_chain(data["chain"], self._layers), scores, data["search_right"])
        except (KeyError, TypeError, EngineError):
            raise EngineError("is not an arm of a table", where=str(file), hint=ANOTHER_OUT) from None
