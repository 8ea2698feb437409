"""Sandboxes and secrets: as rendered, in systemd's view and in the kernel's; secrets where they belong and nowhere else."""

from __future__ import annotations

import pytest

from roles.layout import (
    ADAPTER,
    ADAPTER_TOKEN,
    ADAPTER_VISION,
    CREDENTIALS,
    ETC,
    GRAFANA_PASSWORD,
    HUB_TOKEN,
    OLLAMA_EMBED,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    OUR_UNITS,
    UNITS,
    VLLM,
    VLLM_MODEL,
    VLLM_VISION,
    VLLM_VISION_MODEL,
    phase_units,
)
from roles.phases import unit_files
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.seen import Unit, secret_command
from tests.verify.targets import Target

USERS = {
    **dict.fromkeys((VLLM, VLLM_MODEL, VLLM_VISION, VLLM_VISION_MODEL), "vllm"),
    **dict.fromkeys((OLLAMA_TEXT, OLLAMA_VISION, OLLAMA_EMBED), "ollama"),
    ADAPTER: "ollama-adapter",
    ADAPTER_VISION: "ollama-adapter-vision",
}
SECRETS = (HUB_TOKEN, ADAPTER_TOKEN, GRAFANA_PASSWORD)
SANDBOX = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "ProtectClock": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectProc": "invisible",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "RemoveIPC": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "SystemCallArchitectures": "native",
    "UMask": "0027",
}


def running(site: Site) -> list[str]:
    return [unit for unit in phase_units(site)[site.phase] if unit.endswith(".service")]


def test_every_service_runs_in_the_sandbox(site: Site, units: dict[str, Unit], expect: Expect) -> None:
    devices = {"PrivateDevices": "yes"} if site.gpu == "none" else {"DevicePolicy": "closed"}
    for unit in {*USERS} & {*unit_files(site)}:
        user = USERS[unit]
        expect(f"sandbox of {unit}", SANDBOX | devices | {"User": user}, units[unit])


@pytest.mark.usefixtures("both_phases")
def test_the_adapter_has_a_user_that_exists_only_while_it_runs(units: dict[str, Unit], expect: Expect) -> None:
    expect(f"sandbox of {ADAPTER}", {"DynamicUser": "yes", "MemoryDenyWriteExecute": "yes"}, units[ADAPTER])


def test_the_kernel_holds_every_process_to_it(site: Site, units: dict[str, Unit], run: Run, expect: Expect) -> None:
    for unit in running(site):
        text = run(f"cat /proc/{units[unit]['MainPID']}/status")[1]
        seen = {key: value.split() for key, _, value in (line.partition(":") for line in text.splitlines())}
        wanted = {"NoNewPrivs": ["1"], "CapEff": ["0" * 16], "CapBnd": ["0" * 16], "Seccomp": ["2"]}
        expect(f"main process of {unit} in /proc", wanted | {"Uid": [units[unit]["UID"]] * 4}, seen)
        expect(f"main process of {unit} in /proc", {"root": False}, {"root": seen.get("Uid", ["0"])[0] == "0"})


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_roots_alone(secret: str, site: Site, run: Run, expect: Expect) -> None:
    if run(f"test -e {secret}")[0]:
        pytest.skip(f"no {secret} on this host")
    seen = run(f"stat -c '%n %U:%G %a' {CREDENTIALS} {secret}")[1].splitlines()
    wanted = {CREDENTIALS: "root:root 700", secret: "root:root 600"}
    expect("owner and mode", wanted, dict(line.split(" ", 1) for line in seen))


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_in_no_unit_file_setting_or_environment(secret: str, target: Target, site: Site, run: Run) -> None:
    if run(f"test -s {secret}")[0]:
        pytest.skip(f"no {secret} on this host")
    watching = site.monitoring.units(
        site.gpu
    )  # Prometheus and blackbox_exporter have the clients' token, Grafana its password
    command = secret_command(secret, (UNITS, ETC), {*OUR_UNITS, *watching}, {*running(site), *watching})
    found = run(command)[1].splitlines()
    assert not found, f"{target.name}: expected the content of {secret} there alone, seen also in: {', '.join(found)}"


def test_no_environment_holds_a_variable_that_is_named_like_a_secret(
    target: Target, site: Site, units: dict[str, Unit], run: Run
) -> None:
    for unit in running(site):
        names = run(f"tr '\\0' '\\n' < /proc/{units[unit]['MainPID']}/environ | cut -d= -f1")[1].split()
        secret = [name for name in names if any(word in name for word in ("TOKEN", "SECRET", "PASSWORD", "API_KEY"))]
        assert names, f"{target.name}: expected to read the environment of {unit}, seen nothing"
        assert not secret, f"{target.name}: expected no secret in the environment of {unit}, seen {', '.join(secret)}"
