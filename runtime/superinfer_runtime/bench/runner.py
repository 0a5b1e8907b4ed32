"""Offer a planned load to an endpoint, in open loop, within a bounded time.

Open loop: each request is sent when its plan says so, whatever the answers do. Bounded: after the
last arrival the run waits `grace_s` at most, cancels what is still unfinished and counts it as
failed. The clock is the running event loop's, so a test may bring a loop whose time jumps.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from superinfer_runtime.bench.client import Client, Endpoint, EndpointError
from superinfer_runtime.bench.progress import Progress, ProgressCallback
from superinfer_runtime.bench.record import Failure, RequestRecord, judge
from superinfer_runtime.bench.report import Report, make_report
from superinfer_runtime.bench.workload import PlannedRequest, Workload, plan

DEFAULT_GRACE_S = 60.0
PROGRESS_INTERVAL_S = 0.5

REFUSALS_TO_GIVE_UP = 8
"""When the first so many requests that end are all refused, the rest would be too."""

UNFINISHED = Failure("not finished when the run ended")

Body = TypeVar("Body")
"""What is prepared before a request's time comes."""

Send = Callable[[PlannedRequest, Body, Callable[[], float]], Coroutine[Any, Any, RequestRecord]]
"""Sends one request with its prepared body; the last argument gives seconds since the start."""


@dataclass(frozen=True, slots=True)
class Drive:
    """A load as it went: one record per request sent, in the order they ended."""

    records: tuple[RequestRecord, ...]
    duration_s: float
    interrupted: bool


async def run_load(
    endpoint: Endpoint,
    workload: Workload,
    *,
    grace_s: float = DEFAULT_GRACE_S,
    on_progress: ProgressCallback | None = None,
    stop: asyncio.Event | None = None,
) -> Report:
    """Offer `workload` to `endpoint` and report what a client saw.

    `on_progress` is called every half second and once at the end. Setting `stop` ends the run at
    once: what is unsent is left out of the report, what is unfinished counts as failed.

    Raises:
        ValueError: the workload holds no request.
        EndpointError: the endpoint is unreachable, or refuses every request (4xx).
    """
    requests = plan(workload)
    async with Client(endpoint, workload.seed) as client:
        await client.resolve_model()
        drive = await drive_load(
            requests,
            client.body,
            client.send,
            grace_s=grace_s,
            on_progress=on_progress,
            stop=stop,
        )
        return make_report(
            drive.records,
            workload.classes,
            model=client.model,
            planned=len(requests),
            interrupted=drive.interrupted,
            duration_s=drive.duration_s,
        )


async def drive_load(
    requests: Sequence[PlannedRequest],
    body: Callable[[PlannedRequest], Body],
    send: Send[Body],
    *,
    grace_s: float,
    on_progress: ProgressCallback | None = None,
    stop: asyncio.Event | None = None,
) -> Drive:
    """Send each request at its time; see `run_load`.

    Raises:
        EndpointError: the first requests to end were all refused.
    """
    run = _Run(len(requests), send)
    background = []
    if stop is not None:
        background.append(asyncio.create_task(run.end_on(stop)))
    if on_progress is not None:
        background.append(asyncio.create_task(run.tell(on_progress)))
    try:
        for request in requests:
            content = body(request)
            if await run.over_by(request.arrival_s):
                break
            run.launch(request, content)
        await run.all_ended(by_s=requests[-1].arrival_s + grace_s)
    finally:
        for task in background:
            task.cancel()
        interrupted = not run.complete and stop is not None and stop.is_set()
        await run.cancel()
    if run.crash is not None:
        raise run.crash
    if on_progress is not None:
        on_progress(run.progress())
    return Drive(tuple(run.records), run.now(), interrupted)


class _Run(Generic[Body]):
    """One run under way: the open requests, and the records of those that ended."""

    def __init__(self, planned: int, send: Send[Body]) -> None:
        self.records: list[RequestRecord] = []
        self.crash: BaseException | None = None
        self._planned = planned
        self._send = send
        self._open: dict[asyncio.Task[RequestRecord], tuple[PlannedRequest, float]] = {}
        self._over = asyncio.Event()
        self._failed = 0
        self._refused = 0
        self._good = 0
        self._loop = asyncio.get_running_loop()
        self._start_s = self._loop.time()

    def now(self) -> float:
        return self._loop.time() - self._start_s

    @property
    def complete(self) -> bool:
        return len(self.records) == self._planned

    async def over_by(self, time_s: float) -> bool:
        """Wait until `time_s`; whether the run was ended instead."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._start_s + time_s):
                await self._over.wait()
        return self._over.is_set()

    def launch(self, request: PlannedRequest, content: Body) -> None:
        task = asyncio.create_task(self._send(request, content, self.now))
        self._open[task] = (request, self.now())
        task.add_done_callback(self._ended)

    async def all_ended(self, by_s: float) -> None:
        """Wait for the open requests until `by_s`, or until the run is ended."""
        if not self._open:
            return
        answers = asyncio.create_task(asyncio.wait(set(self._open)))
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait(
                {answers, over},
                timeout=max(0.0, by_s - self.now()),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            answers.cancel()
            over.cancel()

    async def cancel(self) -> None:
        """Give up on the open requests; each leaves a record."""
        open_tasks = tuple(self._open)
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)

    async def end_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._over.set()

    async def tell(self, on_progress: ProgressCallback) -> None:
        while True:
            on_progress(self.progress())
            await asyncio.sleep(PROGRESS_INTERVAL_S)

    def progress(self) -> Progress:
        return Progress(
            planned=self._planned,
            sent=len(self.records) + len(self._open),
            done=len(self.records),
            failed=self._failed,
            good=self._good,
            elapsed_s=self.now(),
        )

    def _ended(self, task: asyncio.Task[RequestRecord]) -> None:
        request, sent_s = self._open.pop(task)
        if task.cancelled():
            record = RequestRecord(request, sent_s, self.now(), UNFINISHED)
        elif (error := task.exception()) is not None:
            self._end_with(error)
            return
        else:
            record = task.result()
        self.records.append(record)
        self._good += judge(record).joint
        if isinstance(record.outcome, Failure):
            self._failed += 1
            self._refused += record.outcome.refused
            if self._refused == len(self.records) == min(REFUSALS_TO_GIVE_UP, self._planned):
                self._end_with(EndpointError(record.outcome.message))

    def _end_with(self, error: BaseException) -> None:
        self.crash = self.crash or error
        self._over.set()
