"""One adapter for all clients: in front of four miniature models and an Ollama server for the model that sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from tests.clients.seeing_stand_in import SeeingStandIn
from tests.conftest import REAL, UPSTREAMS
from tests.contract.adapter_process import AdapterProcess
from tests.contract.vllm_stand_in import VllmStandIn

collect_ignore = ["suites"]  # they run in the clients' own environment

# Variant of the miniature model -> the name that clients know it by, and what it can do.
MODELS: dict[str, tuple[str, list[str]]] = {
    "plain": ("llama2:7b", ["completion"]),
    "tools": ("tinytool", ["completion", "tools"]),
    "think": ("tinythink", ["completion", "thinking"]),
    "embed": ("tinyembed", ["embedding"]),
}
VISION = "llava:7b"  # served by the Ollama behind the adapter
SLOW = "tinyslow"  # says what "plain" says, half a second long; a stand-in always
_FACTS: dict[str, Any] = {
    "context_length": 2048, "embedding_length": 384, "size_bytes": 3_790_568, "family": "llama",
    "parameter_size": "947K", "quantization": "F32",
}  # fmt: skip


@pytest.fixture(scope="session")
def slow_upstream() -> Iterator[VllmStandIn]:
    """Behind the model SLOW, for what happens in the middle of an answer; it counts the clients that leave."""
    with VllmStandIn("plain") as server:
        server.behaviour.delay_s = 0.05
        yield server


@pytest.fixture(scope="session", params=UPSTREAMS)
def adapter_url(
    request: pytest.FixtureRequest, slow_upstream: VllmStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The adapter, in front of stand-ins for vLLM and in front of real ones."""
    urls: Mapping[str, str] = request.getfixturevalue("real_urls") if request.param == REAL else {}
    with ExitStack() as stack:
        tables: list[Mapping[str, Any]] = []
        for variant, (name, capabilities) in MODELS.items():
            url = urls.get(variant) or stack.enter_context(VllmStandIn(variant)).url
            tables.append({"url": url, "aliases": [name], "capabilities": capabilities, **_FACTS})
        tables.append({"url": slow_upstream.url, "aliases": [SLOW], "capabilities": ["completion"], **_FACTS})
        vision = stack.enter_context(SeeingStandIn())
        adapter = stack.enter_context(
            AdapterProcess(
                tmp_path_factory.mktemp("adapter"),
                vllm=tables[0],
                models=tables[1:],
                vision={"url": vision.url, "models": [VISION]},
            )
        )
        yield f"http://127.0.0.1:{adapter.port}"
