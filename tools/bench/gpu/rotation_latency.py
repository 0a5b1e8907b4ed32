"""How long one request takes to rotate, by its length, on the engine that serving uses.

From `submit` to the acknowledgement that `poll` returns, polled each 50 microseconds on an
otherwise idle link. Out without mirrors moves every block; out with eager mirrors only the last,
partly filled one; in moves every block.
"""

import time
from typing import Any

from superinfer_runtime.duplexkv.copy_engine import CopyEngine, CopyJob
from superinfer_runtime.duplexkv.jobs import Job, JobKind
from superinfer_runtime.duplexkv.ledger import BlockLedger
from superinfer_runtime.duplexkv.slots import SlotPool

LENGTHS_TOKENS = (256, 1024, 4096, 16384)
ROUNDS = 5
DEADLINE_S = 10.0


def rotation_latency(
    engine: CopyEngine, block_size: int, block_bytes: int, num_blocks: int
) -> list[dict[str, Any]]:
    """Return a row a length. ``num_blocks`` blocks of HBM may be overwritten."""
    slots = SlotPool(engine.slots_per_slab)
    slots.resize(-(-2 * num_blocks // engine.slots_per_slab))
    for slab in slots.take_changes().add:
        engine.add_slab(slab)
        _until(engine, slots, slab)
    ledger = BlockLedger(slots, block_size)
    rows = []
    for length in LENGTHS_TOKENS:
        num_tokens = length - block_size // 2  # a tail that is half full
        blocks = [(7 * n) % num_blocks for n in range(-(-num_tokens // block_size))]
        if len(set(blocks)) < len(blocks):
            continue
        times: dict[str, list[float]] = {"out": [], "out_mirrored": [], "in": []}
        moved: dict[str, int] = {}
        for number in range(ROUNDS):
            for mirrored in (False, True):
                request = f"{length}-{number}-{mirrored}"
                if mirrored:
                    full = num_tokens // block_size
                    mirror = ledger.start_mirror([(request, blocks[:full], full)], num_blocks)
                    _time(engine, ledger, mirror)
                name = "out_mirrored" if mirrored else "out"
                job = ledger.rotate_out(request, blocks, num_tokens)
                times[name].append(_time(engine, ledger, job))
                moved[name] = len(job.copies) if job else 0
                job = ledger.rotate_in(request, blocks, 0)
                times["in"].append(_time(engine, ledger, job))
                moved["in"] = len(job.copies)
                ledger.forget(request)
        row: dict[str, Any] = {"tokens": length, "mib": round(len(blocks) * block_bytes / 2**20, 1)}
        for name, seconds in times.items():
            row[f"{name}_ms"] = round(sorted(seconds)[len(seconds) // 2] * 1e3, 3)
            row[f"{name}_blocks"] = moved[name]
        rows.append(row)
    return rows


def _time(engine: CopyEngine, ledger: BlockLedger, job: Job | None) -> float:
    if job is None:
        return 0.0
    start_s = time.perf_counter()
    engine.submit(CopyJob(job.job_id, job.kind is not JobKind.IN, job.copies))
    while True:
        results = engine.poll().results
        for result in results:
            if result.error is not None:
                raise RuntimeError(result.error)
            ledger.finish(result.job_id)
            return time.perf_counter() - start_s
        if time.perf_counter() - start_s > DEADLINE_S:
            raise TimeoutError(f"job {job.job_id} never ended")
        time.sleep(0.00005)


def _until(engine: CopyEngine, slots: SlotPool, slab: int) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        report = engine.poll()
        for ready in report.slabs_ready:
            slots.slab_ready(ready)
            if ready == slab:
                return
        if report.slab_error or time.monotonic() > deadline_s:
            raise RuntimeError(report.slab_error or "the slab never came")
        time.sleep(0.001)
