"""What rotates between HBM and DRAM, and whether the link keeps up."""

from dashboards.grid import GREEN, RATE, RED, SERVED, Board, Panel, Query, Step

SERVICE = "namespace, service"
EACH_WAY = f"{SERVICE}, superinfer_kv_direction"
NAMED = "{{service}} {{superinfer_kv_direction}}"


def gauge(how: str, name: str, by: str = EACH_WAY) -> str:
    """A gauge over pods."""
    return f"{how} by ({by}) ({name}{{{SERVED}}})"


def rate(counter: str, by: str = EACH_WAY) -> str:
    """A counter's rise a second."""
    return f"sum by ({by}) (rate({counter}{{{SERVED}}}[{RATE}]))"


BOARD = Board(
    "superinfer-rotation",
    "SuperInfer / Rotation and link",
    "KV rotation between HBM and DRAM, and the link that carries it.",
    (
        Panel(
            "Rotation",
            "1: all runtimes can rotate; 0: one was given DRAM and cannot.",
            "none",
            (
                Query(
                    gauge("min", "superinfer_kv_rotation_enabled", SERVICE),
                    "{{service}}",
                ),
            ),
            8,
            "stat",
            steps=(Step(1, GREEN),),
            below=RED,
        ),
        Panel(
            "Requests in DRAM",
            "Requests whose KV is in DRAM or on its way.",
            "none",
            (
                Query(
                    f"sum by ({SERVICE}) "
                    f'(superinfer_requests{{{SERVED}, superinfer_request_state="rotary"}})',
                    "{{service}}",
                ),
            ),
            8,
            "stat",
        ),
        Panel(
            "Copy failures, 1 hour",
            "Copy jobs that failed or got stuck; their requests were computed again.",
            "none",
            (
                Query(
                    f"sum by ({SERVICE}) "
                    f"(increase(superinfer_kv_copy_failures_total{{{SERVED}}}[1h]))",
                    "{{service}}",
                ),
            ),
            8,
            "stat",
            steps=(Step(0.5, RED),),
        ),
        Panel(
            "Rotations",
            "Requests rotated out of HBM and back in.",
            "ops",
            (Query(rate("superinfer_kv_rotations_total"), NAMED),),
        ),
        Panel(
            "Requests by state",
            "Running and waiting in HBM's queue, rotary in DRAM.",
            "none",
            (
                Query(
                    gauge("sum", "superinfer_requests", f"{SERVICE}, superinfer_request_state"),
                    "{{service}} {{superinfer_request_state}}",
                ),
            ),
        ),
        Panel(
            "Bytes copied",
            "KV bytes over the link, mirrors included.",
            "Bps",
            (Query(rate("superinfer_kv_rotation_bytes_total"), NAMED),),
        ),
        Panel(
            "Link busy",
            "Share of the time in which a direction of the link was copying, averaged over pods.",
            "percentunit",
            (
                Query(
                    f"avg by ({EACH_WAY}) "
                    f"(rate(superinfer_kv_rotation_time_seconds_total{{{SERVED}}}[{RATE}]))",
                    NAMED,
                ),
            ),
        ),
        Panel(
            "Bandwidth while busy",
            "Bytes moved by second of copying, and what the scheduler counts on.",
            "Bps",
            (
                Query(
                    f"{rate('superinfer_kv_rotation_bytes_total')} / "
                    f"{rate('superinfer_kv_rotation_time_seconds_total')}",
                    f"{NAMED} moved",
                ),
                Query(
                    gauge("avg", "superinfer_kv_link_bandwidth_bytes_per_second"),
                    f"{NAMED} measured",
                ),
            ),
        ),
        Panel(
            "Link as calibrated at start",
            "Out, in, and both at once summed (duplex). What copies can reach at best.",
            "Bps",
            (
                Query(
                    gauge("avg", "superinfer_kv_link_calibrated_bytes_per_second"),
                    NAMED,
                ),
            ),
        ),
        Panel(
            "Stalls and recomputed requests",
            "Iterations in which DRAM had no room for a wanted rotation, and running requests that "
            "lost their KV and were computed again.",
            "ops",
            (
                Query(rate("superinfer_kv_rotation_stalls_total", SERVICE), "{{service}} stalls"),
                Query(
                    rate("superinfer_preemptions_recompute_total", SERVICE),
                    "{{service}} recomputed",
                ),
            ),
        ),
        Panel(
            "Engine step",
            "Recent time of one step: copies of this length hide behind it.",
            "s",
            (
                Query(
                    gauge("avg", "superinfer_engine_step_time_seconds", SERVICE),
                    "{{service}}",
                ),
            ),
        ),
    ),
)
