"""Diagnoses of containers: whom they ask, and whether they have their cards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roles.doctor.symptoms import NO_SMI, Container
from tests.unit.doctor.cases import SITE, found, with_seen

GATEWAY = ("host.docker.internal:host-gateway",)
RAG = Container("rag-1", "rag-service", "", 0, "app_default", GATEWAY, {}, False, "")


def asking(
    host: str = "", network: str = "app_default", extra: tuple[str, ...] = GATEWAY, **variables: str
) -> Container:
    given = {"OLLAMA_URL": host, **variables} if host else variables
    return replace(RAG, network=network, extra_hosts=extra, variables=given)


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (asking("http://host.docker.internal:8000"), "port 8000 is vLLM itself"),
        (asking("http://vllm-adapter:8000"), "of the old compose file"),
        (asking("http://localhost:11434"), "in a container localhost is the container itself"),
        (asking("http://host.docker.internal:11435"), "port 11435 serves images and embeddings; text is on 11434"),
        (asking(VISION_OLLAMA_URL="http://host.docker.internal:11434"), "port 11434 serves text"),
        (asking("http://host.docker.internal:11444"), "not on 11444"),
        (asking("http://172.17.0.1"), "not on 80"),
        (asking("http://host.docker.internal:11434", extra=()), "it does not know the name host.docker.internal"),
        (asking(OLLAMA_HOST="host.docker.internal:8000"), "port 8000 is vLLM itself"),
        (asking("http://host.docker.internal:99999"), "not on 0"),
        (asking("http://[host"), "not on 0"),
        (asking("http://10.1.2.3:8000"), "port 8000 is vLLM itself"),
    ],
)
def test_a_service_that_asks_the_wrong_server(container: Container, words: str) -> None:
    one = found(with_seen(containers=(container,)))["service-points-wrong"]
    assert words in one.cause
    port = 11435 if "VISION_OLLAMA_URL" in container.variables else 11434
    assert f"=http://host.docker.internal:{port}" in one.remedy
    assert "docker compose up -d rag-service" in one.remedy


@pytest.mark.parametrize(
    "container",
    [
        asking("http://host.docker.internal:11434", VISION_OLLAMA_URL="http://host.docker.internal:11435"),
        asking("http://localhost:11434", network="host", extra=()),
        asking("http://172.17.0.1:11434", extra=()),
        asking("https://ollama.example.org/api"),
        asking(OLLAMA_HOST="0.0.0.0:11434"),
        asking("http://172.20.5.9:8080"),
        asking("http://host.docker.internal:11434", network="container:4f", extra=()),
        asking(OLLAMA_URL=""),
    ],
)
def test_a_service_that_asks_right_or_elsewhere_is_left_alone(container: Container) -> None:
    assert found(with_seen(containers=(container,))) == {}


def test_a_password_in_an_address_is_not_told() -> None:
    told = found(with_seen(containers=(asking("http://me:pw5ecret@localhost:11434"),)))["service-points-wrong"]
    assert "pw5ecret" not in str(told)


@pytest.mark.parametrize(("health", "restarts", "ill"), [("unhealthy", 0, True), ("", 7, True), ("healthy", 1, False)])
def test_a_service_that_is_not_well_itself(health: str, restarts: int, ill: bool) -> None:
    container = replace(asking("http://host.docker.internal:11434"), health=health, restarts=restarts)
    assert ("service-not-well" in found(with_seen(containers=(container,)))) is ill


def test_a_service_of_the_project_is_pointed_back_by_a_deploy() -> None:
    consumers = SITE.consumers.model_copy(update={"project": "/srv/app"})
    case = with_seen(containers=(asking("http://localhost:11434"),))
    one = found(replace(case, site=SITE.model_copy(update={"consumers": consumers})))["service-points-wrong"]
    assert one.remedy == "pyinfra inventory deploy.py -y --limit gpu-01 points it back and starts it anew"


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("Failed to initialize NVML: Unknown Error", True),
        ("no answer within 10 s", True),
        ("GPU 0: NVIDIA H100 (UUID: GPU-1)", False),
        (NO_SMI, False),
    ],
)
def test_a_container_that_has_lost_its_cards(said: str, lost: bool) -> None:
    container = replace(RAG, name="ocr", wants_cards=True, cards=said)
    names = found(with_seen(containers=(container,)))
    assert ("container-lost-cards" in names) is lost
    if lost:
        assert "docker restart ocr" in names["container-lost-cards"].remedy
