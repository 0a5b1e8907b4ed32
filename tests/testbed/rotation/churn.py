"""Churn: admissions, aborts, resizes and rotations for a while; then nothing may be left."""

import random
import time
from typing import Any

from rotation.probes import CountingScheduler, KeepingConnector
from rotation.rig import Platform, counted, left_over, model_folder, serving
from vllm import SamplingParams

ACTION_EVERY_S = 0.05
RESIZE_EVERY_S = 0.5
LAST_REQUESTS_S = 60.0


def leaks(on: Platform, tier: str, seconds: float) -> dict[str, Any]:
    """Churn for ``seconds``, drain, give all DRAM back, and look for what is left."""
    happened = {"added": 0, "aborted": 0, "finished": 0, "resized": 0, "resets": 0}
    with (
        model_folder(on) as model,
        serving(model, on, "KeepingConnector", tier=tier, enable_prefix_caching=True) as llm,
    ):
        churn = _Churn(llm, on, happened)
        churn.run(time.monotonic() + seconds)
        churn.drain()
        scheduler = CountingScheduler.latest
        found = {**happened, **counted(), "left_over": left_over()}
        found["slabs_at_the_scheduler"] = scheduler._residency.slots.allocated_slabs
        found["slabs_at_the_engine"] = len(KeepingConnector.engine.slabs)  # type: ignore[attr-defined]
    wrong = []
    if any(found["left_over"].values()):
        wrong.append(f"left over {found['left_over']}")
    if found["slabs_at_the_scheduler"] or found["slabs_at_the_engine"]:
        wrong.append("slabs are left")
    for name, least in (("aborted", 5), ("resized", 5), ("rotations_out", on.min_rotations)):
        if found[name] < least:
            wrong.append(f"only {found[name]} {name}: too little happened to mean anything")
    found["problems"] = wrong
    return found


class _Churn:
    def __init__(self, llm: Any, on: Platform, happened: dict[str, int]) -> None:
        self._engine = llm.llm_engine
        self._on = on
        self._happened = happened
        self._rng = random.Random(3)
        self._alive: set[str] = set()
        self._scheduler = CountingScheduler.latest

    def run(self, until_s: float) -> None:
        next_action_s = next_resize_s = 0.0
        while (now_s := time.monotonic()) < until_s:
            if now_s >= next_action_s:
                next_action_s = now_s + ACTION_EVERY_S
                self._act()
            if now_s >= next_resize_s:
                next_resize_s = now_s + RESIZE_EVERY_S
                self._resize()
            self._step()

    def drain(self) -> None:
        deadline_s = time.monotonic() + LAST_REQUESTS_S
        self._wish(0, self._scheduler._mailbox.handle({"op": "get"})["snapshot"]["hbm"])
        while self._scheduler.has_requests() and time.monotonic() < deadline_s:
            self._step()
            time.sleep(0.001)

    def _act(self) -> None:
        rng = self._rng
        while len(self._alive) < self._on.num_requests * 3 // 2:
            name = f"r{self._happened['added']}"
            length = rng.randrange(5, 120)
            prompt = [rng.randrange(10, self._on.vocabulary) for _ in range(length)]
            sampling = SamplingParams(
                max_tokens=rng.randrange(1, self._on.max_tokens), ignore_eos=True, detokenize=False
            )
            self._engine.add_request(name, {"prompt_token_ids": prompt}, sampling)
            self._alive.add(name)
            self._happened["added"] += 1
        if rng.random() < 0.3:
            gone = rng.choice(sorted(self._alive))
            self._engine.abort_request([gone])
            self._alive.discard(gone)
            self._happened["aborted"] += 1
        if rng.random() < 0.02:
            self._scheduler.reset_prefix_cache()
            self._happened["resets"] += 1

    def _resize(self) -> None:
        snapshot = self._scheduler._mailbox.handle({"op": "get"})["snapshot"]
        self._wish(self._rng.randrange(2, self._on.num_slabs + 1), snapshot["hbm"])
        self._happened["resized"] += 1

    def _wish(self, num_slabs: int, hbm: dict[str, int]) -> None:
        hbm_bytes = self._rng.randrange(hbm["min_bytes"], hbm["max_bytes"] + 1)
        slab_bytes = self._scheduler._geometry.slab_bytes
        answer = self._scheduler._mailbox.handle(
            {"op": "set", "dram_bytes": num_slabs * slab_bytes, "hbm_bytes": hbm_bytes}
        )
        assert "error" not in answer, answer

    def _step(self) -> None:
        for output in self._engine.step():
            if output.finished and output.request_id in self._alive:
                self._alive.discard(output.request_id)
                self._happened["finished"] += 1
