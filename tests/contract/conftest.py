"""Fixtures of the contract tests: a running adapter between the tests and the stand-ins."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
if importlib.util.find_spec("ollama_adapter") is None:
    sys.path.insert(0, str(ROOT / "files" / "adapter" / "src"))

from tests.contract.adapter_process import FACTS, AdapterProcess, Start  # noqa: E402
from tests.contract.ollama_stand_in import OllamaStandIn  # noqa: E402
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn  # noqa: E402


@pytest.fixture(scope="module")
def shared_vllm() -> Iterator[VllmStandIn]:
    """The stand-in for vLLM that the tests of a module share."""
    with VllmStandIn() as server:
        yield server


@pytest.fixture
def vllm(shared_vllm: VllmStandIn) -> Iterator[VllmStandIn]:
    """The stand-in for vLLM, healthy at the beginning of the test."""
    shared_vllm.behaviour = Behaviour()
    shared_vllm.received.clear()
    yield shared_vllm
    shared_vllm.behaviour = Behaviour()


@pytest.fixture(scope="module")
def shared_vision() -> Iterator[OllamaStandIn]:
    """The stand-in for Ollama Vision that the tests of a module share."""
    with OllamaStandIn() as server:
        yield server


@pytest.fixture
def vision(shared_vision: OllamaStandIn) -> OllamaStandIn:
    """The stand-in for Ollama Vision, as new."""
    fresh = OllamaStandIn()
    for name in ("models", "lines", "delay_s", "status", "whole", "cut_after"):
        setattr(shared_vision, name, getattr(fresh, name))
    fresh._loop.close()
    shared_vision.received.clear()
    return shared_vision


@pytest.fixture(scope="module")
def shared_adapter(
    shared_vllm: VllmStandIn, shared_vision: OllamaStandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AdapterProcess]:
    """One adapter in front of both, with default settings."""
    vllm = {"url": shared_vllm.url, "aliases": ["llama2:7b", "llama2", "llama3.2"], **FACTS}
    vision = {"url": shared_vision.url, "models": ["llava:7b", "nomic-embed-text"]}
    with AdapterProcess(tmp_path_factory.mktemp("adapter"), vllm=vllm, vision=vision) as adapter:
        yield adapter


@pytest.fixture
def adapter(shared_adapter: AdapterProcess, vllm: VllmStandIn, vision: OllamaStandIn) -> AdapterProcess:
    """The shared adapter, with both upstreams as new."""
    assert shared_adapter.process.poll() is None, "an earlier test ended the adapter"
    return shared_adapter


@pytest.fixture
def start_adapter(vllm: VllmStandIn, tmp_path: Path) -> Iterator[Start]:
    """Starts an adapter of the test's own, with settings of its own."""
    with ExitStack() as stack:

        def start(**arguments: Any) -> AdapterProcess:
            arguments["vllm"] = {
                "url": vllm.url, "aliases": ["llama2"], **FACTS, **arguments.get("vllm", {})
            }  # fmt: skip
            return stack.enter_context(AdapterProcess(tmp_path, **arguments))

        yield start


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until something is true, generously; fails where it never is."""

    def wait(is_true: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_true():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    return wait
