"""The one line that says what is about to be served."""

from typing import Any

from superinfer_contract.quantity import format_bytes
from superinfer_contract.runtime_config import RuntimeConfig, TierBudget


def start_line(config: RuntimeConfig, address: Any, stock_reason: str | None) -> str:
    """Return classes (the default one starred), budgets and address.

    Args:
        stock_reason: why vLLM's own scheduler serves; None: RotaSched does.
    """
    classes = ", ".join(
        f"{c.name}{'*' if c.default and len(config.slo_classes) > 1 else ''} "
        f"(TTFT {c.ttft_s:g} s, TBT {c.tbt_s * 1000:g} ms)"
        for c in config.slo_classes
    )
    budgets = f"KV HBM {_budget(config.kv_cache.hbm, 'sized by vLLM')}"
    if stock_reason is None:
        budgets += f", DRAM {_budget(config.kv_cache.dram, 'none')}"
    scheduler = "RotaSched" if stock_reason is None else f"vLLM's scheduler ({stock_reason})"
    scheme = "http" if config.server.tls is None else "https"
    return (
        f"superinfer: {scheme}://{address[0]}:{address[1]} | {scheduler} | classes {classes} | "
        f"{budgets}"
    )


def _budget(tier: TierBudget | None, without: str) -> str:
    if tier is None:
        return without
    return f"{format_bytes(tier.initial_bytes)} of {format_bytes(tier.max)}"
