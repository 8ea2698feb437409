"""Hosts of every kind, by a sentence: what they look like and what the operator wants of them. Their plans are in `approved/`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from roles.layout import PROMETHEUS, drop_in
from roles.nvidia import NOT_BY_NIGHT, NOUVEAU
from tests.fake_models import LLAMA_2_13B, LLAMA_2_70B_AWQ
from tests.plan.fake_deployed import DAEMON, DRIVERS, HELD, PLAN, deployed
from tests.plan.fake_hosts import BOOKWORM, FRESH, answers_with, fake_host, holder
from tests.plan.fake_machines import (
    A100,
    A100_40,
    B200,
    H100,
    L4,
    NEWER,
    ONE_H100,
    P100,
    RUNNING,
    T4,
    V100,
    FakeCard,
    Machine,
    offered,
)

JAMMY = FRESH | {"codename": "jammy", "os_version": "22.04", "python": "3.10.12"}
RESOLUTE = FRESH | {"codename": "resolute", "os_version": "26.04", "python": "3.14.0"}
TRIXIE = FRESH | {"os": "debian", "codename": "trixie", "os_version": "13", "python": "3.13.5"}
DEBIAN_13_KEY = {"key_fingerprint": "A" * 40}
SECOND_H100 = FakeCard(0x2330, "NVIDIA H100 80GB HBM3", 9.0, 81559, "GPU-8f1d")
SLICED_A100 = FakeCard(0x20B5, "NVIDIA A100 80GB PCIe", 8.0, 81920, "GPU-a100", mig="Enabled")
SEES = {"model_revision": "e" * 40}
UNKNOWN = FakeCard(0x3FFF, "NVIDIA Next", 11.0, 200000, "GPU-next")
TRAINING = "GPU-8f1c, 812, python3, 40000\n"
SECOND_A100 = replace(A100, uuid="GPU-a101")
SECOND_L4 = replace(L4, uuid="GPU-1415")
THIRTEEN = {"model": "meta-llama/Llama-2-13b-chat-hf", "model_revision": "a" * 40}
SEVENTY_AWQ = {"model": "someone/Llama-2-70B-AWQ", "model_revision": "b" * 40}


def packages(*lines: str) -> str:
    """What dpkg-query prints for `name version status`."""
    return "".join("\t".join(line.split()) + "\n" for line in lines)


OPENS: dict[str, Any] = {"grafana": {"password_command": ["echo", "opens-in-the-tests"]}}


SCENARIOS: dict[str, dict[str, Any]] = {
    # Distributions
    "ubuntu-24.04-h100": fake_host(),
    "ubuntu-22.04-h100": fake_host(JAMMY),
    "ubuntu-26.04-h100": fake_host(RESOLUTE),
    "debian-12-h100": fake_host(BOOKWORM),
    "debian-13-h100-key-unknown": fake_host(TRIXIE),
    "debian-13-h100-key-given": fake_host(TRIXIE, nvidia=DEBIAN_13_KEY),
    # Generations
    "p100-phase-2": fake_host(machine=Machine((P100,))),
    "p100-phase-1": fake_host(machine=Machine((P100,)), phase=1),
    "p100-phase-1-branch-595": fake_host(machine=Machine((P100,)), phase=1, nvidia={"branch": "595"}),
    "v100-phase-2": fake_host(machine=Machine((V100,))),
    "v100-phase-1": fake_host(machine=Machine((V100, V100)), phase=1),
    "t4": fake_host(machine=Machine((T4,))),
    "t4-bfloat16": fake_host(machine=Machine((T4,)).with_driver(), vllm={"dtype": "bfloat16"}),
    "a100": fake_host(machine=Machine((A100,))),
    "l4": fake_host(machine=Machine((L4,))),
    "b200": fake_host(machine=Machine((B200,))),
    "b200-proprietary": fake_host(machine=Machine((B200,)), nvidia={"modules": "proprietary"}),
    "h100-branch-570": fake_host(nvidia={"branch": "570"}),
    "unknown-card": fake_host(machine=Machine((UNKNOWN,))),
    "no-card": fake_host(machine=Machine()),
    # Several cards
    "two-unlike-cards-in-parallel": fake_host(
        machine=Machine((H100, A100)).with_driver(), vllm={"tensor_parallel_size": 2}
    ),
    "p100-beside-a100": fake_host(machine=Machine((P100, A100)).with_driver()),
    "p100-for-vision-leaves-a100-to-vllm": fake_host(
        machine=Machine((P100, A100)).with_driver(), ollama={"vision": {"gpus": ["GPU-77aa"]}}
    ),
    "p100-beside-b200": fake_host(machine=Machine((P100, B200)), phase=1),
    "hgx-b200": fake_host(machine=Machine((B200,) * 8, switch_ports=4)),
    "nvswitch-eight-h100": fake_host(machine=Machine((H100,) * 8, switches=4)),
    "more-in-parallel-than-there-are": fake_host(vllm={"tensor_parallel_size": 2}),
    "a-card-that-is-not-there": fake_host(machine=ONE_H100.with_driver(), vllm={"gpus": ["GPU-lost"]}),
    "mig-without-slices-named": fake_host(machine=Machine((SLICED_A100,)).with_driver()),
    "mig-with-slices-named": fake_host(
        machine=Machine((SLICED_A100, H100)).with_driver(),
        vllm={"gpus": ["GPU-8f1c"]},
        ollama={"vision": {"gpus": ["MIG-1"]}, "text": {"gpus": ["MIG-1"]}},
    ),
    # A larger or a quantised model
    "13b-on-24-gb": fake_host(mirrors=answers_with(LLAMA_2_13B), machine=Machine((L4,)).with_driver(), vllm=THIRTEEN),
    "13b-on-24-gb-in-8-bits": fake_host(
        mirrors=answers_with(LLAMA_2_13B),
        machine=Machine((L4,)).with_driver(),
        vllm={**THIRTEEN, "quantization": "fp8_per_tensor"},
    ),
    "13b-on-two-of-24-gb": fake_host(
        mirrors=answers_with(LLAMA_2_13B),
        machine=Machine((L4, SECOND_L4)).with_driver(),
        vllm={**THIRTEEN, "tensor_parallel_size": 2},
    ),
    "13b-on-40-gb": fake_host(
        mirrors=answers_with(LLAMA_2_13B), machine=Machine((A100_40,)).with_driver(), vllm=THIRTEEN
    ),
    "13b-on-80-gb": fake_host(mirrors=answers_with(LLAMA_2_13B), machine=ONE_H100.with_driver(), vllm=THIRTEEN),
    "70b-awq-on-two-of-80-gb": fake_host(
        mirrors=answers_with(LLAMA_2_70B_AWQ),
        machine=Machine((A100, SECOND_A100)).with_driver(),
        vllm={**SEVENTY_AWQ, "tensor_parallel_size": 2, "kv_cache_dtype": "fp8"},
    ),
    # Drivers that are there already
    "converged-driver": fake_host(machine=ONE_H100.with_driver()),
    "older-branch-idle": fake_host(machine=ONE_H100.with_driver("570.124.06")),
    "older-branch-busy": fake_host(
        machine=Machine((H100,), driver="570.124.06", apps=TRAINING).saying(
            cgroups="812 0::/system.slice/train.service"
        )
    ),
    "vision-fits-beside-vllm": fake_host(machine=ONE_H100.with_driver(), ollama={"vision": {"memory": "7G"}}),
    "vision-does-not-fit-beside-vllm": fake_host(machine=ONE_H100.with_driver(), ollama={"vision": {"memory": "12G"}}),
    "somebody-else-holds-half-the-card": fake_host(
        machine=Machine((H100, SECOND_H100), driver="580.178.04", apps=TRAINING)
    ),
    "library-newer-than-module": fake_host(
        machine=Machine(
            (H100,),
            driver="580.95.05",
            smi={"status": 18, "out": "Failed to initialize NVML: Driver/library version mismatch", "err": ""},
        )
    ),
    "nouveau-loaded-ask-later": fake_host(
        machine=ONE_H100.saying(modules="nouveau 2605056 1 - Live 0x0"), nvidia={"reboot": "ask-later"}
    ),
    "runfile-driver": fake_host(machine=ONE_H100.with_driver(runfile="/usr/bin/nvidia-uninstall")),
    "debians-own-driver": fake_host(
        BOOKWORM,
        machine=ONE_H100.with_driver(
            "535.183.01",
            packages=packages("nvidia-driver 535.183.01-1~deb12u1 ii", "nvidia-kernel-dkms 535.183.01-1~deb12u1 ii"),
        ),
    ),
    "held-in-another-branch": fake_host(
        machine=ONE_H100.with_driver(
            "595.91.07", packages=packages("nvidia-kernel-open-dkms 595.91.07-1 hi"), holds="nvidia-kernel-open-dkms"
        )
    ),
    "row-remap-pending": fake_host(machine=Machine((H100,), driver="580.178.04", health="GPU-8f1c, Yes, No, 3\n")),
    "fallen-off-the-bus": fake_host(
        machine=ONE_H100.with_driver(
            xid="NVRM: Xid (PCI:0000:17:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
        )
    ),
    "vision-on-vllm-on-a-card-of-its-own": fake_host(
        machine=Machine((H100, SECOND_H100)).with_driver(),
        vision="vllm",
        vllm={"gpus": ["GPU-8f1c"]},
        vllm_vision=SEES | {"gpus": ["GPU-8f1d"], "gpu_memory_utilization": 0.8},
    ),
    "vision-on-vllm-beside-the-text-model": fake_host(
        machine=ONE_H100.with_driver(), vision="vllm", vllm={"gpu_memory_utilization": 0.5}, vllm_vision=SEES
    ),
    "vision-on-vllm-does-not-fit": fake_host(machine=ONE_H100.with_driver(), vision="vllm", vllm_vision=SEES),
    "vision-on-vllm-without-a-revision": fake_host(vision="vllm"),
    # The system around
    "secure-boot-key-unknown": fake_host(machine=ONE_H100.saying(secure_boot="0600000001")),
    "secure-boot-key-enrolled": fake_host(
        machine=ONE_H100.saying(secure_boot="0600000001", mok="Subject: CN=DKMS module signing key")
    ),
    "wsl": fake_host(machine=ONE_H100.saying(proc_version="Linux version 5.15.167.4-microsoft-standard-WSL2")),
    "jetson": fake_host(machine=ONE_H100.saying(tegra="# R36 (release), REVISION: 4.0")),
    "vgpu-guest": fake_host(machine=ONE_H100.saying(gridd="ServerAddress=licence")),
    "half-configured-package": fake_host(
        machine=ONE_H100.saying(audit="The following packages are only half configured:\n nvidia-kernel-open-dkms  x\n")
    ),
    "apt-is-busy": fake_host(machine=ONE_H100.saying(lock_holders="4711 unattended-upgr")),
    "kernel-newer-than-the-running-one": fake_host(machine=ONE_H100.saying(kernels=f"{RUNNING}\n{NEWER}")),
    "kernel-newer-without-headers": fake_host(
        machine=ONE_H100.saying(kernels=f"{RUNNING}\n{NEWER}", headers=offered(RUNNING))
    ),
    "kernel-without-headers": fake_host(BOOKWORM, machine=ONE_H100.saying(headers="")),
    "kernel-removed-under-the-running-one": fake_host(machine=ONE_H100.saying(kernels=NEWER)),
    "reboot-asked-for-by-others": fake_host(machine=ONE_H100.saying(reboot_required="libc6\ndbus")),
    "reboot-asked-for-by-the-driver": fake_host(
        machine=ONE_H100.with_driver(reboot_required="nvidia-kernel-open-dkms\nlibc6")
    ),
    "reboot-asked-for-by-somebody": fake_host(machine=ONE_H100.saying(reboot_required="yes")),
    "upgrades-by-night": fake_host(machine=ONE_H100.saying(packages=packages("unattended-upgrades 2.9.1 ii"))),
    "docker-of-the-distribution": fake_host(
        machine=ONE_H100.saying(packages=packages("docker.io 26.1.5 ii", "containerd 1.7.24 ii"), containers="a x web")
    ),
    "docker-replaced-on-request": fake_host(
        machine=ONE_H100.saying(
            packages=packages("docker.io 26.1.5 ii"),
            containers="a x web",
            live_restore="true",
            daemon_json='{"live-restore": true}',
        ),
        docker={"replace_conflicting": True},
    ),
    "docker-replaced-without-live-restore": fake_host(
        machine=ONE_H100.saying(packages=packages("docker.io 26.1.5 ii"), containers="a x web", live_restore="false"),
        docker={"replace_conflicting": True},
    ),
    "dockers-own-where-the-distributions-is-wanted": fake_host(
        machine=ONE_H100.saying(packages=packages("docker-ce 5:28.0.1-1 ii", "containerd.io 1.7.25-1 ii")),
        docker={"source": "distribution"},
    ),
    "docker-of-one-version": fake_host(docker={"version": "28.0.1"}),
    "docker-as-a-snap": fake_host(machine=ONE_H100.saying(snap_docker="/snap/bin/docker")),
    "broken-daemon-json": fake_host(machine=ONE_H100.saying(daemon_json='{"log-driver": ')),
    "compose-project": fake_host(
        BOOKWORM | {"present": [*BOOKWORM["present"], "/srv/advice/docker-compose.yml"]},
        docker={"source": "distribution"},
        consumers={"project": "/srv/advice"},
    ),
    "compose-project-not-there": fake_host(consumers={"project": "/srv/advice"}),
    "watched": fake_host(
        BOOKWORM,
        monitoring={"stack": True, "prometheus": {"alertmanagers": ["http://alerts.example.net:9093"]}, **OPENS},
    ),
    "watched-without-a-password": fake_host(monitoring={"stack": True}),
    "watched-without-a-card": fake_host(BOOKWORM, machine=Machine(), gpu="none", monitoring={"stack": True, **OPENS}),
    "watched-by-somebody-else": fake_host(
        BOOKWORM | {"listeners": [holder(9090, "prometheus", "prometheus.service")]},
        monitoring={"stack": True, **OPENS},
    ),
    "watched-already": fake_host(
        BOOKWORM
        | {
            "listeners": [holder(9090, "prometheus", PROMETHEUS, "127.0.0.1")],
            "present": [*BOOKWORM["present"], drop_in(PROMETHEUS)],
        },
        monitoring={"stack": True, **OPENS},
    ),
    # After a deploy: nothing around the card is left to do, and what has drifted since is put right, that alone
    "deployed": deployed(),
    "deployed-hold-lost": deployed(held=tuple(name for name in HELD if name != "libcuda1")),
    "deployed-newer-version-wanted": deployed(nvidia={"version": "580.182.01"}),
    "deployed-part-upgraded-by-hand": deployed(
        drivers=DRIVERS | {"libcuda1": "580.182.01-1", PLAN.packages[1]: "580.182.01-1"}
    ),
    "deployed-pinned-to-another-branch": deployed(
        drivers={name: v for name, v in DRIVERS.items() if name != PLAN.pinning}
        | {"nvidia-driver-pinning-595": "595.91.07-1"}
    ),
    "deployed-daemon-json-by-hand": deployed(
        daemon={**{key: value for key, value in DAEMON.items() if key != "live-restore"}, "debug": True}
    ),
    "deployed-blacklist-by-hand": deployed(changed={NOT_BY_NIGHT: "# nobody needs this\n"}),
    "deployed-nouveau-came-back": deployed(
        loaded="", changed={NOUVEAU: ""}, machine=ONE_H100.saying(modules="nouveau 2605056 1 - Live 0x0")
    ),
}
