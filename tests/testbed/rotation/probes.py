"""What the rotation checks put into vLLM: a scheduler that counts, copy engines that do harm.

Loaded by vLLM by module name (``rotation.probes``), in worker processes too. An engine that does
harm wraps the real one of the device, so that the checks are the same on CPU and GPU.
"""

import time
from dataclasses import replace
from typing import Any

import torch
from superinfer_runtime.duplexkv.copy_engine import (
    CopyEngine,
    CopyJob,
    CopyResult,
    EngineReport,
)
from superinfer_runtime.engine.connector import RotaConnector
from superinfer_runtime.engine.scheduler import RotaScheduler

FAILING_EVERY = 20
STUCK_JOB = 100
STUCK_FOR_S = 1.0


class CountingScheduler(RotaScheduler):
    """Notes how many tokens the first step of each resumed request computes."""

    latest: "CountingScheduler"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resumed_tokens: list[int] = []
        CountingScheduler.latest = self

    def schedule(self, throttle_prefills: bool = False) -> Any:
        output = super().schedule(throttle_prefills)
        resumed = set(output.scheduled_cached_reqs.resumed_req_ids)
        # Model runner V2 is told of resumed requests as if they were new.
        resumed |= {
            new.req_id
            for new in output.scheduled_new_reqs
            if self.requests[new.req_id].num_preemptions
        }
        self.resumed_tokens += [output.num_scheduled_tokens[name] for name in resumed]
        return output


class KeepingConnector(RotaConnector):
    """Keeps hold of the worker's copy engine, where the worker is in this process."""

    engine: CopyEngine

    def make_engine(self, kv_caches: dict[str, torch.Tensor]) -> CopyEngine:
        KeepingConnector.engine = super().make_engine(kv_caches)
        return KeepingConnector.engine


class Wrapped:
    """An engine around another one."""

    def __init__(self, inner: Any, tensors: list[torch.Tensor]) -> None:
        self.inner = inner
        self.tensors = tensors

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class CorruptingEngine(Wrapped):
    """Brings zeros back: if outputs stay the same, the parity check proves nothing."""

    def __init__(self, inner: Any, tensors: list[torch.Tensor]) -> None:
        super().__init__(inner, tensors)
        self._loads: dict[int, CopyJob] = {}

    def submit(self, job: CopyJob) -> None:
        if not job.out:
            self._loads[job.job_id] = job
        self.inner.submit(job)

    def poll(self) -> EngineReport:
        report: EngineReport = self.inner.poll()
        for result in report.results:
            if (job := self._loads.pop(result.job_id, None)) is not None:
                for tensor in self.tensors:
                    block_dimension = max(range(tensor.dim()), key=tensor.stride)
                    for copy in job.copies:
                        tensor.select(block_dimension, copy.block).zero_()
                if self.tensors[0].is_cuda:
                    torch.cuda.synchronize()
        return report


class FailingEngine(Wrapped):
    """Every so many jobs fail instead of being copied."""

    def __init__(self, inner: Any, tensors: list[torch.Tensor]) -> None:
        super().__init__(inner, tensors)
        self._failed: list[CopyResult] = []
        self._count = 0

    def submit(self, job: CopyJob) -> None:
        self._count += 1
        if self._count % FAILING_EVERY:
            self.inner.submit(job)
        else:
            self._failed.append(CopyResult(job.job_id, job.out, 0, 0.0, "made to fail"))

    def poll(self) -> EngineReport:
        report: EngineReport = self.inner.poll()
        failed, self._failed = self._failed, []
        return replace(report, results=(*report.results, *failed))


class StuckEngine(Wrapped):
    """One copy out never seems to end, for a while."""

    def __init__(self, inner: Any, tensors: list[torch.Tensor]) -> None:
        super().__init__(inner, tensors)
        self._held: list[CopyResult] = []
        self._until_s = 0.0

    def poll(self) -> EngineReport:
        report: EngineReport = self.inner.poll()
        held = [result for result in report.results if result.job_id == STUCK_JOB]
        if held:
            self._held, self._until_s = held, time.monotonic() + STUCK_FOR_S
            others = tuple(result for result in report.results if result.job_id != STUCK_JOB)
            return replace(report, results=others, stuck=(STUCK_JOB,))
        if self._held and time.monotonic() > self._until_s:
            released, self._held = tuple(self._held), []
            return replace(report, results=(*report.results, *released))
        return report


class RefusingEngine(Wrapped):
    """No memory for any slab but the first two."""

    def __init__(self, inner: Any, tensors: list[torch.Tensor]) -> None:
        super().__init__(inner, tensors)
        self._refused: list[int] = []

    def add_slab(self, slab: int) -> None:
        if slab < 2:
            self.inner.add_slab(slab)
        else:
            self._refused.append(slab)

    def poll(self) -> EngineReport:
        report: EngineReport = self.inner.poll()
        if not self._refused:
            return report
        refused, self._refused = tuple(self._refused), []
        gone = (*report.slabs_gone, *refused)
        return replace(report, slabs_gone=gone, slab_error="made to fail: no memory")


class CorruptingConnector(RotaConnector):
    def make_engine(self, kv_caches: dict[str, torch.Tensor]) -> CopyEngine:
        return CorruptingEngine(super().make_engine(kv_caches), list(kv_caches.values()))


class FailingConnector(RotaConnector):
    def make_engine(self, kv_caches: dict[str, torch.Tensor]) -> CopyEngine:
        return FailingEngine(super().make_engine(kv_caches), list(kv_caches.values()))


class StuckConnector(RotaConnector):
    def make_engine(self, kv_caches: dict[str, torch.Tensor]) -> CopyEngine:
        return StuckEngine(super().make_engine(kv_caches), list(kv_caches.values()))


class RefusingConnector(RotaConnector):
    def make_engine(self, kv_caches: dict[str, torch.Tensor]) -> CopyEngine:
        return RefusingEngine(super().make_engine(kv_caches), list(kv_caches.values()))
