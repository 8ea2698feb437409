"""Services of a compose project, real containers on a deployed host: pointed at its servers, and left in peace by a switch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Host
from tests.lab.deployments import Operator
from tests.lab.test_deploy import Served

pytestmark = pytest.mark.lab
STEP = "Consumers | Point the services of the compose project here"
FOLDER = "/srv/advice"
SETTINGS = ("--data", f"consumers.project={FOLDER}", "--data", "consumers.health_timeout_s=20")
SERVICE = Path(__file__).parent / "consumer" / "service.py"
PORTS = {"notes-service": 8100, "doc-processor": 8101, "upload-service": 8103}
OLD = {
    "notes-service": {"OLLAMA_URL": "http://vllm-adapter:8000", "OLLAMA_MODEL": "llama2:7b"},
    "doc-processor": {"VISION_OLLAMA_URL": "http://ollama-vision:11434", "VISION_MODEL": "llava:7b"},
    "upload-service": {},
}
COMPOSE = "cd /srv/advice && docker-compose -p advice"
PYTHON = "usr/bin/python3.11 usr/lib/python3.11 usr/lib/x86_64-linux-gnu usr/lib64 bin lib lib64"


def compose_file() -> str:
    """The project as its operator has it: pointed at names of a system that is gone."""
    services = {
        name: {
            "image": "consumer",
            "command": ["/usr/bin/python3.11", "/service.py"],
            "environment": {"PORT": str(port), **OLD[name]},
            "ports": [f"127.0.0.1:{port}:{port}"],
            "volumes": ["./service.py:/service.py:ro"],
        }
        for name, port in PORTS.items()
    }
    return json.dumps({"version": "3.8", "services": services})  # JSON is YAML


@pytest.fixture(scope="module")
def project(operator: Operator, served: Served) -> Iterator[Host]:
    """The Phase-2 host with the project and its containers, as somebody started them; gone afterwards."""
    host = served[0]
    host.ssh(f"mkdir -p {FOLDER}; cat > {FOLDER}/docker-compose.yml", stdin=compose_file())
    host.ssh(f"cat > {FOLDER}/service.py", stdin=SERVICE.read_text(encoding="utf-8"))
    host.ssh(f"tar -C / -c {PYTHON} | docker import - consumer >/dev/null", timeout=600)
    host.ssh("DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends docker-compose", timeout=600)
    host.ssh(f"{COMPOSE} up -d 2>&1", timeout=300)
    yield host
    host.ssh(f"{COMPOSE} down 2>&1; docker rmi consumer; rm -rf {FOLDER} /etc/llm/consumers.override.yaml", timeout=300)
    assert operator.deploy(hosts=[host]).status == 0


def containers(host: Host) -> dict[str, str]:
    """Id of each service's container."""
    names = " ".join(f"advice_{name}_1" for name in PORTS)
    ids = host.ssh(f"docker inspect -f '{{{{.Id}}}}' {names}").stdout.split()
    return dict(zip(PORTS, ids, strict=True))


def asked(host: Host, name: str) -> dict[str, Any]:
    """What the service was told when it asked."""
    said = host.ssh(f"curl -sS -m 300 -X POST http://127.0.0.1:{PORTS[name]}/run", timeout=320).stdout
    told: dict[str, Any] = json.loads(said)
    return told


def assert_all_are_answered(host: Host) -> None:
    told = asked(host, "notes-service")
    assert told.pop("GET show") in (404, 405)  # Ollama has no such way either
    assert told == {"generate": [200, True], "tags": [200, True], "show": [200, True], "embeddings": [200, True]}
    assert asked(host, "doc-processor") == {"image": [200, True]}


def test_services_are_pointed_here_and_only_those_that_changed_start_anew(operator: Operator, project: Host) -> None:
    before = containers(project)
    assert STEP in operator.dry(*SETTINGS, hosts=[project]).planned(project)
    assert containers(project) == before
    done = operator.deploy(*SETTINGS, hosts=[project])
    assert done.status == 0, done.output
    assert STEP in done.changed
    after = containers(project)
    assert {name for name in PORTS if after[name] != before[name]} == {"notes-service", "doc-processor"}
    assert_all_are_answered(project)
    again = operator.deploy(*SETTINGS, hosts=[project])
    assert again.status == 0, again.output
    assert again.changed == []
    assert containers(project) == after


