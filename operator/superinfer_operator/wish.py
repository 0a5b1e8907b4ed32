"""What every replica of a service is to have, and how many there are to be.

One wish a service, the same budget in every replica: whatever a replica has, it is brought to the
wish, so a new or restarted one needs no care of its own. The wish stands in the object's status and
outlives the operator.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from superinfer_contract.kv_budget import KvBudget, TierState
from superinfer_contract.metrics import Tier
from superinfer_contract.service import ServiceSpec, TierSpec
from superinfer_contract.service_style import kubernetes_name

from superinfer_operator.ladder.move import Move
from superinfer_operator.ladder.rules import Lever


class Wish(BaseModel):
    """Budgets are those of one replica."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=kubernetes_name, populate_by_name=True
    )

    hbm_bytes: int | None = Field(default=None, ge=0, description="None: not managed (yet)")
    dram_bytes: int | None = Field(default=None, ge=0, description="None: not managed (yet)")
    class_shares: dict[str, float] = Field(
        default={}, description="of the HBM budget; classes left out: 1"
    )
    replicas: int | None = Field(default=None, ge=0, description="None: not the ladder's")

    def as_json(self) -> dict[str, JsonValue]:
        """Return what stands in the status."""
        data: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return data

    def bytes_of(self, tier: Tier) -> int | None:
        return self.hbm_bytes if tier is Tier.HBM else self.dram_bytes

    def after(self, move: Move) -> "Wish":
        """Return the wish that ``move`` leads to."""
        changes: dict[str, object]
        match move.lever:
            case Lever.CLASSES:
                shares = {**self.class_shares, move.slo_class: move.end}
                changes = {"class_shares": _cut_only(shares)}
            case Lever.REPLICAS:
                changes = {"replicas": int(move.end)}
            case _:
                changes = {f"{move.lever}_bytes": int(move.end)}
        return self.model_copy(update=changes)

    def completed(self, spec: ServiceSpec, budgets: Sequence[KvBudget], replicas: int) -> "Wish":
        """Return the wish with what it did not know yet, then within the bounds of ``spec``.

        A tier starts at its ``initial``, or else at what the first replica has.
        """
        hbm, dram = (budgets[0].hbm, budgets[0].dram) if budgets else (None, None)
        ladder_scales = spec.autoscaling is not None and spec.autoscaling.scaler == "Ladder"
        return Wish(
            hbm_bytes=_start(spec.kv_cache.hbm, self.hbm_bytes, hbm),
            dram_bytes=_start(spec.kv_cache.dram, self.dram_bytes, dram),
            class_shares=self.class_shares,
            replicas=(self.replicas or replicas) if ladder_scales else None,
        ).within(spec)

    def within(self, spec: ServiceSpec) -> "Wish":
        """Return the wish clamped into the bounds of ``spec``; what it does not manage is left."""
        scaling, least_share = spec.autoscaling, spec.budget.min_class_share
        replicas = self.replicas
        if scaling is None or scaling.scaler != "Ladder":
            replicas = None
        elif replicas is not None:
            replicas = min(max(replicas, scaling.min_replicas), scaling.max_replicas)
        known = {slo_class.name for slo_class in spec.slo_classes}
        return Wish(
            hbm_bytes=_clamped(spec.kv_cache.hbm, self.hbm_bytes),
            dram_bytes=_clamped(spec.kv_cache.dram, self.dram_bytes),
            class_shares=_cut_only(
                {
                    name: min(max(share, least_share), 1.0)
                    for name, share in self.class_shares.items()
                    if name in known
                }
            ),
            replicas=replicas,
        )


def _start(bounds: TierSpec | None, wished: int | None, held: TierState | None) -> int | None:
    if bounds is None or wished is not None:
        return wished
    if bounds.initial is not None:
        return bounds.initial
    return None if held is None else held.desired_bytes


def _clamped(bounds: TierSpec | None, wished: int | None) -> int | None:
    if bounds is None or wished is None:
        return None
    return min(max(wished, bounds.min), bounds.max)


def _cut_only(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: share for name, share in sorted(shares.items()) if share < 1}
