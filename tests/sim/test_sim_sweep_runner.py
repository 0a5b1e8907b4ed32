"""Many runs in worker processes; workloads are made of parts that the workers can import."""

import multiprocessing
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from superinfer_contract.slo import SloClass
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.evaluation import case as case_module
from superinfer_runtime.sim.evaluation.case import Case, CaseError, Keep, run_case
from superinfer_runtime.sim.evaluation.setup import Setup
from superinfer_runtime.sim.evaluation.sweep_runner import Evaluation, Progress, Search, evaluate
from superinfer_runtime.sim.machine.hardware import hardware
from superinfer_runtime.sim.machine.model_shape import known_model
from superinfer_runtime.sim.report.max_rate import max_rate
from superinfer_runtime.sim.workload.lengths import Lognormal, LognormalLengths
from superinfer_runtime.sim.workload.loads import DrawnLoad, Recording
from superinfer_runtime.sim.workload.scenarios import Scenario

pytestmark = pytest.mark.slow

LENGTHS = LognormalLengths("tiny", Lognormal(4000, 0.5, most=9000), Lognormal(20, 0.5, most=60))
TINY = Scenario(
    "tiny",
    "long prompts, short answers",
    DrawnLoad(LENGTHS),
    (SloClass(name="default", ttft_s=0.3, tbt_s=0.1, default=True),),
)
ABSENT = Scenario("absent", "needs a recording", DrawnLoad(Recording(None, "nowhere.csv")))
SETUP = Setup(
    {scenario.name: scenario for scenario in (TINY, ABSENT)},
    Deployment(
        known_model("Qwen2.5-7B"),
        hardware("gh200-96-480"),
        # Room for some six requests.
        hbm_kv_bytes=3 << 29,
        dram_kv_bytes=4 << 30,
    ),
    duration_s=3.0,
)
CASES = [
    Case("tiny", policy, rate, seed)
    for rate in (16.0, 4.0)
    for policy in ("rotasched", "stock")
    for seed in (0, 1)
]
SEARCHES = [
    Search("tiny", policy, (0, 1), (0.5, 0.9), 4.0, 32.0, 4.0) for policy in ("stock", "rotasched")
]


@pytest.fixture(scope="module")
def alone() -> Evaluation:
    return evaluate(SETUP, CASES, SEARCHES, workers=1)


def test_any_number_of_workers_gives_the_same_sweep(alone: Evaluation) -> None:
    many = evaluate(SETUP, CASES, SEARCHES, workers=3)
    assert many.sweep({}).to_dict() == alone.sweep({}).to_dict()


def test_outcomes_are_those_of_the_cases_in_their_order(alone: Evaluation) -> None:
    assert alone.outcomes == tuple(run_case(SETUP, case) for case in CASES)
    shares = {outcome.point.summary.total.joint_attainment for outcome in alone.outcomes}
    assert len(shares) > 1, "the cases must differ for their order to be seen"


def test_a_search_finds_what_it_would_find_alone(alone: Evaluation) -> None:
    def attained(rate: float) -> float:
        runs = [run_case(SETUP, Case("tiny", "rotasched", rate, seed)) for seed in (0, 1)]
        return sum(run.point.summary.total.joint_attainment for run in runs) / 2

    found = alone.max_rates["tiny"]["rotasched"]
    for goal in (0.5, 0.9):
        assert found[goal] == max_rate(attained, goal, 4.0, 32.0, 4.0)
    assert 4 <= found[0.9] < found[0.5] < 32


def test_no_case_runs_twice_whoever_asks_for_it() -> None:
    told: list[Progress] = []
    evaluate(SETUP, [*CASES, CASES[0]], SEARCHES, workers=2, on_progress=told.append)
    assert [progress.ended_runs for progress in told] == list(range(1, len(told) + 1))
    assert max(Counter(progress.last for progress in told).values()) == 1
    # The grid's 4 and 16 req/s are on the searches' way.
    assert {case for case in CASES if case.policy == "stock"} <= {one.last for one in told}
    assert told[-1].ended_runs == told[-1].submitted_runs


def test_only_what_is_asked_for_is_kept() -> None:
    case = CASES[0]
    assert run_case(SETUP, case).run is None
    records, timeline = (run_case(SETUP, case, keep).run for keep in (Keep.RECORDS, Keep.TIMELINE))
    assert records is not None
    assert timeline is not None
    assert records.records == timeline.records != ()
    assert not records.steps
    assert len(timeline.steps) == timeline.num_steps


@pytest.mark.parametrize("in_search", [False, True])
def test_a_case_that_cannot_be_run_is_named_and_ends_the_others(in_search: bool) -> None:
    search = Search("absent", "lvf", (3,), (0.9,), 2.0, 4.0, 1.0)
    cases = CASES if in_search else [*CASES, Case("absent", "lvf", 2.0, 3)]
    with pytest.raises(CaseError, match=r"^absent, lvf, 2 req/s, seed 3: the recorded trace"):
        evaluate(SETUP, cases, [search] if in_search else [], workers=2)
    assert not multiprocessing.active_children()


def test_what_nobody_foresaw_names_its_case_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(case_module, "simulate", broken)
    with pytest.raises(RuntimeError) as caught:
        run_case(SETUP, CASES[0])
    assert caught.value.__notes__ == ["while simulating tiny, rotasched, 16 req/s, seed 0"]


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(
        textwrap.dedent(
            """
            from pathlib import Path
            from superinfer_runtime.cli import app
            if __name__ == "__main__":
                app(["simulate", "--scenario", "short-chat", "--rate", "40", "--duration", "9999",
                     "--policy", "stock,lvf", "--workers", "2"])
            """
        )
    )
    parent = psutil.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    try:
        workers: list[psutil.Process] = []
        while len(workers) < 2:
            time.sleep(0.1)
            assert parent.poll() is None
            workers = [
                child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())
            ]
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
