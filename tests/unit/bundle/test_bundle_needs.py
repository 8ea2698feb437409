"""What hosts need, from their settings alone."""

from __future__ import annotations

from typing import Any

import pytest

from bundle import grafana
from bundle.needs import System, needs
from roles.mirrors import MirrorSettings
from roles.pins import pins
from roles.site import site_from

DEBIAN, NOBLE = System("debian", "12", "bookworm"), System("ubuntu", "24.04", "noble")


def needed(system: System, *settings: dict[str, Any]) -> Any:
    sites = {f"gpu-{number}": site_from([one], {}) for number, one in enumerate(settings)}
    return needs(sites, system, MirrorSettings())


def packages(found: Any, about: str) -> tuple[str, ...]:
    (group,) = [group for group in found.groups if group.about == about]
    names: tuple[str, ...] = group.packages
    return names


def test_a_host_with_cards_needs_both_kinds_of_modules_because_nobody_looked_at_its_cards() -> None:
    found = needed(DEBIAN, {})
    assert {driver.kind: driver.packages[0] for driver in found.drivers} == {
        "open": "nvidia-kernel-open-dkms",
        "proprietary": "nvidia-kernel-dkms",
    }
    assert packages(found, "linux-headers-cloud-amd64") == ("gpg", "linux-headers-cloud-amd64")
    assert packages(found, "vLLM") == ("gcc", "g++", "python3-dev")
    assert [lock.about for lock in found.locks] == ["uv", "vLLM (cuda)", "adapter"]


@pytest.mark.parametrize(
    ("nvidia", "kinds"), [({"modules": "open"}, ["open"]), ({"branch": "595"}, ["open"]), ({}, ["open", "proprietary"])]
)
def test_settings_narrow_the_kinds(nvidia: dict[str, Any], kinds: list[str]) -> None:
    assert [driver.kind for driver in needed(DEBIAN, {"nvidia": nvidia}).drivers] == kinds


def test_a_host_for_phase_1_alone_needs_nothing_of_vllm() -> None:
    found = needed(DEBIAN, {"phase": 1, "prepare": "phase1"})
    assert (found.locks, found.models) == ((), ())
    assert "vLLM" not in [group.about for group in found.groups]
    assert len(found.ollama_models) == 4


def test_a_host_with_vision_on_vllm_needs_its_model_beside_the_text_model() -> None:
    sees = {"model": "org/sees", "model_revision": "e" * 40}
    models = needed(DEBIAN, {"vision": "vllm", "vllm_vision": sees}).models
    assert [model.repository for model in models] == ["meta-llama/Llama-2-7b-chat-hf", "org/sees"]
    assert models[1].revision == "e" * 40
    assert len(needed(DEBIAN, {"vllm_vision": sees}).models) == 1


def test_a_host_without_cards_needs_no_driver_and_no_vendors_packages() -> None:
    found = needed(DEBIAN, {"gpu": "none", "docker": {"source": "none"}})
    assert found.drivers == ()
    assert {repository.folder for repository in found.repositories} == {
        "distribution/debian",
        "distribution/debian-security",
    }


def test_a_host_that_watches_itself_needs_prometheus_and_with_cards_nvidias_exporter() -> None:
    plain = ("prometheus", "prometheus-node-exporter", "prometheus-blackbox-exporter")
    stack = {"monitoring": {"stack": True}}
    assert packages(needed(DEBIAN, stack), "monitoring") == (*plain, "datacenter-gpu-manager-exporter")
    assert packages(needed(DEBIAN, {**stack, "gpu": "none"}), "monitoring") == plain
    assert "monitoring" not in [group.about for group in needed(DEBIAN, {}).groups]


def test_the_machine_that_deploys_gets_its_wheels_on_request() -> None:
    site = {"gpu-01": site_from([{"phase": 1, "prepare": "phase1"}], {})}
    assert [lock.about for lock in needs(site, DEBIAN, MirrorSettings(), controller=True).locks] == ["controller"]


def test_a_kernel_of_another_flavour_is_named_by_hand() -> None:
    found = needs({"gpu-01": site_from([{}], {})}, NOBLE, MirrorSettings(), kernels=["6.8.0-1021-aws"])
    abouts = [group.about for group in found.groups]
    assert {"linux-headers-generic", "linux-headers-aws", "linux-image-aws"} <= {*abouts}


def test_a_wanted_docker_is_wanted_in_the_bundle_too() -> None:
    found = needed(DEBIAN, {"docker": {"version": "26.1.5"}})
    (group,) = [group for group in found.groups if group.about == "Docker"]
    assert (group.version, group.engine) == ("26.1.5", ("docker-ce", "docker-ce-cli"))


def test_grafana_comes_with_the_monitoring_of_a_host_and_not_without() -> None:
    assert needed(DEBIAN, {}).grafana == ()
    assert needed(DEBIAN, {"monitoring": {"stack": True, "grafana": {"enabled": False}}}).grafana == ()
    found = needed(DEBIAN, {"monitoring": {"stack": True}}, {"monitoring": {"stack": True}})
    (artefact,) = grafana.plan(found.grafana, "https://dl.example/release/")
    assert artefact.path == "grafana-releases/13.2.2/grafana_13.2.2_34846740809_linux_amd64.tar.gz"
    assert artefact.url == "https://dl.example/release/13.2.2/grafana_13.2.2_34846740809_linux_amd64.tar.gz"
    assert artefact.sha256s == (pins().grafana.sha256,)


def test_what_hosts_share_comes_once() -> None:
    one, two = needed(DEBIAN, {}), needed(DEBIAN, {}, {"base": {"packages": ["htop"]}})
    assert two.hosts == ("gpu-0", "gpu-1")
    assert two.repositories == one.repositories
    assert len(two.groups) == len(one.groups) + 1


def test_ubuntu_has_its_own_archive_folders_and_names() -> None:
    found = needed(NOBLE, {"nvidia": {"modules": "open"}})
    folders = [(one.folder, one.suite) for one in found.repositories]
    assert folders[:3] == [("distribution/ubuntu", suite) for suite in ("noble", "noble-updates", "noble-security")]
    assert ("cuda/ubuntu2404/x86_64", "/") in folders
    assert ("docker/ubuntu", "noble") in folders
    assert found.drivers[0].packages == ("nvidia-headless-580-open", "nvidia-utils-580")


def test_the_mirrors_that_an_inventory_names_are_for_the_hosts_and_not_for_the_maker() -> None:
    site = {"mirrors": {"docker": "http://10.0.0.5:8780/docker", "distribution": "http://10.0.0.5:8780/distribution"}}
    found = needed(DEBIAN, site)
    assert all("10.0.0.5" not in one.uri for one in found.repositories)
    assert found.repositories[0].uri == ""  # this machine's own apt knows it
