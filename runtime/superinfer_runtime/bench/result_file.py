"""A report as JSON, in the field names of `vllm bench serve` where it has one.

Added are `slo` (counts and attainments per class), `joint_attainment` and `load` (every parameter
of the run, so that it can be repeated). Milliseconds where vLLM has milliseconds. A figure without
a sample is null, never 0: no request has a latency of 0.
"""

from collections.abc import Mapping
from typing import Any

from superinfer_runtime.bench.client import Endpoint
from superinfer_runtime.bench.distribution import Distribution
from superinfer_runtime.bench.report import Report, Summary
from superinfer_runtime.bench.workload import Workload


def result(report: Report, load: Mapping[str, Any]) -> dict[str, Any]:
    """What is written; `load` comes from `load_parameters`."""
    total = report.total
    return {
        "model_id": report.model,
        "num_prompts": report.planned,
        "duration": report.duration_s,
        "interrupted": report.interrupted,
        "request_throughput": _per_s(total.completed, report),
        "request_goodput": _per_s(total.good_joint, report),
        "output_throughput": _per_s(total.output_tokens, report),
        "total_token_throughput": _per_s(total.input_tokens + total.output_tokens, report),
        **_figures(total),
        "joint_attainment": report.joint_attainment,
        "slo": {
            load_class.name: {
                "ttft_target_ms": load_class.ttft_s * 1000,
                "tbt_target_ms": load_class.tbt_s * 1000,
                "requests": summary.requests,
                "good": {
                    "ttft": summary.good_ttft,
                    "tbt": summary.good_tbt,
                    "joint": summary.good_joint,
                },
                "attainment": {
                    "ttft": summary.ttft_attainment,
                    "tbt": summary.tbt_attainment,
                    "joint": summary.joint_attainment,
                    "gaps": summary.gap_attainment,
                },
                "request_goodput": _per_s(summary.good_joint, report),
                "output_throughput": _per_s(summary.output_tokens, report),
                **_figures(summary),
            }
            for load_class, summary in report.classes
        },
        "failures": [
            {"message": failure.message, "status": failure.status, "count": count}
            for failure, count in report.failures
        ],
        **_latency("send_lag", report.send_lag_s),
        "load": dict(load),
    }


def load_parameters(endpoint: Endpoint, workload: Workload, grace_s: float) -> dict[str, Any]:
    """Every parameter that a run depends on (the API key left out)."""
    return {
        "url": endpoint.url,
        "endpoint_type": endpoint.type.value,
        "model": endpoint.model,
        "slo_header": endpoint.slo_header,
        "ignore_eos": endpoint.ignore_eos,
        "vocab_size": endpoint.vocab_size,
        "seed": workload.seed,
        "duration_s": workload.duration_s,
        "max_requests": workload.max_requests,
        "arrivals": "trace" if workload.replays_arrivals else workload.process.value,
        "request_rate": workload.request_rate,
        "burstiness": workload.burstiness,
        "trace": workload.trace.name if workload.trace else None,
        "trace_speedup": workload.trace_speedup,
        "input_len": workload.input_tokens,
        "output_len": workload.output_tokens,
        "range_ratio": workload.range_ratio,
        "max_input_tokens": workload.max_input_tokens,
        "max_output_tokens": workload.max_output_tokens,
        "slo_classes": [
            {
                "name": load_class.name,
                "share": load_class.share,
                "ttft_s": load_class.ttft_s,
                "tbt_s": load_class.tbt_s,
                "input_len": load_class.input_tokens,
                "output_len": load_class.output_tokens,
            }
            for load_class in workload.classes
        ],
        "grace_s": grace_s,
    }


def _figures(summary: Summary) -> dict[str, Any]:
    return {
        "completed": summary.completed,
        "failed": summary.failed,
        "total_input_tokens": summary.input_tokens,
        "total_output_tokens": summary.output_tokens,
        **_latency("ttft", summary.ttft_s),
        **_latency("tpot", summary.tbt_s),
        **_latency("itl", summary.gap_s),
        **_latency("e2el", summary.e2e_s),
    }


def _latency(name: str, distribution: Distribution | None) -> dict[str, float | None]:
    fields = (
        {
            "mean": distribution.mean,
            "median": distribution.p50,
            "std": distribution.std,
            "p50": distribution.p50,
            "p90": distribution.p90,
            "p99": distribution.p99,
            "max": distribution.max,
        }
        if distribution
        else dict.fromkeys(("mean", "median", "std", "p50", "p90", "p99", "max"))
    )
    return {
        f"{field}_{name}_ms": None if value is None else value * 1000
        for field, value in fields.items()
    }


def _per_s(count: int, report: Report) -> float | None:
    return count / report.duration_s if report.duration_s > 0 else None
