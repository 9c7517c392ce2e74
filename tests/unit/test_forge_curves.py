"""Curves and pace out of the logs of earlier runs, and the curves as a picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from engine.forge import curves
from engine.forge.curves import Curve, as_svg, read_curves, read_pace


def write_log(folder: Path, lines: list[Any], name: str = "log.jsonl") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / name).write_text(text)
    return folder


def line(stage: str, step: int, loss: float, seconds: float = 1.0) -> dict[str, Any]:
    return {"time": 1.0, "stage": stage, "step": step, "loss": loss, "seconds": seconds}


def test_a_curve_a_stage(tmp_path: Path) -> None:
    write_log(tmp_path, [line("multi-task", 1, 2.5), line("multi-task", 2, 2.0), line("library", 1, 1.0)])
    assert read_curves(tmp_path) == {"multi-task": [(1, 2.5), (2, 2.0)], "library": [(1, 1.0)]}


def test_steps_done_again_after_a_kill_count_once(tmp_path: Path) -> None:
    write_log(tmp_path, [line("m", 1, 3), line("m", 2, 9), '{"time": 1, "stage": "m", "st', line("m", 2, 2)])
    assert read_curves(tmp_path) == {"m": [(1, 3.0), (2, 2.0)]}


def test_held_out_losses_are_curves_of_their_own(tmp_path: Path) -> None:
    held_out = {"time": 1, "stage": "held-out", "step": 25, "multi_task": 1.5, "generated": 1.25, "other_prompts": 1.75}
    write_log(tmp_path, [line("language loss", 25, 1.0), held_out], "run/log.jsonl")
    assert read_curves(tmp_path) == {
        "language loss": [(25, 1.0)],
        "held_out_multi_task": [(25, 1.5)],
        "held_out_generated": [(25, 1.25)],
        "held_out_other_prompts": [(25, 1.75)],
    }


@pytest.mark.parametrize(
    "broken", ["", "[1, 2]", '"text"', "{}", '{"stage": 1, "step": 2}', "\x00\x01", "[" * 10_000, '{"stage": "a"}']
)
def test_lines_that_are_none_are_passed_by(tmp_path: Path, broken: str) -> None:
    write_log(tmp_path, [broken, line("m", 1, 3), line("m", 2, float("nan")), line("m", 3, float("inf"))])
    assert read_curves(tmp_path) == {"m": [(1, 3.0)]}


def test_without_a_log_there_are_none(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "nothing") == {} and read_pace(tmp_path) == {}


def test_long_curves_are_thinned_and_keep_their_end(tmp_path: Path) -> None:
    write_log(tmp_path, [line("m", step, step) for step in range(1, 5001)])
    (curve,) = read_curves(tmp_path).values()
    assert 500 <= len(curve) <= 1000 and curve[-1] == (5000, 5000.0) and curve == sorted(curve)


def test_of_a_large_log_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "_LARGEST_READ", 1000)
    write_log(tmp_path, [line("m", step, step) for step in range(1, 101)])
    (curve,) = read_curves(tmp_path).values()
    assert curve[-1] == (100, 100.0) and curve[0][0] > 50


def test_pace_is_that_of_the_last_steps(tmp_path: Path) -> None:
    slow = [line("m", step, 1.0, seconds=100.0) for step in range(30)]
    quick = [line("m", 30 + step, 1.0, seconds=2.0) for step in range(20)]
    write_log(tmp_path, [*slow, *quick, line("l", 1, 1.0, 4.0), line("l", 2, 1.0, 6.0)])
    assert read_pace(tmp_path) == {"m": 2.0, "l": 5.0}


def test_a_generator_that_is_passed_on_carries_its_logs(tmp_path: Path) -> None:
    write_log(tmp_path, [line("multi-task", 1, 2.0)], "log/collect.jsonl")
    write_log(tmp_path, [line("warm start", 1, 1.0)], "log/train.jsonl")
    assert set(read_curves(tmp_path)) == {"multi-task", "warm start"}


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys, engine.forge.curves, engine.forge.plan; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2]).returncode == 0


def paths(picture: ElementTree.Element) -> list[list[tuple[float, ...]]]:
    return [
        [tuple(map(float, point.split(","))) for point in path.attrib["points"].split()]
        for path in picture.findall("{*}polyline")
    ]


def test_each_stage_has_a_panel_and_held_out_losses_share_one() -> None:
    curves: dict[str, Curve] = {
        "multi-task": [(step, 3.0 - step / 50) for step in range(1, 101)],
        "held_out_multi_task": [(50, 3.1), (100, 3.1)],
        "held_out_generated": [(50, 3.0), (100, 2.9)],
    }
    picture = ElementTree.fromstring(as_svg(curves))
    words = [text.text for text in picture.findall("{*}text")]
    assert words.count("multi-task") == 1 and words.count("held-out tasks") == 1
    assert {"multi task 3.100", "generated 2.900", "100"} <= set(words)
    every, mean, held_out, generated = paths(picture)
    assert (len(every), len(mean), len(held_out), len(generated)) == (100, 100, 2, 2)
    # A falling loss goes down the page, to the right; the panels are one below the other.
    assert every == sorted(every) and every[0][1] < every[-1][1] < held_out[0][1]
    assert generated[1][1] > held_out[1][1]
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert all(0 <= x <= width and 0 <= y <= height for path in paths(picture) for x, y in path)


def test_what_goes_up_and_down_has_an_even_mean() -> None:
    picture = ElementTree.fromstring(as_svg({"library": [(step, float(step % 2)) for step in range(1, 601)]}))
    every, mean = ([down for _, down in path] for path in paths(picture))
    assert max(mean) - min(mean) < 0.2 * (max(every) - min(every))


@pytest.mark.parametrize("curves", [{}, {"library": [(1, 2.0)]}])
def test_little_or_nothing_is_a_picture(curves: dict[str, Curve]) -> None:
    assert ElementTree.fromstring(as_svg(curves)).tag.endswith("svg")
