"""The doctor on real hosts: each fault is made, and found with its evidence; of servers that were stopped its own command is typed.

Faults of cards and of the clock cannot be made here (tests/unit/doctor); cards that are played: test_deploy_with_cards.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from lab import Host
from tests.lab.deployments import Operator
from tests.lab.test_deploy import serves_phase_1, serves_phase_2
from tests.lab.test_drift import untouched
from tests.lab.vllm_probes import wait_until

pytestmark = pytest.mark.lab
Served = tuple[Host, Host]
HUB = "/var/lib/llm/hub"
DOWNLOAD = "/etc/systemd/system/vllm-model.service.d/doctor-test.conf"
SELF_SIGNED = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -keyout /run/key.pem -out /run/cert.pem 2>/dev/null; "
    "systemd-run -q --unit=selfsigned openssl s_server -accept 9443 -key /run/key.pem -cert /run/cert.pem -quiet -www"
)
# A container that sleeps, of the host's own files.
ASKS_ITSELF = (
    "mkdir -p /run/box/bin /run/box/lib64 /run/box/lib/x86_64-linux-gnu; cp /bin/sleep /run/box/bin;"
    "cp -L /lib/x86_64-linux-gnu/libc.so.6 /run/box/lib/x86_64-linux-gnu; cp -L /lib64/ld-linux-x86-64.so.2 /run/box/lib64;"
    "tar -C /run/box -c . | docker import - asks-itself >/dev/null;"
    "docker run -d --name asks-itself -e OLLAMA_URL=http://localhost:11434 asks-itself /bin/sleep 600 >/dev/null"
)
RESTART = "systemctl stop vllm; systemctl reset-failed vllm; systemctl start vllm"


@pytest.fixture(scope="module", autouse=True)
def left_as_found(operator: Operator, served: Served) -> Iterator[None]:
    """Servers that were started by hand are proved again by a deploy, as after the one that made the hosts."""
    yield
    done = operator.deploy(hosts=[served[0]])
    assert done.status == 0, done.output


def diagnosed(operator: Operator, host: Host, restless: bool = False) -> dict[str, dict[str, Any]]:
    """What the doctor finds on a host, by name, in its order. It must have changed nothing, and its status must be right.

    :param restless: systemd starts something again and again meanwhile.
    """
    with nullcontext() if restless else untouched(host):
        status, told, said = operator.doctor(hosts=[host])
    line = told[host.name]
    assert line["verdict"] != "unknown", said
    assert status == (3 if line["diagnoses"] else 0), said
    return {one["name"]: one for one in line["diagnoses"]}


def until_it_says(host: Host, unit: str, words: str) -> None:
    """Returns when the unit's last lines have the words."""
    look = f"journalctl -u {unit} -n 200 -o cat | grep -qi {shlex.quote(words)}"
    wait_until(f"{unit} says {words!r}", lambda: host.ssh(look, check=False).returncode == 0, 120)


def for_the_host(remedy: str) -> str:
    """The systemctl commands that a remedy names, as somebody types them on the host."""
    found = re.findall(r"systemctl (?:start|restart|reset-failed)(?: (?!on\b)[\w.-]+)+", remedy)
    assert found, remedy
    return "; ".join(found)


@contextmanager
def vllm_told(host: Host, *lines: str) -> Iterator[None]:
    """vLLM is started with further lines in its settings, and afterwards again as it was, until it serves."""
    added = "\\n".join(lines)
    host.ssh(f"cp -a /etc/llm/vllm.yaml /run/vllm.yaml; printf '{added}\\n' >> /etc/llm/vllm.yaml")
    host.ssh("systemctl restart --no-block vllm")
    try:
        yield
    finally:
        host.ssh(f"cp -a /run/vllm.yaml /etc/llm/vllm.yaml; {RESTART}", timeout=300)
        serves_phase_2(host)


@contextmanager
def download_from(host: Host, hub: str) -> Iterator[None]:
    """The model is gone and is downloaded from this hub; afterwards it is there, and vLLM serves it."""
    host.ssh(
        f"systemctl stop vllm; mv {HUB} {HUB}.aside; install -d -o vllm -g vllm {HUB}; mkdir -p {DOWNLOAD.rpartition('/')[0]};"
        f"printf '[Service]\\nEnvironment=HF_ENDPOINT={hub}\\n' > {DOWNLOAD}; systemctl daemon-reload;"
        "systemctl start --no-block vllm-model",
        timeout=120,
    )
    try:
        yield
    finally:
        host.ssh(
            f"systemctl stop vllm-model; systemctl reset-failed vllm-model; rm {DOWNLOAD}; systemctl daemon-reload;"
            f"rm -r {HUB}; mv {HUB}.aside {HUB}; systemctl start vllm",
            timeout=300,
        )
        serves_phase_2(host)


def test_hosts_that_serve_are_well(operator: Operator, served: Served) -> None:
    with untouched(*served):
        status, told, said = operator.doctor(hosts=list(served))
    assert {name: line["diagnoses"] for name, line in told.items()} == {host.name: [] for host in served}, said
    assert status == 0
    assert said.rstrip().endswith("doctor: 2 well")


