"""Bandwidth of the CPU copy engine, beside a plain memmove of as many bytes in the same run.

Blocks and slots are shuffled, so that no neighbours merge and each piece is one segment: the worst
case for the segment size. One-way moves everything HBM to DRAM; duplex moves half of the blocks
each way at once, and its figure is both directions together. The plain copy is one thread with one
memmove over contiguous memory: what the machine gives a copy that knows nothing of blocks; the
ratios are against it. Large memmoves bypass the cache, which short ones cannot, so the plain copy
cut into segments is given too: a bound for any one-thread engine. The best of several rounds
counts, for all of them alike.
"""

import ctypes
import random
import time

import numpy as np
from superinfer_runtime.duplexkv.copy_engine import CopyJob
from superinfer_runtime.duplexkv.cpu_engine import CpuCopyEngine, HbmRegion
from superinfer_runtime.duplexkv.jobs import Copy

SEGMENTS = {"4 KiB": 4 << 10, "32 KiB": 32 << 10, "2 MiB": 2 << 20}
TOTAL_BYTES = 256 << 20
ROUNDS = 5


def cpu_rotation() -> dict[str, dict[str, float]]:
    """GB/s by segment size, and the ratio to the plain copy."""
    return {name: _measure(segment_bytes) for name, segment_bytes in SEGMENTS.items()}


def _measure(segment_bytes: int) -> dict[str, float]:
    num_blocks = TOTAL_BYTES // segment_bytes
    hbm = np.ones(TOTAL_BYTES, np.uint8)
    plain_target = np.ones(TOTAL_BYTES, np.uint8)
    engine = CpuCopyEngine([HbmRegion(hbm.ctypes.data, segment_bytes)], num_blocks)
    try:
        engine.add_slab(0)
        while not engine.poll().slabs_ready:
            time.sleep(0.001)
        rng = random.Random(0)
        slots = rng.sample(range(num_blocks), num_blocks)
        copies = tuple(map(Copy, range(num_blocks), slots))
        half = num_blocks // 2
        one_way = [CopyJob(0, True, copies)]
        duplex = [CopyJob(0, True, copies[:half]), CopyJob(1, False, copies[half:])]
        plain_s, pieces_s, one_way_s, duplex_s = [], [], [], []
        for _ in range(ROUNDS):
            plain_s.append(_time_plain(plain_target, hbm, TOTAL_BYTES))
            pieces_s.append(_time_plain(plain_target, hbm, segment_bytes))
            one_way_s.append(_time_jobs(engine, one_way))
            duplex_s.append(_time_jobs(engine, duplex))
    finally:
        engine.close()
    plain = TOTAL_BYTES / min(plain_s) / 1e9
    one = TOTAL_BYTES / min(one_way_s) / 1e9
    both = TOTAL_BYTES / min(duplex_s) / 1e9
    return {
        "plain_gb_per_s": round(plain, 2),
        "plain_by_segment_gb_per_s": round(TOTAL_BYTES / min(pieces_s) / 1e9, 2),
        "one_way_gb_per_s": round(one, 2),
        "duplex_gb_per_s": round(both, 2),
        "one_way_ratio": round(one / plain, 3),
        "duplex_ratio": round(both / plain, 3),
    }


def _time_plain(target: "np.ndarray", source: "np.ndarray", piece_bytes: int) -> float:
    to, start = target.ctypes.data, source.ctypes.data
    start_s = time.perf_counter()
    for offset in range(0, source.nbytes, piece_bytes):
        ctypes.memmove(to + offset, start + offset, piece_bytes)
    return time.perf_counter() - start_s


def _time_jobs(engine: CpuCopyEngine, jobs: list[CopyJob]) -> float:
    """From the first submission to the last acknowledgement, as the scheduler sees it."""
    start_s = time.perf_counter()
    for job in jobs:
        engine.submit(job)
    left = len(jobs)
    while left:
        results = engine.poll().results
        for result in results:
            if result.error is not None:
                raise RuntimeError(result.error)
        left -= len(results)
        time.sleep(0.0002)
    return time.perf_counter() - start_s
