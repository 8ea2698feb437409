"""container-cards: what a specification names and mounts, what nvidia-smi lists, when a proof must be repeated."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from roles.host_programs import load

TWO = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbb)
"""
# The form is that of NVIDIA's MIG user guide.
SLICED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-111)
  MIG 3g.20gb     Device  1: (UUID: MIG-222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbb)
"""
# As nvidia-ctk writes it (the form of its documentation), shortened.
YAML = """---
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib/x86_64-linux-gnu]
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.178.04
    hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.580.178.04
    options: [ro, nosuid, nodev, bind]
  - containerPath: /usr/bin/nvidia-smi
    hostPath: "/usr/bin/nvidia-smi"
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: "0"
kind: nvidia.com/gpu
"""


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load(Path("roles/container_cards/host/container-cards"))


@pytest.mark.parametrize(
    ("listing", "seen", "given"),
    [
        (TWO, ["GPU-aaa", "GPU-bbb"], ["GPU-aaa", "GPU-bbb"]),
        (SLICED, ["GPU-aaa", "MIG-111", "MIG-222", "GPU-bbb"], ["MIG-111", "MIG-222", "GPU-bbb"]),
        ("No devices found.", [], []),
    ],
)
def test_of_a_sliced_card_only_the_slices_can_be_given(
    program: ModuleType, listing: str, seen: list[str], given: list[str]
) -> None:
    assert program.parse_cards(listing) == (seen, given)


def test_the_files_that_a_specification_mounts_are_found_in_yaml_and_in_json(program: ModuleType) -> None:
    assert program.host_paths(YAML) == ["/usr/lib/x86_64-linux-gnu/libcuda.so.580.178.04", "/usr/bin/nvidia-smi"]
    assert program.host_paths('{"mounts": [{"hostPath": "/a/b", "containerPath": "/c"}]}') == ["/a/b"]


@pytest.mark.parametrize(
    ("named", "gone", "expected"),
    [
        (["0", "1", "all", "GPU-aaa", "GPU-bbb"], [], None),
        (["0", "all", "GPU-aaa"], [], "does not name GPU-bbb"),
        (["GPU-aaa", "GPU-bbb", "GPU-old"], [], "names GPU-old, which this host does not have"),
        (["GPU-aaa", "GPU-bbb"], ["/lib/libcuda.so.575.1"], "mounts /lib/libcuda.so.575.1, which is not there"),
        ([], [], "does not name GPU-aaa, GPU-bbb"),
    ],
)
def test_a_stale_specification_is_described(
    program: ModuleType, named: list[str], gone: list[str], expected: str | None
) -> None:
    said = program.differences(["GPU-aaa", "GPU-bbb"], named, gone)
    assert said is None if expected is None else expected in said


def test_a_proof_holds_until_something_that_it_rests_on_changes(program: ModuleType) -> None:
    present = {"cards": ["GPU-aaa"], "driver": "580.178.04", "docker": "26.1.5"}
    assert program.reason_to_prove({}, present) == "no proof on record"
    assert program.reason_to_prove({"inputs": present}, present) is None
    changed = program.reason_to_prove({"inputs": {**present, "driver": "580.95.05"}}, present)
    assert changed == "changed since the last proof: driver"


def test_a_docker_that_knows_no_way_to_a_card_is_told_apart(program: ModuleType) -> None:
    assert program.ways_of("26.1.5", {"nvidia": {}, "runc": {}}) == ["cdi", "runtime"]
    assert program.ways_of("20.10.24+dfsg1", {"nvidia": {}}) == ["runtime"]
    with pytest.raises(program.Failure, match="knows neither CDI nor a runtime nvidia"):
        program.ways_of("20.10.24+dfsg1", {"runc": {}})


def test_another_list_of_cards_is_a_failure_with_what_was_seen_and_what_to_do(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "listed_in", lambda way: ([], "Failed to initialize NVML: Unknown Error"))
    with pytest.raises(program.Failure) as failure:
        program.compare("cdi", ["GPU-aaa"], "do this", "after systemctl daemon-reload a container")
    assert str(failure.value).splitlines() == [
        "after systemctl daemon-reload a container lists no card (cdi), the host has GPU-aaa",
        "nvidia-smi -L said there: Failed to initialize NVML: Unknown Error",
        "do this",
    ]


@pytest.mark.skipif(not os.path.exists("/lib64/ld-linux-x86-64.so.2"), reason="the loader has another name here")
def test_the_image_holds_a_shell_with_its_libraries_laid_out_as_on_the_host(program: ModuleType) -> None:
    with tarfile.open(fileobj=io.BytesIO(program.image())) as tar:
        names = {member.name: member for member in tar}
    folder = "usr/bin" if os.path.islink("/bin") else "bin"
    assert {f"{folder}/sh", f"{folder}/sleep", "etc/ld.so.conf", "proc", "dev"} <= names.keys()
    assert not os.path.islink("/lib64") or names["lib64"].issym()
    assert any(name.endswith("libc.so.6") for name in names)
    assert sum(member.size for member in names.values()) < 20_000_000
