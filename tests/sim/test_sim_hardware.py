"""Presets and link figures agree with each other and with what was measured."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.sim.machine.hardware import HARDWARE, KIB, MIB, Hardware, hardware
from superinfer_runtime.sim.machine.link import CopyPath, share_at


def test_presets_are_found_by_name_and_an_unknown_one_lists_them() -> None:
    assert set(HARDWARE) >= {
        "h200",
        "h200-peer",
        "gh200-96-480",
        "gh200-144-480",
        "gh200-96-120",
        "h100",
    }
    assert hardware("GH200-96-480").name == "gh200-96-480"
    with pytest.raises(ValueError, match=r"unknown hardware 'b200'.*gh200-144-480"):
        hardware("b200")


def test_a_single_number_can_be_replaced() -> None:
    slow = replace(hardware("h200"), link=replace(hardware("h200").link, in_bytes_per_s=1e9))
    assert slow.link.in_bytes_per_s == 1e9
    assert slow.link.out_bytes_per_s == hardware("h200").link.out_bytes_per_s


@pytest.mark.parametrize("preset", HARDWARE.values(), ids=HARDWARE)
def test_duplex_lies_between_one_direction_and_the_sum_of_both(preset: Hardware) -> None:
    link = preset.link
    assert min(link.out_bytes_per_s, link.in_bytes_per_s) < link.duplex_bytes_per_s
    assert link.duplex_bytes_per_s <= link.out_bytes_per_s + link.in_bytes_per_s


@given(
    st.sampled_from(sorted(HARDWARE)),
    st.integers(1, 64 * MIB),
    st.integers(1, 64 * MIB),
)
def test_larger_segments_never_copy_slower(name: str, one: int, other: int) -> None:
    for curve in (HARDWARE[name].link.one_way_shares, HARDWARE[name].link.duplex_shares):
        small, large = (share_at(curve, size) for size in sorted((one, other)))
        assert 0.0 < small <= large <= 1.0


def test_a_curve_passes_through_its_points() -> None:
    link = hardware("h200").link
    for size, share in (*link.duplex_shares, *link.one_way_shares):
        curve = link.duplex_shares if (size, share) in link.duplex_shares else link.one_way_shares
        assert share_at(curve, size) == pytest.approx(share)


@pytest.mark.parametrize(
    ("name", "segment_bytes", "path"),
    [
        # What calibration chose on the H200's host, and what it would choose between two H200.
        ("h200", 32 * KIB, CopyPath.STAGED),
        ("h200", 64 * KIB, CopyPath.STAGED),
        ("h200", 2 * MIB, CopyPath.DIRECT),
        ("h200-peer", 32 * KIB, CopyPath.STAGED),
        ("h200-peer", 2 * MIB, CopyPath.DIRECT),
        ("gh200-144-480", 64 * KIB, CopyPath.STAGED),
        ("gh200-144-480", 4 * MIB, CopyPath.DIRECT),
    ],
)
def test_the_way_to_copy_is_the_one_measured_as_fastest(
    name: str, segment_bytes: int, path: CopyPath
) -> None:
    assert hardware(name).link.path(segment_bytes) is path


def test_without_staging_all_copies_are_direct() -> None:
    link = replace(hardware("h200").link, staged_share=None)
    assert link.path(KIB) is CopyPath.DIRECT
