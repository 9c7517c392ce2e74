"""Tasks -> the table of chains: searched on training rows, judged on test rows, with and without a generated adapter.

OUT/TASK/base.json, skip.json, loop.json, both.json, adapter.json, adapter_chain.json    a finished arm each
OUT/TASK/speed.json                                                                      all arms, measured in turns
OUT/TASK/search.json, search-adapter-….json                                              scores of the searches
OUT/TASK/adapter-…/                                                                      the adapter, a PEFT folder
OUT/table.json, table.md                                                                 written after every arm
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.adapter.attach import AttachedModel, attach
from engine.adapter.peft_folder import read_peft_folder
from engine.base.device import dtype_name, out_of_memory_told
from engine.base.load import LoadedBase
from engine.depth.chain import Chain, format_chain, identity, parse_chain
from engine.depth.memory import ScoreMemory
from engine.depth.scores import RowScores
from engine.depth.scoring import ChainScorer
from engine.depth.search import ScoredChain, SearchSettings, most_looks, search_chains
from engine.depth.speed import Speed, measure_speed
from engine.depth.table import ADAPTER, ADAPTER_CHAIN, ARMS, BASE, CHAIN_ARMS, Cell, DepthTable, TaskCells
from engine.depth.table_report import as_markdown
from engine.depth.tree import TreeSettings
from engine.depth.view import chain_view, decoder_layers
from engine.errors import EngineError
from engine.events import Reporter
from engine.files import digest_json, read_json, write_json, write_text
from engine.jobs.chained import MOVES
from engine.jobs.checks import prepare_generate
from engine.jobs.depth_rows import DepthRows, depth_rows
from engine.jobs.depth_scores import held_out_scores, scored_with
from engine.jobs.generate import generate_job
from engine.jobs.results import Result
from engine.pipeline import Pipeline, load_pipeline
from engine.requests import ContextChoice, DepthRequest, DepthTableRequest, GenerateRequest, PromptChoice
from engine.solver.plan import GENERATOR
from engine.tasks.tasks import Task

# Of the speed of all arms of a task: enough for all rounds, unless the machine has much else to do.
_MEASURED_SECONDS = 90.0


def depth_table_job(request: DepthTableRequest, tasks: Sequence[Task], reporter: Reporter) -> Result:
    """The table over the tasks of a request; what is finished in `request.out` is not done again."""
    pipeline = load_pipeline(request.models, reporter)
    run = _Run(request, pipeline, reporter)
    for task in tasks:
        run.measure(task)
    table = run.table()
    lines = [(title, _told(table.arm(arm))) for arm, title in ARMS.items()]
    return Result(table.to_json() | {"seconds": dict(reporter.timings)}, (*lines, ("table", str(run.markdown))))


def _told(mean: Mapping[str, Any]) -> str:
    if mean["accuracy"] is None:
        return "not measured"
    told = f"{mean['accuracy']:.1%} of held-out rows right, {mean['layers']:.1f} layers"
    if mean["decode_ratio"] is not None:
        told += f", reads {mean['prefill_ratio']:.2f} and writes {mean['decode_ratio']:.2f} times as fast as the base"
    return told


@dataclass
class _Run:
    """The table of one request as it grows."""

    request: DepthTableRequest
    pipeline: Pipeline
    reporter: Reporter
    done: dict[str, TaskCells] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def markdown(self) -> Path:
        """The file for people."""
        return self.request.out / "table.md"

    def measure(self, task: Task) -> None:
        """All arms of a task that are not finished, then their speed."""
        request = DepthRequest(
            models=self.request.models,
            source=task.train_path,
            held_out=task.test_path,
            out=self.request.out / task.name,
            chains=self.request.chains,
            rows=self.request.rows,
            seed=self.request.seed,
        )
        try:
            rows = depth_rows(request, self.pipeline.base, self.reporter)
        except EngineError as error:
            # Too few different rows, mostly: the other tasks are measured all the same.
            self.left_out[task.name] = str(error)
            self.reporter.note(f"{task.name} is left out: {error}", warning=True)
            self._write()
            return

        def on_cell(cells: TaskCells) -> None:
            self.done[task.name] = cells
            self._write()

        _TaskRun(request, self.pipeline, task, rows, self.reporter, on_cell).run()

    def table(self) -> DepthTable:
        """What there is so far."""
        base = self.pipeline.base
        settings = {
            "base": base.ref.id,
            "number_format": dtype_name(base.dtype),
            "device": str(base.model.device),
            "generator": self.pipeline.about["sha256"][:12],
            "chains": self.request.chains,
            "rows": self.request.rows,
            "seed": self.request.seed,
        }
        return DepthTable(settings, list(self.done.values()), self.left_out)

    def _write(self) -> None:
        table = self.table()
        write_json(self.request.out / "table.json", table.to_json())
        write_text(self.markdown, as_markdown(table))


class _TaskRun:
    """The arms of one task. The three searches without adapter share their scores and hidden states."""

    def __init__(
        self,
        request: DepthRequest,
        pipeline: Pipeline,
        task: Task,
        rows: DepthRows,
        reporter: Reporter,
        on_cell: Callable[[TaskCells], None],
    ) -> None:
        self._request = request
        self._pipeline = pipeline
        self._base: LoadedBase = pipeline.base
        self._task = task
        self._rows = rows
        self._reporter = reporter
        self._on_cell = on_cell
        self._on_step: Callable[[], None] = lambda: None
        self._own = identity(len(decoder_layers(self._base.model)))
        self._generator = str(pipeline.about["sha256"])
        self._adapter = request.out / f"adapter-{self._generator[:8]}"
        self._cells: dict[str, Cell] = {}
        self._speed: dict[str, Speed] = {}

    def run(self) -> None:
        """Measure what is not finished; every arm is written as soon as it is judged."""
        self._cells = {arm: cell for arm in ARMS if (cell := self._read_cell(arm)) is not None}
        self._tell()
        if missing := [arm for arm in (BASE, *CHAIN_ARMS) if arm not in self._cells]:
            with AttachedModel(self._base) as attached:
                self._measure(missing, attached.model, None)
        if missing := [arm for arm in (ADAPTER, ADAPTER_CHAIN) if arm not in self._cells]:
            self._generate()
            with attach(self._base, read_peft_folder(self._adapter)[0]) as attached:
                self._measure(missing, attached.model, self._adapter)
        self._measure_speed()

    def _tell(self) -> None:
        cells = {arm: self._cells[arm] for arm in ARMS if arm in self._cells}
        self._on_cell(TaskCells(self._task.name, self._task.split, len(self._rows.searched), cells, self._speed))

    def _measure(self, arms: list[str], model: Any, adapter: Path | None) -> None:
        """Search what is to be searched, judge all of it in one pass over the held-out rows, write the arms."""
        found = self._search([arm for arm in arms if arm not in (BASE, ADAPTER)], model, adapter)
        chains = {arm: found[arm].chain if arm in found else self._own for arm in arms}
        scores = held_out_scores(self._base, model, list(chains.values()), self._rows.held_out, self._reporter)
        for arm, chain in chains.items():
            right = found[arm].scores.right if arm in found else None
            self._cells[arm] = Cell(chain, scores[chain], right)
            write_json(self._file(arm), _cell_data(self._cells[arm]) | {"settings": self._settings(arm)})
            self._tell()

    def _search(self, arms: list[str], model: Any, adapter: Path | None) -> dict[str, ScoredChain]:
        """The best chain of each arm on the rows of the search."""
        scorer = ChainScorer(model, self._rows.parts, self._base.tokenizer.pad_token_id or 0, lambda: self._on_step())
        file = self._request.out / (f"search-{adapter.name}.json" if adapter else "search.json")
        memory = ScoreMemory(file, scored_with(self._base, adapter, self._rows), len(self._own), scorer.score)
        return {arm: self._search_arm(arm, scorer, memory) for arm in arms}

    def _search_arm(self, arm: str, scorer: ChainScorer, memory: ScoreMemory) -> ScoredChain:
        kinds = MOVES["both" if arm == ADAPTER_CHAIN else arm]
        settings = SearchSettings(self._request.chains, self._request.seed, TreeSettings(kinds=kinds))
        name = f"search {self._task.name}, {ARMS[arm].lower()}"
        with self._reporter.stage(name, most_looks(settings.chains), "chains") as stage, out_of_memory_told("--rows"):
            self._on_step = lambda: stage.advance(0)
            try:
                return search_chains(memory.score, scorer.influence(0), settings, lambda *_: stage.advance(1))[0]
            finally:
                memory.save()

    def _generate(self) -> None:
        """The adapter of the training prompts, unless it is there."""
        if not self._adapter.exists():
            prompts = PromptChoice(source=self._task.train_path, column="prompt", seed=self._request.seed)
            alone = ContextChoice(made_from=GENERATOR)
            request = GenerateRequest(models=self._request.models, prompts=prompts, solve=alone, out=self._adapter)
            generate_job(request, prepare_generate(request), self._reporter)

    def _measure_speed(self) -> None:
        """All arms on the same prompt, in turns; arms with the same chain are measured once."""
        chains = {arm: (arm in (ADAPTER, ADAPTER_CHAIN), self._cells[arm].chain) for arm in ARMS}
        settings = {arm: format_chain(chain) for arm, (_, chain) in chains.items()} | {
            "device": str(self._base.model.device)
        }
        file = self._file("speed")
        kept = read_json(file) if file.exists() else {}
        if kept.get("settings") != settings:
            self._generate()
            found = self._speeds(chains)
            kept = {"settings": settings, "speed": {arm: asdict(found[key]) for arm, key in chains.items()}}
            write_json(file, kept)
        self._speed = {arm: Speed(**speed) for arm, speed in kept["speed"].items()}
        self._tell()

    def _speeds(self, chains: Mapping[str, tuple[bool, Chain]]) -> dict[tuple[bool, Chain], Speed]:
        longest = max(self._rows.searched, key=lambda row: len(row.prompt))
        model = self._base.model
        # Views made before the adapter comes stay without it.
        views = {format_chain(chain): chain_view(model, chain) for adapted, chain in chains.values() if not adapted}
        with attach(self._base, read_peft_folder(self._adapter)[0]) as attached:
            views |= {
                f"adapter {format_chain(chain)}": chain_view(attached.model, chain)
                for adapted, chain in chains.values()
                if adapted
            }
            with self._reporter.stage(f"speed {self._task.name}") as stage:
                tokenizer, step = self._base.tokenizer, lambda: stage.advance(0)
                found = measure_speed(views, tokenizer, longest.prompt, step, seconds=_MEASURED_SECONDS)
        return {
            key: found[f"adapter {format_chain(key[1])}" if key[0] else format_chain(key[1])] for key in chains.values()
        }

    def _file(self, arm: str) -> Path:
        return self._request.out / f"{arm}.json"

    def _settings(self, arm: str) -> dict[str, Any]:
        """All that an arm's cell depends on."""
        settings = scored_with(self._base, None, self._rows) | {
            "held_out": digest_json([[row.prompt, row.answer] for row in self._rows.held_out])
        }
        if arm in (ADAPTER, ADAPTER_CHAIN):
            settings["generator"] = self._generator
        if arm not in (BASE, ADAPTER):
            settings |= {"chains": self._request.chains, "seed": self._request.seed}
        return settings

    def _read_cell(self, arm: str) -> Cell | None:
        """The finished arm; None if there is none, or one of other settings."""
        file = self._file(arm)
        if not file.exists():
            return None
        data = read_json(file, hint="Choose another --out, or remove the file")
        try:
            if data["settings"] != self._settings(arm):
                return None
            held_out = data["held_out"]
            scores = RowScores(tuple(held_out["exact"]), tuple(held_out["loss"]))
            return Cell(parse_chain(data["chain"], len(self._own)), scores, data["search_right"])
        except (KeyError, TypeError, EngineError):
            raise EngineError("is not an arm of a table", where=str(file), hint="Choose another --out") from None


def _cell_data(cell: Cell) -> dict[str, Any]:
    return {
        "chain": format_chain(cell.chain),
        "length": len(cell.chain),
        "search_right": cell.search_right,
        "held_out": {"exact": list(cell.scores.exact), "loss": list(cell.scores.loss)},
    }
