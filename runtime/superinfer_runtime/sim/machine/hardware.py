"""GPUs, their host and their link, as numbers.

Each number says where it comes from. *Measured*: by this project on two H200 (docs/benchmarks.md,
"DuplexKV on H200", and the calibration tables beside it). *Specified*: by the vendor. *Cited*:
measured by others. *Extrapolated* from an H200; *assumed*: neither. No GH200 was at hand: nothing
said here of one was measured by this project.

A single number is changed with `dataclasses.replace`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from superinfer_runtime.sim.machine.link import LinkSpec
from superinfer_runtime.sim.machine.operator_times import Chip

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Hardware:
    """One GPU of a kind, with its share of the host; alike ones for tensor parallelism."""

    name: str
    hbm_bytes: float
    hbm_bytes_per_s: float
    """Nominal; `operator_times` knows what share is reached."""
    peak_flops: float
    """Dense bfloat16, a second."""
    dram_bytes: float
    """Of the tier behind the link; what KV may take of it is the service's matter."""
    link: LinkSpec
    cpu_step_s: float
    """CPU time of a step: scheduling, preparing inputs, handing out results."""
    cpu_request_s: float
    """The same, each scheduled request."""
    launch_s: float = 1e-4
    """Of each step, in which the GPU waits for its launch. Assumed."""
    num_gpus: int = 1
    """Most GPUs that one replica can use together."""
    all_reduce_bytes_per_s: float = 370e9
    """NVLink 4, one direction. Cited: 376-380 between two H100 (NVIDIA/nccl issue 1264)."""
    all_reduce_latency_s: float = 1e-5
    """Assumed."""

    @property
    def chip(self) -> Chip:
        return Chip(self.peak_flops, self.hbm_bytes_per_s)


def hardware(name: str) -> Hardware:
    """Return a preset.

    Raises:
        ValueError: there is none of this name; says which there are.
    """
    preset = HARDWARE.get(name.lower())
    if preset is None:
        raise ValueError(f"unknown hardware {name!r}: choose one of {', '.join(HARDWARE)}")
    return preset


_PEAK_FLOPS = 989e12  # Specified, of every Hopper GPU with SXM power; GH200 the same.
_PIN_S_PER_BYTE = 0.14 / GIB  # Measured on the H200's host, with huge pages.
_FIXED_S = 0.45e-3  # Measured: one block of 4 MiB is acknowledged 0.55 ms after `submit`.

_PCIE_5 = LinkSpec(
    # Measured: contiguous copies of 1 GiB.
    out_bytes_per_s=55.2e9,
    in_bytes_per_s=55.3e9,
    duplex_bytes_per_s=101.0e9,
    # Measured: batched copies of scattered chunks; the slower of both directions at 16 KiB.
    one_way_shares=(
        (16 * KIB, 0.09),
        (32 * KIB, 0.69),
        (64 * KIB, 0.78),
        (256 * KIB, 0.90),
        (1 * MIB, 0.975),
        (4 * MIB, 0.995),
    ),
    # Measured: DuplexKV, direct.
    duplex_shares=(
        (8 * KIB, 0.06),
        (32 * KIB, 0.39),
        (64 * KIB, 0.91),
        (256 * KIB, 0.95),
        (2 * MIB, 1.0),
    ),
    staged_share=0.94,  # Measured: DuplexKV, staged, segments of 8 to 256 KiB.
    fixed_s=_FIXED_S,
    pin_s_per_byte=_PIN_S_PER_BYTE,
    decode_slowdown=0.08,  # Measured: 3 to 11 % over models, block sizes and ways to copy.
)
_NVLINK_PEER = LinkSpec(
    # Measured: contiguous copies of 1 GiB between two H200.
    out_bytes_per_s=393.5e9,
    in_bytes_per_s=390.0e9,
    duplex_bytes_per_s=766.6e9,
    # Measured: batched copies on one stream; from 2 MiB on half of what DuplexKV's streams reach
    # in duplex.
    one_way_shares=((32 * KIB, 0.15), (64 * KIB, 0.27), (256 * KIB, 0.54), (2 * MIB, 0.95)),
    duplex_shares=((32 * KIB, 0.08), (256 * KIB, 0.54), (2 * MIB, 0.97)),  # Measured: DuplexKV.
    staged_share=0.87,  # Measured: DuplexKV, staged.
    fixed_s=_FIXED_S,  # Measured on the host tier; assumed to be the same here.
    pin_s_per_byte=0.0,  # Nothing is pinned: an allocation on the neighbour.
    # Measured: a kernel bound by HBM bandwidth copies 3,264 instead of 3,971 GB/s beside it.
    decode_slowdown=0.22,
)
_C2C_480 = LinkSpec(
    # Cited: nvbandwidth's copy-engine tests, dnhkng/GH200_benchmarking; 363-381, 297-298, and
    # 179-190 a direction when both run.
    out_bytes_per_s=297e9,
    in_bytes_per_s=377e9,
    duplex_bytes_per_s=370e9,
    # Cited: SuperInfer, table 1: 4 MiB in batches gave 239 out and 270 in alone. Below that and at
    # 8 MiB read off nvbandwidth's duplex tests there; one way below 4 MiB assumed alike.
    one_way_shares=((64 * KIB, 0.03), (1 * MIB, 0.35), (4 * MIB, 0.76), (8 * MIB, 1.0)),
    duplex_shares=((64 * KIB, 0.05), (1 * MIB, 0.42), (4 * MIB, 0.97), (8 * MIB, 1.0)),
    staged_share=0.94,  # Assumed: as measured over PCIe.
    fixed_s=_FIXED_S,  # Assumed: as on the H200's host.
    pin_s_per_byte=_PIN_S_PER_BYTE,  # Assumed: as on the H200's host.
    decode_slowdown=0.10,  # Assumed: 370 GB/s of the 3.7 TB/s that HBM gives.
)
_C2C_120 = replace(
    _C2C_480,
    # Cited: rahulsteiger.github.io notes 2026-04, citing Fusco et al. 2408.11556.
    out_bytes_per_s=158e9,
    in_bytes_per_s=383e9,
    duplex_bytes_per_s=285e9,
    decode_slowdown=0.08,  # Assumed: 285 GB/s of the 3.7 TB/s that HBM gives.
)

