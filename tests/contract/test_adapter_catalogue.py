"""What the running adapter finds out about its models, and when; and whether all of them are served."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import REAL, UPSTREAMS
from tests.contract.adapter_process import FACTS, AdapterProcess
from tests.contract.vllm_stand_in import Behaviour, VllmStandIn

Eventually = Callable[[Callable[[], bool]], None]
CAPABILITIES = {
    "plain": ["completion"],
    "tools": ["completion", "tools"],
    "think": ["completion", "thinking"],
    "embed": ["embedding"],
}


def models(adapter: AdapterProcess) -> dict[str, Any]:
    entries = httpx.get(f"http://127.0.0.1:{adapter.port}/api/tags", timeout=60).json()["models"]
    return {entry["name"]: entry for entry in entries}


def ready(adapter: AdapterProcess) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{adapter.port}/ready", timeout=60)


@pytest.fixture(params=UPSTREAMS)
def urls(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """A vLLM of each variant."""
    if request.param == REAL:
        yield request.getfixturevalue("real_urls")
        return
    with ExitStack() as stack:
        yield {variant: stack.enter_context(VllmStandIn(variant)).url for variant in CAPABILITIES}


def test_capabilities_and_context_are_found(urls: Mapping[str, str], tmp_path: Path, eventually: Eventually) -> None:
    tables: list[Mapping[str, Any]] = [{"url": urls[variant], "aliases": [variant]} for variant in CAPABILITIES]
    with AdapterProcess(tmp_path, vllm=tables[0], models=tables[1:]) as adapter:
        expected = {f"{variant}:latest": (names, 2048) for variant, names in CAPABILITIES.items()}

        def found() -> dict[str, Any]:
            entries = models(adapter)
            return {
                name: (entries[name]["capabilities"], entries[name]["details"].get("context_length"))
                for name in entries
            }

        eventually(lambda: found() == expected)
        digests = [entry["digest"] for entry in models(adapter).values()]
        assert len(set(digests)) == 4
        answer = ready(adapter)
        assert answer.status_code == 200
        assert answer.json() == {
            "status": "ready",
            "models": {f"{variant}:latest": "ready" for variant in CAPABILITIES},
        }


def write_model(directory: Path) -> None:
    """A model's directory with a million parameters in BF16."""
    head = json.dumps({"w": {"dtype": "BF16", "shape": [1000, 1250], "data_offsets": [0, 2_500_000]}}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(2_500_000))
    (directory / "config.json").write_text(
        json.dumps({"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 7})
    )
    (directory / "chat_template.jinja").write_text("{{ messages }}{{ tools }}")


@pytest.mark.parametrize("is_told_by_vllm", [True, False])
def test_size_and_parameters_are_those_of_the_files(
    vllm: VllmStandIn, tmp_path: Path, eventually: Eventually, is_told_by_vllm: bool
) -> None:
    write_model(tmp_path)
    settings = {"url": vllm.url, "aliases": ["a"]}
    if is_told_by_vllm:
        vllm.behaviour = Behaviour(root=str(tmp_path))
    else:
        settings["model_directory"] = str(tmp_path)
    with AdapterProcess(tmp_path, vllm=settings) as adapter:
        eventually(lambda: models(adapter)["a:latest"]["details"]["family"] == "qwen3")
        entry = models(adapter)["a:latest"]
        assert entry["size"] == (tmp_path / "model.safetensors").stat().st_size
        assert entry["details"]["parameter_size"] == "1.25M"
        assert entry["details"]["quantization_level"] == "BF16"
        assert entry["capabilities"] == ["completion"]  # the template has tools; vLLM was started without
        shown = httpx.post(f"http://127.0.0.1:{adapter.port}/api/show", json={"model": "a"}, timeout=60).json()
        assert shown["template"] == "{{ messages }}{{ tools }}"
        assert shown["model_info"]["qwen3.block_count"] == 7
        assert shown["model_info"]["general.parameter_count"] == 1_250_000


def test_what_is_set_is_not_asked_for(vllm: VllmStandIn, tmp_path: Path) -> None:
    settings = {**FACTS, "url": vllm.url, "aliases": ["a"], "context_length": 77, "capabilities": ["vision"]}
    with AdapterProcess(tmp_path, vllm=settings) as adapter:
        entry = models(adapter)["a:latest"]
        assert (entry["capabilities"], entry["details"]["context_length"]) == (["vision"], 77)
        assert vllm.received == []


def test_facts_are_read_again_when_vllm_comes_back_as_another(
    vllm: VllmStandIn, tmp_path: Path, eventually: Eventually
) -> None:
    with AdapterProcess(tmp_path, vllm={"url": vllm.url, "aliases": ["a"]}) as adapter:

        def context() -> Any:
            return models(adapter)["a:latest"]["details"].get("context_length")

        eventually(lambda: context() == 2048)
        vllm.stop_listening()
        url = f"http://127.0.0.1:{adapter.port}/api/generate"
        assert httpx.post(url, json={"model": "a", "prompt": "x"}, timeout=60).status_code == 503
        assert context() == 2048  # what was known stays
        vllm.behaviour = Behaviour(max_model_len=512)
        vllm.listen()
        eventually(lambda: context() == 512)


def test_an_adapter_that_starts_before_vllm_serves_at_once_and_finds_the_facts_later(
    tmp_path: Path, eventually: Eventually
) -> None:
    with VllmStandIn("tools") as vllm:
        vllm.stop_listening()
        with AdapterProcess(tmp_path, vllm={"url": vllm.url, "aliases": ["a"]}) as adapter:
            entry = models(adapter)["a:latest"]
            assert (entry["capabilities"], entry["size"]) == (["completion"], 1)
            tools = [{"type": "function", "function": {"name": "f"}}]
            body = {"model": "a", "messages": [{"role": "user", "content": "x"}], "tools": tools}
            answer = httpx.post(f"http://127.0.0.1:{adapter.port}/api/chat", json=body, timeout=60)
            assert answer.status_code == 503  # not a 400 about tools: nobody knows yet
            vllm.listen()
            eventually(lambda: models(adapter)["a:latest"]["capabilities"] == ["completion", "tools"])


def test_a_vllm_that_hangs_or_errs_while_it_is_asked_does_not_change_the_facts(
    vllm: VllmStandIn, tmp_path: Path, eventually: Eventually
) -> None:
    vllm.behaviour = Behaviour(status=500)
    with AdapterProcess(tmp_path, vllm={"url": vllm.url, "aliases": ["a"]}) as adapter:
        eventually(lambda: any(request.path == "/v1/chat/completions" for request in vllm.received if request.body))
        assert "context_length" not in models(adapter)["a:latest"]["details"]
        vllm.behaviour = Behaviour()
        eventually(lambda: models(adapter)["a:latest"]["details"].get("context_length") == 2048)


def test_readiness_is_that_of_every_model(vllm: VllmStandIn, tmp_path: Path) -> None:
    with VllmStandIn("embed") as pooling:
        tables: list[Mapping[str, Any]] = [
            {**FACTS, "url": vllm.url, "aliases": ["a"]},
            {**FACTS, "url": pooling.url, "aliases": ["b:1", "b"]},
        ]
        with AdapterProcess(tmp_path, vllm=tables[0], models=tables[1:]) as adapter:
            assert ready(adapter).json() == {"status": "ready", "models": {"a:latest": "ready", "b:1": "ready"}}
            pooling.behaviour = Behaviour(served=("other",))
            answer = ready(adapter)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json() == {
                "status": "not ready",
                "error": "b:1: vLLM serves other, not llm",
                "models": {"a:latest": "ready", "b:1": "vLLM serves other, not llm"},
            }
            pooling.stop_listening()
            assert "connection refused" in ready(adapter).json()["models"]["b:1"]
