"""Points that are not taken, and why: what a sender reads in the answer's ``partial_success``.

Late and repeated points are no rejections: their sender did nothing wrong and must not send again.
"""

from collections import Counter
from enum import StrEnum


class Reason(StrEnum):
    """Why a point is rejected, in words for its sender."""

    NO_SERVICE = "the resource lacks service.namespace or service.name"
    UNKNOWN_SERVICE = "no such service is known here"
    NO_POD = "the resource lacks k8s.pod.name and service.instance.id, or it is too long"
    WRONG_KIND = "a counter must be a monotonic sum (cumulative or delta), a gauge a gauge"
    BAD_VALUE = "the value is missing, not finite, or not possible for a counter"
    NO_TIME = "the point has no time"
    BAD_ATTRIBUTES = "the attributes are too many, too long, or not scalar"
    TOO_MANY_PODS = "the service reports from too many pods"
    TOO_MANY_SERIES = "the pod reports too many series"
    TOO_MANY_SERIES_OF_SERVICE = "the service reports too many series"
    NO_ROOM = "the operator holds as many series as it can"


Rejected = Counter[Reason]
"""Number of points by reason."""


def in_words(rejected: Rejected) -> str:
    """Return all reasons in one line, the most frequent first; empty if there is none."""
    return "; ".join(f"{count} points: {reason}" for reason, count in rejected.most_common())
