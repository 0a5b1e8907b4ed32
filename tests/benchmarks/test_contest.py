"""The head-to-head contest without vLLM: what all engines share, what a run becomes, what is kept.

The engine's process is played by a stand-in that writes the same events.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import head_to_head
import pytest
from contest.answer import HUNG_UP, Answer
from contest.engines import engine_arguments, kv_blocks
from contest.lives import LifeFailed, live_through
from contest.loads import all_classes, hang_ups, load_named, planned, prompts
from contest.models import shape_of
from contest.record import Record, max_rates
from contest.rows import identity, measured
from contest.setup import ENGINES, Job, Run, Setup, parse_rates
from contest.spot_check import Checked, chosen, compared
from contest.table import markdown
from superinfer_runtime.bench.record import Failure, RequestRecord, Served
from superinfer_runtime.bench.runner import UNFINISHED, Drive
from superinfer_runtime.bench.slo_mix import PAPER_MIX
from superinfer_runtime.bench.workload import PlannedRequest
from superinfer_runtime.sim.workload.scenarios import scenarios

SETUP = Setup("32b", 72_000, "host", 48.0, 60.0, 90.0, seed=3, on_gpu=True)


def row(engine: str = "stock", rate: float = 4.0, joint: float = 1.0, **other: Any) -> Any:
    """A row as a life tells it."""
    run = Run(other.pop("workload", "short"), rate)
    requests = [PlannedRequest(0, 0.0, PAPER_MIX[0], 10, 2)]
    served = Served(1.0, 0.05, (0.05,), 10, 2)
    drive = Drive((RequestRecord(requests[0], 0.0, 1.05, served),), 1.05, False)
    return {
        **identity(engine, SETUP, run),
        **measured(drive, PAPER_MIX, 1, 2, 60.0),
        "recompute_preemptions": 0,
        "joint_attainment": joint,
        **other,
    }


@pytest.mark.parametrize("workload", ["short", "two-classes"])
def test_the_load_is_the_simulators(workload: str) -> None:
    ours = planned(load_named(workload, None), Run(workload, 5.0), SETUP, 1 << 20)
    scenario = {"short": "short-chat", "two-classes": "two-classes"}[workload]
    theirs = scenarios()[scenario].make(5.0, SETUP.seconds, SETUP.seed)
    assert [(r.arrival_s, r.input_tokens, r.output_tokens, r.slo_class.name) for r in ours] == [
        (r.arrival_s, r.prompt_tokens, r.output_tokens, r.slo_class) for r in theirs
    ]


def test_requests_fit_the_model_and_prompts_differ_between_runs() -> None:
    load, run = load_named("reasoning", None), Run("reasoning", 5.0)
    requests = planned(load, run, SETUP, 1000)
    assert all(r.input_tokens <= 500 and r.output_tokens <= 500 for r in requests)
    ids = prompts(requests, run, SETUP.seed, 1000)
    assert [len(one) for one in ids] == [r.input_tokens for r in requests]
    assert ids == prompts(requests, run, SETUP.seed, 1000)
    assert ids != prompts(requests, Run("reasoning", 4.0), SETUP.seed, 1000)


def test_engines_differ_in_nothing_but_scheduler_connector_and_block_size() -> None:
    classes = all_classes(["short", "two-classes"], None)
    assert [one.name for one in classes] == ["default", "chat", "batch"]
    arguments = {e: engine_arguments(e, SETUP, "folder", classes) for e in ENGINES}
    own = {
        "block_size",
        "kv_cache_memory_bytes",
        "num_gpu_blocks_override",
        "kv_offloading_size",
        "kv_offloading_backend",
        "scheduler_cls",
        "kv_transfer_config",
    }
    assert len({str({k: a[k] for k in a.keys() - own}) for a in arguments.values()}) == 1
    for engine in ENGINES:
        usable = (kv_blocks(engine, SETUP) - 1) * arguments[engine]["block_size"]
        assert usable == 72_000
    extra = {
        engine: arguments[engine]["kv_transfer_config"]["kv_connector_extra_config"]["superinfer"]
        for engine in ("released", "rotasched")
    }
    assert [extra[engine].pop("policy") for engine in extra] == ["released", "rotasched"]
    assert extra["released"] == extra["rotasched"]
    json.dumps(arguments)


def test_kv_bytes_are_those_of_the_shape() -> None:
    assert shape_of("32b").kv_bytes_per_token == 256 * 1024
    assert shape_of("tiny").kv_bytes_per_token == 4 * 2 * 32 * 2 * 4


def test_a_job_survives_its_trip_to_the_engines_process() -> None:
    job = Job("stock", SETUP, (Run("short", 4.0), Run("reasoning", 1.5)), 7.0)
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_rates_are_read_in_rising_order() -> None:
    assert parse_rates("short=8,4;reasoning=1.5") == {"short": (4.0, 8.0), "reasoning": (1.5,)}
    for broken in ("short", "short=", "short=0,1", "short=a"):
        with pytest.raises(ValueError, match=r".+"):
            parse_rates(broken)


def test_a_short_answer_is_a_failure() -> None:
    answer = Answer()
    answer.add([7], 1.0)
    answer.add([8, 9], 3.0)
    assert answer.token_ids == [7, 8, 9]
    served = answer.outcome(5, 3)
    assert served == Served(1.0, 1.0, (2.0, 0.0), 5, 3)
    assert isinstance(answer.outcome(5, 4), Failure)
    assert isinstance(Answer().outcome(5, 4), Failure)


def test_failed_and_unfinished_count_apart_and_both_against_attainment() -> None:
    requests = [PlannedRequest(n, float(n), PAPER_MIX[0], 10, 3) for n in range(4)]
    outcomes: list[Served | Failure] = [
        Served(1.0, 0.05, (0.05, 0.05), 10, 3),  # good
        Served(9.0, 0.05, (0.01, 0.09), 10, 3),  # its first token came 8 s after its arrival
        Failure("1 of 3 tokens"),
        UNFINISHED,
    ]
    records = tuple(
        RequestRecord(request, request.arrival_s, 10.0, outcome)
        for request, outcome in zip(requests, outcomes, strict=True)
    )
    found = measured(Drive(records, 10.0, False), PAPER_MIX, 4, tokens_while_offered=5, seconds=2.0)
    assert (found["requests"], found["failed"], found["unfinished"]) == (4, 1, 1)
    assert found["ttft_attainment"] == 0.25
    assert found["tbt_attainment"] == 0.5
    assert found["joint_attainment"] == 0.25
    assert found["gap_attainment"] == 0.5
    assert found["tokens_per_s"] == 0.6
    assert found["tokens_per_s_while_offered"] == 2.5


def test_who_hangs_up_is_counted_and_not_judged() -> None:
    load = load_named("hang-ups", None)
    requests = planned(load, Run("hang-ups", 5.0), SETUP, 1 << 20)
    gone = hang_ups(load, requests, seed=3)
    assert gone == hang_ups(load, requests, seed=3)
    assert 0.1 < len(gone) / len(requests) < 0.3
    assert all(1 <= after < requests[index].output_tokens for index, after in gone.items())
    assert hang_ups(load_named("short", None), requests, seed=3) == {}

    served = Served(requests[0].arrival_s + 1.0, 0.05, (0.05,), 10, 2)
    outcomes: list[Served | Failure] = [served, HUNG_UP]
    records = tuple(
        RequestRecord(request, request.arrival_s, 9.0, outcome)
        for request, outcome in zip(requests[:2], outcomes, strict=True)
    )
    found = measured(Drive(records, 10.0, False), PAPER_MIX, 2, tokens_while_offered=2, seconds=2.0)
    assert (found["requests"], found["hung_up"], found["failed"]) == (1, 1, 0)
    assert found["joint_attainment"] == 1.0


def test_answers_are_compared_to_the_last_token() -> None:
    assert chosen([], 3) == []
    assert chosen([4, 6], 3) == [4, 6]
    assert chosen(range(10), 3) == [0, 3, 6]
    assert chosen(range(10), 0) == []
    under_load = {0: [1, 2], 1: [3, 4], 2: [5, 6]}
    assert compared(under_load, {0: [1, 2], 2: [5, 7]}) == Checked(asked_again=2, same=1)


def test_the_max_rate_is_the_last_before_the_first_miss() -> None:
    rows = [row(rate=rate, joint=joint) for rate, joint in ((4, 1.0), (8, 0.9), (16, 0.95))]
    rows += [row(rate=12, joint=0.89), row("rotasched", 4, 0.85), row("rotasched", 8, 1.0)]
    rows += [row("rotasched", 4, 0.85, tier="peer"), row("rotasched", 4, 0.97, tier="peer")]
    assert max_rates(rows) == {
        "short/host": {"stock": 8, "rotasched": 0.0},
        "short/peer": {"rotasched": 4},
    }
    rows += [row(rate=rate, joint=1.0, drain_s=120.0) for rate in (12, 16)]
    assert max_rates(rows)["short/host"]["stock"] == 16, "the longer time to finish counts"


def test_a_record_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    Record(path, "NVIDIA H200", "python one").add(row(rate=4.0))
    record = Record(path, "NVIDIA H200", "python two")
    assert record.has(identity("stock", SETUP, Run("short", 4.0)))
    assert not record.has(identity("stock", SETUP, Run("short", 8.0)))
    assert not record.has(identity("rotasched", SETUP, Run("short", 4.0)))
    record.add(row(rate=8.0, joint=0.5))
    record.add(row("rotasched", rate=8.0, kv_tokens=237_000))  # beside the main setting
    written = json.loads(path.read_text())
    assert written["device"] == "NVIDIA H200"
    assert written["command"] == "python one && python two"
    assert written["max_rate_90"] == {"short/host": {"stock": 4.0}}
    assert len(written["runs"]) == 3
    assert "| short/host | 4 |" in markdown(written)
    with pytest.raises(ValueError, match="recorded on NVIDIA H200"):
        Record(path, "NVIDIA H100", "python three")


def test_contests_at_once_share_one_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    records = [Record(path, "NVIDIA H200", f"python {number}") for number in range(4)]

    def write(number: int) -> None:
        for rate in range(1, 9):
            records[number].add(row(ENGINES[number], rate=rate))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(4)))
    written = json.loads(path.read_text())
    assert len(written["runs"]) == 32
    assert set(written["commands"]) == {f"python {number}" for number in range(4)}
    assert all(record.has(identity("rotasched", SETUP, Run("short", 8))) for record in records)


def test_a_failing_engine_is_an_error_and_not_a_row(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    record = Record(path, "CPU", "python one")
    record.fail("stock-offload", "ended with status 1: CUDA only", tier="host")
    written = json.loads(path.read_text())
    assert written["runs"] == []
    assert written["max_rate_90"] == {}
    assert "CUDA only" in markdown(written)
    record.try_again("stock-offload")
    record.add(row("stock-offload"))
    assert json.loads(path.read_text())["errors"] == []


def test_a_contest_does_what_is_left_and_notes_where_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def live(job: Job, log: Path, on_event: Callable[[dict[str, Any]], None]) -> None:
        jobs.append(job)
        for run in job.runs:
            on_event({"event": "begun", "workload": run.workload, "rate": run.rate})
            if job.engine == "rotasched":
                raise LifeFailed("KeyError: 'r1'")
            on_event({"event": "row", "row": row(job.engine, run.rate)})

    monkeypatch.setattr(head_to_head, "live_through", live)
    path = tmp_path / "result.json"
    record = Record(path, "NVIDIA H200", "python one")
    record.add(row(rate=4.0))
    runs = head_to_head.planned_runs(None, parse_rates("short=4,8"), SETUP)
    later_s = time.time() + 1000
    assert head_to_head.go("stock", SETUP, runs, record, later_s, path) == 0
    assert head_to_head.go("stock", SETUP, runs, record, later_s, path) == 0
    assert [job.runs for job in jobs] == [(Run("short", 8.0),)]
    assert head_to_head.go("rotasched", SETUP, runs, record, time.time() + 10, path) == 2
    assert len(jobs) == 1, "an engine was started that had no time for a run"
    with pytest.raises(LifeFailed):
        head_to_head.go("rotasched", SETUP, runs, record, later_s, path)
    written = json.loads(path.read_text())
    assert [(r["engine"], r["rate"]) for r in written["runs"]] == [("stock", 4.0), ("stock", 8.0)]
    (error,) = written["errors"]
    assert (error["engine"], error["workload"], error["rate"]) == ("rotasched", "short", 4.0)


STAND_IN = """
import json, sys, time
events = open(sys.argv[2], "a")
for event in ({"event": "started"}, {"event": "begun", "rate": 4.0}):
    print(json.dumps(event), file=events, flush=True)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that takes an engine's place; the test writes how it goes on."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "stand_in_life.py"


def lived(tmp_path: Path, seconds_left: float) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    job = Job("stock", SETUP, (Run("short", 4.0),), time.time() + seconds_left)
    try:
        live_through(job, tmp_path / "life.log", seen.append, module="stand_in_life")
    except LifeFailed as failure:
        seen.append({"failure": str(failure)})
    return seen


def test_a_life_tells_its_events(stand_in: Path) -> None:
    stand_in.write_text(STAND_IN)
    events = lived(stand_in.parent, 60)
    assert events == [{"event": "started"}, {"event": "begun", "rate": 4.0}]


def test_a_dying_engine_fails_with_its_last_words(stand_in: Path) -> None:
    stand_in.write_text(STAND_IN + "raise SystemExit('out of memory')")
    events = lived(stand_in.parent, 60)
    assert events[1] == {"event": "begun", "rate": 4.0}
    assert "status 1" in events[2]["failure"]
    assert "out of memory" in events[2]["failure"]


def test_an_engine_that_does_not_end_is_ended(stand_in: Path) -> None:
    stand_in.write_text(STAND_IN + "time.sleep(600)")
    assert "still busy" in lived(stand_in.parent, -30)[-1]["failure"]