# CPU times are assumed: an upper bound on x86 is that none shows in the decode steps measured on
# the H200 (5.7 ms with 64 requests). SuperInfer gives 7.6 ms on a Grace, of the order of 500
# requests a step; its cores are slower one by one.
_X86_STEP_S, _X86_REQUEST_S = 1.2e-3, 8e-6
_GRACE_STEP_S, _GRACE_REQUEST_S = 1.7e-3, 12e-6

_H200 = Hardware(
    name="h200",
    hbm_bytes=150.75e9,  # As the driver reports it: 143,771 MiB.
    hbm_bytes_per_s=4.8e12,  # Specified.
    peak_flops=_PEAK_FLOPS,
    dram_bytes=256e9,  # Assumed: an eighth of a host with 2 TB.
    link=_PCIE_5,
    cpu_step_s=_X86_STEP_S,
    cpu_request_s=_X86_REQUEST_S,
    num_gpus=8,
)
_GH200_96_480 = replace(
    _H200,
    name="gh200-96-480",
    hbm_bytes=96e9,  # Specified.
    hbm_bytes_per_s=4.0e12,  # Specified; cited: 3.72e12 by Triad.
    dram_bytes=480e9,  # Specified.
    link=_C2C_480,
    cpu_step_s=_GRACE_STEP_S,
    cpu_request_s=_GRACE_REQUEST_S,
    num_gpus=1,
)

HARDWARE: Mapping[str, Hardware] = {
    preset.name: preset
    for preset in (
        _H200,
        replace(
            _H200,
            name="h200-peer",
            dram_bytes=0.9 * 150.75e9,  # Assumed: the neighbour serves nothing itself.
            link=_NVLINK_PEER,
            num_gpus=1,
        ),
        _GH200_96_480,
        replace(
            _GH200_96_480,
            name="gh200-144-480",
            hbm_bytes=144e9,  # Specified.
            hbm_bytes_per_s=4.9e12,  # Specified; no measurement known.
            link=replace(_C2C_480, decode_slowdown=0.08),  # Assumed: 370 GB/s of 4.5 TB/s.
        ),
        replace(_GH200_96_480, name="gh200-96-120", dram_bytes=120e9, link=_C2C_120),
        replace(
            _H200,
            name="h100",
            hbm_bytes=85.52e9,  # As the driver reports it: 81,559 MiB.
            hbm_bytes_per_s=3.35e12,  # Specified.
            # Cited: vLLM's OffloadingConnector, 50 GB/s one way and 83.4 in duplex.
            link=replace(
                _PCIE_5, out_bytes_per_s=50e9, in_bytes_per_s=50e9, duplex_bytes_per_s=83.4e9
            ),
        ),
    )
}
