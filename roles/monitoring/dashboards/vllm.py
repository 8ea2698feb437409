"""vLLM from the inside: queue, latencies by stage, tokens, KV and prefix cache. Names: its `/metrics`, 0.32."""

from __future__ import annotations

from roles.monitoring.dashboards.expressions import HIT_RATE, IN_PHASE_1, OF_VLLM
from roles.monitoring.dashboards.panels import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    UP,
    Page,
    Panel,
    Query,
    Row,
    gauge,
    graph,
    mean,
    quantiles,
    rate,
    stat,
)
from roles.monitoring.dashboards.shared_panels import hit_rate, kv_cache


def stage(title: str, description: str, metric: str) -> Panel:
    """A histogram of seconds as p50, p95 and p99."""
    return graph(
        title, description, quantiles(f"vllm:{metric}_bucket{OF_VLLM}", (0.5, 0.95, 0.99)), "s", none=IN_PHASE_1
    )


def coarse_stage(title: str, description: str, metric: str) -> Panel:
    """One whose smallest bucket is 0.3 s: where most are quicker, its quantiles tell nothing but that, and the mean does."""
    told = f"{description} The mean is exact; quantiles below 0.3 s are not, vLLM counts no finer."
    queries = [
        Query(mean(f"vllm:{metric}", OF_VLLM), "mean"),
        *quantiles(f"vllm:{metric}_bucket{OF_VLLM}", (0.95, 0.99)),
    ]
    return graph(title, told, queries, "s", none=IN_PHASE_1)


PAGE = Page(
    "vllm",
    "GPU inference host: vLLM",
    "vLLM behind 11434, from the inside; of one behind 11435 the KV cache. In Phase 1 none runs and everything here is empty.",
    (
        Row(
            4,
            (
                stat(
                    "vLLM answers",
                    "Whether its metrics can be read.",
                    'up{job="vllm"}',
                    words=UP,
                    filled=True,
                    none=IN_PHASE_1,
                ),
                stat(
                    "Running",
                    "Requests that are computed.",
                    f"sum(vllm:num_requests_running{OF_VLLM})",
                    none=IN_PHASE_1,
                ),
                stat(
                    "Waiting",
                    "Requests that wait for room in the KV cache or in the batch.",
                    f"sum(vllm:num_requests_waiting{OF_VLLM})",
                    steps=((None, GREEN), (1, ORANGE), (20, RED)),
                    none=IN_PHASE_1,
                ),
                stat(
                    "Generated",
                    "Tokens in a second.",
                    rate(f"vllm:generation_tokens_total{OF_VLLM}"),
                    "suffix:tok/s",
                    decimals=0,
                    steps=((None, BLUE),),
                    none=IN_PHASE_1,
                ),
                gauge(
                    "KV cache",
                    "Share in use.",
                    [Query(f"max(vllm:kv_cache_usage_perc{OF_VLLM})", "in use")],
                    steps=((None, GREEN), (0.8, ORANGE), (0.95, RED)),
                ),
                gauge(
                    "Prefix cache",
                    "Hit rate: share of prompt tokens that did not have to be computed.",
                    [Query(HIT_RATE, "hits")],
                    steps=((None, BLUE),),
                ),
            ),
        ),
        Row(
            8,
            (
                stage(
                    "Time to the first token",
                    "From a request's arrival at vLLM to its first token: queue and prompt.",
                    "time_to_first_token_seconds",
                ),
                stage(
                    "Time between tokens",
                    "Of a running answer. People read at about 10 tokens a second: 0.1 s.",
                    "inter_token_latency_seconds",
                ),
                coarse_stage("Whole request", "From arrival to the last token.", "e2e_request_latency_seconds"),
            ),
            "Latency",
        ),
        Row(
            8,
            (
                coarse_stage("In the queue", "Before anything is computed.", "request_queue_time_seconds"),
                coarse_stage("Prompt (prefill)", "Until the prompt is computed.", "request_prefill_time_seconds"),
                coarse_stage("Answer (decode)", "From the first token to the last.", "request_decode_time_seconds"),
            ),
        ),
        Row(
            8,
            (
                graph(
                    "Requests",
                    "Computed, and waiting by reason: `capacity` for room, `deferred` put off for another cause.",
                    [
                        Query(f"sum(vllm:num_requests_running{OF_VLLM})", "running"),
                        Query(f"sum by (reason) (vllm:num_requests_waiting_by_reason{OF_VLLM})", "waiting: {{reason}}"),
                    ],
                    colours={"running": GREEN, "waiting": ORANGE},
                    none=IN_PHASE_1,
                ),
                graph(
                    "How requests ended",
                    "In a second. `length` is an answer cut at its limit, `abort` a client that left, `error` the engine.",
                    [Query(rate(f"vllm:request_success_total{OF_VLLM}", "finished_reason"), "{{finished_reason}}")],
                    "reqps",
                    stacked=True,
                    colours={"stop": GREEN, "length": BLUE, "abort": GREY, "error": RED},
                    none=IN_PHASE_1,
                ),
                graph(
                    "Put back and refused",
                    "In a second: preempted for lack of KV cache and computed again; refused because the queue is full.",
                    [
                        Query(rate(f"vllm:num_preemptions_total{OF_VLLM}"), "preempted"),
                        Query(rate(f"vllm:admission_rejections_total{OF_VLLM}"), "refused"),
                    ],
                    "reqps",
                    colours={"preempted": ORANGE, "refused": RED},
                    none=IN_PHASE_1,
                ),
            ),
            "Work",
        ),
        Row(
            8,
            (
                graph(
                    "Tokens",
                    "In a second.",
                    [
                        Query(rate(f"vllm:generation_tokens_total{OF_VLLM}"), "generated"),
                        Query(rate(f"vllm:prompt_tokens_total{OF_VLLM}"), "read"),
                        Query(rate(f"vllm:prompt_tokens_cached_total{OF_VLLM}"), "of these from the cache"),
                    ],
                    "suffix:tok/s",
                    none=IN_PHASE_1,
                ),
                kv_cache("At 100 % requests wait or are put back."),
                hit_rate(
                    "Share of prompt tokens that did not have to be computed, because an earlier prompt began alike."
                ),
            ),
            "Tokens and caches",
        ),
        Row(
            8,
            (
                graph(
                    "Length of prompts",
                    "Tokens.",
                    quantiles(f"vllm:request_prompt_tokens_bucket{OF_VLLM}", (0.5, 0.95)),
                    "short",
                    none=IN_PHASE_1,
                ),
                graph(
                    "Length of answers",
                    "Tokens.",
                    quantiles(f"vllm:request_generation_tokens_bucket{OF_VLLM}", (0.5, 0.95)),
                    "short",
                    none=IN_PHASE_1,
                ),
                graph(
                    "Memory of the API process",
                    "Of the machine, not of the card.",
                    [Query('process_resident_memory_bytes{job="vllm"}', "resident")],
                    "bytes",
                    none=IN_PHASE_1,
                ),
            ),
        ),
    ),
)
