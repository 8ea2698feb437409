"""The whole deploy.py on a bare host with two Tesla P100, the cards that this system grew up on: driver, Docker, Phase 1, verified.

The cards, the driver's files and Ollama are played; apt, dpkg, systemd, Docker and the programs on the host are real.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Host, mirrored, pretend_gpu
from tests.faults.page import PAGE, commands_by_section
from tests.lab.deployments import Operator
from tests.lab.test_deploy import serves_phase_1, serves_vision
from tests.lab.test_monitoring import alerts, asked, targets
from tests.lab.vllm_probes import wait_until

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def site(operator: Operator) -> Operator:
    """An operator with two cards in the settings, one for each server."""
    key = mirrored.ensure(operator.lab).apt_key_fingerprint
    return operator.with_settings(
        "cards",
        {
            "gpu": "nvidia",
            "phase": 1,
            "nvidia": {"key_fingerprint": key, "toolkit_key_fingerprint": key},
            "ollama": {"text": {"gpus": ["0"]}, "vision": {"gpus": ["1"]}},
            "monitoring": {"stack": True, "prometheus": {"scrape_interval_s": 2}, "grafana": {"enabled": False}},
        },
    )


@pytest.fixture(scope="module")
def cards(site: Operator, make_host: Callable[..., Host]) -> Host:
    """That host, deployed once."""
    host = make_host("p100-phase1")
    pretend_gpu.give(host, [pretend_gpu.P100, pretend_gpu.P100])
    result = site.deploy(hosts=[host])
    assert result.status == 0, result.output
    return host


def environment(host: Host, unit: str) -> dict[str, str]:
    """What a unit's process has in its environment."""
    pid = host.ssh(f"systemctl show -p MainPID --value {unit}").stdout.strip()
    pairs = host.ssh(f"tr '\\0' '\\n' < /proc/{pid}/environ").stdout.splitlines()
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_two_p100_serve_phase_1_after_one_run(cards: Host) -> None:
    serves_phase_1(cards)
    serves_vision(cards)
    assert cards.ssh("nvidia-smi -L").stdout.count("Tesla P100") == 2
    kernel = cards.ssh("dpkg-query -W -f '${Package} ${Version}\\n' 'nvidia-kernel*-dkms'", check=False).stdout
    assert kernel.startswith("nvidia-kernel-dkms 580."), "the proprietary modules of the last branch for Pascal"


def test_each_server_has_its_own_card(cards: Host) -> None:
    seen = [environment(cards, unit)["CUDA_VISIBLE_DEVICES"] for unit in ("ollama-text", "ollama-vision")]
    assert seen == ["GPU-pretend-0", "GPU-pretend-1"]


def test_a_second_run_changes_nothing(site: Operator, cards: Host) -> None:
    result = site.deploy(hosts=[cards])
    assert result.status == 0, result.output
    assert result.changed == []


def test_the_doctor_finds_a_driver_that_is_not_loaded_and_what_a_killed_server_left_on_a_card(
    site: Operator, cards: Host
) -> None:
    assert site.doctor(hosts=[cards])[1][cards.name]["diagnoses"] == []
    pretend_gpu.computing(cards, (999_999, "VLLM::EngineCore", 12_000))
    try:
        status, told, said = site.doctor(hosts=[cards])
        pretend_gpu.computing(cards)
        cards.ssh("systemctl stop nvidia-persistenced nvidia-dcgm-exporter; modprobe -r nvidia")
        without = site.doctor(hosts=[cards])[1][cards.name]["diagnoses"]
    finally:
        pretend_gpu.computing(cards)
        cards.ssh("modprobe nvidia; systemctl start nvidia-persistenced nvidia-dcgm-exporter")
    (orphan,) = told[cards.name]["diagnoses"]
    assert (status, orphan["name"]) == (3, "orphans-on-cards"), said
    assert orphan["evidence"] == ["card 0: VLLM::EngineCore (pid 999999) holds 12000 MiB"]
    assert without[0]["name"] == "driver-not-loaded"


def test_the_cards_are_watched_and_one_that_reports_an_error_is_an_alert(cards: Host) -> None:
    jobs = targets(cards)
    assert set(jobs) == {"prometheus", "node", "dcgm", "blackbox", "blackbox-exporter"}, "Phase 2 is not prepared here"
    wait_until("every target is up", lambda: set(targets(cards).values()) == {"up"}, 60)
    assert {one["metric"]["modelName"] for one in asked(cards, "DCGM_FI_DEV_FB_FREE > 16000")} == {
        "Tesla P100-PCIE-16GB"
    }
    assert asked(cards, "DCGM_FI_DEV_ROW_REMAP_PENDING") == [], "Pascal remaps no rows"
    assert cards.ssh("ss -Hltn 'sport = 9400'").stdout.split()[3] == "127.0.0.1:9400"
    assert alerts(cards) == set()
    before = cards.ssh("cat /etc/llm-lab/gpus.csv").stdout
    header, first, *rest = before.splitlines()
    worse = "\n".join([f"{header},DCGM_FI_DEV_XID_ERRORS", f"{first},79", *(f"{line},0" for line in rest), ""])
    pretend_gpu.put(cards, "/etc/llm-lab/gpus.csv", worse)
    wait_until("it fires", lambda: alerts(cards, "firing") >= {"GpuFault", "GpuXid"}, 30)
    assert {one["metric"]["gpu"] for one in asked(cards, 'ALERTS{alertname="GpuFault"}')} == {"0"}
    pretend_gpu.put(cards, "/etc/llm-lab/gpus.csv", before)
    wait_until("the fault is gone", lambda: "GpuFault" not in alerts(cards), 30)


def test_the_page_for_the_engineer_on_call_shows_how_to_watch_the_cards(cards: Host) -> None:
    commands = commands_by_section(PAGE.read_text(encoding="utf-8"))["Watch the cards"]
    for command in commands:
        done = cards.ssh(f"timeout --signal=INT 7 {command}", check=False)
        assert done.returncode in (0, 124), done.stderr  # it goes on until somebody ends it
        assert len(done.stdout.splitlines()) > 4, done.stdout
    assert len(commands) == 2


def test_verification_agrees_also_after_a_reboot(site: Operator, cards: Host) -> None:
    cards.reboot()
    serves_phase_1(cards)
    serves_vision(cards)
    done = site.verify(cards)
    assert done.returncode == 0, done.stdout
