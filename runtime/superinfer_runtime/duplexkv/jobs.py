"""Transfer jobs: copies of KV blocks that are submitted and acknowledged together."""

from dataclasses import dataclass
from enum import Enum, auto


class JobKind(Enum):
    """MIRROR and OUT copy HBM to DRAM, IN copies back."""

    MIRROR = auto()
    OUT = auto()
    IN = auto()


@dataclass(frozen=True, slots=True)
class Copy:
    """One block to copy between HBM block ``block`` and DRAM slot ``slot``."""

    block: int
    slot: int


@dataclass(frozen=True, slots=True)
class Job:
    """Copies that are submitted and acknowledged together."""

    job_id: int
    kind: JobKind
    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """What an acknowledgement changed."""

    unpin: tuple[int, ...]
    """HBM blocks that this job no longer reads or writes."""
    rotated_out: tuple[str, ...] = ()
    """Requests whose KV is now wholly in DRAM."""
    rotated_in: tuple[str, ...] = ()
    """Requests whose KV is now wholly in HBM."""
    lost: tuple[str, ...] = ()
    """Requests whose KV a failed copy made unusable: forgotten here, to be computed again."""
