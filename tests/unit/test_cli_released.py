"""The released generator is found in a checkout and in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import released
from engine.errors import EngineError


@pytest.mark.parametrize("place", ["assets/generator", "engine/assets/generator"])
def test_found_beside_or_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(released, "_PACKAGE", tmp_path / "engine")
    (tmp_path / place).mkdir(parents=True)
    assert released.released_generator() == tmp_path / place


def test_none_there_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(released, "_PACKAGE", tmp_path / "engine")
    with pytest.raises(EngineError, match="with generator"):
        released.released_generator()
