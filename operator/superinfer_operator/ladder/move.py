"""A rung, and the one change of a service's wish that comes with it."""

from dataclasses import dataclass
from enum import StrEnum

from superinfer_contract.metrics import Tier
from superinfer_contract.quantity import format_bytes

from superinfer_operator.ladder.rules import TIER, Lever


class Rung(StrEnum):
    """What was decided, in the order of the ladder."""

    HOLD = "Hold"  # nothing to do, or nothing may be done now
    ROTATE_MORE = "RotateMore"  # the scheduler rotates and has DRAM left: nothing to change
    GROW_DRAM = "GrowDRAM"
    SHIFT_HBM = "ShiftHBM"  # taken from what a service on the same GPUs can spare
    GROW_HBM = "GrowHBM"
    SHRINK_CLASS = "ShrinkClass"  # the class with the least weight may hold less of the HBM budget
    ADD_REPLICA = "AddReplica"
    EXHAUSTED = "Exhausted"  # more is needed, and no rung is left
    REMOVE_REPLICA = "RemoveReplica"
    RESTORE_CLASS = "RestoreClass"
    SHRINK_HBM = "ShrinkHBM"
    SHRINK_DRAM = "ShrinkDRAM"
    WITHDRAW = "Withdraw"  # a step took too long or cannot be: back to what is held


@dataclass(frozen=True, slots=True)
class Move:
    """From ``start`` to ``end``: bytes of a tier, a class's share of HBM, or replicas."""

    rung: Rung
    lever: Lever
    start: float
    end: float
    slo_class: str = ""
    donor: str = ""  # the service that HBM is taken from

    @property
    def grows(self) -> bool:
        return self.end > self.start

    @property
    def tier(self) -> Tier | None:
        return TIER.get(self.lever)

    def __str__(self) -> str:
        """``DRAM 16Mi -> 24Mi``, ``class low's share of HBM 100 % -> 50 %``, ``replicas 1 -> 2``"""
        if self.lever is Lever.CLASSES:
            start, end = self.start * 100, self.end * 100
            return f"class {self.slo_class}'s share of HBM {start:g} % -> {end:g} %"
        if self.lever is Lever.REPLICAS:
            return f"replicas {self.start:g} -> {self.end:g}"
        start_said, end_said = format_bytes(int(self.start)), format_bytes(int(self.end))
        return f"{self.lever.upper()} {start_said} -> {end_said}"


@dataclass(frozen=True, slots=True)
class Step:
    """A move under way: wished for at ``since_s``, in flight until it shows."""

    move: Move
    since_s: float
    reason: str
