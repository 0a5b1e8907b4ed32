"""How many block movements the ledger books in a second.

One cycle a request: its full blocks are mirrored, it rotates out and back in, each step
acknowledged, and it is forgotten. Each block so goes through three operations: mirror, out, in.
"""

import time

from superinfer_runtime.duplexkv.ledger import BlockLedger
from superinfer_runtime.duplexkv.slots import SlotPool

BLOCK_SIZE = 16
BLOCKS_PER_REQUEST = 32
NUM_REQUESTS = 64
MEASURE_S = 2.0


def ledger_ops_per_s() -> int:
    """Operations on blocks, per second of one core."""
    slots = SlotPool(NUM_REQUESTS * BLOCKS_PER_REQUEST)
    slots.resize(1)
    for slab in slots.take_changes().add:
        slots.slab_ready(slab)
    ledger = BlockLedger(slots, BLOCK_SIZE)
    rounds = 0
    start_s = time.perf_counter()
    while time.perf_counter() - start_s < MEASURE_S:
        _one_round(ledger)
        rounds += 1
    seconds = time.perf_counter() - start_s
    ledger.check()
    return round(rounds * NUM_REQUESTS * BLOCKS_PER_REQUEST * 3 / seconds)


def _one_round(ledger: BlockLedger) -> None:
    held = {
        f"r{number}": range(number * BLOCKS_PER_REQUEST, (number + 1) * BLOCKS_PER_REQUEST)
        for number in range(NUM_REQUESTS)
    }
    # The last block is the tail: not full, so never mirrored.
    wanted = [(request_id, blocks, len(blocks) - 1) for request_id, blocks in held.items()]
    mirrored = ledger.start_mirror(wanted, NUM_REQUESTS * BLOCKS_PER_REQUEST)
    if mirrored is not None:
        ledger.finish(mirrored.job_id)
    num_tokens = BLOCKS_PER_REQUEST * BLOCK_SIZE - 1
    for request_id, blocks in held.items():
        job = ledger.rotate_out(request_id, blocks, num_tokens)
        if job is not None:
            ledger.finish(job.job_id)
    for request_id, blocks in held.items():
        ledger.finish(ledger.rotate_in(request_id, blocks, num_present=0).job_id)
        ledger.forget(request_id)
