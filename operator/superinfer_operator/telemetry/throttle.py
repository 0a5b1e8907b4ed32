"""How much telemetry one sender may bring: a token bucket of bytes for each.

Reading a report takes the operator's one thread, so nobody may have all of it. A service with a
thousand replicas sends a megabyte a second; the rates leave room for that, and a burst for all of
its replicas reporting at once.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from superinfer_operator.tokens import FLEET

BYTES_PER_S = 2 * 2**20
BURST_BYTES = 16 * 2**20
FLEET_FACTOR = 8
"""A collector sends for many services."""
MAX_BUCKETS = 8192


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class Throttle:
    """Admits senders' bytes; time is the clock's, in seconds."""

    def __init__(
        self,
        bytes_per_s: float = BYTES_PER_S,
        burst_bytes: float = BURST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bytes_per_s, self._burst_bytes = bytes_per_s, burst_bytes
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def wait_s(self, sender: str, num_bytes: int) -> int:
        """Return 0 and count ``num_bytes``, or in how many seconds ``sender`` may come again."""
        factor = FLEET_FACTOR if sender == str(FLEET) else 1
        rate, burst = self._bytes_per_s * factor, self._burst_bytes * factor
        now_s = self._clock()
        bucket = self._buckets.get(sender)
        if bucket is None:
            self._forget_full_ones(now_s)
            bucket = self._buckets[sender] = _Bucket(burst, now_s)
        bucket.left = min(burst, bucket.left + (now_s - bucket.at_s) * rate)
        bucket.at_s = now_s
        if num_bytes > bucket.left:
            return max(1, math.ceil((num_bytes - bucket.left) / rate))
        bucket.left -= num_bytes
        return 0

    def _forget_full_ones(self, now_s: float) -> None:
        if len(self._buckets) < MAX_BUCKETS:
            return
        refill_s = self._burst_bytes / self._bytes_per_s
        self._buckets = {
            sender: bucket
            for sender, bucket in self._buckets.items()
            if now_s - bucket.at_s < refill_s
        }
