"""Table, plot and command line of the benchmark."""

from __future__ import annotations

import json
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.__main__ import dumped
from bench.calibration import Endpoint
from bench.facts import cpu_model, is_virtual, machine_label
from bench.measures import MEMORY_MEASURES, ROUND_MEASURES
from bench.plot import lengths, svg
from bench.summary import METRICS, TITLES, goals, remarks, rows
from bench.table import cell, markdown
from bench.targets import TARGETS, Place, nginx_configuration
from lab.progress import silent


def sample(target: str, measure: str, number: int, **figures: Any) -> dict[str, Any]:
    return {"target": target, "measure": measure, "round": number, "figures": figures}


def results(*samples: dict[str, Any], **absent: str) -> dict[str, Any]:
    """Results as a run leaves them."""
    machine = {
        "cpu": "AMD EPYC", "cores": 2, "is_virtual": True, "memory_gib": 23.5, "kernel": "6.1", "load_average_before": [0.1, 0, 0],
        "cores_of_load_and_upstream": [0], "cores_of_the_target": [1],
    }  # fmt: skip
    return {
        "date": "2026-11-24T05:00:00+00:00", "commit": "abc", "machine": machine, "versions": {"python": "3.11.7", "nginx": ""},
        "seconds": 60, "effort": {"rounds": 2}, "absent": absent, "samples": list(samples),
    }  # fmt: skip


SAMPLES = (
    sample("adapter", "paced", 1, cpu_us=20.0, per_s=6400.0, busy=0.2),
    sample("fastapi", "paced", 1, cpu_us=100.0, per_s=5000.0, busy=1.0),
    sample("adapter", "paced", 2, cpu_us=30.0, per_s=6400.0, busy=0.2),
    sample("fastapi", "paced", 2, cpu_us=120.0, per_s=5000.0, busy=1.0),
    sample("direct", "first-128", 1, p50_ms=2.0),
    sample("adapter", "first-128", 1, p50_ms=5.0),
    sample("nginx", "first-128", 1, p50_ms=3.5),
    sample("nginx", "short", 1, per_s=20_000.0, cpu_us=30.0, busy=0.6, wrong=0),
    sample("adapter", "short", 1, failed="timed out"),
    sample("fastapi", "short", 1, per_s=400.0, cpu_us=2000.0, busy=1.0, wrong=3, units=97),
)  # fmt: skip


def test_a_row_has_medians_and_the_ratios_of_each_round() -> None:
    row = next(row for row in rows(SAMPLES) if row.metric.key == "paced.cpu_us")
    assert row.spreads["adapter"].median == 25.0
    assert (row.ratios["fastapi"].low, row.ratios["fastapi"].high) == (4.0, 5.0)
    assert "adapter" not in row.ratios


def test_a_first_token_is_what_is_added_to_the_direct_one() -> None:
    row = next(row for row in rows(SAMPLES) if row.metric.key == "first-128.p50_ms")
    assert {target: one.median for target, one in row.spreads.items()} == {"direct": 2.0, "adapter": 3.0, "nginx": 1.5}


def test_goals_are_judged_by_the_median() -> None:
    found = {goal.title: (goal.found.median, goal.is_reached) for goal in goals(SAMPLES)}
    assert found["CPU per paced token"] == (25.0, True)
    assert found["FastAPI + httpx against the adapter, CPU per paced token"] == (4.5, True)
    assert found["first token added, 128 streams beginning at once, adapter against nginx, p50"] == (2.0, True)
    worse = [*SAMPLES, sample("adapter", "paced", 3, cpu_us=26.0), sample("adapter", "paced", 4, cpu_us=40.0)]
    assert not goals(worse)[0].is_reached


def test_remarks_tell_of_failures_wrong_answers_and_saturation() -> None:
    waiting = sample("litellm", "idle", 1, units=500, wanted=1000, wrong=0)
    text = "\n".join(remarks([*SAMPLES, waiting]))
    assert "LiteLLM proxy, idle, round 1: 500 of 1000 streams began, the others waited" in text
    assert "this adapter, short, round 1: failed: timed out" in text
    assert "FastAPI + httpx, short, round 1: 3 of 100 answers were wrong" in text
    assert "FastAPI + httpx cannot keep up with paced tokens: 5,000 of 6,400 a second" in text


