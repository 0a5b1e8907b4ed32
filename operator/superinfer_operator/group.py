"""Services that share GPUs: who may have how much HBM now. Pure.

The group's total is the sum of its members' initial HBM budgets. A member's *claim* is the most
that any of its replicas may hold by now: what it wishes for, desires or has allocated. Invariant:
nobody is raised beyond what the claims of the others leave of the total, so the sum of what is
allocated never exceeds it. When HBM is shifted the donor's wish falls and the taker's rises at
once; the taker's budget follows as the donor's claim really falls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from superinfer_operator.ladder.view import Donor, Neighbourhood


@dataclass(frozen=True, slots=True)
class Member:
    """One service of the group; sizes are those of one replica."""

    name: str
    initial_bytes: int
    wish_bytes: int
    claim_bytes: int
    spare_bytes: int = 0


def total_bytes(members: Sequence[Member]) -> int:
    """What the group has."""
    return sum(member.initial_bytes for member in members)


def cap_bytes(own: Member, others: Sequence[Member]) -> int:
    """Return the most that ``own``'s budgets may be raised to now."""
    claimed = sum(other.claim_bytes for other in others)
    return max(0, total_bytes([own, *others]) - claimed)


def entitled_bytes(own: Member, others: Sequence[Member]) -> int:
    """Return the most that ``own`` may wish for: never less than what it brought.

    It bites when a member has left the group with HBM that others were given.
    """
    wished = sum(other.wish_bytes for other in others)
    return max(own.initial_bytes, total_bytes([own, *others]) - wished)


def neighbourhood(own: Member, others: Sequence[Member]) -> Neighbourhood:
    """Return what ``own`` may ask for."""
    members = [own, *others]
    free_bytes = total_bytes(members) - sum(member.wish_bytes for member in members)
    donors = tuple(Donor(each.name, each.spare_bytes) for each in others if each.spare_bytes > 0)
    return Neighbourhood(max(0, free_bytes), donors)