def test_servers_that_were_stopped_or_whose_port_somebody_has(operator: Operator, served: Served) -> None:
    host, _ = served
    host.ssh(
        "systemctl stop ollama-adapter.socket ollama-adapter.service ollama-vision.service;"
        "systemd-run --quiet --unit=squatter python3 -m http.server 11434; sleep 1"
    )
    try:
        names = diagnosed(operator, host)
    finally:
        host.ssh("systemctl stop squatter")
    for name in ("adapter-down", "ollama-down"):
        host.ssh(for_the_host(names[name]["remedy"]), timeout=120)
    assert "squatter.service" in names["port-taken"]["evidence"][0]
    assert "systemctl disable --now squatter.service" in names["port-taken"]["remedy"]
    assert {"adapter-down", "ollama-down"} <= set(names)
    assert list(names).index("port-taken") < list(names).index("adapter-down")
    serves_phase_2(host)


def test_a_vllm_that_hangs_and_one_that_was_stopped(operator: Operator, served: Served) -> None:
    host, _ = served
    host.ssh("systemctl kill --signal=STOP vllm")
    try:
        names = diagnosed(operator, host)
    finally:
        host.ssh("systemctl kill --signal=CONT vllm")
    assert next(iter(names)) == "engine-hangs"
    host.ssh("systemctl stop vllm", timeout=120)
    names = diagnosed(operator, host)
    host.ssh(for_the_host(names["vllm-stopped"]["remedy"]), timeout=300)
    assert next(iter(names)) == "vllm-stopped"
    assert any("/ready on 11434: 503" in line for line in names["adapter-503"]["evidence"])
    assert names["adapter-503"]["remedy"].startswith("see what vLLM's own entry says")
    serves_phase_2(host)


def test_a_context_whose_keys_and_values_do_not_fit_gets_the_one_that_does(operator: Operator, served: Served) -> None:
    host, _ = served
    with vllm_told(host, "kv-cache-memory-bytes: 3M"):
        until_it_says(host, "vllm", "KV cache is needed")
        names = diagnosed(operator, host, restless=True)
        first = names["context-too-long"]
        assert next(iter(names)) == "context-too-long"
        assert "KV cache" in first["evidence"][0]
        assert "set vllm.max_model_len = " in first["remedy"]


@pytest.mark.slow
def test_settings_that_vllm_refuses(operator: Operator, served: Served) -> None:
    host, _ = served
    with vllm_told(host, "max-model-len: 1000000"):
        until_it_says(host, "vllm", "greater than the derived")
        names = diagnosed(operator, host, restless=True)
    assert next(iter(names)) == "vllm-settings"
    assert "set vllm.max_model_len to at most " in names["vllm-settings"]["remedy"]


@pytest.mark.slow
def test_a_model_that_is_damaged_on_the_disk(operator: Operator, served: Served) -> None:
    host, _ = served
    weights = host.ssh(f"readlink -f {HUB}/models--*/snapshots/*/model*.safetensors | head -1").stdout.strip()
    host.ssh(f"cp -a {weights} /run/weights; printf 'damaged!' | dd of={weights} bs=1 conv=notrunc status=none")
    try:
        host.ssh("systemctl restart --no-block vllm")
        until_it_says(host, "vllm", "SafetensorError")
        names = diagnosed(operator, host, restless=True)
    finally:
        host.ssh(f"cp -a /run/weights {weights}; {RESTART}", timeout=300)
    assert next(iter(names)) == "model-damaged"
    serves_phase_2(host)


@pytest.mark.slow
def test_a_hub_that_is_not_reached_and_one_that_is_not_trusted(operator: Operator, served: Served) -> None:
    host, _ = served
    host.ssh(SELF_SIGNED)
    try:
        with download_from(host, "http://127.0.0.1:9"):
            until_it_says(host, "vllm-model", "onnection refused")
            names = diagnosed(operator, host, restless=True)
            assert next(iter(names)) == "hub-unreachable"
            assert any("what came is kept" in line or "efused" in line for line in names["hub-unreachable"]["evidence"])
        with download_from(host, "https://127.0.0.1:9443"):
            until_it_says(host, "vllm-model", "certificate")
            names = diagnosed(operator, host, restless=True)
            assert next(iter(names)) == "certificate"
    finally:
        host.ssh("systemctl stop selfsigned", check=False)


def test_a_full_disk_and_a_container_that_asks_itself(operator: Operator, served: Served) -> None:
    host, _ = served
    full = "mount -t tmpfs -o size=4M none /tmp; head -c 8M /dev/zero > /tmp/fills 2>/dev/null"
    host.ssh(f"{full}; {ASKS_ITSELF}", check=False, timeout=120)  # fmt: skip
    try:
        names = diagnosed(operator, host)
    finally:
        host.ssh("docker rm -f asks-itself; docker rmi asks-itself; umount /tmp", check=False, timeout=60)
    assert names["disk-full"]["evidence"][0].startswith("/tmp: 0.0 GiB of 0.0 GiB free")
    assert names["service-points-wrong"]["evidence"] == ["its environment: OLLAMA_URL=http://localhost:11434"]
    assert "host-gateway" in names["service-points-wrong"]["remedy"]


def test_a_host_that_went_back_is_told_with_the_way_forward(operator: Operator, served: Served) -> None:
    host, _ = served
    host.ssh("llm-phase 1", timeout=120)
    try:
        serves_phase_1(host)
        names = diagnosed(operator, host)
    finally:
        host.ssh("llm-phase 2", timeout=300)
    assert list(names) == ["other-phase"]
    assert f"deploy.py -y --limit {host.name}" in names["other-phase"]["remedy"]
    serves_phase_2(host)
