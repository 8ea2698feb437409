from __future__ import annotations

import math
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from ollama_adapter.models.catalogue import Catalogue, Residency
from ollama_adapter.models.directory import DirectoryFacts
from ollama_adapter.models.facts import ServedFacts
from ollama_adapter.ollama.listing import merged
from ollama_adapter.service.systemd import Notifier, handed_over_sockets
from ollama_adapter.settings import Settings, VisionSettings, VllmSettings
from ollama_adapter.vllm.ready import ready_answer

KNOWN = {
    "repository": "meta-llama/Llama-2-7b-chat-hf", "context_length": 4096, "family": "llama", "parameter_size": "6.7B",
    "quantization": "F16",
}  # fmt: skip


def catalogue(**facts: Any) -> Catalogue:
    vision = VisionSettings(url="http://x:1", models=["llava:7b"])
    return Catalogue(Settings(vllm=VllmSettings(**facts), vision=vision, file_time=1795434957.0))


@pytest.mark.parametrize(
    "name", ["llama2", "LLAMA2:latest", "registry.ollama.ai/library/llama2:latest", "llama2:7b", "llama3.2"]
)
def test_an_alias_is_vllms_however_it_is_written(name: str) -> None:
    assert catalogue().own(name) is not None
    assert not catalogue().is_on_vision(name)


@pytest.mark.parametrize("name", ["llama2:13b", "llm", "llava:7b", "", "a b!"])
def test_another_name_is_not_vllms(name: str) -> None:
    assert catalogue().own(name) is None


def test_visions_models_are_those_of_the_settings_and_those_it_listed_last() -> None:
    models = catalogue()
    models.learn_vision_models(["new:1", "llama2", "a b!"])
    assert [models.is_on_vision(name) for name in ("llava:7b", "new:1", "llama2", "a b!")] == [True, True, False, False]
    models.learn_vision_models([])
    assert [models.is_on_vision(name) for name in ("llava:7b", "new:1")] == [True, False]


def test_digests_are_64_hex_digits_unique_per_name_and_stable() -> None:
    digests = [model.digest for model in catalogue().own_models]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert len(set(digests)) == len(digests) == 3
    assert digests == [model.digest for model in catalogue().own_models]
    assert digests != [model.digest for model in catalogue(revision="other").own_models]


def test_a_listed_model_has_every_field_that_clients_read() -> None:
    models = catalogue(**KNOWN, embedding_length=4096)
    entry = models.tags_entry(next(iter(models.own_models)))
    assert entry["name"] == entry["model"] == "llama2:7b"
    assert entry["size"] == 13_400_000_000
    assert entry["modified_at"] == "2026-11-23T11:55:57.000000+00:00"
    assert entry["details"] == {
        "parent_model": "", "format": "safetensors", "family": "llama", "families": ["llama"], "parameter_size": "6.7B",
        "quantization_level": "F16", "context_length": 4096, "embedding_length": 4096,
    }  # fmt: skip


def test_what_vs_code_reads_of_a_model_is_there() -> None:
    models = catalogue(**KNOWN)
    own = next(iter(models.own_models))
    shown = models.show(own, "llama2:7b", for_copilot=True)
    info = shown["model_info"]
    assert info[f"{info['general.architecture']}.context_length"] == 4096
    assert info["general.basename"] == "llama2:7b"
    assert isinstance(shown["capabilities"], list)
    assert models.show(own, "llama2:7b")["model_info"]["general.basename"] == "Llama-2-7b-chat-hf"


def test_what_is_found_later_is_listed_from_then_on() -> None:
    models = catalogue()
    own = next(iter(models.own_models))
    before = models.tags_entry(own)
    assert before["size"] > 0
    assert before["capabilities"] == ["completion"]
    assert "context_length" not in before["details"]
    directory = DirectoryFacts(
        family="qwen3", parameter_count=8_190_735_360, quantization="BF16", size_bytes=16_400_000_000
    )
    models.backends[0].learn(directory, ServedFacts(max_model_len=40960, generates=True, takes_tools=True, thinks=True))
    entry = models.tags_entry(own)
    assert entry["digest"] == before["digest"]
    assert (entry["size"], entry["capabilities"]) == (16_400_000_000, ["completion", "tools", "thinking"])
    assert entry["details"] == {
        "parent_model": "", "format": "safetensors", "family": "qwen3", "families": ["qwen3"],
        "parameter_size": "8.2B", "quantization_level": "BF16", "context_length": 40960,
    }  # fmt: skip
    assert models.ps_entry(own, 0.0)["context_length"] == 40960
    assert models.ps_entry(own, 0.0)["size_vram"] == 16_400_000_000
    info = models.show(own, "llama2")["model_info"]
    assert info["qwen3.context_length"] == 40960
    assert info["general.parameter_count"] == 8_190_735_360


def test_readiness_names_every_model_that_is_not_served() -> None:
    assert ready_answer({"a:latest": "", "b:1": ""}) == (
        200, b'{"status":"ready","models":{"a:latest":"ready","b:1":"ready"}}',
    )  # fmt: skip
    assert ready_answer({"a:latest": "", "b:1": "down"}) == (
        503, b'{"status":"not ready","error":"b:1: down","models":{"a:latest":"ready","b:1":"down"}}',
    )  # fmt: skip
    assert (
        ready_answer({"a:latest": "down"})[1] == b'{"status":"not ready","error":"down","models":{"a:latest":"down"}}'
    )


def test_a_model_is_resident_until_its_keep_alive_has_passed() -> None:
    models, residency = catalogue(), Residency()
    first, second, third = models.own_models
    residency.use(first, 100.0, 10.0)
    residency.use(second, 100.0, math.inf)
    residency.use(third, 100.0, 10.0)
    residency.use(third, 101.0, 0.0)
    assert [model for model, _ in residency.resident(models.own_models, 105.0)] == [second, first]
    assert [model for model, _ in residency.resident(models.own_models, 111.0)] == [second]


def test_lists_are_merged_latest_first_and_a_name_is_listed_once() -> None:
    own = [{"model": "a:latest", "at": "2026-01-02T00:00:00Z"}]
    other = [
        {"name": "A", "at": "2026-01-09T00:00:00Z"},
        {"model": "b", "at": "2026-01-03T00:00:00+00:00"},
        {"model": "c"},
    ]
    assert merged(own, other, "at") == (
        b'{"models":[{"model":"b","at":"2026-01-03T00:00:00+00:00"},{"model":"a:latest","at":"2026-01-02T00:00:00Z"},{"model":"c"}]}'
    )
    assert merged([], [], "at") == b'{"models":[]}'


def test_no_socket_is_taken_that_is_meant_for_another_process() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
    assert handed_over_sockets(environment) == []
    assert environment == {}


def test_broken_variables_of_socket_activation_are_an_error() -> None:
    with pytest.raises(ValueError, match="LISTEN_FDS is 'x'"):
        handed_over_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"})


def test_systemd_hears_of_readiness_and_of_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(10)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000"})
        notifier.ready("listening")
        notifier.alive()
        notifier.stopping("bye")
        assert [receiver.recv(100) for _ in range(3)] == [
            b"READY=1\nSTATUS=listening",
            b"WATCHDOG=1",
            b"STOPPING=1\nSTATUS=bye",
        ]
        assert notifier.watchdog_s == 3.0


@pytest.mark.parametrize(
    "environment", [{}, {"NOTIFY_SOCKET": "/nowhere/at/all"}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}]
)
def test_without_systemd_nothing_is_said_and_nothing_breaks(environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    notifier.ready("x")
    assert notifier.watchdog_s == 0.0