def test_the_page_shows_every_target_and_why_one_is_absent() -> None:
    page = markdown(results(*SAMPLES, litellm="pip | said\nno"))
    assert "| CPU per streamed token, paced, µs | – | 25.0 (20.0–30.0) | 110 (100–120) | – |" in page
    assert "LiteLLM proxy is absent: pip \\| said no" in page
    assert "≥ 20,000" in page  # the core of nginx was not full: the load was the limit
    assert "≥ 400" not in page


def test_a_single_round_has_no_spread_and_nothing_is_a_dash() -> None:
    assert cell(None) == "–"
    assert cell(rows(SAMPLES)[0].spreads["nginx"]) == "30.0"


def test_the_picture_is_well_formed_and_marks_the_adapter() -> None:
    picture = svg(results(*SAMPLES))
    root = xml.etree.ElementTree.fromstring(picture)
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "CPU per streamed token, paced, µs" in texts
    assert "25.0" in texts
    assert "this adapter" in texts


def test_bars_grow_with_their_values_and_end_where_the_longest_does() -> None:
    short, long, none = lengths([10.0, 1000.0, -1.0], 100.0)
    assert 0 < short < long == 100.0
    assert none == 0
    assert lengths([0.0], 100.0) == [0.0]


def test_raw_results_are_json_with_a_line_for_each_sample() -> None:
    kept = results(*SAMPLES)
    text = dumped(kept)
    assert json.loads(text) == kept
    assert sum('"target"' in line for line in text.splitlines()) == len(SAMPLES)


def test_what_can_be_chosen_is_what_there_is() -> None:
    assert cli.TARGET_NAMES == tuple(target.name for target in TARGETS) == tuple(TITLES)
    assert tuple(measure.name for measure in (*ROUND_MEASURES, *MEMORY_MEASURES)) == cli.MEASURE_NAMES
    assert {metric.measure for metric in METRICS} == set(cli.MEASURE_NAMES)


def test_without_options_everything_is_measured() -> None:
    options = cli.parser().parse_args([])
    assert (options.only, options.measures) == (list(cli.TARGET_NAMES), list(cli.MEASURE_NAMES))
    assert (options.quick, options.rounds, options.output) == (False, None, None)


def test_names_are_given_with_commas() -> None:
    options = cli.parser().parse_args(["--only", "adapter, nginx", "--measures", "paced", "--rounds", "9"])
    assert (options.only, options.measures, options.rounds) == (["adapter", "nginx"], ["paced"], 9)


@pytest.mark.parametrize("wrong", [["--only", "apache"], ["--only", ""], ["--measures", "speed"], ["--rounds", "0"]])
def test_a_wrong_option_ends_with_2_and_says_what_is_right(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.parser().parse_args(wrong)
    assert ending.value.code == 2
    assert "choose from" in (said := capsys.readouterr().err) or "from 1 on" in said


def test_the_machine_is_named_after_its_processor() -> None:
    cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC 7B13 64-Core Processor\nflags\t\t: fpu hypervisor sse\n"
    assert cpu_model(cpuinfo) == "AMD EPYC 7B13 64-Core Processor"
    assert is_virtual(cpuinfo)
    assert machine_label(cpu_model(cpuinfo), 2) == "amd-epyc-7b13-2c"
    assert machine_label("Intel(R) Xeon(R) CPU @ 2.20GHz", 4) == "intel-xeon-4c"


def test_nginx_passes_on_as_it_comes_over_kept_connections() -> None:
    text = nginx_configuration(Place(Path("/x"), 18100, Endpoint("openai", 18200), frozenset({1}), silent), "root")
    for wanted in (
        "user root;",
        "listen 127.0.0.1:18200",
        "server 127.0.0.1:18100",
        "proxy_buffering off",
        "keepalive 1024",
    ):
        assert wanted in text
    assert "user" not in nginx_configuration(Place(Path("/x"), 1, Endpoint("openai", 2), frozenset({1}), silent), "")
