"""Whether each class of each service gets what it was promised."""

from dashboards.grid import GREEN, RATE, RED, SERVED, YELLOW, Board, Panel, Query, Step

CLASS = "namespace, service, superinfer_slo_class"
NAMED = "{{service}} {{superinfer_slo_class}}"
BURNS = (Step(1, YELLOW), Step(6, RED))


def attainment(objective: str) -> str:
    """The share of requests that met ``objective`` lately."""
    judged = f'superinfer_slo_requests_total{{{SERVED}, superinfer_slo_objective="{objective}"'
    good = f'{judged}, superinfer_slo_outcome="good"}}'
    return f"sum by ({CLASS}) (rate({good}[{RATE}])) / sum by ({CLASS}) (rate({judged}}}[{RATE}]))"


def quantile(share: float, histogram: str) -> str:
    """What so many requests stayed below."""
    buckets = f"rate({histogram}_bucket{{{SERVED}}}[{RATE}])"
    return f"histogram_quantile({share}, sum by ({CLASS}, le) ({buckets}))"


def allowed(objective: str) -> str:
    """What the configuration promises, in seconds."""
    chosen = f'{SERVED}, superinfer_slo_objective="{objective}"'
    return f"max by ({CLASS}) (superinfer_slo_objective_seconds{{{chosen}}})"


def burn(window: str) -> str:
    """How often over what the target allows is spent."""
    missed = (
        f'superinfer:slo_misses:ratio_rate{window}{{{SERVED}, superinfer_slo_objective="joint"}}'
    )
    return f"{missed} / on ({CLASS}) group_left () (1 - superinfer:slo_target)"


def times(title: str, histogram: str, objective: str, what: str) -> Panel:
    """How long it took beside what is allowed."""
    return Panel(
        title,
        f"{what}: median, 95th and 99th percentile, and what the objective allows.",
        "s",
        (
            Query(quantile(0.5, histogram), f"{NAMED} p50"),
            Query(quantile(0.95, histogram), f"{NAMED} p95"),
            Query(quantile(0.99, histogram), f"{NAMED} p99"),
            Query(allowed(objective), f"{NAMED} objective"),
        ),
    )


def attained(title: str, objective: str, what: str, width: int = 8) -> Panel:
    """A share beside the target."""
    target = f"max by ({CLASS}) (superinfer_slo_target{{{SERVED}}})"
    return Panel(
        title,
        what,
        "percentunit",
        (Query(attainment(objective), NAMED), Query(target, f"{NAMED} target")),
        width,
        highest=1,
    )


BOARD = Board(
    "superinfer-slo",
    "SuperInfer / Service SLO",
    "Attainment, burn rates and times of each SLO class against its objectives.",
    (
        Panel(
            "Joint attainment, 5 minutes",
            "Share of requests that met TTFT and TBT both.",
            "percentunit",
            (
                Query(
                    "1 - superinfer:slo_misses:ratio_rate5m"
                    f'{{{SERVED}, superinfer_slo_objective="joint"}}',
                    NAMED,
                ),
            ),
            kind="stat",
            steps=(Step(0.9, YELLOW), Step(0.95, GREEN)),
            below=RED,
        ),
        Panel(
            "Allowance left of 3 days",
            "What the target allows to miss in 3 days, less what was missed: below 0: overspent.",
            "percentunit",
            (Query(f"1 - {burn('3d')}", NAMED),),
            kind="stat",
            steps=(Step(0, YELLOW), Step(0.5, GREEN)),
            below=RED,
            lowest=None,
        ),
        attained("Joint attainment", "joint", "Requests that met TTFT and TBT both."),
        attained("TTFT attainment", "ttft", "Requests whose first token came in time."),
        attained("TBT attainment", "tbt", "Requests whose mean gap between tokens was in time."),
        times(
            "Time to first token",
            "gen_ai_server_time_to_first_token_seconds",
            "ttft",
            "From a request's arrival to its first token",
        ),
        times(
            "Time between tokens",
            "gen_ai_server_time_per_output_token_seconds",
            "tbt",
            "Mean gap between a finished request's tokens",
        ),
        Panel(
            "Burn rate",
            "1 spends exactly what the target allows. Alerts page at 14.4 over 1 h and 6 over 6 h, "
            "and make a ticket at 3 over 1 d and 1 over 3 d.",
            "none",
            tuple(Query(burn(window), f"{NAMED} {window}") for window in ("1h", "6h", "1d", "3d")),
            8,
            steps=BURNS,
        ),
        Panel(
            "Requests judged",
            "Finished requests by class.",
            "reqps",
            (
                Query(
                    f"sum by ({CLASS}) (rate(gen_ai_server_request_duration_seconds_count"
                    f"{{{SERVED}}}[{RATE}]))",
                    NAMED,
                ),
            ),
            8,
        ),
        Panel(
            "Largest lag of a waiting request",
            "How late the latest request without HBM is against its objective (virtual lag time).",
            "s",
            (
                Query(
                    f"max by ({CLASS}) (superinfer_slo_lag_seconds{{{SERVED}}}) "
                    f"or 0 * max by ({CLASS}) (superinfer_slo_target{{{SERVED}}})",
                    NAMED,
                ),
            ),
            8,
        ),
    ),
)
