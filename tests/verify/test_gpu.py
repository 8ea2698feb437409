"""The cards. Only for hosts with gpu = "nvidia"; run in the lab with pretended cards, never yet on a real one.

Queries of nvidia-smi and its output format are from NVIDIA's documentation; /proc/driver/nvidia/version is the loaded module's.
"""

from __future__ import annotations

import json
import re

import pytest

from roles.cards import NvidiaDevices
from roles.driver_packages import FABRIC_MANAGER
from roles.driver_version import driver_version
from roles.layout import LIBEXEC, OLLAMA_EMBED, OLLAMA_TEXT, OLLAMA_VISION, VLLM, VLLM_VISION, phase_units
from roles.site import Site
from tests.verify.card_memory import (
    APPS_QUERY,
    CARDS_QUERY,
    held,
    in_host_memory,
    not_as_planned,
    parse_apps,
    parse_cards,
)
from tests.verify.conftest import Expect, Run
from tests.verify.seen import owners_command, packages_of_driver, parse_owners
from tests.verify.targets import Target
from tests.verify.web import Endpoint

pytestmark = pytest.mark.gpu


def loaded_driver(run: Run) -> str:
    """The version of the loaded module, "" without one."""
    return driver_version(run("cat /proc/driver/nvidia/version")[1])


def test_the_loaded_driver_is_the_installed_one(run: Run, expect: Expect) -> None:
    installed = run("modinfo --field version nvidia")[1].strip()
    expect(
        "driver; a difference is a reboot that is due",
        {"loaded": installed or "a driver"},
        {"loaded": loaded_driver(run)},
    )


def test_the_driver_is_of_the_pinned_branch(site: Site, run: Run, expect: Expect) -> None:
    branch = site.nvidia.wanted_branch
    expect("branch of the loaded driver", {"branch": branch}, {"branch": loaded_driver(run).partition(".")[0]})


def test_the_driver_is_the_pinned_version(site: Site, run: Run, expect: Expect) -> None:
    if not site.nvidia.version:
        pytest.skip("nvidia.version pins none; the branch is pinned, and its packages are held")
    expect("version of the loaded driver", {"version": site.nvidia.version}, {"version": loaded_driver(run)})


@pytest.fixture
def packages(site: Site, run: Run) -> tuple[str, ...]:
    """The driver's packages that a deploy asks for on this host."""
    return packages_of_driver(run("cat /etc/os-release")[1], run(NvidiaDevices().command())[1], site.nvidia)


@pytest.mark.warning
def test_the_driver_is_held(packages: tuple[str, ...], run: Run, expect: Expect) -> None:
    held = run("apt-mark showhold")[1].split()
    expect("apt-mark showhold", dict.fromkeys(packages, True), {name: name in held for name in packages})


def test_the_fabric_manager_of_an_nvswitch_host_runs(packages: tuple[str, ...], run: Run, expect: Expect) -> None:
    if FABRIC_MANAGER not in packages:
        pytest.skip("this host has no NVSwitch")
    expect(
        "systemctl is-active",
        {FABRIC_MANAGER: "active"},
        {FABRIC_MANAGER: run(f"systemctl is-active {FABRIC_MANAGER}")[1].strip()},
    )


def test_every_card_of_the_settings_is_there(target: Target, site: Site, run: Run) -> None:
    code, out, err = run("nvidia-smi --query-gpu=uuid --format=csv,noheader")
    cards = out.split()
    slices = re.findall(r"UUID: (MIG-[^)\s]+)", run("nvidia-smi -L")[1])
    named = {*site.vllm.gpus, *site.vllm_vision.gpus, *site.ollama.vision.gpus, *site.ollama.text.gpus}
    assert code == 0, f"{target.name}: expected nvidia-smi to list cards, seen {out}{err}"
    assert len(cards) >= site.vllm.tensor_parallel_size, (
        f"{target.name}: expected {site.vllm.tensor_parallel_size} cards, seen {cards}"
    )
    known = {*cards, *slices, *(str(number) for number in range(len(cards)))}
    assert named <= known, f"{target.name}: expected {sorted(named)}, seen {cards + slices}"


