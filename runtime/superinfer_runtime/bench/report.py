"""From records to the figures of a run, in total and per SLO class.

Latencies describe the requests that finished; attainments count every request that was sent, and a
request that failed or did not finish counts against each of its objectives (its planned gaps
against the share of gaps, too). So a server cannot better its attainment by failing requests.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from superinfer_runtime.bench.distribution import Distribution, describe
from superinfer_runtime.bench.record import Failure, RequestRecord, Served, judge
from superinfer_runtime.bench.slo_mix import LoadClass


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a group of requests. Distributions are in seconds, None without a sample."""

    requests: int
    failed: int
    good_ttft: int
    good_tbt: int
    good_joint: int
    gaps: int
    good_gaps: int
    input_tokens: int
    output_tokens: int
    ttft_s: Distribution | None
    tbt_s: Distribution | None
    gap_s: Distribution | None
    e2e_s: Distribution | None

    @property
    def completed(self) -> int:
        return self.requests - self.failed

    @property
    def ttft_attainment(self) -> float:
        """Share of requests whose first token came in time; 0..1, as are the others."""
        return _share(self.good_ttft, self.requests)

    @property
    def tbt_attainment(self) -> float:
        return _share(self.good_tbt, self.requests)

    @property
    def joint_attainment(self) -> float:
        return _share(self.good_joint, self.requests)

    @property
    def gap_attainment(self) -> float:
        """Share of single gaps between tokens within the TBT target."""
        return _share(self.good_gaps, self.gaps)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run measured.

    `planned` counts requests that were to be sent; fewer records than that means that the run was
    stopped (`interrupted`). `duration_s` runs from the start to the last answer.
    """

    model: str
    planned: int
    interrupted: bool
    duration_s: float
    total: Summary
    classes: tuple[tuple[LoadClass, Summary], ...]
    failures: tuple[tuple[Failure, int], ...]
    send_lag_s: Distribution | None

    @property
    def joint_attainment(self) -> float:
        """Share of requests that kept both their TTFT and their mean TBT, 0..1."""
        return self.total.joint_attainment


def make_report(
    records: Sequence[RequestRecord],
    classes: Sequence[LoadClass],
    *,
    model: str,
    planned: int,
    interrupted: bool,
    duration_s: float,
) -> Report:
    """Judge and sum up every record; failures come with their counts, the commonest first."""
    failures = Counter(record.outcome for record in records if isinstance(record.outcome, Failure))
    return Report(
        model=model,
        planned=planned,
        interrupted=interrupted,
        duration_s=duration_s,
        total=summarize(records),
        classes=tuple(
            (
                load_class,
                summarize(r for r in records if r.request.slo_class.name == load_class.name),
            )
            for load_class in classes
        ),
        failures=tuple(failures.most_common()),
        send_lag_s=describe(record.send_lag_s for record in records),
    )


def summarize(records: Iterable[RequestRecord]) -> Summary:
    """Figures of a group of requests, each judged by its own class."""
    records = tuple(records)
    verdicts = [judge(record) for record in records]
    finished = [
        (record, record.outcome) for record in records if isinstance(record.outcome, Served)
    ]
    gaps = [gap_s for _, served in finished for gap_s in served.gaps_s]
    missed_gaps = sum(
        record.request.output_tokens - 1
        for record in records
        if isinstance(record.outcome, Failure)
    )
    return Summary(
        requests=len(records),
        failed=len(records) - len(finished),
        good_ttft=sum(verdict.ttft for verdict in verdicts),
        good_tbt=sum(verdict.tbt for verdict in verdicts),
        good_joint=sum(verdict.joint for verdict in verdicts),
        gaps=len(gaps) + missed_gaps,
        good_gaps=sum(
            gap_s <= record.request.slo_class.tbt_s
            for record, served in finished
            for gap_s in served.gaps_s
        ),
        input_tokens=sum(served.input_tokens for _, served in finished),
        output_tokens=sum(served.output_tokens for _, served in finished),
        ttft_s=describe(
            served.first_token_s - record.request.arrival_s for record, served in finished
        ),
        tbt_s=describe(served.tbt_s for _, served in finished if served.tbt_s is not None),
        gap_s=describe(gaps),
        e2e_s=describe(record.ended_s - record.request.arrival_s for record, _ in finished),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
