"""Releases on a real host: a second one, back to the first, and one that does not come up."""

from __future__ import annotations

import pytest

from lab import Host
from tests.lab.deployments import Operator, releases, without_a_route
from tests.lab.test_deploy import Served, serves_phase_2, serves_vision, started_at

pytestmark = pytest.mark.lab
SHORTER_DRAIN = ("--data", "adapter.drain_timeout_s=17")


def drain(host: Host) -> str:
    return host.ssh("grep drain_timeout_s /etc/llm/adapter.toml").stdout.split()[-1]


def test_a_release_says_who_put_it_there_from_what_and_what_became_of_it(operator: Operator, served: Served) -> None:
    two, _ = served
    assert operator.deploy(hosts=[two]).changed == []
    found = releases(two)
    assert found["current"] == found["good"]
    mine = next(one for one in found["releases"] if one["id"] == found["current"])
    assert mine["by"] == operator.name
    assert mine["verdict"]["result"] == "good"
    assert {"ollama", "vllm", "adapter", "model"} <= mine["versions"].keys()
    assert len(mine["source"].rstrip("+")) == 12
    assert "/etc/llm/vllm.yaml" in mine["files"]
    assert mine["files"]["/opt/llm/vllm/current"] == f"link {mine['versions']['vllm']}"


def test_back_to_the_release_before_with_its_files_and_without_a_mirror(operator: Operator, served: Served) -> None:
    two, _ = served
    before, first = drain(two), releases(two)["current"]
    vision, vllm = started_at(two, "ollama-vision.service"), started_at(two, "vllm.service")
    assert operator.deploy(*SHORTER_DRAIN, hosts=[two]).status == 0
    assert (drain(two), releases(two)["current"] != first) == ("17", True)

    with without_a_route(two):
        back = operator.rollback("--data", "to=previous", hosts=[two])
    assert back.status == 0, back.output
    assert f"release {first}, Phase 2, serves, after " in back.output
    assert (drain(two), releases(two)["current"], releases(two)["good"]) == (before, first, first)
    serves_phase_2(two)
    assert (started_at(two, "ollama-vision.service"), started_at(two, "vllm.service")) == (vision, vllm)
    again = operator.rollback("--data", f"to={first}", hosts=[two])
    assert again.status == 0
    assert f"release {first}, Phase 2, serves already" in again.output
    assert operator.deploy(hosts=[two]).changed == []  # the inventory says the same


def test_a_release_that_does_not_come_up_is_left_again_and_the_run_fails_with_the_reason(
    operator: Operator, served: Served
) -> None:
    two, _ = served
    first, vision = releases(two)["current"], started_at(two, "ollama-vision.service")
    result = operator.deploy("--data", 'vllm.extra_args=["--no-such-option"]', hosts=[two])
    assert result.status == 1
    assert "unrecognized arguments: --no-such-option" in result.output  # the unit's own last words
    assert f"going back to release {first}, the last good one" in result.output
    found = releases(two)
    assert (found["current"], found["good"]) == (first, first)
    bad = next(one for one in found["releases"] if one["verdict"]["result"] == "bad")
    assert bad["verdict"]["reason"] == "vllm.service did not start"
    serves_phase_2(two)
    serves_vision(two)
    assert started_at(two, "ollama-vision.service") == vision
    assert two.ssh("llm-phase", check=False).returncode == 0
    assert operator.deploy(hosts=[two]).changed == []


def test_every_action_is_in_the_log_and_one_command_shows_it(operator: Operator, served: Served) -> None:
    two, one = served
    table = operator.pyinfra("-y", playbook="audit.py", hosts=[two, one])
    assert table.status == 0, table.output
    rows = [line for line in table.output.splitlines() if operator.name in line]
    assert [row for row in rows if two.name in row and " failed " in row]
    assert [row for row in rows if one.name in row and " good " in row]
    stamps = [row.split()[0] for row in rows]
    assert stamps == sorted(stamps)
