"""Simulated runs made up for tests of the reports: every figure follows from the gaps given."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import strategies as st
from superinfer_contract.slo import SloClass
from superinfer_runtime.sim.report.summary import summarize
from superinfer_runtime.sim.report.sweep import Sweep, SweepPoint
from superinfer_runtime.sim.request import SimRecord
from superinfer_runtime.sim.result import CopySpan, RunResult, StepSpan

# Binary fractions, so that a gap equal to its target stays equal when it is computed from times.
CHAT = SloClass(name="chat", ttft_s=1.0, tbt_s=0.125, default=True)
BATCH = SloClass(name="batch", ttft_s=30.0, tbt_s=1.0)
CLASSES = {slo_class.name: slo_class for slo_class in (CHAT, BATCH)}

Life = tuple[SimRecord, Sequence[float]]


def life(
    ttft_s: float,
    *gaps_s: float,
    slo_class: SloClass = CHAT,
    arrival_s: float = 2.0,
    prompt_tokens: int = 10,
    cached_tokens: int = 0,
    rotations: int = 0,
    recomputes: int = 0,
) -> Life:
    """A finished request and the gaps between its tokens."""
    return (
        SimRecord(
            request_id="r",
            slo_class=slo_class.name,
            arrival_s=arrival_s,
            prompt_tokens=prompt_tokens,
            output_tokens=len(gaps_s) + 1,
            first_token_s=arrival_s + ttft_s,
            finish_s=arrival_s + ttft_s + sum(gaps_s),
            max_gap_s=max(gaps_s, default=0.0),
            late_gaps=sum(gap_s > slo_class.tbt_s for gap_s in gaps_s),
            cached_tokens=cached_tokens,
            rotations=rotations,
            recomputes=recomputes,
        ),
        gaps_s,
    )


def run_of(
    *lives: Life,
    policy: str = "rotasched",
    makespan_s: float = 10.0,
    steps: Sequence[StepSpan] = (),
    copies: Sequence[CopySpan] = (),
) -> RunResult:
    """The run in which these requests lived."""
    gap_counts: dict[str, Counter[float]] = {name: Counter() for name in CLASSES}
    for record, gaps_s in lives:
        gap_counts[record.slo_class].update(round(gap_s, 4) for gap_s in gaps_s)
    return RunResult(
        policy=policy,
        classes=(CHAT, BATCH),
        records=tuple(record for record, _ in lives),
        gap_counts=gap_counts,
        makespan_s=makespan_s,
        num_steps=7,
        computed_prompt_tokens=70,
        bytes_out=3_000_000_000,
        bytes_in=2_000_000_000,
        rotations=sum(record.rotations for record, _ in lives),
        stalls=4,
        recomputes=sum(record.recomputes for record, _ in lives),
        peak_dram_blocks=25,
        peak_hbm_blocks=80,
        hbm_blocks=100,
        dram_blocks=50,
        steps=steps,
        copies=copies,
    )


def sweep_of(*policies: str, scenario: str = "paper") -> Sweep:
    """Two rates and two seeds for each policy; the second rate doubles every wait."""
    points = tuple(
        SweepPoint(
            scenario,
            policy,
            rate,
            seed,
            summarize(run_of(life(0.4 * rate, 0.05), life(0.3 * seed, 0.2), policy=policy)),
        )
        for policy in policies
        for rate in (2.0, 4.0)
        for seed in (0, 1)
    )
    max_rates = {
        scenario: {policy: {0.9: 3.5 + n, 0.99: 2.25} for n, policy in enumerate(policies)}
    }
    return Sweep(points, max_rates, {"model": "tiny", "seeds": [0, 1]})


seconds = st.floats(0, 100)
lives = st.lists(
    st.builds(
        lambda ttft_s, gaps_s, name, cached: life(
            ttft_s, *gaps_s, slo_class=CLASSES[name], cached_tokens=cached
        ),
        seconds,
        st.lists(seconds, max_size=5),
        st.sampled_from(sorted(CLASSES)),
        st.integers(0, 10),
    ),
    max_size=30,
)
