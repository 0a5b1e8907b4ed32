import sys
from io import BytesIO, StringIO
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import BATCH, life, run_of, sweep_of
from PIL import Image
from rich.console import Console, RenderableType
from superinfer_runtime.sim.report import plots
from superinfer_runtime.sim.report.grids import Grid, share
from superinfer_runtime.sim.report.html_page import html_page, note, parameters_table, table
from superinfer_runtime.sim.report.html_report import CAVEATS, run_page, sweep_page
from superinfer_runtime.sim.report.summary import summarize
from superinfer_runtime.sim.report.tables import max_rate_table, run_tables, sweep_tables
from superinfer_runtime.sim.result import RunResult

pytestmark = pytest.mark.slow

POLICIES = ("stock", "fcfs-swap", "edf", "sjf-oracle", "mlfq", "released", "lvf", "rotasched")
HOSTILE = "<script>alert('x')</script> & \"co\" $x_1$ \x00"


def runs(*policies: str) -> list[RunResult]:
    return [
        run_of(life(0.5, 0.05), life(2.0, 0.3), life(9.0, 0.5, slo_class=BATCH), policy=policy)
        for policy in policies
    ]


def printed(renderable: RenderableType, width: int) -> str:
    out = StringIO()
    Console(file=out, width=width).print(renderable)
    return out.getvalue()


def parsed(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page)


def test_tables_fit_100_columns() -> None:
    summaries = [summarize(run) for run in runs(*POLICIES)]
    text = printed(run_tables(summaries), 100)
    assert "…" not in text
    for name in POLICIES:
        assert sum(line.strip().startswith(f"{name} ") for line in text.splitlines()) == 3
    for expected in ("1s/125ms", "50.0%", "66.7%", "100.0%", "DRAM peak"):
        assert expected in text
    text = printed(sweep_tables(sweep_of(*POLICIES)), 100)
    assert "paper: attainment by request rate" in text
    assert "≥ 99 %" in text
    assert "≥ 90 %" in printed(max_rate_table(sweep_of("stock")), 80)


def test_markup_in_a_name_is_only_text_on_a_terminal() -> None:
    assert "[red]mine[/]" in printed(max_rate_table(sweep_of("[red]mine[/]")), 100)


@given(st.floats(0, 1))
def test_only_all_is_shown_as_all(part: float) -> None:
    assert (share(part) == "100.0%") == (part == 1)


@given(st.lists(st.text(), min_size=2, max_size=2), st.text())
def test_any_text_stands_in_a_well_formed_page(names: list[str], title: str) -> None:
    grid = Grid(title, 1, ("name", names[0]), (((names[1], title),),))
    page = html_page(title, [note(title), table(grid), parameters_table({names[0]: names})])
    root = parsed(page)
    assert root.find("head/title") is not None
    assert {element.tag for element in root.iter()}.isdisjoint({"script", "link", "img"})


def test_a_sweep_page_holds_everything_and_refers_to_nothing() -> None:
    page = sweep_page(sweep_of(*POLICIES, scenario=HOSTILE), HOSTILE)
    assert "http" not in page
    assert "<script" not in page
    root = parsed(page)
    title = root.find("head/title")
    assert title is not None
    assert title.text == HOSTILE.replace("\x00", "�")
    assert len(root.findall(".//svg")) == 3
    words = "".join(root.itertext())
    for expected in (*CAVEATS, *POLICIES, "Parameters", "tiny", "joint attainment"):
        assert expected in words


def test_what_a_chart_refers_to_is_in_it() -> None:
    root = parsed(sweep_page(sweep_of("stock", "rotasched"), "t"))
    everywhere: list[str] = []
    for svg in root.iter("svg"):
        ids = [element.attrib["id"] for element in svg.iter() if "id" in element.attrib]
        for element in svg.iter("use"):
            assert element.attrib["href"].removeprefix("#") in ids
        clips = {element.get("clip-path") for element in svg.iter()} - {None}
        assert clips <= {f"url(#{one})" for one in ids}
        everywhere += ids
    assert len(everywhere) == len(set(everywhere)) > 0


def test_charts_take_their_colours_from_the_page() -> None:
    page = sweep_page(sweep_of("rotasched"), "t")
    orange = "#d55e00"
    assert f"--c-d55e00: {orange};" in page
    assert page.count(orange) == 1
    assert "var(--c-d55e00)" in page


def test_a_run_page_shows_each_policy() -> None:
    root = parsed(run_page(runs(*POLICIES), "One workload", {"rate": 8, "trace": "a & b"}))
    words = "".join(root.itertext())
    for expected in (*POLICIES, "One workload", "a & b", "chat", "batch"):
        assert expected in words
    assert len(root.findall(".//svg")) == 1


def test_equal_data_give_equal_bytes() -> None:
    sweep = sweep_of("stock", "rotasched")
    for chart in (
        lambda: plots.png(plots.attainment_figure(sweep, "paper")),
        lambda: plots.png(plots.max_rate_figure(sweep, 0.9)),
        lambda: plots.png(plots.ttft_figure(runs("stock", "lvf"))),
        lambda: sweep_page(sweep, "t"),
        lambda: run_page(runs("stock", "lvf"), "t", {}),
    ):
        assert chart() == chart()


def test_a_users_matplotlib_settings_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_of("stock")
    before = plots.png(plots.attainment_figure(sweep, "paper"))
    monkeypatch.setitem(plots.matplotlib.rcParams, "axes.facecolor", "red")
    assert plots.png(plots.attainment_figure(sweep, "paper")) == before
    assert plots.matplotlib.rcParams["axes.facecolor"] == "red"


def test_a_png_is_a_picture_in_the_policys_colour() -> None:
    picture = Image.open(BytesIO(plots.png(plots.max_rate_figure(sweep_of("lvf"), 0.9))))
    counts = picture.convert("RGB").getcolors(maxcolors=1 << 20)
    assert counts is not None
    assert (0x00, 0x72, 0xB2) in {colour for count, colour in counts if count > 1000}


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, plots.__name__)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'superinfer\[sim\]'"):
        __import__(plots.__name__)
