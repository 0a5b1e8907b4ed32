"""The DRAM pool as the scheduler sees it: slots of one KV block each, in slabs that come and go.

Memory is taken and given back by whole slabs, because pinning and unpinning are slow and page-wise;
a slot is an offset into a slab. Growing asks the copy engine for a slab and uses it once the engine
says that it is there; where the machine has no more, the pool settles for what there is. Shrinking
stops handing out a slab's slots and gives the slab back when the last one is free. Nothing in use
is ever moved or dropped.

Invariant: a slot is free or has exactly one owner; a slab being dropped has no owned slot.
"""

from dataclasses import dataclass, field
from enum import Enum, auto


class SlabState(Enum):
    """REQUESTED -> READY -> RETIRING -> DROPPING -> gone.

    RETIRING may go back to READY; a slab that not all ranks could allocate goes from REQUESTED to
    REFUSED, to be dropped.
    """

    REQUESTED = auto()
    READY = auto()
    RETIRING = auto()
    REFUSED = auto()
    DROPPING = auto()


@dataclass(slots=True)
class _Slab:
    state: SlabState
    free_slots: list[int] = field(default_factory=list)
    """Last one is handed out next."""


@dataclass(frozen=True, slots=True)
class SlabChanges:
    """What the copy engine is to do: allocate and pin ``add``, release ``drop``."""

    add: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()


class SlotPool:
    """Slots of all slabs. Slot number = slab number x ``slots_per_slab`` + offset."""

    def __init__(self, slots_per_slab: int) -> None:
        if slots_per_slab < 1:
            raise ValueError("a slab must hold at least one slot")
        self.slots_per_slab = slots_per_slab
        self.target_slabs = 0
        self._slabs: dict[int, _Slab] = {}
        self._num_free = 0
        self._num_used = 0

    @property
    def num_free(self) -> int:
        """Slots that `allocate` can hand out now."""
        return self._num_free

    @property
    def num_used(self) -> int:
        """Slots with an owner, in retiring slabs too."""
        return self._num_used

    @property
    def allocated_slabs(self) -> int:
        """Slabs that hold memory (REQUESTED ones are not there yet)."""
        return sum(slab.state is not SlabState.REQUESTED for slab in self._slabs.values())

    @property
    def settled(self) -> bool:
        """Whether the pool has the size last asked for, with nothing on its way."""
        return len(self._slabs) == self.target_slabs and all(
            slab.state is SlabState.READY for slab in self._slabs.values()
        )

    def resize(self, target_slabs: int) -> None:
        """Ask for ``target_slabs``; `take_changes` then says what the engine must do."""
        self.target_slabs = target_slabs

    def take_changes(self) -> SlabChanges:
        """Move toward the target as far as is possible now. Call once an iteration."""
        live = self._in_state(SlabState.REQUESTED, SlabState.READY)
        add: list[int] = []
        if len(live) < self.target_slabs:
            missing = self.target_slabs - len(live)
            for number in self._in_state(SlabState.RETIRING)[:missing]:
                slab = self._slabs[number]
                slab.state = SlabState.READY
                self._num_free += len(slab.free_slots)
                missing -= 1
            number = 0
            while missing:
                if number not in self._slabs:
                    self._slabs[number] = _Slab(SlabState.REQUESTED)
                    add.append(number)
                    missing -= 1
                number += 1
        elif len(live) > self.target_slabs:
            # A slab still being pinned cannot be called back: it retires once it is ready.
            ready = [n for n in live if self._slabs[n].state is SlabState.READY]
            emptiest_first = sorted(ready, key=lambda n: (-len(self._slabs[n].free_slots), -n))
            for number in emptiest_first[: len(live) - self.target_slabs]:
                self._slabs[number].state = SlabState.RETIRING
                self._num_free -= len(self._slabs[number].free_slots)
        drop = self._in_state(SlabState.REFUSED) + [
            number
            for number in self._in_state(SlabState.RETIRING)
            if len(self._slabs[number].free_slots) == self.slots_per_slab
        ]
        for number in drop:
            self._slabs[number].state = SlabState.DROPPING
        return SlabChanges(tuple(add), tuple(drop))

    def slab_ready(self, number: int) -> None:
        """The engine has pinned slab ``number``."""
        first = number * self.slots_per_slab
        slab = self._slabs[number]
        slab.state = SlabState.READY
        slab.free_slots = list(range(first + self.slots_per_slab - 1, first - 1, -1))
        self._num_free += self.slots_per_slab

    def slab_gone(self, number: int) -> None:
        """The engine has released slab ``number``, or could not allocate it."""
        if self._slabs.pop(number).state is SlabState.REQUESTED:
            self._settle_for_less()

    def slab_refused(self, number: int) -> None:
        """Some ranks have pinned slab ``number`` and others could not: none is to keep it."""
        self._slabs[number].state = SlabState.REFUSED
        self._settle_for_less()

    def _settle_for_less(self) -> None:
        # The machine has no more: do not ask for ever.
        usable = self._in_state(SlabState.REQUESTED, SlabState.READY, SlabState.RETIRING)
        self.target_slabs = min(self.target_slabs, len(usable))

    def allocate(self, count: int) -> list[int] | None:
        """Take ``count`` slots, from low slabs first so that high ones empty; None if too few."""
        if count > self._num_free:
            return None
        taken: list[int] = []
        for number in sorted(self._slabs):
            slab = self._slabs[number]
            if slab.state is not SlabState.READY:
                continue
            while slab.free_slots and len(taken) < count:
                taken.append(slab.free_slots.pop())
            if len(taken) == count:
                break
        self._num_free -= count
        self._num_used += count
        return taken

    def free(self, slots: list[int]) -> None:
        """Give ``slots`` back."""
        for slot in slots:
            slab = self._slabs[slot // self.slots_per_slab]
            slab.free_slots.append(slot)
            if slab.state is SlabState.READY:
                self._num_free += 1
        self._num_used -= len(slots)

    def is_retiring(self, slot: int) -> bool:
        """Whether ``slot`` keeps a slab from being given back."""
        return self._slabs[slot // self.slots_per_slab].state is SlabState.RETIRING

    @property
    def has_retiring(self) -> bool:
        """Whether any slab waits for its slots to be freed."""
        return any(slab.state is SlabState.RETIRING for slab in self._slabs.values())

    def _in_state(self, *states: SlabState) -> list[int]:
        return [number for number, slab in sorted(self._slabs.items()) if slab.state in states]
