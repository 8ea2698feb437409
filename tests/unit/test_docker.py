"""daemon.json belongs to everybody: ours goes in, nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from roles.docker import daemon_settings, repository_key
from roles.docker.operations import is_installed, is_merged
from roles.docker.settings import DockerSettings
from roles.docker_packages import OWN, wanted_packages
from roles.host_programs import load
from roles.pins import pins

OURS = daemon_settings(DockerSettings(), with_cards=False)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load(Path("roles/docker/host/configure-daemon"))


def test_an_empty_or_missing_file_has_not_our_keys_and_one_with_more_has() -> None:
    assert not is_merged("", OURS)
    assert not is_merged("{}", OURS)
    assert is_merged(json.dumps({**OURS, "dns": ["10.0.0.1"]}), OURS)


def test_keys_of_others_stay_also_inside_a_section_we_share(program: ModuleType) -> None:
    present = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}, "log-opts": {"tag": "x", "max-size": "1g"}}
    result = program.merge(program.parse(json.dumps(present)), OURS)
    assert result["runtimes"] == present["runtimes"]
    assert result["log-opts"] == {"tag": "x", "max-size": "50m", "max-file": "3"}
    assert is_merged(json.dumps(result), OURS)


@pytest.mark.parametrize("text", ["{", "[]", "null x"])
def test_a_file_that_is_no_json_object_is_never_overwritten(program: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        is_merged(text, OURS)
    with pytest.raises(program.Refusal, match=r"daemon.json"):
        program.parse(text)


def test_a_host_with_cards_registers_their_runtime_beside_others(program: ModuleType) -> None:
    result = program.merge({"runtimes": {"other": {"path": "x"}}}, daemon_settings(DockerSettings(), with_cards=True))
    assert set(result["runtimes"]) == {"nvidia", "other"}
    assert result["features"] == {"cdi": True}


def test_the_pinned_checksum_belongs_to_the_pinned_key_alone() -> None:
    pin = pins().docker
    assert repository_key(DockerSettings()) == (pin.fingerprint, pin.key_sha256)
    assert repository_key(DockerSettings(key_fingerprint="A" * 40)) == ("A" * 40, "")
    assert repository_key(DockerSettings(key_sha256="b" * 64)) == (pin.fingerprint, "b" * 64)


@pytest.mark.parametrize(
    ("version", "there", "expected"),
    [
        (None, dict.fromkeys(OWN, "5:26.1.5-1~debian.12~bookworm"), True),
        ("26.1.5", dict.fromkeys(OWN, "5:26.1.5-1~debian.12~bookworm"), True),
        ("26.1.4", dict.fromkeys(OWN, "5:26.1.5-1~debian.12~bookworm"), False),
        (None, dict.fromkeys(OWN[:-1], "5:26.1.5-1~debian.12~bookworm"), False),
        (None, {**dict.fromkeys(OWN, "5:26.1.5-1~debian.12~bookworm"), "podman-docker": "4.3"}, False),
    ],
)
def test_docker_is_there_when_nothing_lacks_or_conflicts(
    version: str | None, there: dict[str, str], expected: bool
) -> None:
    assert is_installed(OWN, "docker", version, there) is expected


def test_debian_13_has_the_client_in_a_package_of_its_own() -> None:
    assert wanted_packages("distribution", "debian", "13") == ("docker.io", "docker-cli")
    assert wanted_packages("distribution", "debian", "12") == ("docker.io",)
    assert wanted_packages("distribution", "ubuntu", "24.04") == ("docker.io",)
