"""A site without a network: a bundle is made here, cut off and gone on with, checked, served, and deployed from, alone.

"Here" is this machine: the lab's mirrors and its own package sources are the network that it has. The hosts have no way out of the
lab's cable and are told of nothing but the bundle's server.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bundle.cli import mirror_settings
from lab import Host, Lab, mirrored, pretend_gpu
from tests.lab.deployments import CHECKOUT, Operator
from tests.lab.docker_repository import make_or_skip
from tests.lab.test_deploy import serves_phase_1, serves_phase_2, serves_vision

pytestmark = [pytest.mark.lab, pytest.mark.slow]
BUNDLE = (sys.executable, "-m", "bundle")
NAMES = (
    "python_index", "torch_cpu_index", "hub", "ollama_releases", "ollama_registry", "cuda_repositories", "container_toolkit",
    "docker",
)  # fmt: skip


@pytest.fixture(scope="module")
def bare(operator: Operator, make_host: Callable[..., Host]) -> tuple[Host, Host]:
    """Two hosts: one with two pretended P100 for Phase 1 with Docker's own packages, one without cards for Phase 2."""
    make_or_skip()
    cards, plain = make_host("bundle-phase1"), make_host("bundle-phase2")
    pretend_gpu.give(cards, [pretend_gpu.P100, pretend_gpu.P100])
    return cards, plain


def inventory(operator: Operator, name: str, mirrors: dict[str, str]) -> Operator:
    """The site's inventory, with these mirrors."""
    found = mirrored.settings(operator.lab)
    key = mirrored.ensure(operator.lab).apt_key_fingerprint
    cards: dict[str, Any] = {
        "gpu": "nvidia",
        "phase": 1,
        "prepare": "phase1",
        "nvidia": {"key_fingerprint": key, "toolkit_key_fingerprint": key},
        "docker": {"source": "docker", "key_fingerprint": key},
        "mirrors": mirrors,
    }
    plain = {"mirrors": mirrors, "vllm": {**found["vllm"], "hub_token_file": None}, "docker": {"source": "none"}}
    return operator.with_settings(name, cards, plain)


@pytest.fixture(scope="module")
def connected(operator: Operator, bare: tuple[Host, Host]) -> Operator:
    """The inventory as it is before anybody thinks of mirrors."""
    return inventory(operator, "connected", {})


@pytest.fixture(scope="module")
def folder(lab: Lab) -> Iterator[Path]:
    """Where the bundle is made; beside the lab's cache, which has the room."""
    path = lab.cache / f"bundle-{os.getpid()}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def make_for(connected: Operator, folder: Path) -> Callable[..., list[str]]:
    """The command that makes it for some hosts, from the lab's mirrors."""
    mirrors = mirrored.settings(connected.lab)["mirrors"]
    words = [word for name in NAMES for word in ("--mirror", f"{name}={mirrors[name]}")]

    def command(*hosts: Host) -> list[str]:
        limits = [word for host in hosts for word in ("--limit", host.name)]
        return [*BUNDLE, "make", str(folder), "--inventory", connected.inventory, *limits, *words]

    return command


@pytest.fixture(scope="module")
def make(make_for: Callable[..., list[str]], bare: tuple[Host, Host]) -> list[str]:
    """The command for both hosts."""
    return make_for(*bare)


def run(command: list[str], operator: Operator, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**operator.environment, "HF_TOKEN": mirrored.READER_TOKEN, **more}
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900
    )


def test_without_a_token_a_gated_model_is_named_first(make: list[str], connected: Operator, folder: Path) -> None:
    done = run(make, connected, HF_TOKEN="")
    assert done.returncode == 1
    assert f"{mirrored.MODEL} is gated and no token was given" in done.stderr
    assert "export HF_TOKEN=hf_…" in done.stderr
    assert not list(folder.rglob("*.safetensors*"))


def test_a_dry_run_writes_nothing(
    make_for: Callable[..., list[str]], connected: Operator, folder: Path, bare: tuple[Host, Host]
) -> None:
    before = sorted(folder.rglob("*"))
    done = run([*make_for(bare[1]), "--dry"], connected)
    assert done.returncode == 0, done.stderr
    assert "nothing was written" in done.stderr
    assert "model.safetensors" in done.stdout
    assert sorted(folder.rglob("*")) == before


