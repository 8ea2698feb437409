"""Cards of a lab host: resolved, recorded, turned around, gone; and a card that is cleared for vLLM.

nvidia-smi is the lab's stand-in, installed as the driver's package puts it; the programs and systemd are real.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from lab import Host
from roles.gpu_sharing import wanted
from roles.pins import ROOT
from roles.site import site_from

pytestmark = pytest.mark.lab
PROGRAMS = ("resolve-gpus", "make-room")
LIBEXEC = "/usr/local/lib/llm"
HEADER = "index,uuid,name,compute_cap,memory.total,memory.used"
A = "GPU-aaaa,NVIDIA A100-PCIE-40GB,8.0,40960"
B = "GPU-bbbb,NVIDIA L4,8.9,23034"


@pytest.fixture(scope="module")
def host(make_host: Callable[..., Host]) -> Host:
    host = make_host("gpus")
    host.ssh(f"mkdir -p {LIBEXEC} /etc/llm-lab /run/llm/started-with")
    for name in PROGRAMS:
        put(host, f"{LIBEXEC}/{name}", (ROOT / "roles/gpu_sharing/host" / name).read_text())
    put(host, "/usr/bin/nvidia-smi", (ROOT / "lab/stand_ins/nvidia_smi_stand_in.py").read_text())
    host.ssh(f"chmod 755 {LIBEXEC}/* /usr/bin/nvidia-smi")
    return host


def put(host: Host, path: str, text: str) -> None:
    host.ssh(f"printf %s {shlex.quote(text)} > {path}")


def cards(host: Host, *lines: str) -> None:
    put(host, "/etc/llm-lab/gpus.csv", "\n".join([HEADER, *lines, ""]))


def resolve(host: Host, vllm: list[str], vision: list[str], *options: str) -> tuple[int, str]:
    site = site_from([{"vllm": {"gpus": vllm}, "ollama": {"vision": {"gpus": vision}}}], {})
    command = shlex.join([f"{LIBEXEC}/resolve-gpus", "--wanted", json.dumps(wanted(site)), *options])
    done: Any = host.ssh(f"{command} 2>&1; echo status $?")
    said, _, status = done.stdout.rpartition("status ")
    return int(status), said


def environment(host: Host, unit: str) -> str:
    return str(host.ssh(f"cat /etc/llm/gpus/{unit}.env").stdout)


def test_an_index_is_resolved_once_and_stays_on_its_card(host: Host) -> None:
    cards(host, f"0,{A},0", f"1,{B},0")
    assert resolve(host, ["0"], ["1"])[0] == 0
    assert "CUDA_VISIBLE_DEVICES=GPU-aaaa\n" in environment(host, "vllm.service")
    cards(host, f"0,{B},0", f"1,{A},0")
    status, said = resolve(host, ["0"], ["1"], "--dry")
    assert (status, "changes" in said) == (0, False)
    assert resolve(host, ["0"], ["1"])[0] == 0
    assert "CUDA_VISIBLE_DEVICES=GPU-aaaa\n" in environment(host, "vllm.service")
    assert "CUDA_VISIBLE_DEVICES=GPU-bbbb\n" in environment(host, "ollama-vision.service")


def test_a_card_that_vanished_is_refused_and_nothing_changes(host: Host) -> None:
    cards(host, f"0,{A},0", f"1,{B},0")
    assert resolve(host, ["0"], ["1"])[0] == 0
    cards(host, f"0,{B},0")
    status, said = resolve(host, ["0"], ["1"])
    assert status == 1
    assert "vllm.gpus: card 0 was GPU-aaaa, which is gone; there are: 0 = GPU-bbbb" in said
    assert "CUDA_VISIBLE_DEVICES=GPU-aaaa\n" in environment(host, "vllm.service")


def test_a_unit_without_its_cards_does_not_start(host: Host) -> None:
    unit = "[Service]\nType=oneshot\nEnvironmentFile=/etc/llm/gpus/%n.env\n"
    text = unit + "ExecStart=/bin/sh -c 'echo $CUDA_VISIBLE_DEVICES > /run/cards'\n"
    put(host, "/etc/systemd/system/probe-cards.service", text)
    host.ssh("systemctl daemon-reload")
    assert "failed" in host.ssh("systemctl start probe-cards 2>&1; systemctl is-failed probe-cards; true").stdout
    host.ssh("cp /etc/llm/gpus/vllm.service.env /etc/llm/gpus/probe-cards.service.env; systemctl start probe-cards")
    assert host.ssh("cat /run/cards").stdout == "GPU-aaaa\n"


def test_a_card_that_somebody_else_holds_is_named_with_numbers(host: Host) -> None:
    cards(host, f"0,{A},30000")
    put(
        host,
        "/etc/llm-lab/compute-apps.csv",
        "gpu_uuid,pid,process_name,used_gpu_memory\nGPU-aaaa,1,/usr/bin/training,30000\n",
    )
    room = (
        f"CUDA_VISIBLE_DEVICES=GPU-aaaa {LIBEXEC}/make-room --vision http://127.0.0.1:11435 --fraction 0.9 --timeout 1"
    )
    said = host.ssh(f"{room} 2>&1; echo status $?").stdout
    assert "does not answer" in said  # vision is down, which is no fault
    assert "card GPU-aaaa: vLLM needs 36864 MiB free of 40960 MiB, 10960 MiB are free" in said
    assert "pid 1 /usr/bin/training holds 30000 MiB" in said
    assert said.endswith("status 1\n")
    cards(host, f"0,{A},0")
    assert host.ssh(f"{room} 2>&1; echo status $?").stdout.endswith("status 0\n")
