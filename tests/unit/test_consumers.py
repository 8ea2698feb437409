"""What the consumers are told, and what point-consumers makes of a compose project."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from roles.consumers import description, environment
from roles.consumers.settings import FILES
from roles.host_programs import load
from roles.preflight.facts import Survey, parse_survey
from roles.preflight.host_checks import consumer_findings
from roles.settings import SettingsError
from roles.site import Site, site_from
from tests.plan.fake_hosts import FRESH

DOCKER = "/usr/bin/docker"
PROJECT = {"consumers.project": "/srv/advice", "ollama.text.models": ["llama2:7b", "llama3.2"]}


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load(Path("roles/consumers/host/point-consumers"))


def site(**settings: Any) -> Site:
    return site_from([{**PROJECT, **settings}], {})


def survey_of(present: set[str]) -> Survey:
    return parse_survey(FRESH | {"present": sorted(present)})


def test_the_thirteen_services_are_told_the_server_that_each_of_them_uses() -> None:
    told = {one["name"]: one["environment"] for one in json.loads(description(site()))["services"]}
    assert len(told) == 13
    for name in ("notes-service", "rag-service", "ner-service"):
        assert told[name] == {"OLLAMA_URL": "http://host.docker.internal:11434", "OLLAMA_MODEL": "llama2:7b"}
    for name in ("doc-processor", "ocr-service", "client-rag"):
        assert told[name] == {"VISION_OLLAMA_URL": "http://host.docker.internal:11435", "VISION_MODEL": "llava:7b"}
    assert told["postgres"] == {}
    assert "OLLAMA_URL=http://host.docker.internal:11434\n" in environment(site())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ollama.text.models": ["mistral"]}, "the model 'llama2:7b' (vllm.aliases[0]), which Phase 1 would not have"),
        (
            {"consumers.services": [{"name": "a", "uses": "text", "port": 1}] * 2},
            "consumers.services: 'a' is there twice",
        ),
        ({"consumers.services": [{"name": "a", "uses": "txt", "port": 1}]}, "consumers.services[0].uses: "),
        *(
            (
                {"consumers.services": [{"name": "a", "uses": "text", "port": 1, "health_url": url}]},
                "consumers.services[0].health_url: ",
            )
            for url in ("notes-01:8100", "tcp://db-01", "tcp://db-01:5432/x", "http://a b/", "ftp://a/")
        ),
        (
            {"consumers.services": [{"name": "a", "uses": "text", "prot": 1}]},
            "did you mean consumers.services[0].port?",
        ),
        ({"consumers.project": "srv"}, "consumers.project: "),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingsError) as refused:
        site(**settings)
    assert expected in str(refused.value)


def test_preflight_misses_the_project_its_files_and_docker() -> None:
    there = survey_of(present={"/srv/advice/docker-compose.yml", DOCKER})
    assert consumer_findings(site(), there, DOCKER) == []
    (missing,) = consumer_findings(site(), survey_of(present={DOCKER}), DOCKER)
    assert missing.about == "consumers.project"
    assert "/srv/advice with compose.yaml, compose.yml, docker-compose.yml" in missing.fact
    named = site(**{"consumers.files": ["docker-compose.yml", "/srv/extra.yml"]})
    (missing,) = consumer_findings(named, there, DOCKER)
    assert (missing.about, missing.fact) == ("consumers.files", "not on the host: /srv/extra.yml")
    without = site(**{"docker.source": "none"})
    (missing,) = consumer_findings(without, survey_of(present={"/srv/advice/compose.yml"}), DOCKER)
    assert "no Docker" in missing.fact
    assert consumer_findings(site_from([{}], {}), survey_of(present=set()), DOCKER) == []


def test_the_files_are_those_that_compose_takes_by_itself_or_the_named_ones(program: ModuleType) -> None:
    there = {"/p/docker-compose.yml", "/p/compose.yml", "/p/compose.override.yml", "/p/more.yml"}.__contains__
    assert program.compose_files("/p", [], there) == ["/p/compose.yml", "/p/compose.override.yml"]
    assert program.compose_files("/p", ["docker-compose.yml", "/p/more.yml"], there) == [
        "/p/docker-compose.yml", "/p/more.yml",
    ]  # fmt: skip
    with pytest.raises(program.Refusal, match=r"consumers\.files: /p/none\.yml"):
        program.compose_files("/p", ["none.yml"], there)
    with pytest.raises(program.Refusal, match=r"consumers\.project: /q has none of"):
        program.compose_files("/q", [], there)


def test_preflight_and_the_program_look_for_the_same_files(program: ModuleType) -> None:
    assert program.FILES == FILES


def test_the_override_names_only_services_that_the_project_has_and_that_use_a_server(program: ModuleType) -> None:
    services = json.loads(description(site()))["services"]
    told = json.loads(program.override_of(services, ["notes-service", "postgres", "mailer"], "3.8"))
    assert told["version"] == "3.8"
    assert [*told["services"]] == ["notes-service"]
    assert told["services"]["notes-service"]["extra_hosts"] == ["host.docker.internal:host-gateway"]
    assert "version" not in json.loads(program.override_of(services, [], None))
    costly = [{"name": "a", "environment": {"OLLAMA_MODEL": "a$b"}}]
    assert json.loads(program.override_of(costly, ["a"], None))["services"]["a"]["environment"] == {
        "OLLAMA_MODEL": "a$$b"
    }


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("version: '3.8'\nservices: {}\n", "3.8"),
        ('version: "2.4" # old\n', "2.4"),
        ("version: 3\n", "3"),
        ("name: a\n", None),
    ],
)
def test_the_version_is_the_one_of_the_project(program: ModuleType, text: str, version: str | None) -> None:
    assert program.version_of(text) == version


def test_only_services_with_another_configuration_are_due(program: ModuleType) -> None:
    assert program.due({"a": "1", "b": "2", "c": "3"}, {"b": "2", "a": "0", "gone": "9"}) == ["a"]


def test_a_service_is_well_when_it_answers_200_or_its_port_is_open(program: ModuleType) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        assert program.is_well({"port": port, "health": "/health"}) == ""
        assert program.is_well({"port": port, "health": "/other"}) == "answers 503"
        assert program.is_well({"port": port, "health": ""}) == ""
        server.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    assert "refused" in program.is_well({"port": closed, "health": ""})
