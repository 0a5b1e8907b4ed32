"""HTTP header names through which a client states its service-level objective."""

SLO_CLASS = "x-superinfer-slo-class"
"""Name of one of the service's SLO classes; an unknown name is answered 400."""

LLMD_TTFT_MS = "x-llm-d-slo-ttft-ms"
"""llm-d's per-request TTFT objective in milliseconds; overrides the class's own."""

LLMD_TPOT_MS = "x-llm-d-slo-tpot-ms"
"""llm-d's per-request time-per-output-token objective in milliseconds; likewise."""
