"""How many blocks may rotate in one iteration: what the link moves while the engine computes.

``hidden window x bandwidth / block size``, from measurements: the window is the recent step time,
the bandwidth that of the slower direction while both are in use. A calibration of the link says
what to begin with and what both directions share; finished copies refine each direction. Nothing is
set by hand unless the user sets it.
"""

from dataclasses import dataclass

from superinfer_runtime.policy.smoothing import smoothed


@dataclass(slots=True)
class TransferBudget:
    """Smoothed step time and link bandwidth; `blocks` turns them into a budget."""

    block_bytes: int
    fixed_blocks: int | None = None
    """The user's own constant; None: measured."""
    step_time_s: float | None = None
    out_bytes_per_s: float | None = None
    in_bytes_per_s: float | None = None
    duplex_bytes_per_s: float | None = None
    """Both directions at once, summed."""

    def calibrate(
        self, *, out_bytes_per_s: float, in_bytes_per_s: float, duplex_bytes_per_s: float
    ) -> None:
        """Begin with what the link was measured to do before any KV was in use."""
        self.out_bytes_per_s = out_bytes_per_s
        self.in_bytes_per_s = in_bytes_per_s
        self.duplex_bytes_per_s = duplex_bytes_per_s

    def record_step(self, step_time_s: float) -> None:
        """Note one engine step's duration."""
        self.step_time_s = smoothed(self.step_time_s, step_time_s)

    def record_transfer(self, *, out: bool, num_bytes: int, busy_s: float) -> None:
        """Note one finished copy. Copies too short to time are ignored."""
        if busy_s <= 0.0 or num_bytes <= 0:
            return
        rate = num_bytes / busy_s
        if out:
            self.out_bytes_per_s = smoothed(self.out_bytes_per_s, rate)
        else:
            self.in_bytes_per_s = smoothed(self.in_bytes_per_s, rate)

    def blocks(self, in_flight_blocks: int = 0) -> int:
        """Blocks that may still be submitted, given those in flight; at least 1 on an idle link."""
        if self.fixed_blocks is not None:
            return max(self.fixed_blocks - in_flight_blocks, 0)
        rates = [rate for rate in (self.out_bytes_per_s, self.in_bytes_per_s) if rate]
        if self.duplex_bytes_per_s:
            rates.append(self.duplex_bytes_per_s / 2)
        if not rates or self.step_time_s is None:
            return 0 if in_flight_blocks else 1
        window_blocks = max(int(self.step_time_s * min(rates) / self.block_bytes), 1)
        return max(window_blocks - in_flight_blocks, 0)
