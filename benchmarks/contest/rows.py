"""One run as a row of the result: judged by the code that `superinfer bench` reports with.

``tbt_attainment`` goes by each request's mean time between tokens, ``gap_attainment`` by single
gaps. A request that had not finished when the drain ended is ``unfinished``, not ``failed``; either
counts against every attainment. Whose client hung up, as planned, is ``hung_up`` and not judged.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from contest.answer import HUNG_UP
from contest.engines import block_size_of
from contest.setup import Run, Setup
from superinfer_runtime.bench.distribution import Distribution
from superinfer_runtime.bench.record import Failure, RequestRecord
from superinfer_runtime.bench.report import Summary, make_report
from superinfer_runtime.bench.runner import UNFINISHED, Drive
from superinfer_runtime.bench.slo_mix import LoadClass


def identity(engine: str, setup: Setup, run: Run) -> dict[str, Any]:
    """The part of a row that tells which run it is: two rows of one identity are one run."""
    return {
        "engine": engine,
        "workload": run.workload,
        "kv_tokens": setup.kv_tokens,
        "tier": setup.tier,
        "rate": run.rate,
        "model": setup.model,
        "dram_gib": setup.dram_gib,
        "block_size": block_size_of(engine, setup),
        "max_num_seqs": setup.max_num_seqs,
        "max_num_batched_tokens": setup.max_num_batched_tokens,
        "seconds": setup.seconds,
        "drain_s": setup.drain_s,
        "seed": setup.seed,
        "time_scheduler": setup.time_scheduler,
    }


def measured(
    drive: Drive,
    classes: Sequence[LoadClass],
    planned: int,
    tokens_while_offered: int,
    seconds: float,
) -> dict[str, Any]:
    """The part of a row that was measured.

    Args:
        tokens_while_offered: those that arrived, of all requests, while load was offered.
    """
    stayed = [record for record in drive.records if record.outcome != HUNG_UP]
    hung_up = len(drive.records) - len(stayed)
    report = make_report(
        stayed,
        classes,
        model="",
        planned=planned - hung_up,
        interrupted=drive.interrupted,
        duration_s=drive.duration_s,
    )
    send_lag = report.send_lag_s
    return {
        **_attainments(report.total),
        "tokens_per_s": round(report.total.output_tokens / drive.duration_s, 1),
        "tokens_per_s_while_offered": round(tokens_while_offered / seconds, 1),
        **_counts(stayed),
        "hung_up": hung_up,
        "input_tokens": report.total.input_tokens,
        "output_tokens": report.total.output_tokens,
        "duration_s": round(drive.duration_s, 3),
        "ttft_s": _described(report.total.ttft_s),
        "tbt_s": _described(report.total.tbt_s),
        "gap_s": _described(report.total.gap_s),
        "send_lag_p99_s": round(send_lag.p99, 4) if send_lag else None,
        "classes": {
            load_class.name: {
                **_attainments(summary),
                "requests": summary.requests,
                "ttft_s": _described(summary.ttft_s),
                "tbt_s": _described(summary.tbt_s),
            }
            for load_class, summary in report.classes
        },
        "failures": {failure.message: count for failure, count in report.failures},
    }


def _counts(records: Sequence[RequestRecord]) -> dict[str, int]:
    unfinished = sum(record.outcome == UNFINISHED for record in records)
    ended_badly = sum(isinstance(record.outcome, Failure) for record in records)
    return {
        "requests": len(records),
        "failed": ended_badly - unfinished,
        "unfinished": unfinished,
    }


def _attainments(summary: Summary) -> dict[str, float]:
    return {
        "ttft_attainment": round(summary.ttft_attainment, 4),
        "tbt_attainment": round(summary.tbt_attainment, 4),
        "joint_attainment": round(summary.joint_attainment, 4),
        "gap_attainment": round(summary.gap_attainment, 4),
    }


def _described(distribution: Distribution | None) -> dict[str, float] | None:
    if distribution is None:
        return None
    return {name: round(value, 5) for name, value in asdict(distribution).items()}
