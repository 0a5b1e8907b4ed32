"""RotaSched: largest VLT first, once per engine iteration.

SuperInfer's Algorithm 1 (arXiv 2601.20309, section 4.2) with what it leaves open settled:

1. *Contention check.* If free HBM and seats cover everybody who waits, no rotation: first tokens
   in order of their deadlines, which within a class is first come, first served.
2. Requests that lag (VLT > 0) are chosen by VLT, largest first, while they fit what is free, what
   rotations in flight will free, and what the link can move now. The head is chosen even if it does
   not fit: it reserves, blocks accumulate over iterations, and so a large request never starves.
3. The shortfall is taken from running requests: rotatable, past their minimum run quantum and able
   to afford a pause as long as those now out have had; lost ones first, then the longest stint
   first. So rotation throttles itself where it would only trade one miss for another.
4. What the chosen do not claim goes to requests within tolerance, in order of their deadlines for
   the first token. They never force a rotation.
5. Aged relegated requests claim a share of HBM (`policy/relegated_share`), and no more. Where DRAM
   is short of a victim's room, those who are lost lose their KV there, the youngest first; it is
   computed again in their turn.
6. Growth is kept free: who asks to be admitted asks for its growth within a horizon as well, and
   that of running requests stays free. If it is short, victims make room for it even when nobody
   lags: while copies end within the horizon and DRAM has room, vLLM's preemption by recompute has
   no occasion.

Invariant: blocks admitted in one decision never exceed the free blocks of that iteration.
"""

import heapq
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from superinfer_contract.runtime_config import SchedulerKnobs

from superinfer_runtime.policy.candidate import Candidate
from superinfer_runtime.policy.lag import is_lost, rotary_lag_s, unaged_lag_s, waiting_lag_s
from superinfer_runtime.policy.relegated_share import relegated_room_blocks, within_room
from superinfer_runtime.policy.triage import (
    UNKNOWN_PACE,
    PrefillPace,
    let_go,
    ttft_deadline_s,
)


@dataclass(frozen=True, slots=True)
class Iteration:
    """The state that one decision is made on. All sizes are in KV blocks."""

    now_s: float
    running: Sequence[Candidate]
    waiting: Sequence[Candidate]
    """In order of arrival."""
    rotary: Sequence[Candidate]
    """KV wholly in DRAM; those still on their way out or in are not listed."""
    free_blocks: int
    """Free HBM within the budget; negative while a lowered budget is not yet met."""
    arriving_blocks: int = 0
    """HBM that rotations in flight will free."""
    growth_blocks: int = 0
    """HBM to keep free for running requests' own growth."""
    free_seats: int = 1 << 30
    """Further requests that the engine's batch can hold."""
    free_dram_blocks: int = 1 << 30
    transfer_blocks: int = 1 << 30
    """Blocks that the link can still move in the hidden window of this iteration."""
    pace: PrefillPace = UNKNOWN_PACE
    """How fast prompts are computed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do before this iteration's step."""

    contended: bool
    """False: nothing rotates; ``admit`` is then all of the waiting requests."""
    admit: list[Candidate] = field(default_factory=list)
    """Waiting requests that may start to prefill, in this order."""
    rotate_in: list[Candidate] = field(default_factory=list)
    rotate_out: list[Candidate] = field(default_factory=list)
    discard: list[Candidate] = field(default_factory=list)
    """Rotary requests to lose their KV, first of all: they are lost, and DRAM is short."""
    stalled: bool = False
    """A rotation was wanted and DRAM had no room for it."""
    lagging: list[tuple[float, Candidate]] = field(default_factory=list)
    """Everybody with VLT > 0 and their VLT in seconds, in no order."""


_BY_RUN_START = attrgetter("run_start_s")
_BY_ARRIVAL = attrgetter("arrival_s")


def is_contended(iteration: Iteration) -> bool:
    """Whether free HBM and seats fall short of what running requests' growth and all others ask."""
    available = iteration.free_blocks - iteration.growth_blocks
    demand = sum(c.blocks for c in iteration.waiting) + sum(c.blocks for c in iteration.rotary)
    seats_wanted = len(iteration.waiting) + len(iteration.rotary)
    return available < demand or available < 0 or iteration.free_seats < seats_wanted


