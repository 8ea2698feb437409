"""Expressions that more than one page shows."""

from __future__ import annotations

from roles.monitoring.dashboards.panels import GREEN, GREY, ORANGE, RED, rate

REQUESTS = "ollama_adapter_requests_total"
FAILED = REQUESTS + '{status=~"5.."}'
# 0 without a request; nothing at all without an adapter.
ERROR_SHARE = f"({rate(FAILED)} or vector(0)) / ({rate(REQUESTS)} > 0) or 0 * {rate(REQUESTS)}"
HIT_RATE = f"{rate('vllm:prefix_cache_hits_total')} / ({rate('vllm:prefix_cache_queries_total')} > 0)"
CARD_MEMORY = "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)"
DISKS = '{fstype!~"(tmpfs|ramfs|squashfs|iso9660|erofs)"}'
DISK_USED = f"max by (mountpoint) (1 - node_filesystem_avail_bytes{DISKS} / node_filesystem_size_bytes{DISKS})"
DISK_FREE = f"min by (mountpoint) (node_filesystem_avail_bytes{DISKS})"
STATUS_COLOURS = {"2": GREEN, "4(?!99)": ORANGE, "499": GREY, "5": RED}  # 499: the client left before its answer
CARD = "{{gpu}} {{modelName}}"  # how a card's line is called
IN_PHASE_1 = "none in Phase 1"
NO_CARD = "no card"
