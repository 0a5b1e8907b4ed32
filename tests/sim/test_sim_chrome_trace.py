import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import run_of
from superinfer_runtime.sim.report.chrome_trace import chrome_trace
from superinfer_runtime.sim.result import CopySpan, StepSpan

moments = st.floats(0, 5000)
copies = st.lists(
    st.builds(
        lambda start_s, length_s, out: CopySpan(start_s, start_s + length_s, out, 4096),
        moments,
        st.floats(0, 10),
        st.booleans(),
    ),
    max_size=25,
)


def spans_by_row(trace: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    rows = defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            rows[event["tid"]].append(event)
    return rows


@given(copies)
def test_events_are_ordered_and_none_hides_another(spans: list[CopySpan]) -> None:
    trace = chrome_trace(run_of(copies=spans))
    json.dumps(trace, allow_nan=False)
    timed = [event for event in trace["traceEvents"] if "ts" in event]
    assert [event["ts"] for event in timed] == sorted(event["ts"] for event in timed)
    assert len(timed) == len(spans)
    for row in spans_by_row(trace).values():
        assert len({event["name"] for event in row}) == 1
        for earlier, later in pairwise(row):
            assert earlier["dur"] >= 0
            assert later["ts"] - (earlier["ts"] + earlier["dur"]) >= -0.001


@given(copies)
def test_rows_are_as_many_as_copies_at_once(spans: list[CopySpan]) -> None:
    named = [
        event["args"]["name"]
        for event in chrome_trace(run_of(copies=spans))["traceEvents"]
        if event["name"] == "thread_name"
    ]
    for out, name in ((True, "copy out"), (False, "copy in")):
        this_way = [span for span in spans if span.out is out and span.end_s > span.start_s]
        at_once = max(
            (
                sum(other.start_s <= span.start_s < other.end_s for other in this_way)
                for span in this_way
            ),
            default=0,
        )
        assert at_once <= named.count(name) <= at_once + len(spans) - len(this_way)
    assert named.count("engine steps") == 1


def test_a_step_tells_its_work_and_what_was_there() -> None:
    step = StepSpan(1.0, 1.025, 12, 256, 13, 4, 2, 900)
    events = chrome_trace(run_of(steps=[step], policy="lvf"))["traceEvents"]
    assert events[0]["args"] == {"name": "simulated: lvf"}
    span = next(event for event in events if event["ph"] == "X")
    assert (span["ts"], span["dur"]) == (1_000_000.0, 25_000.0)
    assert span["args"] == {"decodes": 12, "prefill_tokens": 256}
    counters = {event["name"]: event["args"] for event in events if event["ph"] == "C"}
    assert counters == {
        "requests": {"running": 13, "waiting": 4, "rotary": 2},
        "HBM blocks": {"used": 900},
    }
