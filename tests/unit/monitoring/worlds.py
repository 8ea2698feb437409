"""Hosts as Prometheus would see them, as input series of promtool: a healthy one in each phase, and one for every fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

MINUTES = 1600  # 26 hours: longer than any rule waits
Series = dict[str, str]
Values = TypeVar("Values")

VLLM, CARD = 'job="vllm",model_name="llm",engine="0"', 'gpu="0",UUID="GPU-8f1c",modelName="NVIDIA H100 80GB HBM3"'
ROOT = 'device="/dev/vda1",fstype="ext4",mountpoint="/"'
GB = 10**9


def steady(value: float) -> str:
    """The same value all the time."""
    return f"{value}+0x{MINUTES}"


def growing(per_minute: float, start: float = 0) -> str:
    """A counter, or a clock."""
    return f"{start}{per_minute:+}x{MINUTES}"


def first_tokens(below_half: float, below_ten: float) -> Series:
    """Requests a minute by their time to the first token."""
    name = f"vllm:time_to_first_token_seconds_bucket{{{VLLM}"
    by_bound = {"0.5": below_half, "10.0": below_ten, "+Inf": below_ten}
    return {f'{name},le="{bound}"}}': growing(rate) for bound, rate in by_bound.items()}


def first_tokens_until_20(below_half: float, below_ten: float) -> Series:
    """The same until the twentieth minute, when vLLM ends."""
    return {
        name: values.replace(f"x{MINUTES}", "x20 stale") for name, values in first_tokens(below_half, below_ten).items()
    }


def targets(value: float, *jobs: str) -> Series:
    return {f'up{{job="{job}",instance="{job}:1"}}': steady(value) for job in jobs}


ANSWERS = 'ollama_adapter_requests_total{job="adapter",route="/api/generate",model="llama2:7b"'
OF_PHASE_2: Series = {
    **first_tokens(60, 60),
    f"vllm:kv_cache_usage_perc{{{VLLM}}}": steady(0.6),
    f"vllm:num_preemptions_total{{{VLLM}}}": growing(1),
    f'vllm:request_success_total{{finished_reason="stop",{VLLM}}}': growing(60),
    f'vllm:request_success_total{{finished_reason="error",{VLLM}}}': steady(0),
    f'{ANSWERS},status="200"}}': growing(60),
    f'{ANSWERS},status="503"}}': growing(1),
    # Prometheus' own questions: they count neither way.
    'ollama_adapter_requests_total{job="adapter",route="/metrics",model="",status="200"}': growing(600),
    'ollama_adapter_requests_total{job="adapter",route="/ready",model="",status="503"}': growing(600),
    'ollama_adapter_upstream_up{job="adapter",upstream="text",url="http://127.0.0.1:8000"}': steady(1),
}
EVERYWHERE: Series = {
    **targets(1, "prometheus", "node", "dcgm", "blackbox-exporter"),
    'probe_success{server="text",instance="http://127.0.0.1:11434/api/tags"}': steady(1),
    'probe_success{server="vision",instance="http://127.0.0.1:11435/api/tags"}': steady(1),
    f"node_filesystem_size_bytes{{{ROOT}}}": steady(500 * GB),
    f"node_filesystem_avail_bytes{{{ROOT}}}": steady(200 * GB),
    # As full as they come, and nobody's matter.
    'node_filesystem_size_bytes{fstype="squashfs",mountpoint="/snap/core"}': steady(GB),
    'node_filesystem_avail_bytes{fstype="squashfs",mountpoint="/snap/core"}': steady(0),
    f"DCGM_FI_DEV_GPU_TEMP{{{CARD}}}": steady(70),
    f"DCGM_FI_DEV_FB_USED{{{CARD}}}": steady(73000),
    f"DCGM_FI_DEV_FB_FREE{{{CARD}}}": steady(8000),
    f"DCGM_FI_DEV_XID_ERRORS{{{CARD}}}": steady(0),
    f"DCGM_FI_DEV_ROW_REMAP_PENDING{{{CARD}}}": steady(0),
    f"DCGM_FI_DEV_ROW_REMAP_FAILURE{{{CARD}}}": steady(0),
    f"DCGM_FI_DEV_THERMAL_VIOLATION{{{CARD}}}": steady(1234),
    'node_textfile_mtime_seconds{file="/var/lib/llm/metrics/llm.prom"}': growing(60),
    "node_textfile_scrape_error": steady(0),
    "llm_phase_as_recorded": steady(1),
    "llm_phase_changing": steady(0),
    'llm_phase_complete{phase="1"}': steady(1),
    'llm_phase_complete{phase="2"}': steady(1),
    "llm_check_ok": steady(1),
    "llm_check_last_run_timestamp_seconds": growing(60),
    "llm_reboot_pending": steady(0),
    'llm_mirror_up{mirror="hub"}': steady(1),
    'llm_mirror_certificate_end_timestamp_seconds{mirror="hub"}': steady(90 * 86400),
    'prometheus_notifications_errors_total{alertmanager="http://a:9093/api/v2/alerts"}': steady(3),
}


def in_phase(recorded: int, inventory: int) -> Series:
    return {
        "llm_phase_recorded": steady(recorded),
        "llm_phase_serving": steady(recorded),
        "llm_phase_inventory": steady(inventory),
    }


PHASE_2: Series = {**EVERYWHERE, **in_phase(2, 2), **targets(1, "vllm", "adapter"), **OF_PHASE_2}
# vLLM is stopped, and Ollama has the adapter's port.
PHASE_1: Series = {**EVERYWHERE, **in_phase(1, 1), **targets(0, "vllm", "adapter")}


def of_vision(series: Mapping[str, Values]) -> dict[str, Values]:
    """The same of the vLLM that sees and of its adapter; both vLLMs call their model alike."""
    return {
        name.replace('job="vllm"', 'job="vllm-vision"').replace('job="adapter"', 'job="adapter-vision"'): values
        for name, values in series.items()
    }


SEES: Series = {**PHASE_2, **of_vision({**targets(1, "vllm", "adapter"), **OF_PHASE_2})}


@dataclass(frozen=True)
class Fault:
    """What is otherwise than on a healthy host of Phase 2; None for a series that is not there.

    beside: alerts that are due with it. at: when the alert must fire, in minutes.
    """

    changed: dict[str, str | None]
    beside: tuple[str, ...] = ()
    at: int = 30
    world: Series = field(default_factory=lambda: PHASE_2)

    @property
    def series(self) -> Series:
        return {name: values for name, values in {**self.world, **self.changed}.items() if values is not None}


def card(name: str, values: str) -> dict[str, str | None]:
    return {f"DCGM_FI_DEV_{name}{{{CARD}}}": values}


UPSTREAM = next(name for name in OF_PHASE_2 if "upstream_up" in name)
TEXT, VISION = (name for name in EVERYWHERE if name.startswith("probe_success"))
AVAILABLE = f"node_filesystem_avail_bytes{{{ROOT}}}"
XID_AFTER_20 = "0x20 {0}x" + str(MINUTES - 21)
FAULTS: dict[str, Fault] = {
    "VllmDown": Fault({**targets(0, "vllm")}),
    "VllmTimeToFirstToken": Fault({**first_tokens(50, 60)}),
    "VllmKvCacheFull": Fault({f"vllm:kv_cache_usage_perc{{{VLLM}}}": steady(0.99)}),
    "VllmPreemptions": Fault({f"vllm:num_preemptions_total{{{VLLM}}}": growing(10)}),
    "VllmEngineErrors": Fault({f'vllm:request_success_total{{finished_reason="error",{VLLM}}}': growing(1)}),
    "AdapterDown": Fault({**targets(0, "adapter")}),
    "AdapterErrors": Fault({f'{ANSWERS},status="503"}}': growing(6)}),
    "AdapterUpstreamDown": Fault({UPSTREAM: steady(0)}),
    "TextServerDown": Fault({TEXT: steady(0)}),
    "VisionServerDown": Fault({VISION: steady(0)}),
    "GpuFault": Fault(card("XID_ERRORS", XID_AFTER_20.format(79)), beside=("GpuXid",)),
    "GpuXid": Fault(card("XID_ERRORS", XID_AFTER_20.format(31))),
    "GpuRowRemapPending": Fault(card("ROW_REMAP_PENDING", steady(1))),
    "GpuRowRemapFailed": Fault(card("ROW_REMAP_FAILURE", steady(1))),
    "GpuHot": Fault(card("GPU_TEMP", steady(91))),
    "GpuThrottled": Fault(card("THERMAL_VIOLATION", growing(10**6))),
    "GpuMemoryFull": Fault(card("FB_FREE", steady(500))),
    "DiskFull": Fault({AVAILABLE: steady(20 * GB)}),
    "DiskFillsUp": Fault({AVAILABLE: growing(-0.2 * GB, 240 * GB)}, at=8 * 60),
    "RebootPending": Fault({"llm_reboot_pending": steady(1)}, at=25 * 60),
    "MirrorDown": Fault({'llm_mirror_up{mirror="hub"}': steady(0)}, at=3 * 60),
    "MirrorCertificateEnds": Fault({'llm_mirror_certificate_end_timestamp_seconds{mirror="hub"}': steady(10 * 86400)}),
    "PhaseNotAsRecorded": Fault({"llm_phase_as_recorded": steady(0), "llm_phase_serving": steady(0)}),
    "PhaseNotAsInInventory": Fault({"llm_phase_inventory": steady(1)}, at=25 * 60),
    "PhaseIncomplete": Fault({'llm_phase_complete{phase="1"}': steady(0)}, at=60),
    "HostCheckFails": Fault({"llm_check_ok": steady(0)}),
    "HostCheckStopped": Fault({"llm_check_last_run_timestamp_seconds": steady(60)}),
    "ExporterDown": Fault({**targets(0, "dcgm")}),
    "HostMetricsStopped": Fault({'node_textfile_mtime_seconds{file="/var/lib/llm/metrics/llm.prom"}': steady(60)}),
    "HostMetricsMissing": Fault({name: None for name in in_phase(2, 2)}),
    "AlertsNotDelivered": Fault(
        {'prometheus_notifications_errors_total{alertmanager="http://a:9093/api/v2/alerts"}': growing(1)}
    ),
}
# By alert, what is otherwise on a host with vision on vLLM: what is wrong is wrong with 11435 alone.
FAULTS_OF_VISION: dict[str, Fault] = {
    alert: Fault(of_vision(FAULTS[alert].changed), world=SEES)
    for alert in (
        "VllmDown", "VllmTimeToFirstToken", "VllmKvCacheFull", "VllmPreemptions", "VllmEngineErrors",
        "AdapterDown", "AdapterErrors", "AdapterUpstreamDown",
    )
}  # fmt: skip
IN_PHASE_1_AFTER_20 = f"2x20 1x{MINUTES - 21}"
STOPPED_AFTER_20 = "0+{0}x20 stale"
QUIET: dict[str, tuple[Series, int]] = {
    # Somebody goes back to Phase 1 because of what is wrong; what the last minutes of vLLM were like is over then.
    "gone back for errors and slow answers two minutes ago": (
        {name: values for name, values in PHASE_2.items() if name not in OF_PHASE_2}
        | first_tokens_until_20(50, 60)
        | {
            f'{ANSWERS},status="503"}}': STOPPED_AFTER_20.format(60),
            f"vllm:num_preemptions_total{{{VLLM}}}": STOPPED_AFTER_20.format(10),
            f'vllm:request_success_total{{finished_reason="error",{VLLM}}}': STOPPED_AFTER_20.format(1),
            'up{job="vllm",instance="vllm:1"}': f"1x20 0x{MINUTES - 21}",
            'up{job="adapter",instance="adapter:1"}': f"1x20 0x{MINUTES - 21}",
            "llm_phase_recorded": IN_PHASE_1_AFTER_20,
            "llm_phase_serving": IN_PHASE_1_AFTER_20,
        },
        22,
    ),
    "Phase 2": (PHASE_2, MINUTES),
    "Phase 1": (PHASE_1, MINUTES),
    "Phase 2, vision on vLLM": (SEES, MINUTES),
    "Phase 1, vision on vLLM": (PHASE_1 | targets(0, "vllm-vision", "adapter-vision"), MINUTES),
    "rolled back on the host an hour ago": (PHASE_1 | {"llm_phase_inventory": steady(2)}, 60),
    "a first deploy that puts 100 GB on the disk within two hours": (PHASE_2 | {AVAILABLE: growing(-GB, 200 * GB)}, 120),
    "a switch that takes four minutes": (
        PHASE_2 | {"llm_phase_as_recorded": f"0x4 1x{MINUTES}", "llm_phase_changing": f"1x4 0x{MINUTES}"},
        30,
    ),
    "a vLLM that loads for four minutes": (PHASE_2 | {'up{job="vllm",instance="vllm:1"}': f"0x4 1x{MINUTES}"}, 30),
    "a host without traffic": (PHASE_2 | first_tokens(0, 0) | {f'{ANSWERS},status="200"}}': steady(60)}
        | {f'{ANSWERS},status="503"}}': steady(1)}, 30),
}  # fmt: skip
