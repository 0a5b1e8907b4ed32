"""The ledger: which memory holds each block of each request's KV, and which copies are under way.

How a block moves stands in `block_states`.

Three rules hold always, and `check` proves them:

* a DRAM slot has one owner: a (request, block), or a copy still under way that nobody waits for;
* while a copy is under way its slot stays taken and its HBM block stays *pinned*, whatever becomes
  of the request: both return only with the acknowledgement;
* every pin is released exactly once.

Pins are the caller's business: each method that starts a copy names the blocks to pin, and `finish`
names those to release. The ledger never touches vLLM's block pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from superinfer_runtime.duplexkv.block_states import COPYING, BlockState, RequestBlocks
from superinfer_runtime.duplexkv.jobs import Copy, Finished, Job, JobKind
from superinfer_runtime.duplexkv.slots import SlotPool


@dataclass(frozen=True, slots=True)
class _OpenJob:
    job: Job
    parts: tuple[tuple[str, int], ...]
    """(request, block index) of each copy."""


class BlockLedger:
    """See the module's text. ``block_size`` is in tokens."""

    def __init__(self, slots: SlotPool, block_size: int) -> None:
        self.slots = slots
        self.block_size = block_size
        self._entries: dict[str, RequestBlocks] = {}
        self._open: dict[int, _OpenJob] = {}
        self._owner: dict[int, tuple[str, int]] = {}
        """Slot -> (request, block index); an orphan (its request is gone) stays until the ack."""
        self._reclaimable = 0
        self._next_job_id = 0

    @property
    def num_jobs(self) -> int:
        """Jobs that are not acknowledged."""
        return len(self._open)

    @property
    def num_requests(self) -> int:
        """Requests with an entry."""
        return len(self._entries)

    @property
    def num_copies_in_flight(self) -> int:
        """Blocks in all jobs that are not acknowledged."""
        return sum(len(open_job.job.copies) for open_job in self._open.values())

    @property
    def num_available_slots(self) -> int:
        """Slots that a rotation can get: free ones, and mirrors that can be given up for it."""
        return self.slots.num_free + self._reclaimable

    def num_unmirrored(self, request_id: str, num_blocks: int) -> int:
        """Slots that rotating the first ``num_blocks`` blocks out would take."""
        entry = self._entries.get(request_id)
        if entry is None:
            return num_blocks
        return num_blocks - entry.num_slots  # only full blocks have slots, so none lies beyond

    def is_in_dram(self, request_id: str) -> bool:
        """Whether the request is rotated out and all its copies are acknowledged."""
        entry = self._entries.get(request_id)
        return (
            entry is not None
            and entry.pending == 0
            and bool(entry.states)
            # The rest is there too, since no copy is pending; the policy asks of everybody.
            and entry.states[-1] is BlockState.DRAM_ONLY
        )

    def has_unmirrored(self, request_id: str, num_full: int) -> bool:
        """Whether any of the first ``num_full`` blocks is in HBM only."""
        entry = self._entries.get(request_id)
        return num_full > (entry.mirror_cursor if entry is not None else 0)

    def start_mirror(
        self, wanted: Sequence[tuple[str, Sequence[int], int]], max_copies: int
    ) -> Job | None:
        """Start copying full blocks of running requests, as many as slots and the limit allow.

        Args:
            wanted: (request, its HBM blocks in order, number of leading full and written blocks).
            max_copies: at most so many blocks.

        Returns:
            The job, or None if there is nothing to do. Pin its blocks.
        """
        parts: list[tuple[str, int]] = []
        blocks: list[int] = []
        limit = min(max_copies, self.slots.num_free)
        for request_id, hbm_blocks, num_full in wanted:
            entry = self._entries.setdefault(request_id, RequestBlocks())
            entry.extend_to(num_full)
            for index in range(entry.mirror_cursor, num_full):
                if len(parts) >= limit:
                    break
                if entry.states[index] is BlockState.HBM_ONLY:
                    parts.append((request_id, index))
                    blocks.append(hbm_blocks[index])
                entry.mirror_cursor = index + 1
        if not parts:
            return None
        return self._start(JobKind.MIRROR, BlockState.MIRRORING, parts, blocks)

    def rotate_out(self, request_id: str, hbm_blocks: Sequence[int], num_tokens: int) -> Job | None:
        """Move a request's KV to DRAM; `can_rotate_out` must hold.

        Args:
            request_id: the request; its compute must be ordered before the copy.
            hbm_blocks: its HBM blocks in order, at least those of ``num_tokens`` tokens.
            num_tokens: tokens whose KV is to be kept.

        Returns:
            The job that copies what is not mirrored (pin its blocks), or None if all of it is.
        """
        num_blocks = -(-num_tokens // self.block_size)
        entry = self._entries.setdefault(request_id, RequestBlocks())
        entry.extend_to(num_blocks)
        self._release_slots_of(entry, range(num_blocks, len(entry.states)))
        del entry.states[num_blocks:], entry.slots[num_blocks:]
        entry.mirror_cursor = min(entry.mirror_cursor, num_blocks)
        entry.num_full = num_tokens // self.block_size
        self._make_room(self.num_unmirrored(request_id, num_blocks), keep=request_id)

        parts: list[tuple[str, int]] = []
        blocks: list[int] = []
        for index, state in enumerate(entry.states):
            if state is BlockState.SYNCED:
                self._set_state(entry, index, BlockState.DRAM_ONLY)
            elif state is BlockState.MIRRORING:
                self._set_state(entry, index, BlockState.ROTATING_OUT)
                entry.pending += 1
            else:
                parts.append((request_id, index))
                blocks.append(hbm_blocks[index])
        if not parts:
            return None
        entry.pending += len(parts)
        return self._start(JobKind.OUT, BlockState.ROTATING_OUT, parts, blocks)

    def can_rotate_out(self, request_id: str, num_tokens: int) -> bool:
        """Whether DRAM has room for what of the request is not mirrored."""
        num_blocks = -(-num_tokens // self.block_size)
        entry = self._entries.get(request_id)
        own = sum(s is BlockState.SYNCED for s in entry.states[:num_blocks]) if entry else 0
        needed = self.num_unmirrored(request_id, num_blocks)
        return needed <= self.num_available_slots - own

    def rotate_in(self, request_id: str, hbm_blocks: Sequence[int], num_present: int) -> Job:
        """Move a request's KV back to HBM; `is_in_dram` must hold.

        Args:
            request_id: the request.
            hbm_blocks: the new HBM blocks in order.
            num_present: leading blocks that HBM still holds (prefix cache hits): not copied. At
                least one block must be left to copy.

        Returns:
            The job. Pin its blocks.
        """
        entry = self._entries[request_id]
        for index in range(num_present):
            self._set_synced(entry, index)
        parts = [(request_id, index) for index in range(num_present, len(entry.states))]
        if not parts:
            raise ValueError(f"{request_id}: nothing to copy; leave at least one block to load")
        entry.pending = len(parts)
        blocks = [hbm_blocks[index] for _, index in parts]
        return self._start(JobKind.IN, BlockState.ROTATING_IN, parts, blocks)

    def finish(self, job_id: int, *, ok: bool = True) -> Finished:
        """Take the acknowledgement of a job: copied (``ok``) or failed."""
        open_job = self._open.pop(job_id)
        rotated_out: list[str] = []
        rotated_in: list[str] = []
        lost: list[str] = []
        for (request_id, index), copy in zip(open_job.parts, open_job.job.copies, strict=True):
            entry = self._entries.get(request_id)
            if entry is None or self._owner.get(copy.slot) != (request_id, index):
                self._release_slot(copy.slot)  # its request went away while it was copied
                continue
            state = entry.states[index]
            if state is BlockState.MIRRORING:
                if ok:
                    self._set_synced(entry, index)
                else:
                    self._set_state(entry, index, BlockState.HBM_ONLY)
                    self._release_slots_of(entry, (index,))
                continue
            entry.pending -= 1
            if not ok:
                self._set_state(entry, index, BlockState.DRAM_ONLY)  # no longer being copied
                if request_id not in lost:
                    lost.append(request_id)
            elif state is BlockState.ROTATING_OUT:
                self._set_state(entry, index, BlockState.DRAM_ONLY)
                if entry.pending == 0:
                    rotated_out.append(request_id)
            else:
                self._set_synced(entry, index)
                if entry.pending == 0:
                    # The tail will be written to again: only full blocks stay mirrored.
                    tail = range(entry.num_full, len(entry.states))
                    for tail_index in tail:
                        self._set_state(entry, tail_index, BlockState.HBM_ONLY)
                    self._release_slots_of(entry, tail)
                    rotated_in.append(request_id)
        for request_id in lost:
            self.forget(request_id)
        return Finished(
            unpin=tuple(copy.block for copy in open_job.job.copies),
            rotated_out=tuple(r for r in rotated_out if r not in lost),
            rotated_in=tuple(r for r in rotated_in if r not in lost),
            lost=tuple(lost),
        )

    def abandon(self, job_id: int) -> tuple[str, ...]:
        """The job does not end: give up what it was for. Its slots and pins wait for `finish`.

        Returns:
            Requests that it was to rotate: forgotten here, to be computed again.
        """
        open_job = self._open[job_id]
        lost: dict[str, None] = {}
        for (request_id, index), copy in zip(open_job.parts, open_job.job.copies, strict=True):
            if self._owner.get(copy.slot) != (request_id, index):
                continue  # its request went away while it was copied
            entry = self._entries[request_id]
            if entry.states[index] is BlockState.MIRRORING:
                self._release_slots_of(entry, (index,))
                self._set_state(entry, index, BlockState.HBM_ONLY)
            else:
                lost[request_id] = None
        for request_id in lost:
            self.forget(request_id)
        return tuple(lost)

    def forget(self, request_id: str) -> None:
        """The request finished, was aborted, or lost its KV: free its slots, those being copied
        with the acknowledgement."""
        entry = self._entries.pop(request_id, None)
        if entry is None:
            return
        for index, state in enumerate(entry.states):
            slot = entry.slots[index]
            if slot is None:
                continue
            self._reclaimable -= state is BlockState.SYNCED
            if state in COPYING:
                self._owner[slot] = _ORPHAN
            else:
                self._release_slot(slot)

    def drop_retiring_mirrors(self) -> None:
        """Give up mirrors whose slab is to be given back."""
        if not self.slots.has_retiring:
            return
        for entry in self._entries.values():
            for index, slot in enumerate(entry.slots):
                if (
                    slot is not None
                    and entry.states[index] is BlockState.SYNCED
                    and self.slots.is_retiring(slot)
                ):
                    self._give_up_mirror(entry, index)

    def check(self) -> None:
        """Raise AssertionError if a rule of the module's text does not hold."""
        owned: dict[int, tuple[str, int]] = {}
        copying: set[tuple[str, int]] = set()
        for request_id, entry in self._entries.items():
            assert len(entry.states) == len(entry.slots)
            assert entry.num_slots == sum(slot is not None for slot in entry.slots)
            for index, (state, slot) in enumerate(zip(entry.states, entry.slots, strict=True)):
                assert (slot is None) == (state is BlockState.HBM_ONLY), (request_id, index, state)
                if slot is not None:
                    assert slot not in owned, f"slot {slot} has two owners"
                    owned[slot] = (request_id, index)
                if state in COPYING:
                    copying.add((request_id, index))
            if not entry.pending and BlockState.DRAM_ONLY in entry.states:
                assert set(entry.states) == {BlockState.DRAM_ONLY}, request_id
        orphans = {slot for slot, owner in self._owner.items() if owner == _ORPHAN}
        assert {s: o for s, o in self._owner.items() if o != _ORPHAN} == owned
        in_jobs = [copy.slot for open_job in self._open.values() for copy in open_job.job.copies]
        assert len(set(in_jobs)) == len(in_jobs), "a slot is copied twice at once"
        assert orphans <= set(in_jobs), "an orphan slot has no copy under way"
        assert {owned[slot] for slot in in_jobs if slot in owned} == copying
        assert self.slots.num_used == len(self._owner)
        synced = sum(
            state is BlockState.SYNCED for entry in self._entries.values() for state in entry.states
        )
        assert self._reclaimable == synced

    def _start(
        self,
        kind: JobKind,
        state: BlockState,
        parts: list[tuple[str, int]],
        blocks: list[int],
    ) -> Job:
        copies: list[Copy] = []
        new_slots: list[int] = []
        if kind is not JobKind.IN:
            taken = self.slots.allocate(len(parts))
            if taken is None:
                raise ValueError("DRAM has no room; ask can_rotate_out first")
            new_slots = taken
        for number, ((request_id, index), block) in enumerate(zip(parts, blocks, strict=True)):
            entry = self._entries[request_id]
            if new_slots:
                entry.slots[index] = new_slots[number]
                entry.num_slots += 1
                self._owner[new_slots[number]] = (request_id, index)
            self._set_state(entry, index, state)
            slot = entry.slots[index]
            assert slot is not None
            copies.append(Copy(block, slot))
        job = Job(self._next_job_id, kind, tuple(copies))
        self._next_job_id += 1
        self._open[job.job_id] = _OpenJob(job, tuple(parts))
        return job

    def _set_state(self, entry: RequestBlocks, index: int, state: BlockState) -> None:
        if state is BlockState.HBM_ONLY:
            entry.mirror_cursor = min(entry.mirror_cursor, index)
        self._reclaimable += (state is BlockState.SYNCED) - (
            entry.states[index] is BlockState.SYNCED
        )
        entry.states[index] = state

    def _set_synced(self, entry: RequestBlocks, index: int) -> None:
        """HBM and DRAM hold the block now; the mirror is given up if its slab is to go."""
        self._set_state(entry, index, BlockState.SYNCED)
        slot = entry.slots[index]
        if slot is not None and self.slots.is_retiring(slot):
            self._give_up_mirror(entry, index)

    def _make_room(self, num_slots: int, keep: str) -> None:
        """Give up mirrors of other requests, those mirrored last first, until so many are free."""
        if self.slots.num_free >= num_slots:
            return
        for request_id, entry in reversed(self._entries.items()):
            if request_id == keep or self.is_in_dram(request_id):
                continue  # the latter has no mirrors: DRAM holds the only copy
            for index in reversed(range(len(entry.states))):
                if entry.states[index] is BlockState.SYNCED:
                    self._give_up_mirror(entry, index)
                    if self.slots.num_free >= num_slots:
                        return

    def _give_up_mirror(self, entry: RequestBlocks, index: int) -> None:
        self._set_state(entry, index, BlockState.HBM_ONLY)
        self._release_slots_of(entry, (index,))

    def _release_slots_of(self, entry: RequestBlocks, indices: Sequence[int]) -> None:
        for index in indices:
            slot = entry.slots[index]
            if slot is None:
                continue
            entry.slots[index] = None
            entry.num_slots -= 1
            self._reclaimable -= entry.states[index] is BlockState.SYNCED
            if entry.states[index] in COPYING:
                self._owner[slot] = _ORPHAN
            else:
                self._release_slot(slot)

    def _release_slot(self, slot: int) -> None:
        del self._owner[slot]
        self.slots.free([slot])


_ORPHAN = ("", -1)