def test_a_run_that_is_cut_off_leaves_no_bundle_and_the_next_one_goes_on(
    make: list[str], connected: Operator, folder: Path
) -> None:
    environment = {**connected.environment, "HF_TOKEN": mirrored.READER_TOKEN}
    with subprocess.Popen(
        make, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "files to fetch" in line:
                time.sleep(2)
                process.send_signal(signal.SIGKILL)
                break
    half = run([*BUNDLE, "check", str(folder)], connected)
    assert half.returncode == 1
    assert "is not finished" in half.stderr

    done = run(make, connected)
    assert done.returncode == 0, done.stderr[-3000:]


def test_check_reads_every_byte(make: list[str], connected: Operator, folder: Path) -> None:
    check = [*BUNDLE, "check", str(folder), "--json"]
    assert json.loads(run(check, connected).stdout)["ok"] is True
    (weights,) = folder.rglob("model.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    wrong = run(check, connected)
    assert wrong.returncode == 1
    assert list(json.loads(wrong.stdout)["problems"]) == [weights.relative_to(folder).as_posix()]
    again = run(make, connected)  # the wrong file is fetched anew, and nothing else
    assert again.returncode == 0, again.stderr[-3000:]
    assert "\n1 files to fetch" in again.stderr
    assert json.loads(run(check, connected).stdout)["ok"] is True


@pytest.fixture(scope="module")
def site(
    make: list[str], connected: Operator, folder: Path, bare: tuple[Host, Host]
) -> Iterator[tuple[Operator, Path]]:
    """The bundle served inside the site, hosts without any other way, and the inventory with the settings that were printed."""
    log = connected.lab.directory / "bundle.log"
    gateway = str(connected.lab.gateway)
    serve = [*BUNDLE, "serve", str(folder), "--address", gateway, "--port", "0"]
    with (
        log.open("w") as out,
        subprocess.Popen(serve, cwd=CHECKOUT, stdout=out, stderr=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stderr is not None
            url = server.stderr.readline().split(" at ")[1].split()[0]
            told = run([*BUNDLE, "settings", "--url", url, "--json"], connected)
            mirrors = json.loads(told.stdout)["mirrors"]
            assert mirrors == mirror_settings(url)
            for host in bare:
                host.ssh("ip route del default")
            yield inventory(connected, "airgapped", mirrors), log
        finally:
            server.terminate()


def fetched_elsewhere(operator: Operator, host: Host) -> list[str]:
    """Requests of a host to the lab's mirrors."""
    logs = list(operator.lab.mirror_directory.glob("*.log"))
    assert logs
    return [line for log in logs for line in log.read_text().splitlines() if f" {host.address} " in line]


def test_a_host_with_cards_is_deployed_from_the_bundle_alone(
    site: tuple[Operator, Path], bare: tuple[Host, Host]
) -> None:
    operator, log = site
    host = bare[0]
    result = operator.deploy(hosts=[host])
    assert result.status == 0, result.output
    serves_phase_1(host)
    serves_vision(host)
    assert host.ssh("docker version -f '{{.Server.Version}}'").stdout.strip()
    assert host.ssh("nvidia-smi -L").stdout.count("Tesla P100") == 2
    assert fetched_elsewhere(operator, host) == []
    assert f" {host.address} GET /distribution/debian/" in log.read_text()
    again = operator.deploy(hosts=[host])
    assert again.status == 0, again.output
    assert again.changed == []


def test_a_host_of_phase_2_is_deployed_from_the_bundle_alone(
    site: tuple[Operator, Path], bare: tuple[Host, Host]
) -> None:
    operator, _ = site
    host = bare[1]
    result = operator.deploy(hosts=[host])
    assert result.status == 0, result.output
    serves_phase_2(host)
    assert fetched_elsewhere(operator, host) == []
    assert operator.deploy(hosts=[host]).changed == []


def test_the_hosts_own_sources_are_set_aside_and_come_back(
    site: tuple[Operator, Path], bare: tuple[Host, Host]
) -> None:
    operator, _ = site
    host = bare[1]
    kept = host.ssh("cd /var/lib/llm/backup/apt/distribution && find . -type f").stdout.split()
    assert kept
    back = inventory(operator, "back", {name: url for name, url in mirrored.settings(operator.lab)["mirrors"].items()})
    result = back.pyinfra("--yes", playbook="tests/lab/only_base.py", hosts=[host])
    assert result.status == 0, result.output
    assert host.ssh("ls /etc/apt/sources.list.d/llm-distribution.sources", check=False).returncode != 0
    for name in kept:
        host.ssh(f"test -f /etc/apt/{name}")


def test_a_mirror_that_apt_cannot_read_changes_nothing(site: tuple[Operator, Path], bare: tuple[Host, Host]) -> None:
    operator, _ = site
    host = bare[1]
    look = "find /etc/apt -type f | sort | xargs sha256sum"
    before = host.ssh(look).stdout
    gone = f"mirrors.distribution=http://{operator.lab.gateway}:9/nothing"
    result = operator.pyinfra("--yes", "--data", gone, playbook="tests/lab/only_base.py", hosts=[host])
    assert result.status == 1
    assert "apt cannot read the mirror, nothing was changed; correct mirrors.distribution" in result.output
    assert host.ssh(look).stdout == before