def test_a_switch_touches_no_service_and_each_of_them_is_answered_in_both_phases(project: Host) -> None:
    before = containers(project)
    for phase in ("1", "2"):
        project.ssh(f"llm-phase {phase}", timeout=400)
        assert_all_are_answered(project)
    assert containers(project) == before


def test_a_service_that_somebody_pointed_elsewhere_is_found_and_pointed_back(operator: Operator, project: Host) -> None:
    project.ssh(f"{COMPOSE} up -d --no-deps notes-service 2>&1", timeout=300)  # without our file
    seen = operator.verify(project, *SETTINGS)
    assert seen.returncode == 1
    assert "notes-service" in seen.stdout
    assert "http://vllm-adapter:8000" in seen.stdout
    done = operator.deploy(*SETTINGS, hosts=[project])
    assert done.status == 0, done.output
    assert done.changed == [STEP]
    assert_all_are_answered(project)
    seen = operator.verify(project, *SETTINGS)
    assert seen.returncode == 0, seen.stdout


def test_a_service_outside_of_the_project_is_asked_by_its_health_url(operator: Operator, project: Host) -> None:
    outside = [
        {"name": "search", "uses": "text", "port": 8200, "health_url": "http://127.0.0.1:8200/"},
        {"name": "store", "uses": "nothing", "port": 8200, "health_url": "tcp://127.0.0.1:8200"},
    ]
    words = ("--data", f"consumers.services={json.dumps(outside)}", "-k", "test_consumers")
    project.ssh("systemd-run --unit=search python3 -m http.server --bind 127.0.0.1 8200")
    project.ssh("timeout 30 sh -c 'until curl -sf http://127.0.0.1:8200/ >/dev/null; do sleep 0.2; done'")
    seen = operator.verify(project, *words)
    assert seen.returncode == 0, seen.stdout
    assert "1 passed" in seen.stdout
    project.ssh("systemctl stop search")
    seen = operator.verify(project, *words)
    assert seen.returncode == 1
    assert "search at http://127.0.0.1:8200/: expected '200', seen \"no answer: curl: (7) " in seen.stdout
    assert "store at tcp://127.0.0.1:8200: expected 'open', seen 'no answer: Connection refused'" in seen.stdout


@pytest.mark.slow
def test_a_service_that_does_not_get_well_fails_the_run_with_its_last_lines(operator: Operator, project: Host) -> None:
    failed = operator.deploy(*SETTINGS, "--data", "consumers.ollama_url=http://crash:11434", hosts=[project])
    assert failed.status == 1
    assert failed.failed == [STEP]
    assert "notes-service: http://127.0.0.1:8100/health " in failed.output
    assert "this service cannot live with OLLAMA_URL=http://crash:11434" in failed.output
    done = operator.deploy(*SETTINGS, hosts=[project])
    assert done.status == 0, done.output
    assert_all_are_answered(project)


def test_a_project_that_compose_refuses_stays_as_it_is(operator: Operator, project: Host) -> None:
    before, override = containers(project), project.ssh("cat /etc/llm/consumers.override.yaml").stdout
    project.ssh(f'sed -i \'s/"image"/"imago"/\' {FOLDER}/docker-compose.yml')
    try:
        failed = operator.deploy(*SETTINGS, hosts=[project])
    finally:
        project.ssh(f'sed -i \'s/"imago"/"image"/\' {FOLDER}/docker-compose.yml')
    assert failed.status == 1
    assert "refused, nothing was changed: compose refuses" in failed.output
    assert "imago" in failed.output
    assert containers(project) == before
    assert project.ssh("cat /etc/llm/consumers.override.yaml").stdout == override


def test_a_project_that_is_not_there_is_refused_before_anything_changes(operator: Operator, project: Host) -> None:
    refused = operator.deploy("--data", "consumers.project=/srv/nowhere", hosts=[project])
    assert refused.status == 1
    assert "not on the host: /srv/nowhere with compose.yaml" in refused.output
    assert "refused, nothing was changed" in refused.output
