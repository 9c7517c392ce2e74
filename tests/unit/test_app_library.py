"""The library of adapters: what is put in comes back, and nothing is lost by a bad file or a second app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.screens.generate.facts import RunFacts
from dnd_tui.screens.generate.plan import plan_of
from dnd_tui.screens.library.entries import facts
from dnd_tui.state.adapter_record import AdapterRecord, AdapterScore, DamagedAdapter, WeightedName, sum_words
from dnd_tui.state.library import Library
from dnd_tui.text import one_line
from engine.errors import EngineError
from engine.events import StageFinished
from engine.files import replacing_folder
from engine.jobs.command_line import command_line
from engine.requests import ContextChoice, GenerateRequest, PromptChoice

DAY = 24 * 3600


def record(id: str, folder: Path, **more: Any) -> AdapterRecord:
    plain: dict[str, Any] = {
        "id": id,
        "name": "topics",
        "folder": folder,
        "dataset": "topics.jsonl",
        "source": Path("data/topics.jsonl"),
        "column": None,
        "count": None,
        "seed": 0,
        "base_id": "tiny",
        "base": "default",
        "generator": Path("mine"),
        "generator_digest": "ab",
        "device": "auto",
        "dtype": "auto",
        "made": "2025-01-01T00:00:00+00:00",
        "seconds": {"encode": 0.5, "attach": 2.0},
        "warm": True,
        "parameters": 12,
        "bytes": 345,
        "norms": {"layers.0.q": (1.0, 0.5)},
    }
    return AdapterRecord(**plain | more)


def put(library: Library, **more: Any) -> AdapterRecord:
    id, folder = library.new_place()
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    return library.add(record(id, folder, **more))


def names(library: Library) -> list[str]:
    return [entry.name if isinstance(entry, AdapterRecord) else entry.problem for entry in library.entries()]


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def test_nothing_is_made_by_looking(library: Library) -> None:
    library.tidy()
    assert library.entries() == [] and not library.folder.exists()


def test_what_is_added_comes_back_from_disk(library: Library) -> None:
    scores = (AdapterScore(arm="adapted", metric="rouge_l", rows=4, mean=0.25),)
    made = put(library, scores=scores, picks={"base": 2}, note="né\nw")
    again = Library(library.folder)
    assert again.entries() == [made] == [again.record(made.id)]
    assert made.folder == library.folder / made.id / "adapter" and made.norms == {"layers.0.q": (1.0, 0.5)}
    stored = json.loads((made.folder.parent / "record.json").read_text())
    assert stored["version"] == 1 and "folder" not in stored and "id" not in stored


def test_records_of_the_time_when_all_were_generated_are_read(library: Library) -> None:
    made = put(library)
    file = made.folder.parent / "record.json"
    stored = json.loads(file.read_text())
    later = {"origin", "parts", "kept", "imported", "changes", "command", "rank"}
    later |= {"label", "made_from", "start", "start_name", "context", "verdict", "rows", "taught_by"}
    later |= {"template", "text_files", "prompt_share"}
    file.write_text(json.dumps({name: value for name, value in stored.items() if name not in later}))
    assert later < set(stored)
    (found,) = library.entries()
    assert found == made and found.origin == "generated"
    # They were all made by a generator, and are so again.
    assert found.solve == ContextChoice(made_from="generator")
    assert found.prompts == PromptChoice(source=Path("data/topics.jsonl")) and found.source_words == "topics.jsonl"


def test_a_solved_adapter_is_made_again_as_it_was(library: Library) -> None:
    put(library, made_from="both", context="Answer briefly.", label="topic", verdict="9 of 10 right")
    (found,) = Library(library.folder).entries()
    assert isinstance(found, AdapterRecord) and found.verdict == "9 of 10 right"
    assert found.solve == ContextChoice(made_from="both", context="Answer briefly.")
    assert found.prompts == PromptChoice(source=Path("data/topics.jsonl"), label="topic")
    request = GenerateRequest(models=found.models, prompts=found.prompts, solve=found.solve, out=Path("again"))
    line = command_line(request)
    assert "--label topic" in line and "--from both --context 'Answer briefly.'" in line
    told = dict(facts(found))
    assert (told["held out"], told["instruction"]) == ("9 of 10 right", "Answer briefly.")
    assert told["made from"].startswith("an instruction and answered examples") and "labels topic" in told["made from"]


def test_who_wrote_the_answers_is_kept_and_told(library: Library) -> None:
    put(library, made_from="examples", rows=64, taught_by={"qwen": 60})
    (found,) = Library(library.folder).entries()
    assert isinstance(found, AdapterRecord)
    assert dict(facts(found))["answers"] == dict(RunFacts.of(found).lines())["answers"] == "64 answers, 60 by qwen"
    assert "answers" not in dict(facts(put(library, made_from="examples", rows=64)))


def test_a_trained_adapter_is_made_again_from_the_same_start(library: Library) -> None:
    start = put(library, name="topics")
    put(library, made_from="refined", start=start.id, start_name=start.name, label="topic", seed=3)
    found = library.entries()[0]
    assert isinstance(found, AdapterRecord) and not found.why_not_trained
    told = dict(facts(found))
    assert told["made from"].startswith("training on answers") and told["trained from"] == "topics"
    plan = plan_of(found)
    assert plan and plan.name == "topics, trained"
    line = command_line(plan.request(Path("again")))
    assert line.startswith(f"dnd-tui refine {start.folder} data/topics.jsonl --out again")
    assert "--label topic" in line and "--seed 3" in line


def test_what_was_combined_or_imported_comes_back_and_has_no_prompts(library: Library) -> None:
    parts = (WeightedName(name="a", weight=1.0), WeightedName(name="b + c", weight=-0.5))
    common = {"source": None, "dataset": "", "generator": None, "generator_digest": "", "rank": 4}
    put(library, name="sum", origin="combined", parts=parts, kept={"all": 0.5}, command="dnd-tui x", **common)
    put(library, name="other", origin="imported", imported=Path("/x/lora"), changes=("It was rsLoRA.",), **common)
    other, summed = Library(library.folder).entries()
    assert isinstance(summed, AdapterRecord) and isinstance(other, AdapterRecord)
    assert summed.parts == parts and summed.source_words == "a - 0.5 x (b + c)" and summed.prompts is None
    assert other.changes == ("It was rsLoRA.",) and other.source_words == "lora" and other.prompts is None


@pytest.mark.parametrize(
    ("parts", "words"),
    [([("a", -1.0)], "-a"), ([("a", 0.25), ("b", 1.0)], "0.25 x a + b"), ([("a-b", 2.0), ("c", -1.0)], "2 x a-b - c")],
)
def test_a_sum_in_words(parts: list[tuple[str, float]], words: str) -> None:
    assert sum_words([WeightedName(name=name, weight=weight) for name, weight in parts]) == words


def test_a_library_can_be_moved(library: Library, tmp_path: Path) -> None:
    made = put(library)
    library.folder.rename(tmp_path / "other place")
    (found,) = Library(tmp_path / "other place").entries()
    assert found.folder == tmp_path / "other place" / made.id / "adapter" and found.folder.is_dir()


def test_the_newest_comes_first_and_places_without_adapter_are_left_out(library: Library) -> None:
    made = [put(library, name=name).id for name in "abc"]
    library.new_place()
    assert [entry.id for entry in library.entries()] == made[::-1]


def test_a_record_needs_its_adapter(library: Library) -> None:
    id, folder = library.new_place()
    with pytest.raises(EngineError, match="no adapter was written there"):
        library.add(record(id, folder))
    assert library.entries() == []


def test_names_are_unique(library: Library) -> None:
    made = [put(library, name=name) for name in ("topics", "Topics", "topics", "topics 2", " \n ", "a\x1b[31m\nb")]
    assert [each.name for each in made] == ["topics", "Topics 2", "topics 3", "topics 2 2", "adapter", "a\\x1b[31m b"]
    assert library.rename(made[0].id, "topics").name == "topics"
    assert library.rename(made[0].id, "adapter").name == "adapter 2"
    assert "topics" not in names(library)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_name_is_kept_and_stays_unique(tmp_path_factory: pytest.TempPathFactory, wanted: list[str]) -> None:
    library = Library(tmp_path_factory.mktemp("library"))
    for name in wanted:
        put(library, name=name)
    found = names(library)
    assert len({name.casefold() for name in found}) == len(wanted)
    assert all(name and one_line(name) == name for name in found)


def test_changes_are_stored(library: Library) -> None:
    id = put(library).id

    def score(metric: str, mean: float) -> AdapterScore:
        return AdapterScore(arm="adapted", metric=metric, rows=4, mean=mean)

    library.add_scores(id, [score("rouge_l", 0.1), score("exact_match", 0.2)])
    library.add_scores(id, [score("rouge_l", 0.3)])
    library.set_picks(id, {"base": 1})
    library.set_picks(id, {"adapted": 2})
    changed = library.set_note(id, "mine")
    assert changed == library.record(id)
    assert {each.metric: each.mean for each in changed.scores} == {"rouge_l": 0.3, "exact_match": 0.2}
    assert (changed.picks, changed.note, changed.name) == ({"adapted": 2}, "mine", "topics")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{half", "the record is broken JSON"),
        (b'{"version": 1, "name": "x"}', "the record base is missing"),
        (b'{"version": 7}', "the record is of version 7, written by another dnd-tui"),
        (None, "no record to be read"),
    ],
)
def test_a_damaged_record_is_listed_and_left_alone(library: Library, content: bytes | None, problem: str) -> None:
    good, bad = put(library, name="good"), put(library, name="bad")
    file = bad.folder.parent / "record.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    damaged, other = library.entries()
    assert other == good and isinstance(damaged, DamagedAdapter)
    assert damaged.problem.startswith(problem) and damaged.folder.is_dir()
    with pytest.raises(EngineError, match=problem):
        library.set_note(bad.id, "x")
    assert file.exists() == (content is not None) and (content is None or file.read_bytes() == content)
    library.delete(bad.id)
    assert library.entries() == [good]
    library.undo_delete(bad.id)
    assert library.entries() == [damaged, good]


def test_a_record_whose_adapter_is_gone_is_damaged(library: Library) -> None:
    made = put(library)
    made.folder.rename(made.folder.with_name("elsewhere"))
    assert names(library) == ["the record its folder adapter is missing"]


def test_deleting_can_be_undone(library: Library) -> None:
    made = put(library)
    library.delete(made.id)
    assert library.entries() == [] and (library.folder / ".deleted" / made.id / "adapter").is_dir()
    other = put(library)
    library.undo_delete(made.id)
    assert {entry.id for entry in library.entries()} == {made.id, other.id}
    assert library.record(made.id).name == "topics 2"
    with pytest.raises(EngineError, match="not there any more"):
        library.undo_delete(made.id)


@pytest.mark.parametrize("id", ["", ".", "..", ".deleted", "a/b", "../library", "nothing", "/etc"])
def test_only_places_of_the_library_are_touched(library: Library, id: str) -> None:
    put(library)
    for action in (library.delete, library.record, library.undo_delete):
        with pytest.raises(EngineError, match=r"no such adapter|not there any more"):
            action(id)
    assert len(library.entries()) == 1


def test_tidying_removes_what_was_deleted_a_week_ago(library: Library) -> None:
    old, new = put(library), put(library, name="kept")
    age(old.folder.parent, 30 * DAY)
    age(new.folder.parent, 30 * DAY)
    library.delete(old.id)
    library.delete(new.id)
    age(library.folder / ".deleted" / old.id, 8 * DAY)
    library.tidy()
    assert [each.name for each in (library.folder / ".deleted").iterdir()] == [new.id]
    library.undo_delete(new.id)
    assert names(library) == ["kept"]


def test_a_job_that_ends_without_an_adapter_leaves_no_place(library: Library) -> None:
    kept = put(library)
    id, folder = library.new_place()
    folder.mkdir()  # stopped a moment too late
    (folder.parent / ".adapter.x.part").mkdir()
    for each in (id, kept.id, "..", ""):
        library.give_up(each)
    assert not folder.parent.exists() and library.record(kept.id) == kept


def test_tidying_removes_what_killed_jobs_left_but_nothing_under_way(library: Library) -> None:
    kept = put(library)
    places = {name: library.new_place()[1].parent for name in ("running", "killed", "empty", "not ours")}
    left = places["killed"] / ".adapter.abcdefgh.part", kept.folder.parent / ".record.json.abcdefgh.part"
    left[0].mkdir()
    left[1].touch()
    (places["not ours"] / "notes.txt").touch()
    with replacing_folder(places["running"] / "adapter") as part:
        age(part, 2 * DAY)  # the clock has jumped
        library.tidy()
        assert part.exists() and not any(map(Path.exists, left))
        for place in places.values():
            age(place, 2 * DAY)
        library.tidy()
        assert [name for name, place in places.items() if place.exists()] == ["running", "not ours"]
    assert sorted(each.name for each in kept.folder.parent.iterdir()) == ["adapter", "record.json"]


def test_what_was_half_removed_for_good_goes_at_the_next_start(library: Library) -> None:
    made = put(library)
    library.delete(made.id)
    (library.folder / ".deleted" / made.id).rename(library.folder / ".deleted" / f".{made.id}")
    library.tidy()
    assert list((library.folder / ".deleted").iterdir()) == []


APP = """
import sys
from pathlib import Path
from dnd_tui.state.adapter_record import AdapterScore
from tests.unit.test_app_library import Library, put
library, shared, me = Library(Path(sys.argv[1])), sys.argv[2], sys.argv[3]
for number in range(4):
    library.add_scores(shared, [AdapterScore(arm=me, metric=str(number), rows=1, mean=0.5)])
    library.rename(shared, f"shared {me} {number}")
    own = put(library, name="own")
    library.set_note(own.id, f"{me} {number}")
    library.delete(own.id)
    library.tidy()
    library.undo_delete(own.id)
    library.entries()
