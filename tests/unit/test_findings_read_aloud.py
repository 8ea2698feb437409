"""Every error and warning of preflight, made once and put into one text that a person can read: approved/findings.txt.

A finding that no case below makes fails here, so that none is shipped unread. After a change that is meant:
APPROVE=1 pytest tests/unit/test_findings_read_aloud.py; then read the text aloud, as somebody would at three in the morning.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from roles.facts.evidence import parse_evidence
from roles.facts.survey import Answer, ModelSeen, parse_survey
from roles.preflight import card_checks, host_checks, mirror_checks, model_checks, system_checks
from roles.preflight.findings import Finding
from roles.preflight.needs import needs
from roles.secret_sources import SecretError, SecretSource, read_secret
from roles.settings import SettingsError
from roles.site import Site, site_from
from tests.fake_models import LLAMA_2_7B, LLAMA_2_13B, LLAMA_2_70B_AWQ, Model
from tests.plan.fake_hosts import FRESH, GB, answers, holder
from tests.plan.fake_machines import (
    A100,
    A100_40,
    B200,
    H100,
    L4,
    NEWER,
    NO_CARD,
    ONE_H100,
    P100,
    RUNNING,
    T4,
    Machine,
    offered,
)
from tests.plan.scenarios import SLICED_A100, TRAINING, UNKNOWN, packages

APPROVED = Path(__file__).parent / "approved" / "findings.txt"
MODULES: tuple[ModuleType, ...] = (host_checks, system_checks, card_checks, model_checks, mirror_checks)
# What somebody can type, set or go to.
WORDS = "apt-get|curl|docker|dpkg|du|export|journalctl|kill|nvidia-smi|openssl|ps|pyinfra|python3|snap|ss|systemctl"
COMMAND = re.compile(rf"\b({WORDS}) \S")
SETTING = re.compile(
    r"\b(set|with|lower|correct|keep it with|name|choose another|than|compare) .*?(\w+\.\w+|\w+ = |roles/|NVIDIA's)"
)
PLACE = re.compile(r"(/[a-z]+){2,}|https?://|inventory|firmware")


def site(**settings: Any) -> Site:
    return site_from([settings], {})


def cards(machine: Machine, os: str = "ubuntu", os_version: str = "24.04", **settings: Any) -> list[Finding]:
    return card_checks.card_findings(site(**settings), parse_evidence(machine.evidence()), os, os_version)


def system(machine: Machine, os: str = "ubuntu", **settings: Any) -> list[Finding]:
    return system_checks.system_findings(site(**settings), parse_evidence(machine.evidence()), os)


def model(of: Model, machine: Machine, **settings: Any) -> list[Finding]:
    """What is said of vLLM with this model on this machine; settings are those of `vllm`."""
    config, size = of
    wanted = site(vllm={"model": "org/model", "model_revision": "a" * 40, **settings})
    seen = ModelSeen(json.dumps(config), {"model.safetensors": size})
    return model_checks.model_findings(wanted, parse_evidence(machine.evidence()), seen)


def pictures(**settings: Any) -> list[Finding]:
    """What is said of a vLLM for pictures on an older card, beside a text model that fits; settings are those of `vllm_vision`."""
    older = {"gpus": ["GPU-7474"], **settings}
    wanted = site(vision="vllm", vllm={"gpus": ["GPU-8f1c"]}, vllm_vision=older)
    config, size = LLAMA_2_7B
    seen = ModelSeen(json.dumps(config), {"model.safetensors": size})
    return model_checks.model_findings(wanted, parse_evidence(Machine((H100, T4)).with_driver().evidence()), seen)


def stored_as(method: str) -> Model:
    return LLAMA_2_7B[0] | {"quantization_config": {"quant_method": method}}, LLAMA_2_7B[1] // 2


def host(**survey: Any) -> list[Finding]:
    settings = site()
    said = parse_survey(FRESH | survey)
    return host_checks.host_findings(settings, said, needs(settings, said.present, {"model": 13 * GB}))


def watched(watching: dict[str, Any], *listeners: dict[str, Any], present: Sequence[str] = ()) -> list[Finding]:
    settings = site(monitoring={"stack": True, **watching})
    said = parse_survey(FRESH | {"listeners": list(listeners), "present": list(present)})
    return host_checks.host_findings(settings, said, needs(settings, said.present, {"model": 13 * GB}))


def unreadable(**place: Any) -> list[Finding]:
    with pytest.raises(SecretError) as problem:
        read_secret(SecretSource("adapter.token", "OLLAMA_ADAPTER_TOKEN", **place))
    return [host_checks.unreadable_secret(problem.value)]


def consumers(**settings: Any) -> list[Finding]:
    wanted = site(consumers={"project": "/srv/advice", **settings.pop("consumers", {})}, **settings)
    return host_checks.consumer_findings(wanted, parse_survey(FRESH), "/usr/bin/docker")


def token(given: str | None, **settings: Any) -> list[Finding]:
    wanted = site(adapter={"require_token": True, **settings})
    return host_checks.token_findings(wanted, parse_survey(FRESH), given)


def password(given: str | None) -> list[Finding]:
    wanted = site(monitoring={"stack": True})
    return host_checks.password_findings(wanted, parse_survey(FRESH), given)


def mirrors(has_token: bool = True, settings: dict[str, Any] | None = None, **changed: Any) -> list[Finding]:
    wanted = site(**(settings or {}))
    said = {raw.pop("name"): Answer(**raw) for raw in answers(**changed)}
    return mirror_checks.mirror_findings(wanted, needs(wanted, [], {}), said, has_token)


def complete(**settings: Any) -> list[Finding]:
    """What the mirrors decide on a host that has everything."""
    wanted = site(**settings)
    return mirror_checks.mirror_findings(
        wanted, replace(needs(wanted, [], {}), model=False, vision_model=False), {}, True
    )


def of_settings(**settings: Any) -> list[Finding]:
    with pytest.raises(SettingsError) as refused:
        site(**settings)
    return host_checks.settings_findings(refused.value.problems)


def hub(code: str, status: int = 403, has_token: bool = True) -> list[Finding]:
    return mirrors(has_token, hub_file={"status": status, "headers": {"x-error-code": code} if code else {}})


def of_registry(**said: Any) -> list[Finding]:
    changed: dict[str, Any] = {"registry:llava:7b": said}
    return mirrors(**changed)


BUSY = replace(ONE_H100, driver="570.124.06", apps=TRAINING + "GPU-8f1c, 900, ollama, 2000\n")
IN_A_UNIT = "812 0::/system.slice/train.service\n900 0::/user.slice/user-0.slice/session-1.scope"
DEBIANS = packages("nvidia-driver 535.183.01-1~deb12u1 ii", "nvidia-kernel-dkms 535.183.01-1~deb12u1 ii")
XID = "NVRM: Xid (PCI:0000:17:00): {}, pid='<unknown>', name=<unknown>, {}"

CASES: dict[str, Callable[[], Sequence[Finding]]] = {
    "settings": lambda: of_settings(phaze=2, vllm={"gpu_memory_utilisation": 0.8}),
    "no python": lambda: [host_checks.without_python(), host_checks.without_survey()],
    "token file": lambda: unreadable(file="/nowhere/token"),
    "token command": lambda: unreadable(command=("no-such-manager", "show", "adapter token")),
    "token command that fails": lambda: unreadable(command=("false",)),
    "token of two words": lambda: unreadable(command=("echo", "two", "words")),
    "no password for Grafana": lambda: password(None),
    "short password for Grafana": lambda: password("geheim"),
    "version of Grafana alone": lambda: of_settings(monitoring={"grafana": {"version": "13.2.3"}}),
    "no Grafana in the mirror": lambda: mirrors(
        settings={"monitoring": {"stack": True}}, grafana_archive={"status": 404}
    ),
    # The host
    "no rights": lambda: host(uid=1000),
    "no systemd": lambda: host(init="docker-init"),
    "another system": lambda: host(os="fedora", os_version="43"),
    "another architecture": lambda: host(arch="aarch64"),
    "compose project": consumers,
    "compose file": lambda: consumers(consumers={"files": ["compose.prod.yaml"]}),
    "compose project without Docker": lambda: consumers(docker={"source": "none"}),
    "port of a service": lambda: host(listeners=[holder(11434, "ollama", "ollama.service", "127.0.0.1")]),
    "port of a container": lambda: host(listeners=[holder(11434, "docker-proxy", "docker.service")]),
    "port of a process": lambda: host(listeners=[holder(8000, "chroma")]),
    "port of nobody": lambda: host(listeners=[holder(11435, "") | {"pid": 0}]),
    "alerts that nobody gets": lambda: watched({}),
    "a port of the monitoring": lambda: watched(
        {"prometheus": {"alertmanagers": ["http://alerts:9093"]}}, holder(9100, "agent", "agent.service")
    ),
    "a Prometheus of somebody else": lambda: watched(
        {"prometheus": {"alertmanagers": ["http://alerts:9093"]}}, holder(9091, "prometheus", "prometheus.service")
    ),
    "disk": lambda: host(folders={folder: {"mount": 1, "free": 20 * GB} for folder in FRESH["folders"]}),
    "no token": lambda: token(None),
    "bad token": lambda: token('with a "blank'),
    "no token in the file": lambda: token(None, token_file="/root/token"),
    "short token": lambda: token("short", token_file="/root/token"),
    # The system around the cards
    "half configured": lambda: system(
        ONE_H100.saying(audit="The following packages are half configured:\n libcuda1  x\n")
    ),
    "half configured, by a run of ours": lambda: system(
        ONE_H100.saying(
            audit="The following packages are half configured:\n libcuda1  x\n",
            at_work="alice@laptop (pyinfra deploy.py), since 2026-11-29T03:00:00+00:00\n",
        )
    ),
    "apt is busy": lambda: system(ONE_H100.saying(lock_holders="4711 unattended-upgr")),
    "WSL": lambda: system(ONE_H100.saying(proc_version="Linux version 5.15-microsoft-standard-WSL2")),
    "Jetson": lambda: system(ONE_H100.saying(tegra="# R36")),
    "vGPU": lambda: system(ONE_H100.saying(gridd="ServerAddress=x")),
    "Secure Boot": lambda: system(ONE_H100.saying(secure_boot="0600000001")),
    "runfile": lambda: system(ONE_H100.with_driver(runfile="/usr/bin/nvidia-uninstall")),
    "distribution's driver": lambda: system(ONE_H100.saying(packages=DEBIANS)),
    "newer kernel": lambda: system(ONE_H100.saying(kernels=f"{RUNNING}\n{NEWER}")),
    "newer kernel, no headers": lambda: system(
        ONE_H100.saying(kernels=f"{RUNNING}\n{NEWER}", headers=offered(RUNNING))
    ),
    "no headers": lambda: system(ONE_H100.saying(headers="")),
    "kernel removed": lambda: system(ONE_H100.saying(kernels=NEWER)),
    "nouveau": lambda: system(ONE_H100.saying(modules="nouveau 2605056 1 - Live 0x0"), nvidia={"reboot": "ask-later"}),
    "held": lambda: system(
        ONE_H100.saying(packages=packages("nvidia-kernel-open-dkms 595.91.07-1 hi"), holds="nvidia-kernel-open-dkms")
    ),
    "daemon.json": lambda: system(ONE_H100.saying(daemon_json='{"log-driver": ')),
    "snap": lambda: system(ONE_H100.saying(snap_docker="/snap/bin/docker")),
    "other Docker": lambda: system(ONE_H100.saying(packages=packages("docker.io 26.1.5 ii"), containers="a x web")),
    "Docker of Docker": lambda: system(
        ONE_H100.saying(packages=packages("docker-ce 5:28.0.1-1 ii")), docker={"source": "distribution"}
    ),
    "Docker replaced": lambda: system(
        ONE_H100.saying(packages=packages("docker.io 26.1.5 ii")), docker={"replace_conflicting": True}
    ),
    "Docker replaced under containers": lambda: system(
        ONE_H100.saying(packages=packages("docker.io 26.1.5 ii"), containers="a x web"),
        docker={"replace_conflicting": True},
    ),
    # The cards
    "unused card": lambda: cards(ONE_H100, gpu="none"),
    "no card": lambda: cards(NO_CARD),
    "key unknown": lambda: cards(ONE_H100, "debian", "13"),
    "unknown card": lambda: cards(Machine((UNKNOWN,))),
    "no common driver": lambda: cards(Machine((P100, B200)), phase=1),
    "open modules": lambda: cards(Machine((P100,)), phase=1, nvidia={"modules": "open"}),
    "proprietary modules": lambda: cards(Machine((B200,)), nvidia={"modules": "proprietary"}),
    "branch too new": lambda: cards(Machine((P100,)), phase=1, nvidia={"branch": "595"}),
    "branch too old": lambda: cards(ONE_H100, nvidia={"branch": "570"}),
    "too old for vLLM": lambda: cards(Machine((P100,))),
    "too old beside a newer one": lambda: cards(Machine((P100, A100))),
    "too old beside a newer one, with a driver": lambda: cards(Machine((P100, A100)).with_driver()),
    "too few": lambda: cards(ONE_H100, vllm={"tensor_parallel_size": 2}),
    "bfloat16": lambda: cards(Machine((T4,)).with_driver(), vllm={"dtype": "bfloat16"}),
    "unlike cards": lambda: cards(Machine((H100, A100)).with_driver(), vllm={"tensor_parallel_size": 2}),
    "lost card": lambda: cards(ONE_H100.with_driver(), vllm={"gpus": ["GPU-lost"]}),
    "slices": lambda: cards(Machine((SLICED_A100,)).with_driver()),
    "mismatch": lambda: cards(
        replace(ONE_H100, driver="580.95.05", smi={"status": 18, "out": "Driver/library version mismatch", "err": ""})
    ),
    "remap failed": lambda: cards(replace(ONE_H100.with_driver(), health="GPU-8f1c, No, Yes, 0\n")),
    "remap pending": lambda: cards(replace(ONE_H100.with_driver(), health="GPU-8f1c, Yes, No, 3\n")),
    "fallen off": lambda: cards(ONE_H100.with_driver(xid=XID.format(79, "GPU has fallen off the bus."))),
    "another XID": lambda: cards(ONE_H100.with_driver(xid=XID.format(31, "MMU Fault"))),
    "busy, another branch": lambda: cards(BUSY.saying(cgroups=IN_A_UNIT)),
    "busy": lambda: cards(replace(BUSY, driver="580.178.04").saying(cgroups=IN_A_UNIT)),
    "too large together": lambda: cards(ONE_H100.with_driver(), ollama={"vision": {"memory": "12G"}}),
    "two vLLMs too large together": lambda: cards(ONE_H100.with_driver(), vision="vllm"),
    "too few for vision": lambda: cards(ONE_H100, vision="vllm", vllm_vision={"tensor_parallel_size": 2}),
    # The model on the cards
    "does not fit": lambda: model(LLAMA_2_13B, Machine((L4,)).with_driver()),
    "does not fit, and no 8 bits either": lambda: model(LLAMA_2_13B, Machine((T4,)).with_driver()),
    "does not fit in what is given": lambda: model(
        LLAMA_2_7B, Machine((L4,)).with_driver(), gpu_memory_utilization=0.6
    ),
    "the context does not fit": lambda: model(
        LLAMA_2_13B, Machine((L4, L4)).with_driver(), tensor_parallel_size=2, gpu_memory_utilization=0.7
    ),
    "fits on paper only": lambda: model(
        LLAMA_2_70B_AWQ, Machine((A100_40,)).with_driver(), gpu_memory_utilization=0.93
    ),
    "a fixed cache that is too small": lambda: model(LLAMA_2_7B, ONE_H100.with_driver(), kv_cache_memory="1G"),
    "a fixed cache that is too large": lambda: model(LLAMA_2_7B, Machine((L4,)).with_driver(), kv_cache_memory="16G"),
    "does not fit, with arguments of one's own": lambda: model(
        LLAMA_2_13B, Machine((L4,)).with_driver(), extra_args=["--cpu-offload-gb=16"]
    ),
    "more context than the model has": lambda: model(LLAMA_2_7B, ONE_H100.with_driver(), max_model_len=8192),
    "heads that cannot be shared": lambda: model(
        LLAMA_2_7B, Machine((H100,) * 3).with_driver(), tensor_parallel_size=3
    ),
    "not quantised": lambda: model(LLAMA_2_7B, ONE_H100.with_driver(), quantization="awq"),
    "quantised otherwise": lambda: model(LLAMA_2_70B_AWQ, ONE_H100.with_driver(), quantization="gptq"),
    "quantised in a way that vLLM does not know": lambda: model(stored_as("bitsandbytes"), ONE_H100.with_driver()),
    "quantised for newer cards": lambda: model(stored_as("modelopt"), Machine((T4,)).with_driver()),
    "quantised for another type": lambda: model(stored_as("awq"), ONE_H100.with_driver(), dtype="float32"),
    "KV cache for newer cards": lambda: model(stored_as("awq"), Machine((T4,)).with_driver(), kv_cache_dtype="fp8"),
    "quantised for newer cards, for pictures": lambda: pictures(quantization="modelopt"),
    "quantised for another type, for pictures": lambda: pictures(quantization="awq", dtype="float32"),
    "KV cache for newer cards, for pictures": lambda: pictures(kv_cache_dtype="fp8"),
    # What the mirrors say
    "no torch": lambda: mirrors(
        settings={"gpu": "none", "docker": {"source": "distribution"}}, torch_0={"text": "torch-2.13.0-cp311"}
    ),
    "no index": lambda: mirrors(index={"status": 0, "error": "timed out"}),
    "no release": lambda: mirrors(ollama_archive={"status": 404}),
    "a release without the archive": lambda: mirrors(ollama_sums={"text": "aa  other.tar\n"}),
    "another checksum": lambda: mirrors(settings={"ollama": {"sha256": "b" * 64}}),
    "no such Ollama model": lambda: of_registry(status=404),
    "registry": lambda: of_registry(status=0, error="connection refused"),
    "Docker's repository": lambda: mirrors(docker={"status": 404}),
    "toolkit": lambda: mirrors(toolkit={"status": 404}),
    "driver repository": lambda: mirrors(cuda={"status": 500}),
    "gated, no token": lambda: hub("GatedRepo", 401, has_token=False),
    "gated": lambda: hub("GatedRepo"),
    "no such model": lambda: hub("RepoNotFound", 404),
    "no such revision": lambda: hub("RevisionNotFound", 404),
    "token refused": lambda: hub("", 401),
    "token refused, of a command": lambda: mirrors(
        settings={"vllm": {"hub_token_command": ["pass", "show", "hub"]}}, hub_file={"status": 401}
    ),
    "hub down": lambda: hub("", 502),
    "no revision": lambda: mirrors(settings={"vllm": {"model": "org/other"}}),
    "no revision, model there": lambda: complete(vllm={"model": "org/other"}),
    "no revision for vision": lambda: mirrors(settings={"vision": "vllm"}),
    "vision model that sees nothing": lambda: mirrors(
        settings={"vision": "vllm", "vllm_vision": {"model": "org/text", "model_revision": "e" * 40}},
        hub_vision_file={"text": '{"architectures": ["LlamaForCausalLM"]}'},
    ),
}


def grave(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity != "note"]


def places_in_source() -> set[tuple[str, int]]:
    """File and line of every call that makes an error or a warning."""
    found = set()
    for file in Path(host_checks.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("error", "warning"):
                found.add((file.name, node.lineno))
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[tuple[str, int]]]:
    """File and line of every call that has made one."""
    seen: set[tuple[str, int]] = set()

    def noted(make: Callable[[str, str, str], Finding]) -> Callable[[str, str, str], Finding]:
        def noting(about: str, fact: str, remedy: str) -> Finding:
            caller = sys._getframe(1)
            seen.add((Path(caller.f_code.co_filename).name, caller.f_lineno))
            return make(about, fact, remedy)

        return noting

    for module in MODULES:
        for name in ("error", "warning"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, noted(getattr(module, name)))
    yield seen


def test_no_finding_is_shipped_that_no_case_makes(made: set[tuple[str, int]]) -> None:
    for make in CASES.values():
        make()
    assert made == places_in_source()


@pytest.mark.parametrize("case", CASES)
def test_a_case_makes_a_finding_whose_remedy_names_a_command_a_setting_or_a_place(case: str) -> None:
    findings = grave(CASES[case]())
    assert findings
    for finding in findings:
        kinds = [kind for kind in (COMMAND, SETTING, PLACE) if kind.search(finding.remedy)]
        assert kinds, f"{finding.about}: {finding.remedy}"


@pytest.mark.parametrize(
    "remedy", ["check the name", "is that the right release?", "plan a reboot", "have the card replaced"]
)
def test_a_remedy_that_leaves_somebody_alone_would_be_noticed(remedy: str) -> None:
    assert not any(kind.search(remedy) for kind in (COMMAND, SETTING, PLACE))


@pytest.mark.parametrize("severity", ["error", "warning"])
def test_none_can_be_made_without_a_remedy(severity: Any) -> None:
    with pytest.raises(ValueError, match="no remedy for the"):
        Finding(severity, "gpu", "it is gone", " ")


def test_all_texts_are_those_that_somebody_read_aloud() -> None:
    lines = []
    for case, make in CASES.items():
        lines.append(f"{case}")
        for finding in grave(make()):
            lines += [f"  {finding.severity:7}  {finding.about}: {finding.fact}", f"           -> {finding.remedy}"]
    told = "\n".join(lines) + "\n"
    if os.environ.get("APPROVE") == "1":
        APPROVED.parent.mkdir(exist_ok=True)
        APPROVED.write_text(told, encoding="utf-8")
    assert told == APPROVED.read_text(encoding="utf-8"), f"APPROVE=1, then read {APPROVED} aloud"
