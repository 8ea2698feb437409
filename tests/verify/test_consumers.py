"""The services that use the host: well, and those of the compose project pointed at this host's servers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

import pytest

from roles.consumer_variables import variables
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.targets import Target
from tests.verify.web import Endpoint, seen_of

HEALTH_TIMEOUT_S = 10


@pytest.fixture(scope="session")
def containers(target: Target, site: Site, run: Run) -> dict[str, dict[str, str]]:
    """The environment of each container of the project, by service."""
    project = site.consumers.project
    if project is None:
        pytest.skip(f"{target.name}: consumers.project names none")
    label = shlex.quote(f"label=com.docker.compose.project.working_dir={project}")
    status, out, err = run(f"docker ps -aq --filter {label}")
    if status:
        pytest.fail(f"{target.name}: docker ps: {err.strip()}", pytrace=False)
    if not out.split():
        return {}
    found = json.loads(run(f"docker inspect {' '.join(out.split())}")[1])
    return {
        one["Config"]["Labels"]["com.docker.compose.service"]: dict(
            entry.split("=", 1) for entry in one["Config"]["Env"] if "=" in entry
        )
        for one in found
    }


def test_each_service_has_the_addresses_and_models_of_this_host(
    containers: dict[str, dict[str, str]], site: Site, expect: Expect
) -> None:
    by_use = variables(site)
    wanted = {
        f"{one.name} {key}": value
        for one in site.consumers.services
        if one.name in containers
        for key, value in by_use[one.uses].items()
    }
    seen = {f"{name} {key}": value for name, values in containers.items() for key, value in values.items()}
    expect("docker inspect; pyinfra INVENTORY deploy.py -y points them here", wanted, seen)


def test_each_service_is_well(
    containers: dict[str, dict[str, str]],
    site: Site,
    run: Run,
    expect: Expect,
    endpoint: Callable[[str, int], Endpoint],
) -> None:
    there = [one for one in site.consumers.services if one.name in containers]
    answers = {one.name: endpoint("127.0.0.1", one.port).get(one.health).status for one in there if one.health}
    open_ports = {
        one.name: run(f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{one.port}'")[0] for one in there if not one.health
    }
    expect("GET of each service's health on the host: status", dict.fromkeys(answers, 200), answers)
    expect("a connection to each service's port on the host: exit status", dict.fromkeys(open_ports, 0), open_ports)


@pytest.mark.full
def test_each_service_with_a_health_url_is_well(target: Target, site: Site, run: Run, expect: Expect) -> None:
    named = [one for one in site.consumers.services if one.health_url]
    if not named:
        pytest.skip(f"{target.name}: no consumers.services[].health_url is set")
    wanted, seen = {}, {}
    for one in named:
        url = str(one.health_url)
        key = f"{one.name} at {url}"
        wanted[key] = "open" if url.startswith("tcp://") else "200"
        seen[key] = seen_of(target.name, url, run, HEALTH_TIMEOUT_S)
    expect("consumers.services[].health_url, asked from the host", wanted, seen)
