"""`vision = "vllm"` on a real host: a vLLM with a model that sees answers on 11435, and Ollama keeps the embeddings.

The model is the lab's miniature one, which names a picture's colour: what arrives is known, not only that something answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab import Host, mirrored
from tests.contract.test_adapter_pictures import BLUE, RED, png
from tests.lab.deployments import Operator, releases, without_a_route
from tests.lab.test_deploy import serves_phase_1, serves_phase_2, serves_vision, started_at

pytestmark = [pytest.mark.lab, pytest.mark.slow]
MODEL = "lab/tiny-vision"
PHASE_2 = (
    "ollama-embed.service", "vllm.service", "vllm-vision.service", "ollama-adapter.socket", "ollama-adapter.service",
    "ollama-adapter-vision.socket", "ollama-adapter-vision.service",
)  # fmt: skip
OWN = tuple(unit for unit in PHASE_2 if unit not in ("vllm.service", "ollama-adapter.socket", "ollama-adapter.service"))


@pytest.fixture(scope="module")
def sighted(operator: Operator) -> Operator:
    """Somebody whose inventory has vision on vLLM."""
    vision = {
        "model": MODEL,
        "model_revision": mirrored.revision(operator.lab, MODEL),
        "max_model_len": 2048,
        "enforce_eager": True,
        "kv_cache_memory": "64M",
        "dtype": "float32",
    }
    settings = {"vision": "vllm", "vllm_vision": vision}
    return operator.with_settings("sighted", {**settings, "phase": 1}, settings)


@pytest.fixture(scope="module")
def host(sighted: Operator, make_host: Callable[..., Host]) -> Host:
    """A bare host after one deploy."""
    one = make_host("sighted")
    result = sighted.deploy(hosts=[one])
    assert result.status == 0, result.output
    return one


def ask(host: Host, port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a server of the host answers."""
    url = f"http://127.0.0.1:{port}{path}"
    said = host.ssh(f"curl -sS -m 120 --data-binary @- {url}", stdin=json.dumps(body), timeout=150).stdout
    told: dict[str, Any] = json.loads(said)
    return told


def colour(host: Host, port: int, model: str, shown: tuple[int, int, int]) -> str:
    """What a model says of a picture of one colour."""
    body = {"model": model, "prompt": "What is it?", "images": [png(shown)], "stream": False}
    return str(ask(host, port, "/api/generate", body)["response"])


def states(host: Host, *units: str) -> dict[str, str]:
    said = host.ssh(f"systemctl is-active {' '.join(units)}", check=False).stdout.split()
    return dict(zip(units, said, strict=True))


def sees(host: Host) -> None:
    """11435 answers about pictures from vLLM, and both ports have the embeddings."""
    assert states(host, *PHASE_2) == dict.fromkeys(PHASE_2, "active")
    assert states(host, "ollama-vision.service") == {"ollama-vision.service": "inactive"}
    for port in (11435, 11434):
        assert colour(host, port, "llava:7b", RED) == " Red picture."
        assert any(ask(host, port, "/api/embed", {"model": "nomic-embed-text", "input": "Hello"})["embeddings"][0])


def is_plain_phase_1(host: Host) -> None:
    """Two Ollama servers and nothing of Phase 2."""
    serves_phase_1(host)
    serves_vision(host)
    assert states(host, *PHASE_2) == dict.fromkeys(PHASE_2, "inactive")
    holders = host.ssh("ss -Hltnp 'sport = :11435 or sport = :11436 or sport = :8001'").stdout
    assert "ollama" in holders and "python" not in holders and ":11436" not in holders, holders


def test_a_bare_host_answers_about_pictures_after_one_run(host: Host) -> None:
    sees(host)
    assert colour(host, 11435, "llava", BLUE) == " Blue picture."
    shown = ask(host, 11435, "/api/show", {"model": "llava:7b"})
    assert "vision" in shown["capabilities"]
    listed = {one["name"] for one in json.loads(host.ssh("curl -sS http://127.0.0.1:11434/api/tags").stdout)["models"]}
    assert {"llama2:7b", "llava:7b", "nomic-embed-text:latest"} <= listed


def test_a_second_deploy_changes_nothing_and_the_verification_agrees(sighted: Operator, host: Host) -> None:
    again = sighted.deploy(hosts=[host])
    assert again.status == 0, again.output
    assert again.changed == []
    seen = sighted.verify(host)
    assert seen.returncode == 0, seen.stdout


def test_phase_1_is_plain_ollama_without_a_network_and_phase_2_comes_back(host: Host) -> None:
    with without_a_route(host):
        host.ssh("llm-phase 1", timeout=400)
        is_plain_phase_1(host)
        host.reboot()
        host.wait_ready()
        is_plain_phase_1(host)
        host.ssh("llm-phase 2", timeout=900)
        sees(host)
        host.reboot()
        host.wait_ready()
        host.ssh(
            "/usr/local/lib/llm/llm-ready adapter --port 11435 --model llava:7b --image --timeout 600", timeout=660
        )
        serves_phase_2(host)
        sees(host)


def test_a_vision_model_that_does_not_come_up_takes_nothing_away(sighted: Operator, host: Host) -> None:
    before = releases(host)["good"]
    failed = sighted.deploy("--data", 'vllm_vision.extra_args=["--no-such-flag"]', hosts=[host])
    assert failed.status == 1, failed.output
    assert "vllm-vision.service" in failed.output
    assert releases(host)["good"] == before
    sees(host)


def test_vision_goes_back_to_ollama_and_forward_with_text_undisturbed(
    operator: Operator, sighted: Operator, host: Host
) -> None:
    text = started_at(host, "vllm.service")
    back = operator.deploy(hosts=[host])
    assert back.status == 0, back.output
    serves_vision(host)
    serves_phase_2(host)
    assert states(host, *OWN) == dict.fromkeys(OWN, "inactive")
    assert started_at(host, "vllm.service") == text
    assert operator.deploy(hosts=[host]).changed == []
    seen = operator.verify(host)
    assert seen.returncode == 0, seen.stdout
    host.reboot()  # no link of the release before starts what this one does not have
    host.wait_ready()
    serves_phase_2(host)
    serves_vision(host)
    assert states(host, *OWN) == dict.fromkeys(OWN, "inactive")

    older = sighted.rollback("--data", "to=previous", hosts=[host])
    assert older.status == 0, older.output
    sees(host)
    forward = sighted.deploy(hosts=[host])
    assert forward.status == 0, forward.output
    sees(host)
    assert sighted.deploy(hosts=[host]).changed == []
