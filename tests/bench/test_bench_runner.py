import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from superinfer_runtime.bench.client import EndpointError
from superinfer_runtime.bench.progress import Progress
from superinfer_runtime.bench.record import Failure, RequestRecord, Served
from superinfer_runtime.bench.runner import REFUSALS_TO_GIVE_UP, UNFINISHED, Drive, drive_load
from superinfer_runtime.bench.slo_mix import PAPER_MIX
from superinfer_runtime.bench.workload import PlannedRequest

Now = Callable[[], float]


class JumpingLoop(asyncio.SelectorEventLoop):
    """Instead of waiting for its next timer, its clock jumps there: hours pass in no time."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        loop = self

        class JumpingSelector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                assert timeout is not None, "waits for nothing at all"
                loop.passed_s += max(0.0, timeout)
                return super().select(0)

        super().__init__(JumpingSelector())

    def time(self) -> float:
        return self.passed_s


def in_jumping_time(main: Coroutine[Any, Any, Drive]) -> Drive:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


def requests_every_second(count: int) -> list[PlannedRequest]:
    return [PlannedRequest(index, float(index), PAPER_MIX[0], 5, 2) for index in range(count)]


def body(request: PlannedRequest) -> bytes:
    return b"%d" % request.index


def answer_after(delay_s: float) -> Any:
    async def send(request: PlannedRequest, content: bytes, now: Now) -> RequestRecord:
        assert content == body(request)
        sent_s = now()
        await asyncio.sleep(delay_s)
        return RequestRecord(request, sent_s, now(), Served(now(), None, (), 5, 1))

    return send


def refuse(status: int) -> Any:
    async def send(request: PlannedRequest, content: bytes, now: Now) -> RequestRecord:
        return RequestRecord(request, now(), now(), Failure(f"HTTP {status}: no", status))

    return send


def test_arrivals_never_wait_for_answers() -> None:
    drive = in_jumping_time(
        drive_load(requests_every_second(20), body, answer_after(100), grace_s=200)
    )
    assert [record.sent_s for record in drive.records] == pytest.approx(list(range(20)), abs=0.01)
    assert drive.duration_s == pytest.approx(119, abs=0.01)
    assert not drive.interrupted


def test_what_the_grace_does_not_cover_has_failed() -> None:
    drive = in_jumping_time(
        drive_load(requests_every_second(10), body, answer_after(11.5), grace_s=5)
    )
    outcomes = [record.outcome for record in sorted(drive.records, key=lambda r: r.request.index)]
    assert [outcome == UNFINISHED for outcome in outcomes] == [False] * 3 + [True] * 7
    assert drive.duration_s == pytest.approx(14, abs=0.01)
    assert not drive.interrupted


def test_stop_ends_at_once_and_keeps_what_was_measured() -> None:
    async def stopped_after(seconds: float) -> Drive:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        return await drive_load(
            requests_every_second(100), body, answer_after(3), grace_s=60, stop=stop
        )

    drive = in_jumping_time(stopped_after(9.5))
    assert drive.interrupted
    assert len(drive.records) == 10
    assert sum(record.outcome == UNFINISHED for record in drive.records) == 3
    assert drive.duration_s == pytest.approx(9.5, abs=0.01)


def test_progress_is_told_to_the_end() -> None:
    told: list[Progress] = []
    in_jumping_time(
        drive_load(
            requests_every_second(10), body, answer_after(1), grace_s=60, on_progress=told.append
        )
    )
    assert len(told) >= 18
    assert told[0].joint_attainment is None
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)
    last = told[-1]
    assert (last.sent, last.done, last.failed, last.good) == (10, 10, 0, 10)
    assert last.joint_attainment == 1


@pytest.mark.parametrize("count", [1, REFUSALS_TO_GIVE_UP, 500])
def test_an_endpoint_that_refuses_everything_is_given_up_on(count: int) -> None:
    with pytest.raises(EndpointError, match="HTTP 400: no"):
        in_jumping_time(drive_load(requests_every_second(count), body, refuse(400), grace_s=60))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_or_broken_endpoint_is_measured_to_the_end(status: int) -> None:
    drive = in_jumping_time(drive_load(requests_every_second(20), body, refuse(status), grace_s=60))
    assert len(drive.records) == 20


def test_a_defect_in_sending_is_not_swallowed() -> None:
    async def send(request: PlannedRequest, content: bytes, now: Now) -> RequestRecord:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_jumping_time(drive_load(requests_every_second(5), body, send, grace_s=60))
