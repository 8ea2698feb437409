"""daemon.json belongs to everybody: ours goes in, nothing else is lost."""

from __future__ import annotations

import json

import pytest

from roles.docker import daemon_settings
from roles.docker.operations import merged
from roles.docker.settings import DockerSettings

OURS = daemon_settings(DockerSettings(), with_cards=False)


def test_our_keys_go_into_an_empty_or_missing_file() -> None:
    assert json.loads(merged("", OURS)) == OURS
    assert json.loads(merged("{}", OURS)) == OURS


def test_keys_of_others_stay_also_inside_a_section_we_share() -> None:
    present = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}, "log-opts": {"tag": "x", "max-size": "1g"}}
    result = json.loads(merged(json.dumps(present), OURS))
    assert result["runtimes"] == present["runtimes"]
    assert result["log-opts"] == {"tag": "x", "max-size": "50m", "max-file": "3"}


@pytest.mark.parametrize("text", ["{", "[]", "null x"])
def test_a_file_that_is_no_json_object_is_never_overwritten(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        merged(text, OURS)


def test_merging_twice_changes_nothing() -> None:
    once = merged('{"a": 1}', OURS)
    assert merged(once, OURS) == once


def test_a_host_with_cards_registers_their_runtime_beside_others() -> None:
    present = '{"runtimes": {"other": {"path": "x"}}}'
    result = json.loads(merged(present, daemon_settings(DockerSettings(), with_cards=True)))
    assert set(result["runtimes"]) == {"nvidia", "other"}