def test_a_container_lists_the_cards(target: Target, site: Site, run: Run, expect: Expect) -> None:
    """By the record of the last proof, which a deploy makes anew when something that it rests on is another."""
    if site.docker.source == "none":
        pytest.skip("this host has no Docker")
    record = json.loads(run("cat /var/lib/llm/container-cards.json")[1] or "{}")
    cards = sorted(re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", run("nvidia-smi -L")[1]))
    expect("container-cards.json", {"cards": cards}, {"cards": record.get("inputs", {}).get("cards")})
    code, said, _ = run(f"{LIBEXEC}/container-cards prove --check")
    assert code == 0, f"{target.name}: expected the proof to hold still, seen {said.strip()}; deploy again"


def test_persistence_mode_is_on(run: Run, expect: Expect) -> None:
    modes = set(run("nvidia-smi --query-gpu=persistence_mode --format=csv,noheader")[1].split())
    expect("nvidia-smi, persistence_mode of all cards", {"modes": {"Enabled"}}, {"modes": modes})


@pytest.mark.warning
def test_no_card_has_reported_an_error_since_boot(target: Target, run: Run) -> None:
    lines = run("journalctl -k -b --no-pager -o cat -g 'NVRM: Xid'")[1].splitlines()
    xids = [line for line in lines if "Xid" in line]
    assert not xids, f"{target.name}: expected no XID in the kernel's log, seen {len(xids)}, the last: {xids[-1]}"


@pytest.mark.phase(2)
def test_vllm_holds_memory_of_a_card(target: Target, site: Site, run: Run) -> None:
    pids = run("nvidia-smi --query-compute-apps=pid --format=csv,noheader")[1].split()
    for unit in (VLLM, *((VLLM_VISION,) if site.vision_on_vllm else ())):
        members = run(f"cat /sys/fs/cgroup/system.slice/{unit}/cgroup.procs")[1].split()
        assert set(pids) & set(members), f"{target.name}: expected a process of {unit} on a card, seen {pids}"


def test_each_unit_sees_its_cards(target: Target, site: Site, run: Run) -> None:
    """By the program that each unit asks before it starts; what its present start was given is in the check of its inputs."""
    computing = {VLLM, VLLM_VISION, OLLAMA_VISION, OLLAMA_TEXT, OLLAMA_EMBED}
    for unit in (name for name in phase_units(site)[site.phase] if name in computing):
        code, out, err = run(f"{LIBEXEC}/resolve-gpus --check {unit}")
        assert code == 0, f"{target.name}: expected {unit} to see its cards, seen: {(err or out).strip()}"


def test_each_service_holds_the_share_of_a_cards_memory_that_was_planned(target: Target, site: Site, run: Run) -> None:
    named = (*site.vllm.gpus, *site.ollama.vision.gpus, *site.ollama.text.gpus)
    if any(name.startswith("MIG-") for name in named):
        pytest.skip("cards are cut into slices; the driver tells memory by card")
    apps = parse_apps(run(APPS_QUERY)[1])
    units = {pid: owner.unit for pid, owner in parse_owners(run(owners_command(app.pid for app in apps))[1]).items()}
    wrong = not_as_planned(site, parse_cards(run(CARDS_QUERY)[1]), held(apps, units))
    assert not wrong, f"{target.name}: memory of the cards\n  " + "\n  ".join(wrong)


def expect_all_on_cards(server: Endpoint) -> None:
    __tracebackhide__ = True
    wrong = in_host_memory(server.get("/api/ps").json()["models"])
    assert not wrong, (
        f"{server.host}: expected {server.base} to have its models on a card, seen {'; '.join(wrong)}\n"
        "  nvidia-smi shows who holds the card; a smaller context or fewer loaded models (ollama.*) need less"
    )


def test_nothing_that_ollama_vision_has_loaded_is_computed_by_the_processor(vision: Endpoint) -> None:
    expect_all_on_cards(vision)


@pytest.mark.phase(1)
def test_nothing_that_ollama_text_has_loaded_is_computed_by_the_processor(text: Endpoint) -> None:
    expect_all_on_cards(text)


def expect_on_the_card(server: Endpoint, model: str) -> None:
    __tracebackhide__ = True
    embeds = "embedding" in server.post("/api/show", {"model": model}).json()["capabilities"]
    body: dict[str, object] = {"input": "Hello"} if embeds else {"prompt": "Hello", "options": {"num_predict": 1}}
    server.post("/api/embed" if embeds else "/api/generate", {"model": model, "stream": False, **body}).json()
    loaded = server.get("/api/ps").json()["models"]
    assert loaded, f"{server.host}: expected {model} to be loaded after it was asked, seen nothing in /api/ps"
    expect_all_on_cards(server)


@pytest.mark.full
def test_ollama_vision_runs_on_the_card(vision: Endpoint, site: Site) -> None:
    for model in site.ollama.vision.models:
        expect_on_the_card(vision, model)


@pytest.mark.full
@pytest.mark.phase(1)
def test_ollama_text_runs_on_the_card(text: Endpoint, site: Site) -> None:
    for model in site.ollama.text.models:
        expect_on_the_card(text, model)
