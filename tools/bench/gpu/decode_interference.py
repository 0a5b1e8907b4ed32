"""What full-duplex rotation costs a running decode batch, in stock vLLM with CUDA graphs.

One vLLM in this process decodes a batch of fixed size. A second copy engine on the same KV memory
keeps both directions of the link busy during every other window of steps: it moves blocks that
vLLM's pool has handed to us, so nothing that the batch reads is touched. The median step of the
windows beside copies is compared with that of the windows without; windows alternate, so that
drift hits both alike.
"""

import os
import statistics
import threading
import time
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine core runs here

import torch
from superinfer_runtime.duplexkv.copy_engine import CopyEngine, CopyJob
from superinfer_runtime.duplexkv.cuda.engine import CudaCopyEngine
from superinfer_runtime.duplexkv.cuda.rates import Choice
from superinfer_runtime.duplexkv.jobs import Copy
from superinfer_runtime.engine.connector import RotaConnector
from superinfer_runtime.engine.scheduler import RotaScheduler
from vllm import LLM, SamplingParams

BATCH = 64
PROMPT_TOKENS = 512
WINDOW_STEPS = 40
WINDOWS = 5
WARM_UP_STEPS = 30
JOB_BYTES = 64 << 20


class CapturingConnector(RotaConnector):
    """Keeps hold of itself and the KV tensors, for a second engine on them."""

    latest: "CapturingConnector"
    tensors: dict[str, torch.Tensor]

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        super().register_kv_caches(kv_caches)
        CapturingConnector.latest = self
        self.tensors = kv_caches


class Rotator:
    """Keeps ``engine`` busy in both directions while it is on."""

    def __init__(self, engine: CopyEngine, blocks: list[int]) -> None:
        self._engine = engine
        half = len(blocks) // 2
        self._ways = {True: blocks[:half], False: blocks[half:]}
        self._on = threading.Event()
        self._stop = False
        self._in_flight = {True: 0, False: 0}
        self.num_bytes = 0
        self.on_s = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def turn(self, on: bool) -> None:
        if on:
            self._on.set()
        else:
            self._on.clear()

    def stop(self) -> None:
        self._stop = True
        self._thread.join(10.0)
        deadline_s = time.monotonic() + 10.0
        while any(self._in_flight.values()) and time.monotonic() < deadline_s:
            for result in self._engine.poll().results:
                self._in_flight[result.out] -= 1
            time.sleep(0.001)

    def _run(self) -> None:
        torch.cuda.set_device(0)
        job_id = 0
        since_s = time.perf_counter()
        while not self._stop:
            for result in self._engine.poll().results:
                if result.error is not None:
                    raise RuntimeError(result.error)
                self._in_flight[result.out] -= 1
                self.num_bytes += result.num_bytes
            now_s = time.perf_counter()
            if any(self._in_flight.values()):
                self.on_s += now_s - since_s
            since_s = now_s
            for out, blocks in self._ways.items():
                while self._on.is_set() and self._in_flight[out] < 3:
                    first = 0 if out else len(blocks)
                    copies = tuple(Copy(block, first + n) for n, block in enumerate(blocks))
                    self._engine.submit(CopyJob(job_id, out, copies))
                    job_id += 1
                    self._in_flight[out] += 1
            time.sleep(0.0005)


def decode_interference(model: dict[str, Any], choices: list[Choice]) -> list[dict[str, Any]]:
    """Return a row a way of copying: median step times in ms with and without it, and the ratio.

    Args:
        model: arguments for `vllm.LLM`, with random weights.
        choices: ways to measure, beside the one that calibration chose for this model.
    """
    llm = LLM(
        **model,
        skip_tokenizer_init=True,
        max_num_seqs=BATCH,
        max_model_len=8192,
        enable_prefix_caching=False,
        disable_log_stats=True,
        scheduler_cls=RotaScheduler,
        kv_transfer_config={
            "kv_connector": "CapturingConnector",
            "kv_connector_module_path": "decode_interference",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"superinfer": {"kv_cache": {"dram": {"max": 2**30}}}},
        },
    )
    engine = llm.llm_engine
    for number in range(BATCH):
        prompt = [(number * 31 + n) % 30000 + 10 for n in range(PROMPT_TOKENS)]
        engine.add_request(
            str(number),
            {"prompt_token_ids": prompt},
            SamplingParams(temperature=1.0, max_tokens=7000, ignore_eos=True, detokenize=False),
        )
    scheduler = engine.engine_core.engine_core.scheduler
    while len(scheduler.running) < BATCH or any(r.is_prefill_chunk for r in scheduler.running):
        engine.step()
    connector = CapturingConnector.latest
    assert isinstance(connector._engine, CudaCopyEngine)
    chosen = connector._engine.choice
    copier = connector.make_engine(connector.tensors)
    assert isinstance(copier, CudaCopyEngine)
    block_bytes = scheduler._geometry.block_bytes
    job_blocks = max(JOB_BYTES // block_bytes, 1)
    blocks = [b.block_id for b in scheduler._block_pool.get_new_blocks(2 * job_blocks)]
    _add_slabs(copier, -(-2 * job_blocks // copier.slots_per_slab))
    rows = []
    for choice in dict.fromkeys((*choices, chosen)):
        copier.use(choice)
        row = _windows(engine, Rotator(copier, blocks))
        rows.append(
            {
                "way": str(choice.path),
                "is_chosen": choice == chosen,
                "sms": 0 if choice.path == "direct" else 2 * choice.shape.num_sms,
                "layers": len(connector.tensors),
                "segment_kib": round(block_bytes / len(connector.tensors) / 1024, 1),
                **row,
            }
        )
    copier.close()
    engine.engine_core.shutdown()
    return rows


def _windows(engine: Any, rotator: Rotator) -> dict[str, Any]:
    for _ in range(WARM_UP_STEPS):
        engine.step()
    steps_ms: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(WINDOWS):
        for beside in (False, True):
            rotator.turn(beside)
            for number in range(WINDOW_STEPS):
                start_s = time.perf_counter()
                engine.step()
                if number >= 5:  # the first steps of a window overlap with the one before
                    steps_ms[beside].append((time.perf_counter() - start_s) * 1e3)
    rotator.turn(False)
    rotator.stop()
    alone, beside_ms = (statistics.median(steps_ms[kind]) for kind in (False, True))
    mean_alone, mean_beside = (statistics.fmean(steps_ms[kind]) for kind in (False, True))
    return {
        "alone_ms": round(alone, 3),
        "beside_ms": round(beside_ms, 3),
        "ratio": round(beside_ms / alone, 4),
        "mean_ratio": round(mean_beside / mean_alone, 4),
        "p99_alone_ms": round(_p99(steps_ms[False]), 2),
        "p99_beside_ms": round(_p99(steps_ms[True]), 2),
        "duplex_gb_s": round(rotator.num_bytes / max(rotator.on_s, 1e-9) / 1e9, 1),
    }


def _add_slabs(copier: CopyEngine, count: int) -> None:
    for slab in range(count):
        copier.add_slab(slab)
    ready = 0
    deadline_s = time.monotonic() + 30.0
    while ready < count:
        report = copier.poll()
        ready += len(report.slabs_ready)
        if report.slab_error or time.monotonic() > deadline_s:
            raise RuntimeError(report.slab_error or "the slabs never came")
        time.sleep(0.01)


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
