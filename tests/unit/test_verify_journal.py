"""Which lines of a journal are errors that count: lines as vLLM, Ollama, the adapter and systemd wrote them on hosts of the lab.

Those of the monitoring are in the form of logfmt that its servers document; they were not recorded.
"""

from __future__ import annotations

import json

import pytest

from roles.layout import GRAFANA, NODE_EXPORTER, PROMETHEUS
from roles.pins import ROOT
from tests.verify.journal import (
    Benign,
    Line,
    Span,
    clock_command,
    errors,
    journal_command,
    parse_lines,
    parse_spans,
    seconds_of,
    told,
)

NOW = 1764397000
VLLM, VISION, ADAPTER = "vllm.service", "ollama-vision.service", "ollama-adapter.service"
REQUEST = '{"event":"request","method":"POST","path":"/api/generate","status":%d,"duration_ms":1.4,"error":"%s"}'
CLOCK = f"""\
Now=@{NOW}
UserspaceTimestamp=@{NOW - 9000}

NRestarts=0
InactiveExitTimestamp=@{NOW - 60}
Id={VLLM}

NRestarts=2
InactiveExitTimestamp=@{NOW - 30}
Id={VISION}

NRestarts=0
InactiveExitTimestamp=
Id=vllm-model.service

Type=oneshot
NRestarts=0
InactiveExitTimestamp=@{NOW - 5}
Id=llm-check.service
"""


def line(text: str, unit: str = VLLM, priority: int = 6, at: float = NOW - 10) -> Line:
    return Line(unit, at, priority, text)


def counted(*lines: Line, since: float = NOW - 300) -> list[Line]:
    return errors(lines, {unit: Span(since, "the window") for unit in (VLLM, VISION, ADAPTER, PROMETHEUS, GRAFANA)})


@pytest.mark.parametrize(
    "bad",
    [
        line("Failed to start vllm.service - vLLM 0.33.0 (cpu)", priority=3),
        line("Main process exited", priority=2),
        line("(EngineCore pid=81) ERROR 11-29 06:33:12 [core.py:842] EngineCore encountered a fatal error."),
        line("ERROR 11-29 06:33:12 [serving.py:1] it broke"),
        line("Traceback (most recent call last):"),
        line('time=2026-11-29T06:33:12Z level=ERROR source=server.go:1 msg="llama runner terminated"', VISION),
        line('[GIN] 2026/11/29 - 06:33:12 | 500 |   1.2s |       10.0.0.1 | POST     "/api/generate"', VISION),
        line("panic: runtime error: index out of range", VISION),
        line("CUDA error: out of memory", VISION),
        line(REQUEST % (502, "vLLM sent no JSON"), ADAPTER),
        line(REQUEST % (200, "vLLM closed the connection before the answer was complete"), ADAPTER),
        line('INFO:     127.0.0.1:47042 - "POST /v1/chat/completions HTTP/1.1" 500 Internal Server Error'),
        line("ERROR ollama_adapter.service.peers it broke", ADAPTER),
        line('ts=2026-11-29T06:33:12Z caller=main.go:1 level=error component=web msg="it broke"', PROMETHEUS),
        line('time=2026-11-29T06:33:12Z level=ERROR source=main.go:1 msg="it broke" component=web', PROMETHEUS),
        line('logger=server t=2026-11-29T06:33:12Z level=crit msg="it broke"', GRAFANA),
        line('ts=2026-11-29T06:33:12Z caller=main.go:1 level=fatal msg="it broke"', GRAFANA),
    ],
    ids=lambda bad: bad.text[:30],
)
def test_an_error_counts_by_its_level_in_the_journal_or_in_the_text(bad: Line) -> None:
    assert counted(bad) == [bad]


@pytest.mark.parametrize(
    "good",
    [
        line(
            "(APIServer pid=7) WARNING 11-29 06:33:12 [system_utils.py:1] This can cause fd limit errors like `OSError"
        ),
        line("INFO 11-29 06:33:12 [loggers.py:1] Errors: 0"),
        line('time=2026-11-29T06:33:12Z level=INFO source=x.go:1 msg="no error"', VISION),
        line('[GIN] 2026/11/29 - 06:33:12 | 404 |   1.2s |       10.0.0.1 | POST     "/api/show"', VISION),
        line(REQUEST % (404, "model 'verify-has-no-such-model' not found"), ADAPTER),
        line(REQUEST % (400, "unexpected EOF"), ADAPTER),
        line(REQUEST % (499, "client gone"), ADAPTER),
        line('INFO:     127.0.0.1:47042 - "POST /tokenize HTTP/1.1" 200 OK'),
        line('{"event":"request","method":"POST","path":"/api/chat","status":200,"duration_ms":2.5}', ADAPTER),
        line("a warning of systemd", priority=4),
        line('logger=sqlstore t=2026-11-29T06:33:12Z level=info msg="no level=errors here"', GRAFANA),
        line(
            "ts=2026-11-29T06:33:12Z caller=notifier.go:532 level=error component=notifier "
            'alertmanager=http://alerts:9093/api/v2/alerts count=1 msg="Error sending alert" err="connection refused"',
            PROMETHEUS,
        ),
        line(  # recorded on a lab host
            "ts=2026-11-29T19:26:14.416Z caller=diskstats_linux.go:264 level=error collector=diskstats "
            'msg="Failed to open directory, disabling udev device properties" path=/run/udev/data',
            NODE_EXPORTER,
        ),
        line(
            'time=2026-11-29T06:33:12Z level=ERROR source=notifier.go:645 msg="Error sending alerts" component=notifier '
            'alertmanager=http://alerts:9093/api/v2/alerts count=1 err="connection refused"',
            PROMETHEUS,
        ),
        line("Failed to start another.service", "another.service", priority=3),
    ],
    ids=lambda good: good.text[:30],
)
def test_a_warning_a_clients_fault_or_another_unit_is_no_error(good: Line) -> None:
    assert counted(good) == []


