"""The recorded exchanges of a real Ollama, replayed: the adapter answers the same bytes, times and durations excepted.

Always against the stand-in for vLLM. With LLM_TEST_VLLM_URL also against a real vLLM that serves the lab's miniature
model: `LLM_TEST_VLLM_URL=http://127.0.0.1:8000,tools=http://127.0.0.1:8001,think=http://127.0.0.1:8002`, the last two
optional.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.contract.adapter_process import AdapterProcess
from tests.contract.deviations import FOR_GOOD, FOR_GOOD_WITH_VLLM, LATER, reason
from tests.contract.recorded import Answer, Recorded, differences, joined_stream, ollama
from tests.contract.vllm_stand_in import VllmStandIn
from tests.contract.wire import ask

VARIANTS = {
    "plain": ("tiny", ["completion"]),
    "tools": ("tinytool:v1", ["completion", "tools"]),
    "think": ("tinythink", ["completion", "thinking"]),
}
STRICT = dict.fromkeys(("top_level_options", "string_arguments", "data_uri_images", "content_parts"), False)


def real_urls() -> dict[str, str]:
    """The real vLLMs to test against, by variant."""
    text = os.environ.get("LLM_TEST_VLLM_URL", "")
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return {name if url else "plain": url or name for name, _, url in (part.partition("=") for part in parts)}


class Replay:
    """Adapters for the three variants, and the answers they gave to every recorded request, in order."""

    def __init__(self, ports: dict[str, int], *, real_vllm: bool) -> None:
        self.real_vllm = real_vllm
        self.differences: dict[str, list[str]] = {}
        for recorded in ollama():
            port = ports.get(variant_of(recorded))
            if port is not None:
                self.differences[recorded.name] = self._compare(recorded, ask(port, recorded.request, recorded.method))

    def _compare(self, recorded: Recorded, actual: Answer) -> list[str]:
        expected = recorded.answer
        streams = "application/x-ndjson" in expected.header("content-type") + actual.header("content-type")
        if self.real_vllm and streams and expected.header("content-type") == actual.header("content-type"):
            expected = replace(expected, body=joined_stream(expected.body))
            actual = replace(actual, body=joined_stream(actual.body))
        return differences(expected, actual, chunks=not self.real_vllm)


def variant_of(recorded: Recorded) -> str:
    """Which model an exchange needs."""
    return next((name for name, (model, _) in VARIANTS.items() if recorded.model == model and name != "plain"), "plain")


@pytest.fixture(scope="module", params=["stand-in", *(["real vLLM"] if real_urls() else [])])
def replay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """The answers of the adapter, with either upstream."""
    urls = real_urls()
    is_real = request.param == "real vLLM"
    with ExitStack() as stack:
        ports = {}
        for variant, (model, capabilities) in VARIANTS.items():
            if is_real and variant not in urls:
                continue
            url = urls[variant] if is_real else stack.enter_context(VllmStandIn(variant)).url
            vllm = {
                "url": url,
                "aliases": [model],
                "context_length": 2048,
                "parameter_size": "947K",
                "quantization": "unknown",
                "capabilities": capabilities,
            }
            directory = tmp_path_factory.mktemp(variant)
            adapter = AdapterProcess(directory, vllm=vllm, leniency=STRICT)
            ports[variant] = stack.enter_context(adapter).port
        yield Replay(ports, real_vllm=is_real)


@pytest.mark.parametrize("name", [recorded.name for recorded in ollama() if not reason(recorded.name, real_vllm=False)])
def test_the_adapter_answers_as_ollama_did(replay: Replay, name: str) -> None:
    if name not in replay.differences:
        pytest.skip("no vLLM with this model")
    if reason(name, real_vllm=replay.real_vllm):
        pytest.skip(reason(name, real_vllm=replay.real_vllm))
    assert replay.differences[name] == []


def test_the_stand_in_is_held_against_a_real_vllm() -> None:
    if not real_urls():
        pytest.skip("LLM_TEST_VLLM_URL names no vLLM")
    assert "plain" in real_urls(), "LLM_TEST_VLLM_URL needs a vLLM with the plain chat template"


def test_every_deviation_that_is_listed_still_exists(replay: Replay) -> None:
    equal = [name for name, found in replay.differences.items() if not found]
    listed = [name for name in equal if name in FOR_GOOD or (replay.real_vllm and name in FOR_GOOD_WITH_VLLM)]
    assert listed == []
    for prefix in LATER:
        names = [name for name in replay.differences if name.startswith(prefix)]
        assert not names or any(replay.differences[name] for name in names), f"{prefix} holds no longer"


def test_most_of_the_recordings_are_answered_literally(replay: Replay, capsys: pytest.CaptureFixture[str]) -> None:
    table: Counter[str] = Counter()
    for name, found in replay.differences.items():
        table[reason(name, real_vllm=replay.real_vllm) or "must be equal" if found else "equal"] += 1
    with capsys.disabled():
        print(f"\n{'real vLLM' if replay.real_vllm else 'stand-in'}: {len(replay.differences)} recorded exchanges")
        for why, count in table.most_common():
            print(f"  {count:4} {why}")
    assert table["must be equal"] == 0
    assert table["equal"] > 220
