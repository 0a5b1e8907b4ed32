"""Cases run in worker processes, none of them twice.

The workers hold the reading end of a pipe. When its other end closes, because the pool was left
with an error or because this process died, they end at once, in the midst of a run if need be.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Lock, Thread
from types import TracebackType
from typing import Self

from superinfer_runtime.sim.evaluation.case import Case, Keep, Outcome, run_case
from superinfer_runtime.sim.evaluation.setup import Setup


class SimulationPool:
    """A context manager; all of its methods may be called from any thread."""

    def __init__(
        self, setup: Setup, workers: int, keep: Keep, on_end: Callable[[Case], None]
    ) -> None:
        """``on_end`` is told of each case that has run or was given up, in any thread."""
        # Threads wait for cases here, and a fork copies the locks that they hold.
        context = multiprocessing.get_context("spawn")
        self._setup = setup
        self._keep = keep
        self._on_end = on_end
        self._lock = Lock()
        self._futures: dict[Case, Future[Outcome]] = {}
        self._leash, self._leash_end = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            workers, context, initializer=_obey, initargs=(self._leash,)
        )

    def submit(self, case: Case) -> Future[Outcome]:
        """The case's outcome, run before or not."""
        with self._lock:
            future = self._futures.get(case)
            if future is None:
                future = self._executor.submit(run_case, self._setup, case, self._keep)
                self._futures[case] = future
                future.add_done_callback(lambda _: self._on_end(case))
        return future

    @property
    def num_submitted(self) -> int:
        return len(self._futures)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._leash_end.close()
        self._executor.shutdown(cancel_futures=True)
        self._leash_end.close()
        self._leash.close()


def available_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _obey(leash: Connection) -> None:
    # Ctrl-C reaches the whole group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(leash,), daemon=True).start()


def _end_with(leash: Connection) -> None:
    with suppress(EOFError, OSError):
        leash.recv_bytes()
    os._exit(1)
