"""Live resizes: DRAM grows and shrinks under load; tokens stay, and no step waits for pinning."""

import itertools
import time
from typing import Any

from rotation.probes import CountingScheduler
from rotation.rig import (
    Platform,
    counted,
    generate,
    left_over,
    model_folder,
    requests,
    serving,
    settle,
)

RESIZE_EVERY_S = 0.25


def resize(on: Platform, tier: str, seconds: float) -> dict[str, Any]:
    """Generate while DRAM moves between half and all of its slabs."""
    with model_folder(on) as model:
        with serving(model, on) as llm:
            plain = generate(llm, on)
        with serving(model, on, "KeepingConnector", tier=tier) as llm:
            still = _run(llm, on, resizing=False)
        with serving(model, on, "KeepingConnector", tier=tier) as llm:
            moving = _run(llm, on, resizing=True)
            settle(llm)
            slots = CountingScheduler.latest._residency.slots
            found: dict[str, Any] = {
                "resizes": moving["resizes"],
                "identical": sum(a == b for a, b in zip(moving["tokens"], plain, strict=True)),
                "longest_step_ms": round(moving["longest_step_ms"], 1),
                "longest_step_without_resizes_ms": round(still["longest_step_ms"], 1),
                "settled": slots.settled,
                "left_over": left_over(),
                **counted(),
            }
    wrong = []
    if found["identical"] != len(plain) and not found["recompute_preemptions"]:
        wrong.append(f"{found['identical']} of {len(plain)} identical")
    if not found["settled"]:
        wrong.append("the pool did not come to its last size")
    if found["resizes"] < 5:
        wrong.append(f"only {found['resizes']} resizes")
    if any(found["left_over"].values()):
        wrong.append(f"left over {found['left_over']}")
    found["problems"] = wrong
    return found


def _run(llm: Any, on: Platform, *, resizing: bool) -> dict[str, Any]:
    scheduler = CountingScheduler.latest
    slab_bytes = scheduler._geometry.slab_bytes
    sizes = itertools.cycle((on.num_slabs // 2, on.num_slabs))
    for number, (prompt, sampling) in enumerate(zip(*requests(on), strict=True)):
        llm.llm_engine.add_request(str(number), prompt, sampling)
    tokens: dict[str, list[int]] = {}
    resizes, longest_s = 0, 0.0
    next_resize_s = time.monotonic() + RESIZE_EVERY_S
    steps = 0
    while llm.llm_engine.has_unfinished_requests():
        if resizing and time.monotonic() > next_resize_s:
            next_resize_s = time.monotonic() + RESIZE_EVERY_S
            wish = {"op": "set", "dram_bytes": next(sizes) * slab_bytes}
            assert "error" not in scheduler._mailbox.handle(wish)
            resizes += 1
        start_s = time.perf_counter()
        for output in llm.llm_engine.step():
            if output.finished:
                tokens[output.request_id] = list(output.outputs[0].token_ids)
        steps += 1
        if steps > 20:  # the first ones compile
            longest_s = max(longest_s, time.perf_counter() - start_s)
    return {
        "tokens": [tokens[str(number)] for number in range(on.num_requests)],
        "resizes": resizes,
        "longest_step_ms": longest_s * 1e3,
    }
