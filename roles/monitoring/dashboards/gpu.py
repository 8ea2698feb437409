"""The cards, as NVIDIA's dcgm-exporter tells them; its fields are roles/monitoring/prometheus/templates/dcgm-counters.csv."""

from __future__ import annotations

from roles.monitoring.dashboards.expressions import CARD, CARD_MEMORY, NO_CARD
from roles.monitoring.dashboards.panels import GREEN, ORANGE, RED, WINDOW, Page, Query, Row, graph, stat, table

PAGE = Page(
    "gpu",
    "GPU inference host: cards",
    "NVIDIA's cards of this host. A host without cards shows nothing here.",
    (
        Row(
            4,
            (
                stat("Cards", "That the driver tells of.", "count(DCGM_FI_DEV_GPU_TEMP)", none=NO_CARD),
                stat(
                    "Hottest",
                    "Of all cards.",
                    "max(DCGM_FI_DEV_GPU_TEMP)",
                    "celsius",
                    steps=((None, GREEN), (75, ORANGE), (85, RED)),
                    none=NO_CARD,
                ),
                stat(
                    "Fullest",
                    "Share of its memory in use.",
                    f"max({CARD_MEMORY})",
                    "percentunit",
                    steps=((None, GREEN), (0.95, ORANGE), (0.98, RED)),
                    none=NO_CARD,
                ),
                stat("Power", "All cards together.", "sum(DCGM_FI_DEV_POWER_USAGE)", "watt", none=NO_CARD),
                stat(
                    "Errors (XID)",
                    "Cards whose driver has reported an error since it was loaded; the number is in the table below.",
                    "count(DCGM_FI_DEV_XID_ERRORS > 0) or 0 * count(DCGM_FI_DEV_XID_ERRORS)",
                    steps=((None, GREEN), (1, RED)),
                    none=NO_CARD,
                ),
                stat(
                    "Memory to repair",
                    "Cards that wait for a reset to take a bad row out of use, or could not.",
                    "count(DCGM_FI_DEV_ROW_REMAP_PENDING + DCGM_FI_DEV_ROW_REMAP_FAILURE > 0) "
                    "or 0 * count(DCGM_FI_DEV_ROW_REMAP_PENDING)",
                    steps=((None, GREEN), (1, RED)),
                    none=NO_CARD,
                ),
            ),
        ),
        Row(
            8,
            (
                graph(
                    "In use",
                    "Share of the time in which a kernel ran.",
                    [Query("DCGM_FI_DEV_GPU_UTIL / 100", CARD)],
                    "percentunit",
                    top=1,
                    none=NO_CARD,
                ),
                graph(
                    "Memory",
                    "In use. vLLM takes its own when it starts and keeps it.",
                    [Query("DCGM_FI_DEV_FB_USED * 1024 * 1024", CARD)],
                    "bytes",
                    none=NO_CARD,
                ),
                graph(
                    "Memory traffic",
                    "Share of the time in which memory was read or written.",
                    [Query("DCGM_FI_DEV_MEM_COPY_UTIL / 100", CARD)],
                    "percentunit",
                    top=1,
                    none=NO_CARD,
                ),
            ),
        ),
        Row(
            8,
            (
                graph(
                    "Temperature",
                    "Of the chip and, where the card tells it, of its memory.",
                    [Query("DCGM_FI_DEV_GPU_TEMP", CARD), Query("DCGM_FI_DEV_MEMORY_TEMP > 0", f"{CARD} memory")],
                    "celsius",
                    steps=((None, GREEN), (85, RED)),
                    none=NO_CARD,
                ),
                graph("Power", "Of each card.", [Query("DCGM_FI_DEV_POWER_USAGE", CARD)], "watt", none=NO_CARD),
                graph(
                    "Clocks",
                    "Of the processors. A card that is slowed down shows here.",
                    [Query("DCGM_FI_DEV_SM_CLOCK * 1e6", CARD)],
                    "hertz",
                    none=NO_CARD,
                ),
            ),
        ),
        Row(
            8,
            (
                graph(
                    "Slowed down",
                    "Share of the time below the wanted clock, for heat and for power.",
                    [
                        Query(f"rate(DCGM_FI_DEV_THERMAL_VIOLATION[{WINDOW}]) / 1e6", f"{CARD} heat"),
                        Query(f"rate(DCGM_FI_DEV_POWER_VIOLATION[{WINDOW}]) / 1e6", f"{CARD} power"),
                    ],
                    "percentunit",
                    none=NO_CARD,
                ),
                graph(
                    "PCIe retries",
                    "In a second. A bad slot or riser shows here.",
                    [Query(f"rate(DCGM_FI_DEV_PCIE_REPLAY_COUNTER[{WINDOW}])", CARD)],
                    "cps",
                    none=NO_CARD,
                ),
                table(
                    "Errors (XID)",
                    "The last of each card that had one. On the host: journalctl -k -g Xid",
                    "DCGM_FI_DEV_XID_ERRORS > 0",
                    {"gpu": "card", "modelName": "model", "UUID": "UUID", "Value": "XID"},
                    none="none",
                ),
            ),
        ),
    ),
)
