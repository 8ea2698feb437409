"""The literal commands of the README, on the pinned pyinfra; see config.py for what makes the directory work."""

from __future__ import annotations

from tests.plan.conftest import ROOT, Pyinfra
from tests.plan.fake_hosts import FRESH, fake_host, in_phase


def test_the_inventory_directory_is_accepted_literally(pyinfra: Pyinfra) -> None:
    run = pyinfra({"gpu-01": fake_host()}, "inventory", "deploy.py", "--dry")
    assert run.status == 0, run.output
    assert "vLLM | Install vLLM" in run.output


def test_the_inventory_file_means_the_same(pyinfra: Pyinfra) -> None:
    by_directory = pyinfra({"gpu-01": fake_host()}, "--json", "inventory", "deploy.py", "--dry")
    by_file = pyinfra({"gpu-01": fake_host()}, "--json", "inventory/hosts.py", "deploy.py", "--dry")
    assert by_directory.status == by_file.status == 0
    assert by_directory.steps("gpu-01") == by_file.steps("gpu-01") != []


def test_group_data_beside_the_inventory_is_read(pyinfra: Pyinfra, tmp_path: object) -> None:
    folder = ROOT.__class__(str(tmp_path)) / "inventory" / "group_data"
    folder.mkdir(parents=True)
    (folder / "all.py").write_text("phaze = 1\n", encoding="utf-8")
    run = pyinfra({"gpu-01": fake_host()}, "inventory", "deploy.py", "--dry")
    assert run.status == 1
    assert "phaze" in run.output


def test_an_empty_inventory_directory_is_named(pyinfra: Pyinfra, tmp_path: object) -> None:
    (ROOT.__class__(str(tmp_path)) / "empty").mkdir()
    run = pyinfra({}, "empty", "deploy.py", "--dry")
    assert run.status != 0
    assert "no *.py file here defines a group" in run.output


def test_the_example_inventory_of_the_project_loads_and_is_valid(pyinfra: Pyinfra, tmp_path: object) -> None:
    here = ROOT.__class__(str(tmp_path))
    (here / "shipped").symlink_to(ROOT / "inventory")
    run = pyinfra({}, "shipped", "debug-inventory")
    assert run.status == 0, run.output
    assert "gpu-01.example.net" in run.output


def test_rollback_has_a_plan_too(pyinfra: Pyinfra) -> None:
    hosts = {"gpu-01": in_phase(fake_host(), 2), "gpu-02": in_phase(fake_host(), 1)}
    run = pyinfra(hosts, "--json", "inventory", "rollback.py", "--dry")
    assert run.status == 0, run.output
    assert run.steps("gpu-01") == ["Rollback | Have the host in Phase 1, proved and on record"]
    assert run.steps("gpu-02") == []


def test_a_rollback_is_refused_where_phase_1_is_not_on_the_disk_and_the_other_hosts_go_on(pyinfra: Pyinfra) -> None:
    hosts = {
        "bare": fake_host(),
        "half": in_phase(fake_host(), 2, lacking=("/opt/llm/ollama/0.32.15/.complete",)),
        "good": in_phase(fake_host(), 2),
    }
    run = pyinfra(hosts, "--json", "inventory", "rollback.py", "--dry")
    assert run.status == 1
    assert "bare: /usr/local/bin/llm-phase is not there, or says nothing; nothing was changed" in run.output
    assert "half: no Phase 1 on this host's disk, nothing was changed: missing are /opt/llm/ollama/" in run.output
    assert run.steps("good") == ["Rollback | Have the host in Phase 1, proved and on record"]


def test_no_plan_shows_the_hub_token(pyinfra: Pyinfra) -> None:
    for flags in (["--dry"], ["--dry", "--diff", "-vvv", "--debug"], ["--dry", "--json"]):
        run = pyinfra({"gpu-01": fake_host(FRESH)}, *flags, "inventory", "deploy.py")
        assert run.status == 0, run.output
        assert "hf_planted_secret" not in run.output