def decide(iteration: Iteration, knobs: SchedulerKnobs) -> Decision:
    """Return the admissions and rotations of one iteration; see the module's text."""
    if not is_contended(iteration):
        return Decision(
            False, admit=_by_deadline(iteration, knobs), rotate_in=list(iteration.rotary)
        )

    available = iteration.free_blocks - iteration.growth_blocks
    lagging, tolerant = _split(iteration, knobs)
    chosen = _choose(lagging, iteration, available)
    claimed = sum(c.blocks for c in chosen)
    shortfall = max(claimed - available - iteration.arriving_blocks, 0)
    seats_short = max(len(chosen) - iteration.free_seats, 0)
    victims, discard, stalled = _victims(
        iteration, knobs, shortfall, seats_short, keep=set(map(id, chosen))
    )

    admitted: list[Candidate] = []
    seats = iteration.free_seats + len(victims)
    for candidate in chosen:
        if candidate.blocks > available or seats <= 0:
            break  # it reserves what is free; nobody behind it may take that away
        admitted.append(candidate)
        available -= candidate.blocks
        seats -= 1
    else:
        # In order in what is left: the first that does not fit ends it, or a stream of small
        # requests would starve it.
        for candidate in tolerant:
            if candidate.blocks > available or seats <= 0:
                break
            admitted.append(candidate)
            available -= candidate.blocks
            seats -= 1

    is_rotary = set(map(id, iteration.rotary))
    discarded = set(map(id, discard))
    return Decision(
        contended=True,
        admit=[c for c in admitted if id(c) not in is_rotary],
        rotate_in=[c for c in admitted if id(c) in is_rotary - discarded],
        rotate_out=victims,
        discard=discard,
        stalled=stalled,
        lagging=lagging,
    )


