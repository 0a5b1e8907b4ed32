"""Building the snapshot that leaves the scheduler: live state in, plain data out."""

from dataclasses import asdict

from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.engine.geometry import KvGeometry
from superinfer_runtime.engine.hbm_budget import HbmBudget
from superinfer_runtime.engine.residency import DirectionTotals, KvResidency
from superinfer_runtime.policy.transfer_budget import TransferBudget
from superinfer_runtime.telemetry.snapshot import (
    EngineSnapshot,
    FinishSample,
    LinkSnapshot,
    TierSnapshot,
    TransferTotals,
    TtftSample,
)


class SnapshotBuilder:
    """Knows the bounds of both tiers and reads their state."""

    def __init__(
        self,
        config: EngineConfig,
        geometry: KvGeometry,
        hbm: HbmBudget,
        residency: KvResidency,
    ) -> None:
        self._geometry = geometry
        self._hbm = hbm
        self._residency = residency
        dram = config.kv_cache.dram
        slab_bytes = geometry.slab_bytes
        self._min_slabs = dram.min // slab_bytes if dram else 0
        self._max_slabs = max(dram.max // slab_bytes, 1) if dram else 0
        self.initial_slabs = min(
            max(dram.initial_bytes // slab_bytes, self._min_slabs) if dram else 0, self._max_slabs
        )

    def build(
        self,
        *,
        rotation_off_reason: str | None,
        num_running: int,
        num_waiting: int,
        num_rotary: int,
        rotation_stalls: int,
        recompute_preemptions: int,
        transfer_budget: TransferBudget,
        max_lag_s: dict[str, float],
        class_shares: dict[str, float],
        ttft_samples: tuple[TtftSample, ...] = (),
        finish_samples: tuple[FinishSample, ...] = (),
    ) -> EngineSnapshot:
        """Return the state of this moment."""
        return EngineSnapshot(
            rotation_off_reason=rotation_off_reason,
            hbm=self._hbm_tier(),
            dram=self._dram_tier(),
            num_running=num_running,
            num_waiting=num_waiting,
            num_rotary=num_rotary,
            out=_totals(self._residency.out, transfer_budget.out_bytes_per_s),
            into=_totals(self._residency.into, transfer_budget.in_bytes_per_s),
            link=self._link(),
            copy_failures=self._residency.copy_failures,
            rotation_stalls=rotation_stalls,
            recompute_preemptions=recompute_preemptions,
            step_time_s=transfer_budget.step_time_s,
            max_lag_s=max_lag_s,
            class_shares=dict(class_shares),
            ttft_samples=ttft_samples,
            finish_samples=finish_samples,
        )

    def _link(self) -> LinkSnapshot | None:
        link = self._residency.link
        return None if link is None else LinkSnapshot(**asdict(link))

    def _hbm_tier(self) -> TierSnapshot:
        size = self._geometry.block_bytes
        hbm = self._hbm
        return TierSnapshot(
            min_bytes=hbm.min_blocks * size,
            max_bytes=hbm.max_blocks * size,
            desired_bytes=hbm.desired_blocks * size,
            budget_bytes=hbm.allocated_blocks * size,
            used_bytes=hbm.used_blocks * size,
            headroom_bytes=max(hbm.free_blocks, 0) * size,
            step_bytes=size,
        )

    def _dram_tier(self) -> TierSnapshot:
        size = self._geometry.block_bytes
        slab = self._geometry.slab_bytes
        slots = self._residency.slots
        return TierSnapshot(
            min_bytes=self._min_slabs * slab,
            max_bytes=self._max_slabs * slab,
            desired_bytes=slots.target_slabs * slab,
            budget_bytes=slots.allocated_slabs * slab,
            used_bytes=slots.num_used * size,
            headroom_bytes=self._residency.ledger.num_available_slots * size,
            step_bytes=slab,
        )


def _totals(totals: DirectionTotals, bandwidth: float | None) -> TransferTotals:
    return TransferTotals(totals.rotations, totals.num_bytes, totals.busy_s, bandwidth)
