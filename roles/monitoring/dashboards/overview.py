"""The overview: does it serve, which phase, how fast, and what is running out. One screen."""

from __future__ import annotations

from roles.monitoring.dashboards.expressions import (
    CARD,
    CARD_MEMORY,
    DISK_USED,
    IN_PHASE_1,
    NO_CARD,
    OF_ADAPTER,
    OF_VLLM,
)
from roles.monitoring.dashboards.panels import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    UP,
    Page,
    Query,
    Row,
    graph,
    quantiles,
    rate,
    stat,
    table,
)
from roles.monitoring.dashboards.shared_panels import by_status, errors, hit_rate, kv_cache, requests, tokens_by_model

PHASES = {
    0: ("none serves", RED),
    1: ("1 · Ollama", BLUE),
    2: ("2 · vLLM", GREEN),
}

PAGE = Page(
    "overview",
    "GPU inference host: overview",
    "Whether the host serves, in which phase and how fast, and what is running out.",
    (
        Row(
            4,
            (
                stat(
                    "Phase",
                    "The phase that serves as a whole, as llm-phase tells it.",
                    "llm_phase_serving",
                    words=PHASES,
                    filled=True,
                ),
                stat(
                    "Text answers (11434)",
                    "Whether the server of the text models lists all that it should, as a client sees it.",
                    'probe_success{server="text"}',
                    words=UP,
                    filled=True,
                ),
                stat(
                    "Vision answers (11435)",
                    "Whether 11435 lists all models that it should, as a client sees it.",
                    'probe_success{server="vision"}',
                    words=UP,
                    filled=True,
                ),
                stat(
                    "Alerts firing",
                    "Of the rules of this host; they are in the table below.",
                    'count(ALERTS{alertstate="firing"}) or vector(0)',
                    steps=((None, GREEN), (1, RED)),
                    filled=True,
                ),
                requests("Answers of the adapter in a second. Phase 1 has no adapter, and Ollama counts nothing."),
                errors("Share of the adapter's answers that are 5xx."),
                stat(
                    "First token, p95",
                    "From a request's head to the first bytes of a streamed answer, as clients of the adapter see it.",
                    quantiles(f"ollama_adapter_time_to_first_token_seconds_bucket{OF_ADAPTER}", (0.95,))[0].expr,
                    "s",
                    steps=((None, GREEN), (2, ORANGE), (5, RED)),
                    none="no stream",
                ),
                stat(
                    "Tokens",
                    "Generated in a second, over all requests.",
                    rate(f"ollama_adapter_output_tokens_total{OF_ADAPTER}"),
                    "suffix:tok/s",
                    steps=((None, BLUE),),
                    decimals=0,
                    none=IN_PHASE_1,
                ),
            ),
        ),
        Row(
            8,
            (
                by_status("Requests by status", "Answers of the adapter in a second; 499: the client left."),
                graph(
                    "Time to the first token",
                    "Of streamed answers, as clients of the adapter see it. The dashed line is the alert's bound as delivered.",
                    quantiles(f"ollama_adapter_time_to_first_token_seconds_bucket{OF_ADAPTER}"),
                    "s",
                    steps=((None, GREEN), (5, RED)),
                    none="no stream",
                ),
                tokens_by_model(
                    "Tokens generated",
                    "In a second. What was read – prompts are longer than answers – is on the page of vLLM.",
                ),
            ),
        ),
        Row(
            7,
            (
                graph(
                    "Queue of vLLM",
                    "Requests that are computed, and those that wait for room. A queue that stays is a host too small.",
                    [
                        Query(f"sum(vllm:num_requests_running{OF_VLLM})", "running"),
                        Query(f"sum(vllm:num_requests_waiting{OF_VLLM})", "waiting"),
                    ],
                    "short",
                    colours={"running": GREEN, "waiting": ORANGE},
                    none=IN_PHASE_1,
                ),
                kv_cache("Share of vLLM's memory for contexts. At 100 % requests wait or are put back."),
                hit_rate(
                    "Share of prompt tokens that vLLM did not have to compute, because an earlier prompt began alike."
                ),
                graph(
                    "Disk in use",
                    "Of every file system of the host.",
                    [Query(DISK_USED, "{{mountpoint}}")],
                    "percentunit",
                    steps=((None, GREEN), (0.9, RED)),
                    top=1,
                ),
            ),
        ),
        Row(
            7,
            (
                graph(
                    "Memory of the cards",
                    "Share in use. vLLM takes its own (vllm.gpu_memory_utilization) when it starts and keeps it.",
                    [Query(CARD_MEMORY, CARD)],
                    "percentunit",
                    top=1,
                    none=NO_CARD,
                ),
                graph(
                    "Temperature of the cards",
                    "The dashed line is the alert's bound as delivered.",
                    [Query("DCGM_FI_DEV_GPU_TEMP", CARD)],
                    "celsius",
                    steps=((None, GREEN), (85, RED)),
                    none=NO_CARD,
                ),
                table(
                    "Alerts",
                    "What is due at this moment, and what soon may be (pending). docs/on-call.md has what to do.",
                    "ALERTS",
                    {"alertname": "alert", "alertstate": "state", "severity": "severity", "instance": "where"},
                    none="nothing is due",
                    width=10,
                ),
            ),
        ),
    ),
)
