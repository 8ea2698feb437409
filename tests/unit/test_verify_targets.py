"""From a pyinfra inventory to the hosts that verify reaches, and how."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from roles.inventory import InventoryError
from roles.site import Site
from tests.verify.targets import Target, read_targets, ssh_config, target_from

HOSTS = """
import sys
print("an inventory may print")
gpu = ["gpu-01", ("gpu-02", {"ssh_port": 2222, "vllm": {"port": 8001}, "phase": 2})]
old = ["gpu-03", "@docker/debian"]
"""
ALL = """
from pathlib import Path
ssh_user = "ops"
_sudo = True
_verify_listeners = ["node_exporter:9100"]
gpu = "none"
vllm = {"max_model_len": 2048, "hub_cache": Path("/srv/hub")}
"""


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "inventory"
    (folder / "group_data").mkdir(parents=True)
    (folder / "hosts.py").write_text(HOSTS)
    (folder / "group_data" / "all.py").write_text(ALL)
    (folder / "group_data" / "old.py").write_text("phase = 1\nssh_user = 'root'\n_sudo = False\n")
    return folder


@pytest.fixture(scope="module")
def targets(inventory: Path) -> dict[str, Target]:
    return {target.name: target for target in read_targets(str(inventory), [], [], {})}


def target(**ssh: Any) -> Target:
    facts: dict[str, Any] = {"sudo": None, "sudo_user": None, "sudo_password": False, "listeners": [], "layers": []}
    return target_from({"name": "gpu-01", "connector": "SSHConnector", "ssh": ssh, **facts}, {})


def resolved(tmp_path: Path, target: Target) -> dict[str, list[str]]:
    """What the ssh client itself understands: `ssh -G` prints every option and connects to nothing."""
    file = tmp_path / "ssh"
    file.write_text(ssh_config(target, f"{tmp_path}/control"))
    command = ["ssh", "-F", str(file), "-G", "--", target.address]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    options: dict[str, list[str]] = {}
    for key, _, value in (line.partition(" ") for line in lines):
        options.setdefault(key, []).append(value)
    return options


def settings(target: Target) -> Site:
    assert isinstance(target.site_or_problems, Site), target.site_or_problems
    return target.site_or_problems


def test_hosts_come_in_the_order_of_the_inventory(targets: dict[str, Target]) -> None:
    assert list(targets) == ["gpu-01", "gpu-02", "gpu-03", "@docker/debian"]


def test_host_data_wins_over_group_data_and_sections_merge_key_by_key(targets: dict[str, Target]) -> None:
    site = settings(targets["gpu-02"])
    assert (site.vllm.port, site.vllm.max_model_len, site.vllm.hub_cache) == (8001, 2048, "/srv/hub")
    assert (settings(targets["gpu-01"]).phase, settings(targets["gpu-03"]).phase) == (2, 1)


def test_user_port_and_sudo_have_the_precedence_of_pyinfra(targets: dict[str, Target]) -> None:
    assert targets["gpu-02"].ssh == {"ssh_user": "ops", "ssh_port": 2222}
    assert (targets["gpu-02"].sudo, targets["gpu-03"].sudo) == (True, False)


def test_allowed_listeners_are_read_and_are_no_setting(targets: dict[str, Target]) -> None:
    assert targets["gpu-01"].listeners == ("node_exporter:9100",)


def test_a_limit_may_be_a_name_a_glob_or_a_group(inventory: Path) -> None:
    for limit, names in (
        (["gpu-02"], ["gpu-02"]),
        (["gpu-0[13]"], ["gpu-01", "gpu-03"]),
        (["gpu"], ["gpu-01", "gpu-02"]),
    ):
        assert [target.name for target in read_targets(str(inventory), limit, [], {})] == names


def test_a_limit_that_matches_nothing_is_an_error_that_names_the_hosts(inventory: Path) -> None:
    with pytest.raises(InventoryError, match="no host matches --limit gpu-99; it has: gpu-01, gpu-02"):
        read_targets(str(inventory), ["gpu-99"], [], {})


def test_data_of_the_command_line_wins_over_everything(inventory: Path) -> None:
    (only,) = read_targets(str(inventory), ["gpu-02"], ["vllm.port=8009", "ssh_user=ann"], {})
    assert (settings(only).vllm.port, only.ssh["ssh_user"]) == (8009, "ann")


def test_an_environment_name_of_the_original_guide_counts_as_in_a_deploy(inventory: Path) -> None:
    (only,) = read_targets(str(inventory), ["gpu-01"], [], {"GPU_MEMORY_UTILIZATION": "0.5"})
    assert settings(only).vllm.gpu_memory_utilization == 0.5


def test_refused_settings_are_kept_for_the_tests_of_that_host(inventory: Path) -> None:
    (only,) = read_targets(str(inventory), ["gpu-01"], ["vllm.prot=1"], {})
    assert only.site_or_problems == ["vllm.prot: unknown setting; did you mean vllm.port?"]


def test_an_inventory_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"no/such/inventory: .*neither"):
        read_targets("no/such/inventory", [], [], {})


def test_an_inventory_that_breaks_is_an_error_with_pythons_own_words(tmp_path: Path) -> None:
    (tmp_path / "hosts.py").write_text("gpu = [1 / 0]\n")
    with pytest.raises(InventoryError, match=r"hosts\.py: ZeroDivisionError\('division by zero'\)"):
        read_targets(str(tmp_path / "hosts.py"), [], [], {})


def test_a_host_that_is_not_reached_by_ssh_says_so(targets: dict[str, Target]) -> None:
    assert "pyinfra reaches it by DockerConnector" in (targets["@docker/debian"].obstacle or "")
    assert targets["gpu-01"].obstacle is None


@pytest.mark.parametrize("key", ["ssh_password", "ssh_key_password"])
def test_a_password_is_an_obstacle_that_is_named_and_not_shown(key: str) -> None:
    obstacle = target(**{key: "hunter2"}).obstacle or ""
    assert key in obstacle
    assert "hunter2" not in obstacle


def test_what_pytest_prints_of_a_host_holds_no_secret() -> None:
    facts: dict[str, Any] = {"sudo": None, "sudo_user": None, "sudo_password": False, "listeners": []}
    secret = {"ssh": {"ssh_password": "hunter2"}, "layers": [{"token": "hunter2"}]}
    shown = target_from({"name": "gpu-01", "connector": "SSHConnector", **secret, **facts}, {"HF_TOKEN": "hunter2"})
    assert "gpu-01" in repr(shown)
    assert "hunter2" not in repr(shown)


def test_ssh_gets_user_port_key_and_known_hosts_of_the_inventory(tmp_path: Path) -> None:
    data = {
        "ssh_hostname": "10.0.0.7",
        "ssh_user": "ops",
        "ssh_port": "2222",
        "ssh_key": "/k/id 100%",
        "ssh_known_hosts_file": "/k/hosts",
    }
    seen = resolved(tmp_path, target(**data))
    assert (seen["hostname"], seen["user"], seen["port"]) == (["10.0.0.7"], ["ops"], ["2222"])
    assert (seen["identityfile"], seen["identitiesonly"]) == (["/k/id 100%%"], ["yes"])
    assert (seen["userknownhostsfile"], seen["stricthostkeychecking"]) == (["/k/hosts"], ["accept-new"])
    assert (seen["batchmode"], seen["controlmaster"]) == (["yes"], ["auto"])


def test_a_jump_host_of_the_operators_configuration_is_used_and_keeps_its_own_user(tmp_path: Path) -> None:
    own = tmp_path / "own config"
    own.write_text(
        "Host gpu-01\n  HostName 192.0.2.7\n  ProxyJump bastion\n  User someone\nHost bastion\n  User jump\n  Port 2200\n"
    )
    through = target(ssh_config_file=str(own), ssh_user="ops", ssh_key="/k/id")
    seen = resolved(tmp_path, through)
    assert (seen["hostname"], seen["proxyjump"], seen["user"]) == (["192.0.2.7"], ["bastion"], ["ops"])
    command = ["ssh", "-F", str(tmp_path / "ssh"), "-G", "--", "bastion"]
    bastion = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"user jump", "port 2200"} <= set(bastion)
    assert "identityfile /k/id" not in bastion


def test_an_agent_that_is_not_allowed_is_not_asked(tmp_path: Path) -> None:
    seen = resolved(tmp_path, target(ssh_allow_agent=False, ssh_look_for_keys=False))
    assert (seen["identityagent"], seen["identityfile"]) == (["none"], ["none"])


def test_an_ipv6_address_is_a_host(tmp_path: Path) -> None:
    assert resolved(tmp_path, target(ssh_hostname="2001:db8::7"))["hostname"] == ["2001:db8::7"]
