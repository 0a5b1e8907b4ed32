"""The timeline of a run as a Chrome trace, which Perfetto and chrome://tracing open.

One row of engine steps, rows of copies out of and into HBM (as many as were under way at once, so
that none hides another), and counters of requests and HBM blocks. Times are microseconds of virtual
time, and events are ordered by them.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from superinfer_runtime.sim.result import CopySpan, RunResult, StepSpan

Event = dict[str, Any]

PROCESS = 1
STEP_ROW = 1


def chrome_trace(result: RunResult) -> dict[str, Any]:
    """In the JSON object format. A run without a timeline gives names only."""
    rows_out = _without_overlap(copy for copy in result.copies if copy.out)
    rows_in = _without_overlap(copy for copy in result.copies if not copy.out)
    names = [_name("process_name", 0, f"simulated: {result.policy}")]
    names.append(_name("thread_name", STEP_ROW, "engine steps"))
    events = [event for step in result.steps for event in _step_events(step)]
    rows = [*(("copy out", row) for row in rows_out), *(("copy in", row) for row in rows_in)]
    for thread, (what, copies) in enumerate(rows, start=STEP_ROW + 1):
        names.append(_name("thread_name", thread, what))
        events += [
            _span(what, thread, copy.start_s, copy.end_s, {"bytes": copy.num_bytes})
            for copy in copies
        ]
    return {
        "displayTimeUnit": "ms",
        "traceEvents": [*names, *sorted(events, key=itemgetter("ts"))],
    }


def _step_events(step: StepSpan) -> Iterator[Event]:
    work = {"decodes": step.num_decodes, "prefill_tokens": step.num_prefill_tokens}
    yield _span("step", STEP_ROW, step.start_s, step.end_s, work)
    yield _counter(
        "requests",
        step.start_s,
        {
            "running": step.num_running,
            "waiting": step.num_waiting,
            "rotary": step.num_rotary,
        },
    )
    yield _counter("HBM blocks", step.start_s, {"used": step.used_hbm_blocks})


def _without_overlap(copies: Iterable[CopySpan]) -> Sequence[Sequence[CopySpan]]:
    """As few rows as hold the copies one after another; each goes to the first that is free."""
    rows: list[list[CopySpan]] = []
    for copy in sorted(copies, key=lambda copy: (copy.start_s, copy.end_s)):
        free = next((row for row in rows if row[-1].end_s <= copy.start_s), None)
        if free is None:
            rows.append([copy])
        else:
            free.append(copy)
    return rows


def _span(name: str, thread: int, start_s: float, end_s: float, args: dict[str, int]) -> Event:
    start_us, end_us = _us(start_s), _us(end_s)
    return {
        "name": name,
        "ph": "X",
        "pid": PROCESS,
        "tid": thread,
        "ts": start_us,
        "dur": round(end_us - start_us, 3),
        "args": args,
    }


def _counter(name: str, time_s: float, args: dict[str, int]) -> Event:
    return {"name": name, "ph": "C", "pid": PROCESS, "ts": _us(time_s), "args": args}


def _name(kind: str, thread: int, name: str) -> Event:
    return {"name": kind, "ph": "M", "pid": PROCESS, "tid": thread, "args": {"name": name}}


def _us(time_s: float) -> float:
    """To the nanosecond, as fine as the format goes."""
    return round(time_s * 1e6, 3)
