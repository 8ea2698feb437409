"""The dashboards' files: as their descriptions say, whole, and readable. What their queries find: test_queries.py."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest

from roles.monitoring.dashboards import PAGES, files
from roles.monitoring.dashboards.panels import COLUMNS, WINDOW
from roles.monitoring.settings import AlertSettings

BOARDS: dict[str, dict[str, Any]] = {path.name: json.loads(text) for path, text in files().items()}
PANELS = {f"{name}: {panel['title']}": panel for name, board in BOARDS.items() for panel in board["panels"]}
DRAWN = {name: panel for name, panel in PANELS.items() if panel["type"] != "row"}


def test_the_files_hold_what_the_descriptions_say_and_there_are_no_others() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python -m roles.monitoring.dashboards"
    assert {path.name for path in next(iter(files())).parent.glob("*.json")} == set(BOARDS)


def test_there_are_the_five_that_an_operator_was_promised() -> None:
    assert [page.name for page in PAGES] == ["overview", "vllm", "adapter", "gpu", "host"]
    assert len({board["uid"] for board in BOARDS.values()}) == 5


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_ids_of_their_own_and_do_not_lie_on_each_other(name: str) -> None:
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS, panel["title"]
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            assert cell not in taken, f"{panel['title']} lies on {taken.get(cell)}"
            taken[cell] = panel["title"]
    deepest = max(y for _, y in taken) + 1
    assert len(taken) == COLUMNS * deepest, "a row is not filled"


def test_the_overview_fits_one_screen() -> None:
    """Of 1080 pixels, less 160 for the browser and the page's head; a row of the grid is 38 high."""
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in BOARDS["overview.json"]["panels"]) * 38 < 1000


@pytest.mark.parametrize("name", DRAWN)
def test_a_panel_says_what_it_shows_in_which_unit_and_what_stands_there_without_data(name: str) -> None:
    panel, defaults = DRAWN[name], DRAWN[name]["fieldConfig"]["defaults"]
    assert panel["description"].endswith((".", "Xid", "host")), panel["description"]
    assert defaults["unit"]
    assert defaults["noValue"]
    assert panel["targets"]
    if panel["type"] in ("timeseries", "gauge"):
        assert defaults["unit"] != "none", "a number with no unit"


@pytest.mark.parametrize("name", DRAWN)
def test_lines_of_one_panel_can_be_told_apart(name: str) -> None:
    legends = [target["legendFormat"] for target in DRAWN[name]["targets"]]
    assert len(set(legends)) == len(legends)
    if DRAWN[name]["type"] == "timeseries":
        assert "__auto" not in legends


@pytest.mark.parametrize("name", DRAWN)
def test_a_legends_labels_are_those_that_the_query_leaves(name: str) -> None:
    for target in DRAWN[name]["targets"]:
        wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        summed = re.findall(r"\b(?:sum|max|min) by \(([^)]*)\)", target["expr"])
        if summed and wanted:
            assert wanted <= {label.strip() for label in summed[0].split(",")}, target["expr"]


def test_thresholds_rise_and_begin_at_the_bottom() -> None:
    for name, panel in DRAWN.items():
        values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert values[0] is None, name
        assert all(low is None or low < high for low, high in pairwise(values)), name


@pytest.mark.parametrize(
    ("panel", "bound"),
    [
        ("Time to the first token", AlertSettings().ttft_s),
        ("KV cache in use", AlertSettings().kv_cache_share),
        ("Temperature of the cards", AlertSettings().gpu_temperature_c),
        ("Disk in use", 1 - AlertSettings().disk_free_share),
    ],
)
def test_the_dashed_lines_of_the_overview_are_the_bounds_of_the_alerts_as_delivered(panel: str, bound: float) -> None:
    steps = DRAWN[f"overview.json: {panel}"]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[-1]["value"] == bound


def test_rates_have_one_window_so_that_numbers_of_two_panels_agree() -> None:
    for name, panel in DRAWN.items():
        for target in panel["targets"]:
            windows = set(re.findall(r"rate\([^[]*\[(\w+)\]", target["expr"]))
            assert windows <= {WINDOW}, name


def test_every_page_leads_to_the_others() -> None:
    for board in BOARDS.values():
        targets = {link["url"].removeprefix("/d/") for link in board["links"]}
        assert targets == {other["uid"] for other in BOARDS.values()} - {board["uid"]}


def test_every_panel_asks_the_data_source_that_the_page_names() -> None:
    for board in BOARDS.values():
        (variable,) = board["templating"]["list"]
        assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert {target["datasource"]["uid"] for panel in DRAWN.values() for target in panel["targets"]} == {"${datasource}"}
