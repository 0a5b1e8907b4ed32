"""`make bench-gpu`: KV rotation on this machine's GPU, beside plain copies of the same run.

python tools/bench/gpu/run.py [--parts links,latency,decode] [--tier peer]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from superinfer_runtime.sim.machine.qwen2_config import SIZES, config_of_size

PARTS = ("links", "latency", "decode")
LAYERS_32B, SEGMENT_BYTES_32B, BLOCK_TOKENS = 64, 64 << 10, 16
"""KV of the shape of Qwen2.5-32B: 16 tokens x 8 heads x 128 x (K and V) x 2 bytes a layer."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/bench-gpu.json"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--tier", choices=("host", "peer"), default="host")
    parser.add_argument("--model", choices=tuple(SIZES), default="7b", help="shape for decode")
    parser.add_argument("--block-size", type=int, default=16, help="tokens a block for decode")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing to measure", file=sys.stderr)
        return 1
    console = Console(width=120)
    result: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(0),
        "num_gpus": torch.cuda.device_count(),
        "torch": torch.__version__,
        "tier": options.tier,
    }
    for part in options.parts.split(","):
        started_s = time.monotonic()
        result[part] = {"links": links, "latency": latency, "decode": decode}[part](options)
        result[f"{part}_took_s"] = round(time.monotonic() - started_s, 1)
        show(part, result[part], console)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n")
    console.print(f"written to {options.output}")
    return 0


def slab_memory(tier: str) -> Any:
    from superinfer_runtime.duplexkv.cuda.slabs import HostSlabs, PeerSlabs

    return PeerSlabs(0, 1) if tier == "peer" else HostSlabs(0)


def links(options: argparse.Namespace) -> list[dict[str, Any]]:
    from link_rates import link_rates

    return link_rates(options.tier, slab_memory(options.tier))


def latency(options: argparse.Namespace) -> dict[str, Any]:
    """Calibration at start, then rotations of one request; KV of a 32B model's shape."""
    from rotation_latency import rotation_latency
    from superinfer_runtime.engine.config import EngineConfig
    from superinfer_runtime.engine.copy_engines import copy_engine
    from superinfer_runtime.engine.geometry import KvGeometry

    num_blocks = 2048
    tensors = [
        torch.empty(num_blocks, SEGMENT_BYTES_32B, dtype=torch.uint8, device="cuda:0").random_()
        for _ in range(LAYERS_32B)
    ]
    block_bytes = LAYERS_32B * SEGMENT_BYTES_32B
    geometry = KvGeometry(num_blocks - 1, BLOCK_TOKENS, block_bytes, 2**30 // block_bytes, 1)
    config = EngineConfig.model_validate(
        {"kv_cache": {"dram": {"max": 2**34}, "tier": options.tier}}
    )
    started_s = time.perf_counter()
    engine = copy_engine(tensors, geometry, config)
    engine.calibrate(geometry.num_blocks)
    calibration_s = time.perf_counter() - started_s
    calibration = engine.poll().calibration
    assert calibration is not None
    started_s = time.perf_counter()
    engine.add_slab(1000)
    while not engine.poll().slabs_ready:
        time.sleep(0.001)
    slab_s = time.perf_counter() - started_s
    rows = rotation_latency(engine, BLOCK_TOKENS, block_bytes, num_blocks)
    engine.close()
    return {
        "calibration_took_s": round(calibration_s, 3),
        "slab_of_1_gib_took_s": round(slab_s, 3),
        "chosen": str(engine.choice),
        "out_gb_s": round(calibration.out_bytes_per_s / 1e9, 1),
        "in_gb_s": round(calibration.in_bytes_per_s / 1e9, 1),
        "duplex_gb_s": round(calibration.duplex_bytes_per_s / 1e9, 1),
        "crossover_bytes": calibration.crossover_bytes,
        "rotations": rows,
    }


def decode(options: argparse.Namespace) -> list[dict[str, Any]]:
    sys.path.insert(0, str(Path(__file__).parent))  # vLLM loads the connector by module name
    from decode_interference import decode_interference
    from superinfer_runtime.duplexkv.cuda.link import CopyPath, LinkShape
    from superinfer_runtime.duplexkv.cuda.rates import Choice

    choices = [
        Choice(CopyPath.DIRECT),
        *(Choice(CopyPath.STAGED, LinkShape(num_sms=sms)) for sms in (2, 8, 16)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = config_of_size(options.model)
        Path(folder, "config.json").write_text(json.dumps(config))
        model = {"model": folder, "load_format": "dummy", "dtype": "bfloat16", "seed": 0}
        rows = decode_interference(model | {"block_size": options.block_size}, choices)
    return [{"model": options.model, "block_size": options.block_size, **row} for row in rows]


def show(part: str, found: Any, console: Console) -> None:
    if isinstance(found, list):
        rows = found
    else:
        rows = found.get("rotations", [])
        for name, figure in found.items():
            if name != "rotations":
                console.print(f"{part}: {name} {figure}")
    if not rows:
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=part)
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
