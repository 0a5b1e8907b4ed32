"""Generates with real vLLM under several settings in one process and prints the results as JSON.

    python parity_run.py MODEL_DIR SETTING [SETTING ...]

Settings: ``plain`` (stock scheduler, ample KV), ``rotating`` (a KV budget far too small, rotation
forced by tiny objectives), ``rotating-caching`` (the same with prefix caching), ``corrupting`` (as
``rotating``, but each copy back to HBM brings zeros: the negative control).
"""

import ctypes
import json
import os
import random
import sys
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_HOST_IP"] = "127.0.0.1"

from superinfer_runtime.duplexkv.copy_engine import CopyJob
from superinfer_runtime.duplexkv.cpu_engine import CpuCopyEngine
from superinfer_runtime.engine.connector import RotaConnector
from superinfer_runtime.engine.scheduler import RotaScheduler
from vllm import LLM, SamplingParams

NUM_REQUESTS = 12
BLOCK_SIZE = 32
BLOCK_BYTES = 64 * 1024
AMPLE_BLOCKS = 200
FEW_BLOCKS = 48


class CountingScheduler(RotaScheduler):
    """Notes how many tokens the first step of each resumed request computes."""

    resumed_tokens: list[int]

    def schedule(self, throttle_prefills: bool = False) -> Any:
        output = super().schedule(throttle_prefills)
        if not hasattr(self, "resumed_tokens"):
            self.resumed_tokens = []
        for request_id in output.scheduled_cached_reqs.resumed_req_ids:
            self.resumed_tokens.append(output.num_scheduled_tokens[request_id])
        return output


class CorruptingEngine(CpuCopyEngine):
    """Brings zeros back: if outputs stay the same, the parity check proves nothing."""

    def _copy(self, job: CopyJob) -> None:
        super()._copy(job)
        if not job.out and job.job_id >= 0:
            for copy in job.copies:
                for address, size in zip(self._addresses, self._layout.segment_bytes, strict=True):
                    ctypes.memset(address + copy.block * size, 0, size)


class CorruptingConnector(RotaConnector):
    engine_type = CorruptingEngine


def rotation(connector: str) -> dict[str, Any]:
    """Engine arguments that make requests rotate all the time."""
    return {
        "scheduler_cls": CountingScheduler,
        "kv_transfer_config": {
            "kv_connector": connector,
            "kv_connector_module_path": __name__,
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "superinfer": {
                    "slo_classes": [{"name": "d", "ttft_s": 0.02, "tbt_s": 1.0, "default": True}],
                    "kv_cache": {"dram": {"max": 8 << 20}, "slab_bytes": 1 << 20},
                    "scheduler": {"run_quantum_s": 0.02, "tbt_credit": 0.0, "relegate": False},
                }
            },
        },
    }


def generate(model: str, setting: str) -> dict[str, Any]:
    """Return the tokens of all requests, and what rotated."""
    rotates = setting != "plain"
    llm = LLM(
        model=model,
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=512,
        block_size=BLOCK_SIZE,
        kv_cache_memory_bytes=(FEW_BLOCKS if rotates else AMPLE_BLOCKS) * BLOCK_BYTES,
        max_num_seqs=16,
        enable_prefix_caching=setting == "rotating-caching",
        disable_log_stats=True,
        **(
            rotation("CorruptingConnector" if setting == "corrupting" else "RotaConnector")
            if rotates
            else {}
        ),
    )
    rng = random.Random(1)
    prompts: list[Any] = [
        {"prompt_token_ids": [rng.randrange(10, 500) for _ in range(rng.randrange(20, 90))]}
        for _ in range(NUM_REQUESTS)
    ]
    sampling = [
        SamplingParams(temperature=1.0, seed=n, max_tokens=200, ignore_eos=True, detokenize=False)
        for n in range(NUM_REQUESTS)
    ]
    outputs = llm.generate(prompts, sampling, use_tqdm=False)
    result: dict[str, Any] = {"tokens": [list(o.outputs[0].token_ids) for o in outputs]}
    core = llm.llm_engine.engine_core
    scheduler = core.engine_core.scheduler
    if rotates:
        residency = scheduler._residency
        result |= {
            "rotations_out": residency.out.rotations,
            "rotations_in": residency.into.rotations,
            "resumed_tokens": scheduler.resumed_tokens,
            "recompute_preemptions": scheduler._recompute_preemptions,
            "used_slots": residency.slots.num_used,
            "open_jobs": residency.ledger.num_jobs,
            "blocks_in_use": scheduler._hbm.used_blocks,
        }
    core.shutdown()
    return result


if __name__ == "__main__":
    sys.modules["parity_run"] = sys.modules["__main__"]
    __name__ = "parity_run"  # the connector is looked up by module name
    results = {setting: generate(sys.argv[1], setting) for setting in sys.argv[2:]}
    print("RESULT " + json.dumps(results))
