"""The map of an adapter."""

from __future__ import annotations

import pytest

from dnd_tui.widgets.heat_map import AdapterMap
from tests.tui.widget_host import WidgetHost

KINDS = ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")


def norms(layers: int) -> dict[str, tuple[float, float]]:
    """Norms of the generated update grow by layer, from 0.5; the frame's are all 1."""
    return {f"model.layers.{at}.{kind}": (0.5 + at / 10, 1.0) for at in range(layers) for kind in KINDS}


@pytest.fixture
def colourless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


async def test_both_adapters_side_by_side_with_one_scale() -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(80, 24)) as pilot:
        picture.show(norms(30))
        await pilot.pause()
        lines = app.lines()
        assert "▸generated and frame" in lines[0]
        assert lines[1].split("  ")[0] == "" and lines[1].split() == ["generated", "frame"]
        assert [line.split()[0] for line in lines[2:5]] == ["q", "k", "down"]
        assert lines[6].startswith("0.1 ") and " 100  norm of the update, log scale" in lines[6]


async def test_without_a_base_adapter_there_is_one_map_of_the_update() -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(80, 24)) as pilot:
        picture.show({path: (norm, 0.0) for path, (norm, _) in norms(30).items()})
        await pilot.press("tab", "v")
        await pilot.pause()
        lines = app.lines()
        assert lines[0].split() == ["▸update"] and [line.split()[0] for line in lines[1:4]] == ["q", "k", "down"]
        assert lines[5].startswith("0.1 ") and " 100  norm of the update, log scale" in lines[5]
        assert "layer 0" in app.shown() and "norm of the update 0.5" in app.shown()
        assert "frame" not in app.shown()


@pytest.mark.parametrize("width", [36, 44, 56, 80])
async def test_the_legend_fits_its_width(width: int) -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(width, 24)) as pilot:
        picture.show(norms(30))
        await pilot.pause()
        legend = next(line for line in app.lines() if line.startswith("0.1 ") and " 100" in line)
        assert legend.rstrip().endswith("log scale")


async def test_what_is_alike_looks_alike_on_a_scale_that_does_not_follow_it(colourless: None) -> None:
    picture = AdapterMap()
    picture.view = "difference"
    app = WidgetHost(picture)
    async with app.run_test(size=(60, 20)) as pilot:
        # Some differ from the frame a little more than others: by 0.1 % and by 0.3 %.
        picture.show({path: (1.001 if "q_proj" in path else 1.003, 1.0) for path in norms(8)})
        await pilot.pause()
        lines = app.lines()
        assert any(line.startswith("0 % ") and " 100 %  difference" in line for line in lines)
        cells = {line.split()[0]: line[5:] for line in lines if line.split()[:1] in (["q"], ["k"], ["down"])}
        assert len(cells) == 3 and len(set(cells.values())) == 1 and not cells["q"].strip()


async def test_the_key_goes_through_the_views_where_one_fits() -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(60, 20)) as pilot:
        picture.show(norms(30))
        await pilot.press("tab")
        shown = []
        for _ in range(4):
            await pilot.pause()
            shown.append(next(word for word in ("generated", "frame", "difference") if f"▸{word}" in app.lines()[0]))
            await pilot.press("v")
        assert shown == ["generated", "frame", "difference", "generated"]


async def test_a_click_chooses_a_view() -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(80, 24)) as pilot:
        picture.show(norms(30))
        await pilot.pause()
        await pilot.click(AdapterMap, offset=(app.lines()[0].index("difference") + 2, 0))
        await pilot.pause()
        assert "▸difference" in app.lines()[0] and "100 %" in app.shown()
        assert "difference from the frame" in app.shown()


async def test_the_arrow_keys_tell_every_figure_of_a_cell() -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(60, 20)) as pilot:
        picture.show(norms(30))
        await pilot.press("tab", *["right"] * 12, "down")
        assert "layer 12 self_attn.k_proj" in app.shown()
        assert "generated 1.7 frame 1 difference +70 %" in app.shown()
        await pilot.press("end", "down", "down", "down")
        assert "layer 29 mlp.down_proj" in app.shown()
        assert "◆" in app.lines()[3]
        await pilot.press("home", "left", "up", "up")
        assert "layer 0 self_attn.q_proj" in app.shown() and "difference -50 %" in app.shown()


async def test_the_mouse_tells_the_cell_under_it_and_a_click_keeps_it() -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(60, 20)) as pilot:
        picture.show(norms(30))
        await pilot.hover(AdapterMap, offset=(5 + 3, 2))
        await pilot.pause()
        assert "layer 3 self_attn.k_proj" in app.shown()
        await pilot.hover(AdapterMap, offset=(0, 0))
        await pilot.pause()
        assert "largest: layer 29" in app.shown()
        await pilot.click(AdapterMap, offset=(5 + 4, 1))
        await pilot.hover(AdapterMap, offset=(0, 0))
        await pilot.pause()
        assert picture.has_focus
        assert "layer 4 self_attn.q_proj" in app.shown()


async def test_it_fills_while_the_adapter_is_made(colourless: None) -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(60, 20)) as pilot:
        assert app.shown() == "No adapter yet"
        everything = norms(30)
        picture.expect(everything)
        await pilot.pause()
        assert app.lines()[1].count("·") == 30
        picture.add({path: pair for path, pair in everything.items() if ".0." in path or ".1." in path})
        await pilot.pause()
        assert app.lines()[1].count("·") == 28
        picture.clear()
        await pilot.pause()
        assert app.shown() == "No adapter yet"


async def test_shades_without_colours_grow_with_the_norm(colourless: None) -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(60, 20)) as pilot:
        picture.show({path: (10 ** (4 * pair[0] - 3), 0.5) for path, pair in norms(30).items()})
        await pilot.pause()
        row = app.lines()[1].ljust(60)[5:35]
        levels = [" ░▒▓█".index(mark) for mark in row]
        assert levels == sorted(levels) and set(levels) == {0, 1, 2, 3, 4}
        assert "░▒▓█" in "".join(dict.fromkeys(app.lines()[5]))


async def test_with_colours_a_larger_norm_has_another_background() -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(60, 20)) as pilot:
        picture.show(norms(30))
        await pilot.pause()
        strip = picture.render_line(1)
        colours = {segment.style.bgcolor for segment in strip if segment.style and segment.text.strip() == ""}
        assert len(colours) > 20


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (160, 50), (300, 80)])
@pytest.mark.parametrize("layers", [1, 30, 100])
async def test_all_layers_fit_at_every_size(size: tuple[int, int], layers: int) -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=size) as pilot:
        picture.show(norms(layers))
        await pilot.press("tab", "end")
        assert f"{layers - 1} self_attn.q_proj" in app.shown()
        assert max(map(len, app.lines())) <= size[0]


async def test_norms_that_are_no_numbers_stand_out() -> None:
    picture = AdapterMap()
    app = WidgetHost(picture)
    async with app.run_test(size=(60, 20)) as pilot:
        picture.show({**norms(3), "model.layers.1.self_attn.q_proj": (float("nan"), 0.0)})
        await pilot.press("tab", "right")
        assert "generated nan frame 0 difference -" in app.shown()
        await pilot.press("down")
        assert "!" in app.lines()[2]
