"""The adapter: what clients of 11434 ask for in Phase 2, and how they are answered. Names: files/adapter, service/metrics.py."""

from __future__ import annotations

from roles.monitoring.dashboards.expressions import IN_PHASE_1, OF_ADAPTER, REQUESTS
from roles.monitoring.dashboards.panels import (
    BLUE,
    GREEN,
    UP,
    Page,
    Query,
    Row,
    graph,
    quantile,
    quantiles,
    rate,
    stat,
    table,
)
from roles.monitoring.dashboards.shared_panels import by_status, errors, requests, tokens_by_model

PAGE = Page(
    "adapter",
    "GPU inference host: adapter",
    "The Ollama API in front of vLLM, as its clients see it. In Phase 1 it does not run and everything here is empty.",
    (
        Row(
            4,
            (
                stat(
                    "Adapter answers",
                    "Whether its metrics can be read.",
                    'up{job="adapter"}',
                    words=UP,
                    filled=True,
                    none=IN_PHASE_1,
                ),
                requests("Answered in a second."),
                errors("Share of the answers that are 5xx."),
                stat(
                    "In flight",
                    "Requests that are being answered.",
                    f"sum(ollama_adapter_requests_in_flight{OF_ADAPTER})",
                    steps=((None, BLUE),),
                    none=IN_PHASE_1,
                ),
                stat(
                    "Connections",
                    "Of clients.",
                    f"sum(ollama_adapter_client_connections{OF_ADAPTER})",
                    steps=((None, BLUE),),
                    none=IN_PHASE_1,
                ),
                table(
                    "Version",
                    "Of the adapter.",
                    f"ollama_adapter_info{OF_ADAPTER}",
                    {"version": "version", "instance": "where"},
                    none=IN_PHASE_1,
                    width=5,
                ),
            ),
        ),
        Row(
            8,
            (
                by_status("By status", "Answers in a second; 499: the client left."),
                graph(
                    "By route",
                    "Answers in a second.",
                    [Query(rate(REQUESTS, "route"), "{{route}}")],
                    "reqps",
                    stacked=True,
                    none=IN_PHASE_1,
                ),
                graph(
                    "By model",
                    "Answers in a second. A name that a client made up counts for its base.",
                    [Query(rate(REQUESTS, "model"), "{{model}}")],
                    "reqps",
                    stacked=True,
                    none=IN_PHASE_1,
                ),
            ),
            "Requests",
        ),
        Row(
            8,
            (
                graph(
                    "Time to the first token",
                    "From a request's head to the first bytes of a streamed answer.",
                    quantiles(f"ollama_adapter_time_to_first_token_seconds_bucket{OF_ADAPTER}", (0.5, 0.95, 0.99)),
                    "s",
                    none="no stream",
                ),
                graph(
                    "Time between tokens",
                    "The mean of each streamed answer.",
                    quantiles(f"ollama_adapter_inter_token_latency_seconds_bucket{OF_ADAPTER}", (0.5, 0.95, 0.99)),
                    "s",
                    none="no stream",
                ),
                graph(
                    "Whole answer, p95 by route",
                    "From a request's head to the end of its answer.",
                    [
                        Query(
                            quantile(0.95, f"ollama_adapter_request_duration_seconds_bucket{OF_ADAPTER}", "route"),
                            "{{route}}",
                        )
                    ],
                    "s",
                    none=IN_PHASE_1,
                ),
            ),
            "Latency",
        ),
        Row(
            8,
            (
                tokens_by_model("Tokens generated, by model", "In a second."),
                graph(
                    "Upstreams that answer",
                    "1 where the health check succeeds: vLLM, its replicas, what serves 11435, and what stands behind that.",
                    [Query("ollama_adapter_upstream_up", "{{job}}: {{upstream}} {{url}}")],
                    "short",
                    steps=((None, GREEN), (1, GREEN)),
                    top=1.2,
                    none=IN_PHASE_1,
                ),
                graph(
                    "On their way to upstreams",
                    "Requests at this moment.",
                    [Query("ollama_adapter_upstream_requests_in_flight", "{{job}}: {{upstream}} {{url}}")],
                    "short",
                    none=IN_PHASE_1,
                ),
            ),
            "Tokens and upstreams",
        ),
    ),
)
