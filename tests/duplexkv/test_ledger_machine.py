"""The ledger against a model of memory, under any order of operations and acknowledgements.

The model keeps what each HBM block and each DRAM slot holds. A copy takes effect at its
acknowledgement and not a moment earlier, and its source must not change meanwhile: so a slot or
block that returns too early, or a mirror that is not what it mirrors, shows as wrong data.
"""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from superinfer_runtime.duplexkv.jobs import Finished, Job, JobKind
from superinfer_runtime.duplexkv.ledger import BlockLedger
from superinfer_runtime.duplexkv.slots import SlotPool

BLOCK_SIZE = 4
NUM_BLOCKS = 24
SLOTS_PER_SLAB = 4
MAX_SLABS = 4
REQUESTS = "abcd"

Data = tuple[int, ...]
pick = st.integers(0, 1 << 16)


@dataclass
class Live:
    """One request: where it is, its HBM blocks, and the tokens whose KV must survive."""

    place: str = "hbm"
    blocks: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def expected(self) -> list[Data]:
        return [
            tuple(self.tokens[start : start + BLOCK_SIZE])
            for start in range(0, len(self.tokens), BLOCK_SIZE)
        ]


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = BlockLedger(SlotPool(SLOTS_PER_SLAB), BLOCK_SIZE)
        self.live: dict[str, Live] = {}
        self.free_blocks = set(range(NUM_BLOCKS))
        self.hbm: dict[int, Data] = {}
        self.dram: dict[int, Data] = {}
        self.pins: Counter[int] = Counter()
        self.jobs: dict[int, tuple[Job, list[Data]]] = {}
        self.abandoned: set[int] = set()
        self.adding: list[int] = []
        self.dropping: list[int] = []
        self.next_token = 0
        self.resize(MAX_SLABS)
        self.acknowledge_slabs(all_of_them=True)

    # --- requests ---------------------------------------------------------------------------

    @rule(request_id=st.sampled_from(REQUESTS), num_tokens=st.integers(1, 18))
    def start(self, request_id: str, num_tokens: int) -> None:
        if request_id not in self.live:
            self.live[request_id] = Live()
            self._write(self.live[request_id], num_tokens)

    @rule(which=pick, num_tokens=st.integers(1, 6))
    def generate(self, which: int, num_tokens: int) -> None:
        live = self._choose("hbm", which)
        if live is not None:
            self._write(self.live[live], num_tokens)

    @rule(which=pick, extra_block=st.booleans())
    def rotate_out(self, which: int, extra_block: bool) -> None:
        request_id = self._choose("hbm", which)
        if request_id is None:
            return
        live = self.live[request_id]
        if not self.ledger.can_rotate_out(request_id, len(live.tokens)):
            return
        if extra_block and self.free_blocks:
            live.blocks.append(self.free_blocks.pop())  # allocated ahead, not written
        job = self.ledger.rotate_out(request_id, live.blocks, len(live.tokens))
        blocks, live.blocks, live.place = live.blocks, [], "leaving"
        self._submit(job, JobKind.OUT)
        self._give_back(blocks)
        if self.ledger.is_in_dram(request_id):
            live.place = "dram"
            assert job is None

    @rule(which=pick, present=st.integers(0, 5))
    def rotate_in(self, which: int, present: int) -> None:
        request_id = self._choose("dram", which)
        if request_id is None:
            return
        live = self.live[request_id]
        expected = live.expected()
        if len(expected) > len(self.free_blocks):
            return
        live.blocks = [self.free_blocks.pop() for _ in expected]
        num_present = min(present, len(expected) - 1)
        for block, data in zip(live.blocks[:num_present], expected, strict=False):
            self.hbm[block] = data  # a prefix-cache hit
        live.place = "entering"
        job = self.ledger.rotate_in(request_id, live.blocks, num_present)
        assert [copy.block for copy in job.copies] == live.blocks[num_present:]
        self._submit(job, JobKind.IN)

    @rule(max_copies=st.integers(0, 6), skip=st.sets(st.sampled_from(REQUESTS)))
    def mirror(self, max_copies: int, skip: set[str]) -> None:
        wanted = [
            (request_id, live.blocks, len(live.tokens) // BLOCK_SIZE)
            for request_id, live in self.live.items()
            if live.place == "hbm" and request_id not in skip
        ]
        free = self.ledger.slots.num_free
        job = self.ledger.start_mirror(wanted, max_copies)
        assert job is None or len(job.copies) <= min(max_copies, free)
        if (0 if job is None else len(job.copies)) < min(max_copies, free):
            # Neither slots nor the limit stopped it, so every full block has its mirror.
            for request_id, blocks, num_full in wanted:
                assert self.ledger.num_unmirrored(request_id, num_full) == 0, blocks
        self._submit(job, JobKind.MIRROR)

    @precondition(lambda self: self.live)
    @rule(which=pick)
    def forget(self, which: int) -> None:
        request_id = sorted(self.live)[which % len(self.live)]
        self.ledger.forget(request_id)
        self._give_back(self.live.pop(request_id).blocks)

    # --- acknowledgements -------------------------------------------------------------------

    @precondition(lambda self: self.jobs)
    @rule(which=pick, ok=st.sampled_from([True] * 7 + [False]))
    def finish(self, which: int, ok: bool) -> None:
        job_id = sorted(self.jobs)[which % len(self.jobs)]
        job, sources = self.jobs.pop(job_id)
        into_hbm = job.kind is JobKind.IN
        for copy, source in zip(job.copies, sources, strict=True):
            assert self.pins[copy.block] > 0
            assert (self.dram[copy.slot] if into_hbm else self.hbm[copy.block]) == source
            if into_hbm:
                self.hbm[copy.block] = source if ok else (-2,)
            else:
                self.dram[copy.slot] = source if ok else (-2,)
        finished = self.ledger.finish(job_id, ok=ok)
        assert finished.unpin == tuple(copy.block for copy in job.copies)
        for block in finished.unpin:
            self.pins[block] -= 1
        self._give_back(list(finished.unpin))
        if job_id in self.abandoned:
            assert finished == Finished(unpin=finished.unpin), "nobody waits for it any more"
            self.abandoned.remove(job_id)
        for request_id in finished.rotated_out:
            assert self.live[request_id].place == "leaving"
            self.live[request_id].place = "dram"
        for request_id in finished.rotated_in:
            assert self.live[request_id].place == "entering"
            self.live[request_id].place = "hbm"
        for request_id in finished.lost:
            assert not ok
            self._give_back(self.live.pop(request_id).blocks)

    @precondition(lambda self: self.jobs.keys() - self.abandoned)
    @rule(which=pick)
    def abandon(self, which: int) -> None:
        waited_for = sorted(self.jobs.keys() - self.abandoned)
        job_id = waited_for[which % len(waited_for)]
        rotating = {r for r, live in self.live.items() if live.place in ("leaving", "entering")}
        for request_id in self.ledger.abandon(job_id):
            assert request_id in rotating
            self._give_back(self.live.pop(request_id).blocks)
        self.abandoned.add(job_id)

    @precondition(lambda self: self.jobs)
    @rule(latest_first=st.booleans())
    def finish_all(self, latest_first: bool) -> None:
        while self.jobs:
            self.finish(len(self.jobs) - 1 if latest_first else 0, ok=True)

    @rule(which=pick, num_tokens=st.integers(0, 3))
    def go_round(self, which: int, num_tokens: int) -> None:
        """Out and back in, with a few tokens between: what most requests live through."""
        self.rotate_out(which, extra_block=False)
        self.finish_all(latest_first=False)
        self.rotate_in(which, present=0)
        self.finish_all(latest_first=True)
        self.generate(which, num_tokens)

    @rule(num_slabs=st.integers(0, MAX_SLABS))
    def resize(self, num_slabs: int) -> None:
        self.ledger.slots.resize(num_slabs)
        self.take_changes()

    @rule()
    def take_changes(self) -> None:
        changes = self.ledger.slots.take_changes()
        self.ledger.drop_retiring_mirrors()
        self.adding += changes.add
        self.dropping += changes.drop

    @precondition(lambda self: self.adding or self.dropping)
    @rule(all_of_them=st.booleans(), failed=st.sampled_from([False, False, False, True]))
    def acknowledge_slabs(self, all_of_them: bool = False, failed: bool = False) -> None:
        slots = self.ledger.slots
        count = max(len(self.adding), len(self.dropping)) if all_of_them else 1
        for number in self.adding[:count]:
            if failed:
                slots.slab_gone(number)
                continue
            slots.slab_ready(number)
            first = number * SLOTS_PER_SLAB
            self.dram.update(dict.fromkeys(range(first, first + SLOTS_PER_SLAB), (-3,)))
        for number in self.dropping[:count]:
            slots.slab_gone(number)
            for slot in range(number * SLOTS_PER_SLAB, (number + 1) * SLOTS_PER_SLAB):
                del self.dram[slot]  # any later use of it is a KeyError
        del self.adding[:count], self.dropping[:count]

    # --- what holds always ------------------------------------------------------------------

    @invariant()
    def rules_hold(self) -> None:
        self.ledger.check()
        assert self.ledger.num_jobs == len(self.jobs)
        assert self.pins.total() == sum(len(job.copies) for job, _ in self.jobs.values())
        assert self.pins.total() == self.ledger.num_copies_in_flight

    @invariant()
    def data_is_where_it_must_be(self) -> None:
        for request_id, live in self.live.items():
            assert self.ledger.is_in_dram(request_id) == (live.place == "dram")
            if live.place == "hbm":
                held = [self.hbm[block] for block in live.blocks[: len(live.expected())]]
                assert held == live.expected(), request_id

    def teardown(self) -> None:
        for request_id in sorted(self.live):
            self.ledger.forget(request_id)
            self._give_back(self.live.pop(request_id).blocks)
        while self.jobs:
            self.finish(0, ok=True)
        self.resize(0)
        while self.adding or self.dropping:
            self.acknowledge_slabs(all_of_them=True)
            self.take_changes()
        self.rules_hold()
        assert self.ledger.slots.num_used == 0
        assert self.ledger.num_requests == 0
        assert not +self.pins
        assert self.free_blocks == set(range(NUM_BLOCKS))
        assert self.ledger.slots.settled
        assert not self.dram

    # --- the model's own verbs --------------------------------------------------------------

    def _choose(self, place: str, which: int) -> str | None:
        there = sorted(r for r, live in self.live.items() if live.place == place)
        return there[which % len(there)] if there else None

    def _write(self, live: Live, num_tokens: int) -> None:
        for _ in range(num_tokens):
            if len(live.tokens) == len(live.blocks) * BLOCK_SIZE:
                if not self.free_blocks:
                    return
                live.blocks.append(self.free_blocks.pop())
            live.tokens.append(self.next_token)
            self.next_token += 1
            self.hbm[live.blocks[(len(live.tokens) - 1) // BLOCK_SIZE]] = live.expected()[-1]

    def _submit(self, job: Job | None, kind: JobKind) -> None:
        if job is None:
            return
        assert job.kind is kind
        assert job.copies
        self.jobs[job.job_id] = (
            job,
            [self.dram[c.slot] if kind is JobKind.IN else self.hbm[c.block] for c in job.copies],
        )
        self.pins.update(copy.block for copy in job.copies)

    def _give_back(self, blocks: list[int]) -> None:
        """Blocks that neither a request nor a copy holds may be written to by anybody at once."""
        held = {block for live in self.live.values() for block in live.blocks}
        for block in blocks:
            if not self.pins[block] and block not in held:
                self.free_blocks.add(block)
                self.hbm[block] = (-4,)


LedgerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=60)
TestLedgerMachine = LedgerMachine.TestCase