"""


def test_three_apps_at_once_lose_nothing_of_each_other(library: Library) -> None:
    """Each scores and renames a shared adapter, adds its own, deletes them and brings them back."""
    id = put(library, name="shared").id
    apps = [subprocess.Popen([sys.executable, "-c", APP, str(library.folder), id, me]) for me in "abc"]
    assert [app.wait(timeout=100) for app in apps] == [0, 0, 0]
    everything = [(me, number) for me in "abc" for number in range(4)]
    assert sorted((score.arm, int(score.metric)) for score in library.record(id).scores) == everything
    own = [entry for entry in library.entries() if isinstance(entry, AdapterRecord) and entry.id != id]
    assert sorted(entry.note for entry in own) == [f"{me} {number}" for me, number in everything]
    assert len({entry.name for entry in own}) == len(everything)
    assert not list(library.folder.rglob("*.part"))


def test_an_adapter_that_another_app_deletes_is_missed_in_words(library: Library) -> None:
    made = put(library)
    other = Library(library.folder)
    other.delete(made.id)
    for change in (lambda: library.delete(made.id), lambda: library.set_note(made.id, "x"), lambda: library.add(made)):
        with pytest.raises(EngineError, match="no such adapter"):
            change()
    library.undo_delete(made.id)
    with pytest.raises(EngineError, match="not there any more"):
        other.undo_delete(made.id)
    assert other.entries() == [made]


def test_times_of_a_run_are_shown_once_they_are_whole() -> None:
    facts = RunFacts()
    facts.handle(StageFinished("read", 0.25, None, ""))
    facts.handle(StageFinished("solve", 1.5, 2**20, ""))
    assert dict(facts.lines()) == {"memory": "1 MB"}
    facts.finish({"made_from": "examples", "parameters": 8, "bytes": 16})
    assert dict(facts.lines())["whole run"] == "1.8 s, warm"
