"""All services at a glance, and the operator that keeps them."""

from dashboards.grid import GREEN, RATE, RED, YELLOW, Board, Panel, Query, Step

SERVICE = "namespace, service"
NAMED = "{{namespace}}/{{service}}"


def figure(title: str, description: str, expr: str, unit: str = "none", **look: object) -> Panel:
    """One number."""
    return Panel(title, description, unit, (Query(expr, ""),), 4, "stat", **look)  # type: ignore[arg-type]


def operator_rate(counter: str, by: str) -> Query:
    """A counter of the operator, by one label."""
    return Query(f"sum by ({by}) (rate({counter}[{RATE}]))", f"{{{{{by}}}}}")


BOARD = Board(
    "superinfer-fleet",
    "SuperInfer / Fleet",
    "All services at a glance, and the operator that keeps them.",
    (
        figure(
            "Services", "Services that the operator keeps.", "max(superinfer_operator_services)"
        ),
        figure(
            "Runtimes",
            "Runtimes that are scraped.",
            "count(count by (namespace, service, pod, instance) (superinfer_slo_target))",
        ),
        figure(
            "Classes below target",
            "Classes whose misses of 30 minutes exceed what their target allows.",
            'count(superinfer:slo_misses:ratio_rate30m{superinfer_slo_objective="joint"} '
            "> on (namespace, service, superinfer_slo_class) group_left () "
            "(1 - superinfer:slo_target)) or vector(0)",
            steps=(Step(1, RED),),
        ),
        figure(
            "Alerts",
            "Alerts of SuperInfer that fire now.",
            'count(ALERTS{alertname=~"SuperInfer.*", alertstate="firing"}) or vector(0)',
            steps=(Step(1, RED),),
        ),
        figure(
            "Silent pods",
            "Running pods from which the operator hears no telemetry.",
            "max(superinfer_operator_pods_silent)",
            steps=(Step(1, RED),),
        ),
        figure(
            "Behind the API server",
            "How long the operator has been behind the latest change of a service.",
            "max(superinfer_operator_watch_lag_seconds)",
            "s",
            steps=(Step(30, YELLOW), Step(60, RED)),
        ),
        Panel(
            "Joint attainment of the worst class",
            "By service, 5 minutes.",
            "percentunit",
            (
                Query(
                    f"min by ({SERVICE}) (1 - superinfer:slo_misses:ratio_rate5m"
                    '{superinfer_slo_objective="joint"})',
                    NAMED,
                ),
            ),
            8,
            steps=(Step(0.95, GREEN),),
            below=RED,
            highest=1,
        ),
        Panel(
            "Finished requests",
            "By service.",
            "reqps",
            (
                Query(
                    f"sum by ({SERVICE}) "
                    f"(rate(gen_ai_server_request_duration_seconds_count[{RATE}]))",
                    NAMED,
                ),
            ),
            8,
        ),
        Panel(
            "Generated tokens",
            "By service, as vLLM counts them.",
            "none",
            (
                Query(
                    f"sum by ({SERVICE}) (rate(vllm:generation_tokens_total[{RATE}]))",
                    f"{NAMED} tokens/s",
                ),
            ),
            8,
        ),
        Panel(
            "Requests waiting for HBM",
            "Waiting or in DRAM, by service.",
            "none",
            (
                Query(
                    f"sum by ({SERVICE}) "
                    '(superinfer_requests{superinfer_request_state=~"waiting|rotary"})',
                    NAMED,
                ),
            ),
            8,
        ),
        Panel(
            "Reconciliations",
            "By outcome.",
            "ops",
            (operator_rate("superinfer_operator_reconciles_total", "outcome"),),
            8,
        ),
        Panel(
            "Time of a reconciliation",
            "Median and 95th percentile of those that were good.",
            "s",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le) (rate("
                    f'superinfer_operator_reconcile_duration_seconds_bucket{{outcome="ok"}}[{RATE}])))',
                    name,
                )
                for share, name in ((0.5, "p50"), (0.95, "p95"))
            ),
            8,
        ),
        Panel(
            "Requests to the Kubernetes API",
            "By status; 0: no answer.",
            "reqps",
            (operator_rate("superinfer_operator_api_requests_total", "code"),),
            8,
        ),
        Panel(
            "Telemetry requests",
            "By outcome; unauthenticated: a wrong token.",
            "reqps",
            (operator_rate("superinfer_operator_otlp_requests_total", "outcome"),),
            8,
        ),
        Panel(
            "Memory of the operator",
            "Resident.",
            "bytes",
            (
                Query(
                    "process_resident_memory_bytes and on (instance) superinfer_operator_services",
                    "{{instance}}",
                ),
            ),
            8,
        ),
    ),
    by_service=False,
)
