"""Which lines of a journal are errors. The lines are from lab hosts (vLLM 0.32, Ollama's documentation, systemd 252)."""

from __future__ import annotations

import json

import pytest

from tests.verify.journal import BENIGN, command, errors, parse, seconds


def entry(text: str | list[int], program: str = "vllm", priority: int = 6, unit: str = "vllm.service") -> str:
    return json.dumps(
        {
            "MESSAGE": text,
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": program,
            "_SYSTEMD_UNIT": unit,
            "__REALTIME_TIMESTAMP": "1764400000000000",
        }
    )


@pytest.mark.parametrize(
    "text",
    [
        "(EngineCore pid=15144) ERROR 11-29 06:28:24 [core.py:1120] EngineCore failed to start.",
        "ERROR 11-29 06:28:24 [serve.py:1] no",
        'time=2026-11-29T06:28:24.000Z level=ERROR source=server.go:1 msg="llama runner terminated"',
        "ERROR ollama_adapter vLLM said what nobody understands",
        "Traceback (most recent call last):",
        "panic: runtime error: index out of range",
    ],
)
def test_an_error_is_seen_as_each_program_says_it(text: str) -> None:
    (found,) = errors(parse(entry(text)))
    assert text in str(found)
    assert str(found).startswith("vllm.service 07:06:40 vllm: ")


@pytest.mark.parametrize(
    "text",
    [
        "(EngineCore pid=15144) WARNING 11-29 06:28:26 [cpu.py:224] Triton is not installed.",
        '(APIServer pid=1) INFO:     127.0.0.1:1 - "GET /ERROR HTTP/1.1" 404 Not Found',
        'time=2026-11-29T06:28:24.000Z level=INFO msg="no ERROR here"',
        "the word Traceback in a sentence",
    ],
)
def test_other_lines_are_none(text: str) -> None:
    assert errors(parse(entry(text))) == []


def test_what_journald_has_as_an_error_is_one_whatever_it_says() -> None:
    assert len(errors(parse(entry("Failed at step EXEC", "systemd", 3)))) == 1
    assert errors(parse(entry("Failed with result 'signal'.", "systemd", 4))) == []


def test_bytes_that_are_no_text_are_read_too() -> None:
    assert len(errors(parse(entry([*b"level=ERROR \xff"], "ollama")))) == 1


def test_every_benign_pattern_has_its_reason_and_is_that_programs_alone() -> None:
    assert all(why for _, _, why in BENIGN)
    said = "Failed to start llm-check.service - Ask the services of this host whether they serve."
    assert errors(parse(entry(said, "systemd", 3))) == []
    assert len(errors(parse(entry(said, "vllm", 3)))) == 1


def test_the_window_is_a_time() -> None:
    assert [seconds(text) for text in ("300", "300s", "5m", "1h", "0")] == [300, 300, 300, 3600, 0]
    with pytest.raises(ValueError, match="no time"):
        seconds("five")
    assert "--since=-300s -u a.service -u b.service" in command(["a.service", "b.service"], 300)
