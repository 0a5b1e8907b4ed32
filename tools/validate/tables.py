"""The comparison as tables on a terminal, from what is written to `validate.json`."""

from typing import Any

from rich.console import Console
from rich.table import Table

FIGURES = {
    "mean_ttft_s": "TTFT mean",
    "p50_ttft_s": "TTFT P50",
    "p90_ttft_s": "TTFT P90",
    "mean_tbt_s": "TBT mean",
    "p90_tbt_s": "TBT P90",
    "output_tokens_per_s": "tokens/s",
    "ttft_attainment": "TTFT attained",
    "tbt_attainment": "TBT attained",
    "joint_attainment": "both attained",
}


def show_cpu(console: Console, result: dict[str, Any]) -> None:
    """Every figure of every run, then the errors over the runs."""
    runs, errors, hindsight = result["runs"], result["errors"], result["hindsight_errors"]
    grid = Table(title="Real / simulated, CPU")
    grid.add_column("")
    for run in runs:
        grid.add_column(f"{run['policy']}\n{run['load']}\n{run['request_rate']:.2f} req/s")
    for name, label in FIGURES.items():
        grid.add_row(label, *(_pair(name, run["figures"].get(name)) for run in runs))
    grid.add_row("steps, real to expected", *(f"{run['step_time_ratio']:.2f}" for run in runs))
    console.print(grid)
    columns = ("mean", "P90", "bias", "mean in hindsight", "P90 in hindsight")
    spread = Table("", *columns, title="Absolute errors over these runs, and signed (bias)")
    for name, label in FIGURES.items():
        if name in errors:
            own, after = errors[name], hindsight[name]
            sizes = (own["mean"], own["p90"], after["mean"], after["p90"])
            mean, p90, *rest = (_error(name, size).lstrip("+") for size in sizes)
            spread.add_row(label, mean, p90, _error(name, own["bias"]), *rest)
    console.print(spread)


def show_gpu(console: Console, gpu: dict[str, Any]) -> None:
    """The recorded figures beside the simulated ones."""
    grid = Table("", "figure", "real", "simulated", "lowest - highest", "error", title="H200")
    for run in gpu["serving"]:
        title = f"{run['rate']:g} req/s, {run['hbm_blocks']:,} blocks"
        for name, figure in run["figures"].items():
            values = (figure[key] for key in ("real", "simulated", "lowest", "highest"))
            real, simulated, lowest, highest = (_value(name, value) for value in values)
            error = _error(name, figure["error"])
            grid.add_row(title, name, real, simulated, f"{lowest} - {highest}", error)
            title = ""
    for step in gpu["decode_steps"]:
        figure, title = step["step"], f"{step['model']}, context {step['context_tokens']}"
        real, simulated = (f"{figure[key] * 1e3:.2f} ms" for key in ("real", "simulated"))
        grid.add_row(title, "decode step", real, simulated, "", _error("", figure["error"]))
    console.print(grid)


def _pair(name: str, figure: dict[str, float] | None) -> str:
    if figure is None:
        return "-"
    return f"{_value(name, figure['real'])} / {_value(name, figure['simulated'])}"


def _value(name: str, value: float) -> str:
    if name.endswith("_attainment"):
        return f"{value:.1%}"
    if name.endswith("tbt_s"):
        return f"{value * 1e3:.0f} ms"
    return f"{value:.2f} s" if name.endswith("_s") and "per_s" not in name else f"{value:,.0f}"


def _error(name: str, error: float) -> str:
    if name.endswith("_attainment"):
        return f"{error * 100:+.1f} points"
    return f"{error:+.1%}"