def test_an_engine_that_died_is_found_in_the_journal_that_it_left() -> None:
    lines = parse_lines((ROOT / "tests/captures/journal-vllm-engine-died.jsonl").read_text())
    found = errors(lines, {unit: Span(0, "all of it") for unit in (VLLM, VISION, ADAPTER)})
    assert "ERROR 11-29 06:45:56 [async_llm.py:906] AsyncLLM output_handler failed." in found[0].text
    assert {(one.unit, "WARNING" in one.text or " 200 " in one.text) for one in found} == {
        (VLLM, False),
        (ADAPTER, False),
    }
    # Of the adapter the stream that broke off; what it refused while vLLM was away, and clients that left, are none.
    assert ['"status":200' in one.text for one in found if one.unit == ADAPTER] == [True]


def test_a_refusal_while_vllm_starts_is_benign_for_the_adapter_and_no_other_503_is() -> None:
    starting = line(REQUEST % (503, "vLLM is not reachable at http://127.0.0.1:8000: connection refused"), ADAPTER)
    full = line(REQUEST % (503, "too many requests wait"), ADAPTER)
    assert counted(starting, full) == [full]
    assert counted(line(starting.text, VLLM)) != []


def test_nothing_is_benign_without_a_reason() -> None:
    with pytest.raises(ValueError, match="no reason why 'x' of vllm"):
        Benign(VLLM, "x", " ")


def test_a_unit_is_judged_from_its_present_start_unless_systemd_had_to_restart_it() -> None:
    spans = parse_spans(CLOCK, 300)
    assert spans[VLLM] == Span(NOW - 60, "its present start")
    assert spans[VISION] == Span(NOW - 300, "the window")
    stopping = line("Traceback (most recent call last):", at=NOW - 100)
    assert errors([stopping], spans) == []
    crashed = line("panic: it broke", VISION, at=NOW - 100)
    assert errors([crashed], spans) == [crashed]


def test_what_runs_to_its_end_is_judged_for_the_whole_window() -> None:
    assert parse_spans(CLOCK, 300)["llm-check.service"] == Span(NOW - 300, "the window")


def test_a_check_that_failed_in_a_switch_is_benign_and_what_it_said_otherwise_is_not() -> None:
    spans = {"llm-check.service": Span(0, "the window")}
    failed = line("Failed to start llm-check.service - Ask the services of this host.", "llm-check.service", priority=3)
    other = line("level=ERROR msg=x", "llm-check.service")
    assert errors([failed, other], spans) == [other]


def test_a_window_from_before_the_boot_begins_with_the_boot() -> None:
    assert parse_spans(CLOCK, 86400)["vllm-model.service"] == Span(NOW - 9000, "the boot")


def test_a_host_that_does_not_tell_its_time_is_not_judged() -> None:
    with pytest.raises(ValueError, match="does not tell its time: 'sh: systemctl"):
        parse_spans("sh: systemctl: not found", 300)


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300), ("300", 300), ("90s", 90), ("1h", 3600), ("0", 0)])
def test_a_window_is_seconds_or_has_a_unit(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "5 minutes", "-3", "m"])
def test_what_is_no_time_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="write 300, 90s, 5m or 1h"):
        seconds_of(text)


def test_lines_of_systemd_about_a_unit_are_the_units_and_bytes_become_text() -> None:
    raw = [
        {"__REALTIME_TIMESTAMP": "1764397000500000", "_SYSTEMD_UNIT": "init.scope", "UNIT": VLLM, "PRIORITY": "3", "MESSAGE": "x"},
        {"__REALTIME_TIMESTAMP": "1764397000500000", "_SYSTEMD_UNIT": VISION, "MESSAGE": [79, 107, 255]},
        {"__REALTIME_TIMESTAMP": "1764397000500000", "_SYSTEMD_UNIT": VISION, "MESSAGE": None},
    ]  # fmt: skip
    lines = parse_lines("".join(f"{json.dumps(entry)}\n" for entry in raw))
    assert [(one.unit, one.priority, one.text) for one in lines] == [
        (VLLM, 3, "x"),
        (VISION, 6, "Ok\ufffd"),
        (VISION, 6, ""),
    ]
    assert lines[0].at == 1764397000.5


def test_the_failure_names_unit_time_and_line_and_how_to_see_all() -> None:
    text = told([line("panic: it broke", VISION, at=NOW)] * 7, "5m")
    assert "seen 7\n  ollama-vision.service, 2025-11-29 06:16:40 UTC: panic: it broke\n" in text
    assert "… and 2 more" in text
    assert 'journalctl --since "2025-11-29 06:16:40 UTC" -u ollama-vision.service' in text


def test_the_commands_name_every_unit_once_and_quote_it() -> None:
    assert clock_command(["b x", "a"]).endswith("-- a 'b x'")
    assert journal_command(["b", "a"], 12.9).endswith("--since=@12 -u a -u b")
