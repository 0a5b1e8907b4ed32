"""How much memory KV may take, how much it takes, and what the operator decides about it."""

from dashboards.grid import RATE, RED, SERVED, YELLOW, Board, Panel, Query, Step

SERVICE = "namespace, service"


def total(gauge: str, tier: str) -> str:
    """A gauge of one tier, summed over a service's pods."""
    return f'sum by ({SERVICE}) ({gauge}{{{SERVED}, superinfer_kv_tier="{tier}"}})'


def used_share(tier: str) -> Panel:
    """How full a tier's budget is."""
    used, budget = (total(f"superinfer_kv_{what}_bytes", tier) for what in ("used", "budget"))
    return Panel(
        f"{tier.upper()} used",
        "Share of the budget in force.",
        "percentunit",
        (Query(f"{used} / ({budget} > 0)", "{{service}}"),),
        8,
        "stat",
        steps=(Step(0.9, YELLOW), Step(0.99, RED)),
        highest=1,
    )


def tier(name: str) -> Panel:
    """A tier's budget, its bound and its use."""
    return Panel(
        f"{name.upper()} budget",
        "In force, in use, and the largest that the configuration allows; all pods of a service.",
        "bytes",
        (
            Query(total("superinfer_kv_budget_bytes", name), "{{service}} budget"),
            Query(total("superinfer_kv_used_bytes", name), "{{service}} used"),
            Query(total("superinfer_kv_budget_max_bytes", name), "{{service}} max"),
        ),
    )


BOARD = Board(
    "superinfer-budgets",
    "SuperInfer / KV budgets and decisions",
    "KV budgets in HBM and DRAM, their use, and the operator's ladder of decisions.",
    (
        used_share("hbm"),
        used_share("dram"),
        Panel(
            "Decisions that acted, 1 hour",
            "Steps of the ladder that were sent, over all services of the operator.",
            "none",
            (
                Query(
                    "sum(increase(superinfer_operator_decisions_total"
                    '{outcome="sent"}[1h])) or vector(0)',
                    "sent",
                ),
            ),
            8,
            "stat",
        ),
        tier("hbm"),
        tier("dram"),
        Panel(
            "Headroom",
            "Budget that is neither used nor kept for the growth of running requests.",
            "bytes",
            (
                Query(
                    f"sum by ({SERVICE}, superinfer_kv_tier) "
                    f"(superinfer_kv_headroom_bytes{{{SERVED}}})",
                    "{{service}} {{superinfer_kv_tier}}",
                ),
            ),
        ),
        Panel(
            "HBM share of each class",
            "What the requests of a class may hold; the ladder's ShrinkClass halves it.",
            "percentunit",
            (
                Query(
                    f"avg by ({SERVICE}, superinfer_slo_class) "
                    f"(superinfer_slo_class_share{{{SERVED}}})",
                    "{{service}} {{superinfer_slo_class}}",
                ),
            ),
            highest=1,
        ),
        Panel(
            "Decisions",
            "By rung and what became of them, over all services. Hold: nothing to do.",
            "ops",
            (
                Query(
                    f"sum by (rung, outcome) (rate(superinfer_operator_decisions_total[{RATE}]))",
                    "{{rung}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Misses beside what the target allows",
            "Joint misses of 30 minutes. Above the dashed share with DRAM at its maximum: "
            "SuperInferKVBudgetAtMax.",
            "percentunit",
            (
                Query(
                    "superinfer:slo_misses:ratio_rate30m"
                    f'{{{SERVED}, superinfer_slo_objective="joint"}}',
                    "{{service}} {{superinfer_slo_class}}",
                ),
                Query(
                    f"1 - superinfer:slo_target{{{SERVED}}}",
                    "{{service}} {{superinfer_slo_class}} allowed",
                ),
            ),
            highest=1,
        ),
    ),
)
