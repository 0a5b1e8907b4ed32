"""`simulate`: one policy, one workload, any number of replicas, one event loop on virtual time.

Two kinds of events: a request arrives, a replica's step or copy ends. Replicas share nothing but
the arrivals, which go to them in turn, as a Kubernetes Service spreads connections. The next turn
of a session arrives when the answer before it was read.

The same requests, deployment and policy give the same result, bit for bit: no clock and no random
number is read here.
"""

import heapq
from collections.abc import Sequence
from itertools import count

from superinfer_contract.slo import SloClass

from superinfer_runtime.duplexkv.planner import KvLayout
from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.live_request import LiveRequest
from superinfer_runtime.sim.machine.copy_engine import SimulatedCopyEngine
from superinfer_runtime.sim.machine.step_time import StepTimes
from superinfer_runtime.sim.policies import Policy, Setting
from superinfer_runtime.sim.replica import Replica, StepCosts, VirtualClock
from superinfer_runtime.sim.request import SimRecord, SimRequest
from superinfer_runtime.sim.result import RunResult
from superinfer_runtime.sim.rotating_scheduler import RotatingScheduler
from superinfer_runtime.sim.stock_scheduler import StockScheduler


def simulate(
    requests: Sequence[SimRequest],
    classes: Sequence[SloClass],
    deployment: Deployment,
    policy: Policy,
    *,
    costs: StepCosts | None = None,
    timeline: bool = False,
) -> RunResult:
    """Serve ``requests`` to the last token.

    Args:
        requests: by order of arrival.
        classes: judge the requests; one that names none of them belongs to the default class.
        deployment: what serves.
        policy: who holds HBM.
        costs: what steps take; None: what they take for the deployment's model on its hardware.
        timeline: keep every step and copy of the first replica.

    Raises:
        ValueError: a request can never run, or two have one id.
    """
    if costs is None:
        costs = StepTimes(deployment.model, deployment.hardware, deployment.tensor_parallel)
    return _Simulation(requests, classes, deployment, policy, costs, timeline).run()


class _Simulation:
    def __init__(
        self,
        requests: Sequence[SimRequest],
        classes: Sequence[SloClass],
        deployment: Deployment,
        policy: Policy,
        costs: StepCosts,
        timeline: bool,
    ) -> None:
        self._policy = policy
        self._classes = {slo_class.name: slo_class for slo_class in classes}
        self._default = next((c for c in classes if c.default), classes[0])
        self._deployment = deployment
        self._gap_counts: dict[str, dict[float, int]] = {c.name: {} for c in classes}
        self._order = count()
        self._arrivals = [(r.arrival_s, next(self._order), r) for r in requests]
        heapq.heapify(self._arrivals)
        ids = {request.request_id for request in requests}
        if len(ids) != len(requests):
            raise ValueError("two requests have one id")
        oracle = {r.request_id: r.output_tokens for first in requests for r in _chain(first)}
        self._replicas = [
            self._replica(costs, oracle, timeline and number == 0)
            for number in range(deployment.replicas)
        ]
        self._records: list[SimRecord] = []

    def run(self) -> RunResult:
        arrivals, replicas = self._arrivals, self._replicas
        events: list[tuple[float, int]] = []
        turn = 0
        first_s = arrivals[0][0] if arrivals else 0.0
        last_s = first_s
        while arrivals or events:
            if arrivals and (not events or arrivals[0][0] <= events[0][0]):
                now_s, _, request = heapq.heappop(arrivals)
                number = turn % len(replicas)
                turn += 1
                replica = replicas[number]
                before_s = replica.next_event_s
                replica.add(self._live(request, now_s), now_s)
                if replica.next_event_s != before_s and replica.next_event_s is not None:
                    heapq.heappush(events, (replica.next_event_s, number))
                continue
            now_s, number = heapq.heappop(events)
            replica = replicas[number]
            if replica.next_event_s != now_s:
                continue  # an arrival came before it, and made it start earlier
            for live in replica.advance(now_s):
                self._records.append(live.record())
                last_s = now_s
                self._follow(live, now_s)
            if replica.next_event_s is not None:
                heapq.heappush(events, (replica.next_event_s, number))
        return self._result(last_s - first_s)

    def _live(self, request: SimRequest, now_s: float) -> LiveRequest:
        slo_class = self._classes.get(request.slo_class, self._default)
        return LiveRequest(
            request,
            now_s,
            self._deployment.limits.max_model_len,
            slo_class,
            self._gap_counts[slo_class.name],
        )

    def _follow(self, live: LiveRequest, now_s: float) -> None:
        following = live.request.next_turn
        if following is not None:
            arrival_s = now_s + following.think_s
            heapq.heappush(self._arrivals, (arrival_s, next(self._order), following.request))

    def _replica(self, costs: StepCosts, oracle: dict[str, int], timeline: bool) -> Replica:
        deployment, policy = self._deployment, self._policy
        limits, geometry = deployment.limits, deployment.geometry
        if policy.make is None:
            return Replica(StockScheduler(limits, geometry.num_blocks), costs, keep_steps=timeline)
        clock = VirtualClock()
        # Every GPU copies its share of each layer, over a link of its own.
        link = deployment.hardware.link.times(deployment.tensor_parallel)
        segments = deployment.model.num_layers * deployment.tensor_parallel
        return Replica(
            RotatingScheduler(
                limits,
                geometry,
                EngineConfig(slo_classes=tuple(self._classes.values())),
                policy.make(
                    Setting(deployment.knobs, geometry.num_blocks, deployment.dram_blocks, oracle)
                ),
                policy.mechanism(deployment.knobs),
                deployment.dram_slabs,
            ),
            costs,
            clock,
            SimulatedCopyEngine(
                KvLayout((geometry.block_bytes // segments,) * segments),
                link,
                geometry.slots_per_slab,
                clock,
                keep_spans=timeline,
            ),
            copy_slowdown=link.decode_slowdown,
            keep_steps=timeline,
        )

    def _result(self, makespan_s: float) -> RunResult:
        replicas = self._replicas
        schedulers = [replica.scheduler for replica in replicas]
        rotating = [s for s in schedulers if isinstance(s, RotatingScheduler)]
        first = replicas[0]
        return RunResult(
            policy=self._policy.name,
            classes=tuple(self._classes.values()),
            records=self._records,
            gap_counts=self._gap_counts,
            makespan_s=makespan_s,
            num_steps=sum(replica.num_steps for replica in replicas),
            computed_prompt_tokens=sum(s.computed_prompt_tokens for s in schedulers),
            bytes_out=sum(s.residency.out.num_bytes for s in rotating),
            bytes_in=sum(s.residency.into.num_bytes for s in rotating),
            rotations=sum(s.residency.out.rotations for s in rotating),
            stalls=sum(s.stalls for s in rotating),
            recomputes=sum(s.recomputes for s in schedulers),
            peak_dram_blocks=max(replica.peak_dram_blocks for replica in replicas),
            peak_hbm_blocks=max(replica.peak_hbm_blocks for replica in replicas),
            hbm_blocks=self._deployment.hbm_blocks,
            dram_blocks=self._deployment.dram_blocks if rotating else 0,
            steps=first.steps,
            copies=first.copies.spans if first.copies is not None else (),
        )


def _chain(request: SimRequest) -> list[SimRequest]:
    """A session's requests, from this one on."""
    chain = [request]
    while (following := chain[-1].next_turn) is not None:
        chain.append(following.request)
    return chain
