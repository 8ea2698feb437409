"""Expressions that more than one page shows."""

from __future__ import annotations

from roles.monitoring.dashboards.panels import GREEN, GREY, ORANGE, RED, rate

# What 11434 shows: with vision on vLLM 11435 has an adapter and a vLLM of its own, jobs with `-vision` behind their names.
OF_ADAPTER, OF_VLLM = '{job="adapter"}', '{job="vllm"}'
REQUESTS = f"ollama_adapter_requests_total{OF_ADAPTER}"
FAILED = 'ollama_adapter_requests_total{job="adapter",status=~"5.."}'
# 0 without a request; nothing at all without an adapter.
ERROR_SHARE = f"({rate(FAILED)} or vector(0)) / ({rate(REQUESTS)} > 0) or 0 * {rate(REQUESTS)}"
HIT_RATE = (
    f"{rate(f'vllm:prefix_cache_hits_total{OF_VLLM}')} / ({rate(f'vllm:prefix_cache_queries_total{OF_VLLM}')} > 0)"
)
KV_CACHE = "max by (job, model_name) (vllm:kv_cache_usage_perc)"
KV_CACHE_OF = "{{model_name}} ({{job}})"
CARD_MEMORY = "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)"
DISKS = '{fstype!~"(tmpfs|ramfs|squashfs|iso9660|erofs)"}'
DISK_USED = f"max by (mountpoint) (1 - node_filesystem_avail_bytes{DISKS} / node_filesystem_size_bytes{DISKS})"
DISK_FREE = f"min by (mountpoint) (node_filesystem_avail_bytes{DISKS})"
STATUS_COLOURS = {"2": GREEN, "4(?!99)": ORANGE, "499": GREY, "5": RED}  # 499: the client left before its answer
CARD = "{{gpu}} {{modelName}}"  # how a card's line is called
IN_PHASE_1 = "none in Phase 1"
NO_CARD = "no card"