def blocks_ahead(num_tokens: int, end_tokens: int, horizon_steps: int, block_size: int) -> int:
    """Blocks that hold ``num_tokens`` and one token a step for ``horizon_steps`` more steps.

    A request ends at ``end_tokens`` and never asks for more; one token ahead counts in any case.
    """
    coming = min(num_tokens + horizon_steps, max(end_tokens, num_tokens + 1))
    return -(-coming // block_size)


def _by_deadline(iteration: Iteration, knobs: SchedulerKnobs) -> list[Candidate]:
    """All that wait, in the order of their deadlines, those that will miss theirs last."""
    waiting = iteration.waiting
    if len(waiting) < 2:
        return list(waiting)
    gone = _let_go(iteration, knobs)
    return sorted(waiting, key=lambda c: (id(c) in gone, ttft_deadline_s(c)))


def _let_go(iteration: Iteration, knobs: SchedulerKnobs) -> set[int]:
    """`id` of each waiting request that cannot have its first token in time."""
    if not knobs.relegate:
        return set()
    return let_go(iteration.waiting, iteration.now_s, iteration.pace)


def _split(
    iteration: Iteration, knobs: SchedulerKnobs
) -> tuple[list[tuple[float, Candidate]], list[Candidate]]:
    """Those that lag (unsorted, with their VLT), and those within tolerance in serving order."""
    now_s = iteration.now_s
    relegate = knobs.relegate
    lagging: list[tuple[float, Candidate]] = []
    aged: list[tuple[float, Candidate]] = []
    on_time: list[Candidate] = []
    lost: list[Candidate] = []
    gone = _let_go(iteration, knobs)
    for candidate in iteration.waiting:
        is_gone = id(candidate) in gone
        lag_s = waiting_lag_s(candidate, now_s, knobs, is_gone)
        is_relegated = is_gone or (relegate and is_lost(candidate, now_s))
        if lag_s > 0.0:
            (aged if is_relegated else lagging).append((lag_s, candidate))
        elif is_relegated:
            lost.append(candidate)
        else:
            on_time.append(candidate)
    for candidate in iteration.rotary:
        lag_s = rotary_lag_s(candidate, now_s, knobs)
        is_relegated = relegate and is_lost(candidate, now_s)
        if lag_s > 0.0:
            (aged if is_relegated else lagging).append((lag_s, candidate))
        elif is_relegated:
            lost.append(candidate)
        else:
            on_time.append(candidate)
    if aged:
        aged_s = {id(candidate): lag_s for lag_s, candidate in aged}
        running = [c for c in iteration.running if is_lost(c, now_s)]
        room = relegated_room_blocks(iteration.free_blocks, iteration.running)
        room -= sum(c.blocks for c in running)
        claiming, others = within_room(sorted((c for _, c in aged), key=_BY_ARRIVAL), room)
        lagging += [(unaged_lag_s(aged_s[id(c)], c, knobs), c) for c in claiming]
        lost += others
    on_time.sort(key=ttft_deadline_s)
    lost.sort(key=_BY_ARRIVAL)
    return lagging, on_time + lost


def _choose(
    lagging: list[tuple[float, Candidate]], iteration: Iteration, available: int
) -> list[Candidate]:
    """Lagging requests to make room for, largest VLT first."""
    room = max(available, 0) + iteration.arriving_blocks + iteration.transfer_blocks
    seats = iteration.free_seats + len(iteration.running)
    heap = [(-lag_s, order, candidate) for order, (lag_s, candidate) in enumerate(lagging)]
    heapq.heapify(heap)
    chosen: list[Candidate] = []
    while heap and room > 0 and len(chosen) < seats:
        candidate = heapq.heappop(heap)[2]
        if candidate.blocks <= room or not chosen:
            chosen.append(candidate)
            room -= candidate.blocks
    return chosen


def _mean_pause_s(iteration: Iteration, knobs: SchedulerKnobs) -> float:
    """How long those who are out and can still be good have been out: what a victim must expect."""
    now_s = iteration.now_s
    pauses_s = [
        now_s - candidate.last_token_s
        for candidate in iteration.rotary
        if not (knobs.relegate and is_lost(candidate, now_s))
    ]
    return sum(pauses_s) / len(pauses_s) if pauses_s else 0.0


def _victims(
    iteration: Iteration,
    knobs: SchedulerKnobs,
    shortfall: int,
    seats_short: int,
    keep: Container[int],
) -> tuple[list[Candidate], list[Candidate], bool]:
    """Running requests to rotate out, rotary ones that make room for them in DRAM, and whether it
    was still too full for one that was due. ``keep``: `id` of those whose KV is about to be used.
    """
    growth_short = (
        iteration.growth_blocks - max(iteration.free_blocks, 0) - iteration.arriving_blocks
    )
    if iteration.free_blocks < 0:  # the HBM budget was lowered below what is in use
        growth_short -= iteration.free_blocks
    if shortfall <= 0 and seats_short <= 0 and growth_short <= 0:
        return [], [], False

    now_s = iteration.now_s
    quantum_s, relegate, credit = knobs.run_quantum_s, knobs.relegate, knobs.tbt_credit
    pause_s = quantum_s + _mean_pause_s(iteration, knobs)
    over_share: list[Candidate] = []
    lost: list[Candidate] = []
    affordable: list[Candidate] = []
    last_resort: list[Candidate] = []
    for candidate in iteration.running:
        if not candidate.rotatable:
            continue
        if candidate.over_share:
            over_share.append(candidate)
        elif now_s - candidate.run_start_s < quantum_s:
            last_resort.append(candidate)
        elif relegate and is_lost(candidate, now_s):
            lost.append(candidate)
        elif credit == 0 or candidate.ahead_s(now_s) >= pause_s:
            affordable.append(candidate)
        else:
            last_resort.append(candidate)
    room = relegated_room_blocks(iteration.free_blocks, iteration.running)
    claimed, lost = within_room(sorted(lost, key=_BY_ARRIVAL), room)
    last_resort += claimed  # theirs, or they would never end
    for tier in (over_share, lost, affordable, last_resort):
        tier.sort(key=_BY_RUN_START)
    useless = [c for c in iteration.rotary if relegate and id(c) not in keep and is_lost(c, now_s)]
    useless.sort(key=_BY_ARRIVAL)

    victims: list[Candidate] = []
    discard: list[Candidate] = []
    stalled = False
    dram_left = iteration.free_dram_blocks
    link_left = iteration.transfer_blocks
    tiers = ((over_share, True), (lost, True), (affordable, True), (last_resort, False))
    for tier, may_serve_lag in tiers:
        for candidate in tier:
            wanted = growth_short > 0
            if may_serve_lag:
                wanted = wanted or shortfall > 0 or seats_short > 0
            if not wanted or (link_left <= 0 and victims):
                break
            while candidate.dram_blocks > dram_left and useless:
                discard.append(useless.pop())
                dram_left += discard[-1].dram_blocks
            if candidate.dram_blocks > dram_left:
                stalled = True
                continue
            victims.append(candidate)
            dram_left -= candidate.dram_blocks
            link_left -= max(candidate.dram_blocks, 1)
            shortfall -= candidate.blocks
            growth_short -= candidate.blocks
            seats_short -= 1
    return victims, discard, stalled
