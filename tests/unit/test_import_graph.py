"""What holds of the code as text: no circles of imports in the app, screens where `places` says, the right clock."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import dnd_tui
from dnd_tui.places import PLACES

APP = Path(dnd_tui.__file__).parent
ROOT = APP.parent
MODULES = {
    ".".join(("dnd_tui", *file.relative_to(APP).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in APP.rglob("*.py")
}


def imported(file: Path) -> Iterator[str]:
    """The app's modules that a file imports as it runs, also in its functions; not those for types alone."""
    nodes: list[ast.AST] = [ast.parse(file.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            paths = [f"{node.module}.{name.name}" for name in node.names]
            yield from (path if path in MODULES else str(node.module) for path in paths)


def test_no_module_of_the_app_imports_itself_by_way_of_others() -> None:
    graph = {name: {path for path in imported(file) if path in MODULES} for name, file in MODULES.items()}
    assert graph["dnd_tui.palette"] >= {"dnd_tui.places", "dnd_tui.bindings"}
    TopologicalSorter(graph).prepare()  # fails with the circle, if there is one


def test_every_screen_is_where_the_list_of_places_has_it() -> None:
    for mode, place in PLACES.items():
        assert place.mode == mode == vars(place.screen_class())["MODE"]


def test_nothing_is_timed_by_a_clock_that_jumps() -> None:
    """The time of day stands in logs and records; how long something took, or may take, it cannot say."""
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("engine", "dnd_tui")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\btime\.time\b", path.read_text(encoding="utf-8"))
    }
    assert found == {"dnd_tui/journal.py", "dnd_tui/state/library.py", "engine/training/loop.py"}
