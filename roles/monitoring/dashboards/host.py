"""The machine below: processors, memory, disks, network; and what the host's own programs know of it."""

from __future__ import annotations

from roles.monitoring.dashboards.expressions import DISK_FREE
from roles.monitoring.dashboards.panels import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    WINDOW,
    Page,
    Query,
    Row,
    graph,
    rate,
    stat,
    table,
)

NETWORKS = 'device!~"(lo|veth.*|br-.*|docker.*)"'
WELL = {1: ("well", GREEN), 0: ("fails", RED)}

PAGE = Page(
    "host",
    "GPU inference host: machine",
    "The machine below the services, and what its own programs know.",
    (
        Row(
            4,
            (
                stat(
                    "Own check",
                    "The last run of llm-check: every service that runs serves.",
                    "llm_check_ok",
                    words=WELL,
                    filled=True,
                ),
                stat(
                    "As on record",
                    "What serves, what is on record and what the next boot brings are the same.",
                    "llm_phase_as_recorded",
                    words={1: ("yes", GREEN), 0: ("no", RED)},
                    filled=True,
                ),
                stat(
                    "Way back",
                    "Phase 1 is complete on this disk: a rollback needs no network.",
                    'llm_phase_complete{phase="1"}',
                    words={1: ("complete", GREEN), 0: ("incomplete", RED)},
                    filled=True,
                ),
                stat(
                    "Reboot",
                    "Whether a package asked for one.",
                    "llm_reboot_pending",
                    words={0: ("none pending", GREEN), 1: ("pending", ORANGE)},
                    filled=True,
                ),
                stat("Up for", "Since the last boot.", "time() - node_boot_time_seconds", "s", steps=((None, BLUE),)),
                stat(
                    "Clock",
                    "How far it is from its time server's.",
                    "abs(node_timex_offset_seconds)",
                    "s",
                    steps=((None, GREEN), (0.1, ORANGE), (1, RED)),
                ),
                table(
                    "Release",
                    "What the last deploy put in place.",
                    "llm_release_info",
                    {"release": "release", "verdict": "verdict"},
                    none="none",
                    width=6,
                ),
            ),
        ),
        Row(
            8,
            (
                graph(
                    "Processors",
                    "Cores at work, by what they do.",
                    [Query(f'sum by (mode) (rate(node_cpu_seconds_total{{mode!="idle"}}[{WINDOW}]))', "{{mode}}")],
                    "short",
                    stacked=True,
                ),
                graph(
                    "Load",
                    "Processes that run or wait for a disk; the dashed colour is the number of cores.",
                    [
                        Query("node_load1", "1 min"),
                        Query("node_load15", "15 min"),
                        Query('count(node_cpu_seconds_total{mode="idle"})', "cores"),
                    ],
                    "short",
                ),
                graph(
                    "Memory",
                    "In use, and what the kernel keeps of files.",
                    [
                        Query("node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes", "in use"),
                        Query("node_memory_MemTotal_bytes", "all"),
                        Query("node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes", "swap in use"),
                    ],
                    "bytes",
                ),
            ),
            "Machine",
        ),
        Row(
            8,
            (
                graph(
                    "Disk free",
                    "Of every file system.",
                    [Query(DISK_FREE, "{{mountpoint}}")],
                    "bytes",
                ),
                graph(
                    "Disk read and written",
                    "In a second.",
                    [
                        Query(rate("node_disk_read_bytes_total", "device"), "{{device}} read"),
                        Query(rate("node_disk_written_bytes_total", "device"), "{{device}} written"),
                    ],
                    "Bps",
                ),
                graph(
                    "Network",
                    "In a second, without the bridges of containers.",
                    [
                        Query(rate(f"node_network_receive_bytes_total{{{NETWORKS}}}", "device"), "{{device}} in"),
                        Query(rate(f"node_network_transmit_bytes_total{{{NETWORKS}}}", "device"), "{{device}} out"),
                    ],
                    "Bps",
                ),
            ),
        ),
        Row(
            8,
            (
                graph(
                    "Services",
                    "1 where a service of the host runs.",
                    [Query("llm_unit_active", "{{unit}}")],
                    "short",
                    top=1.2,
                ),
                graph(
                    "Killed for lack of memory",
                    "Processes in five minutes.",
                    [Query("increase(node_vmstat_oom_kill[5m])", "killed")],
                    "short",
                    colours={"killed": RED},
                ),
                table(
                    "Mirrors that do not answer",
                    "The next deploy would fail to fetch from them.",
                    "llm_mirror_up == 0",
                    {"mirror": "mirror"},
                    none="all answer",
                ),
                table(
                    "Certificates that end within 30 days",
                    "Of the mirrors.",
                    "(llm_mirror_certificate_end_timestamp_seconds - time()) / 86400 < 30",
                    {"mirror": "mirror", "Value": "days"},
                    none="none",
                ),
            ),
            "Services and mirrors",
        ),
    ),
)
