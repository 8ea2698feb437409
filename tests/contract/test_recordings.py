"""The recorded exchanges of a real Ollama, replayed: the adapter answers the same bytes, times and durations excepted.

Against the stand-in for vLLM, and against real vLLMs that serve the lab's miniature models (marker `engines`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.conftest import REAL, UPSTREAMS
from tests.contract.adapter_process import AdapterProcess
from tests.contract.deviations import FOR_GOOD, FOR_GOOD_WITH_VLLM, LATER, reason
from tests.contract.recorded import Answer, Recorded, differences, joined, ollama
from tests.contract.vllm_stand_in import VllmStandIn
from tests.contract.wire import ask

# Model of the recordings -> variant of the miniature model that is its twin, and settings of its own.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("plain", {"capabilities": ["completion"]}),
    "tinytool:v1": ("tools", {"capabilities": ["completion", "tools"]}),
    "tinythink": ("think", {"capabilities": ["completion", "thinking"]}),
    "tinyraw": ("plain", {"capabilities": ["completion"], "chat_template": False}),
    "tinyembed": ("embed", {"capabilities": ["embedding"]}),
    "tinyfim": (
        "plain",
        {"capabilities": ["completion"], "fim_template": "<|fim_pre|>{prefix}<|fim_suf|>{suffix}<|fim_mid|>"},
    ),
}
# What the recorded server had been told before, beside models of its own files.
_HELLO = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
CREATED_BEFORE: tuple[dict[str, Any], ...] = (
    {"model": "tinychild", "from": "tiny", "system": "Be brief.", "messages": _HELLO},
    {"model": "tinyjinja", "from": "tiny"},  # of a file, with a template that says the same as tiny's but for tools
    {"model": "me/foo:bar", "from": "tiny"},
    # what was pulled from a registry of the recording's
    {"model": "127.0.0.1:21500/library/tinyfim", "from": "tinyfim"},
    {"model": "127.0.0.1:21500/library/tinychild", "from": "tinychild"},
)
STRICT = dict.fromkeys(("top_level_options", "string_arguments", "data_uri_images", "content_parts"), False)


class Replay:
    """The answers that an adapter gave to every recorded request, in order."""

    def __init__(self, port: int, real_variants: Collection[str]) -> None:
        self.real_variants = real_variants
        self.differences: dict[str, list[str]] = {}
        for recorded in ollama():
            actual = ask(port, recorded.request, recorded.method)
            self.differences[recorded.name] = self._compare(recorded, actual, is_real=self.is_real(recorded))

    def is_real(self, recorded: Recorded) -> bool:
        """Whether a real vLLM answered, if any did."""
        return variant_of(recorded) in self.real_variants

    def _compare(self, recorded: Recorded, actual: Answer, *, is_real: bool) -> list[str]:
        expected = recorded.answer
        if is_real:
            expected, actual = joined(expected), joined(actual)
        return differences(expected, actual, chunks=not is_real)


def variant_of(recorded: Recorded) -> str:
    """Which variant of the miniature model an exchange needs."""
    return MODELS.get(recorded.model, MODELS["tiny"])[0]


@pytest.fixture(scope="module", params=UPSTREAMS)
def replay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """The answers of an adapter in front of all variants, with either upstream."""
    urls: Mapping[str, str] = request.getfixturevalue("real_urls") if request.param == REAL else {}
    with ExitStack() as stack:
        stand_ins = {
            variant: stack.enter_context(VllmStandIn(variant)).url
            for variant in {variant for variant, _ in MODELS.values()} - urls.keys()
        }
        facts = {
            "context_length": 2048, "embedding_length": 384, "family": "llama", "parameter_size": "947K",
            "quantization": "unknown",
        }  # fmt: skip
        models: list[Mapping[str, Any]] = [
            {"url": {**stand_ins, **urls}[variant], "aliases": [name], **facts, **more}
            for name, (variant, more) in MODELS.items()
        ]
        adapter = stack.enter_context(
            AdapterProcess(tmp_path_factory.mktemp("replay"), vllm=models[0], models=models[1:], leniency=STRICT)
        )
        for body in CREATED_BEFORE:
            answer = httpx.post(f"http://127.0.0.1:{adapter.port}/api/create", json={**body, "stream": False})
            assert answer.json() == {"status": "success"}, answer.text
        yield Replay(adapter.port, urls.keys())


@pytest.mark.parametrize("name", [recorded.name for recorded in ollama() if not reason(recorded.name, real_vllm=False)])
def test_the_adapter_answers_as_ollama_did(replay: Replay, name: str) -> None:
    if reason(name, real_vllm=bool(replay.real_variants)):
        pytest.skip(reason(name, real_vllm=True))
    assert replay.differences[name] == []


def test_every_deviation_that_is_listed_still_exists(replay: Replay) -> None:
    equal = [name for name, found in replay.differences.items() if not found]
    listed = [name for name in equal if name in FOR_GOOD or (replay.real_variants and name in FOR_GOOD_WITH_VLLM)]
    assert listed == []
    for prefix in LATER:
        names = [name for name in replay.differences if name.startswith(prefix)]
        assert not names or any(replay.differences[name] for name in names), f"{prefix} holds no longer"


def test_most_of_the_recordings_are_answered_literally(replay: Replay, capsys: pytest.CaptureFixture[str]) -> None:
    table: Counter[str] = Counter()
    for name, found in replay.differences.items():
        table[reason(name, real_vllm=bool(replay.real_variants)) or "must be equal" if found else "equal"] += 1
    with capsys.disabled():
        print(f"\n{'real vLLM' if replay.real_variants else 'stand-in'}: {len(replay.differences)} recorded exchanges")
        for why, count in table.most_common():
            print(f"  {count:4} {why}")
    assert table["must be equal"] == 0
    assert table["equal"] > 220
