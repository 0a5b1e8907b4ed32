"""The change to a service's file: exactly what was recommended, and nothing else touched."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.service import ServiceSpec, SuperInferService
from superinfer_contract.validation import ConfigError
from superinfer_runtime.sim.planning.diff import patched, unified_diff
from superinfer_runtime.sim.planning.search import Provision, Recommendation, recommend
from superinfer_runtime.sim.planning.spec import (
    Change,
    Room,
    as_written,
    can_serve,
    changes,
    search_space,
)
from superinfer_runtime.sim.report.attainment import Attainment

GIB = 2**30
ROOM = Room(hbm_bytes=31 * GIB + 2**20, min_hbm_bytes=4 * GIB, dram_bytes=430 * GIB)
MAX_REPLICAS = 8
EXAMPLES = Path(__file__).parents[2] / "examples"


def _gib(number: int) -> str:
    return f"{number}Gi"


@st.composite
def tiers(draw: st.DrawFn, most: int) -> dict[str, Any]:
    low, middle, high = sorted(draw(st.lists(st.integers(4, most), min_size=3, max_size=3)))
    tier: dict[str, Any] = {"max": _gib(high)}
    if draw(st.booleans()):
        tier["min"] = _gib(low)
    if draw(st.booleans()):
        tier["initial"] = _gib(middle)
    return dict(draw(st.permutations(list(tier.items()))))


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    """Services with and without each of the values that a recommendation may change."""
    kv_cache: dict[str, Any] = {}
    if draw(st.booleans()):
        kv_cache["hbm"] = draw(tiers(34))
    if draw(st.booleans()):
        kv_cache["dram"] = draw(st.none() | tiers(450))
        if kv_cache["dram"] and draw(st.booleans()):
            kv_cache["dram"]["step"] = "8Gi"
    spec: dict[str, Any] = {
        "sloClasses": [{"name": "chat", "ttftSeconds": 5, "tbtSeconds": 0.1, "target": 0.9}],
        "podTemplate": {"metadata": {"annotations": {"note": "two\nlines\n"}}},
    }
    match draw(st.sampled_from(["left out", "replicas", "autoscaling"])):
        case "replicas":
            spec["replicas"] = draw(st.integers(1, 9))
        case "autoscaling":
            spec["autoscaling"] = {
                "minReplicas": draw(st.integers(1, 4)),
                "maxReplicas": draw(st.integers(4, 9)),
            }
    if draw(st.booleans()):
        spec["scheduler"] = {"transferBudgetBlocks": draw(st.integers(1, 9)), "alpha": 2.0}
    if draw(st.booleans()):
        spec["mode"] = draw(st.sampled_from(["Auto", "Plan"]))
    if draw(st.booleans()):
        spec["policy"] = draw(st.sampled_from(["rotasched", "stock"]))
    if draw(st.booleans()):
        spec["kvCache"] = kv_cache
        if "hbm" in kv_cache and draw(st.booleans()):
            spec["placement"] = {"shareGroup": "one"}
    spec = dict(draw(st.permutations(list(spec.items()))))
    return {
        "apiVersion": "superinfer.dev/v1alpha1",
        "kind": "SuperInferService",
        "metadata": {"name": "chat"},
        "spec": spec,
    }


@st.composite
def written_files(draw: st.DrawFn) -> str:
    """A service in some style of YAML, with comments."""
    style = draw(st.sampled_from([None, True, False]))
    text = yaml.safe_dump(
        draw(services()),
        sort_keys=False,
        default_flow_style=style,
        width=10_000,
        indent=draw(st.integers(2, 6)),
        default_style=draw(st.sampled_from([None, None, '"'])),
    )
    # Comments go where they cannot become part of a value: beside whole entries.
    lines = [
        f"{line}  # note {number}" if line.rstrip().endswith(("}", "Gi")) else line
        for number, line in enumerate(text.splitlines())
    ]
    head = draw(st.sampled_from(["", "---\n", "# Why this service is.\n"]))
    return head + "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n# The end.\n"]))


def anything(seed: int) -> Any:
    """Attainments without rhyme or reason, but the same ones each time."""

    def simulate(provision: Provision) -> dict[str, Attainment]:
        share = random.Random(f"{seed}/{provision}").choice((0.5, 1.0))
        return {"chat": Attainment(100, share, share, share)}

    return simulate


def spec_of(text: str) -> ServiceSpec:
    return SuperInferService.model_validate(yaml.safe_load(text)).spec


def plan(text: str, seed: int) -> tuple[Recommendation, str]:
    """Plan a file and return it as recommended."""
    spec = spec_of(text)
    written = as_written(spec, ROOM)
    found = recommend(
        anything(seed),
        spec.slo_classes,
        search_space(spec, ROOM, MAX_REPLICAS),
        written if can_serve(spec, ROOM) else None,
        written.transfer_budget_blocks,
    )
    if not found.changes_something:
        return found, text
    return found, patched(text, changes(spec, ROOM, found.recommended.provision))


@given(written_files(), st.integers())
def test_the_changed_file_says_what_was_recommended_and_is_left_alone_next_time(
    text: str, seed: int
) -> None:
    found, new = plan(text, seed)
    if found.changes_something:
        assert as_written(spec_of(new), ROOM) == found.recommended.provision
        assert new != text
    again, unchanged = plan(new, seed)
    assert not again.changes_something
    assert unchanged == new


@given(written_files(), st.integers())
def test_only_the_lines_concerned_change(text: str, seed: int) -> None:
    found, new = plan(text, seed)
    assert _comments(new) == _comments(text)
    if not found.changes_something:
        assert new == text
        return
    diff = _changed(unified_diff(text, new, "service.yaml"))
    num_changes = len(changes(spec_of(text), ROOM, found.recommended.provision))
    # The last line may have to end first; a value of kvCache may need a line for kvCache.
    assert sum(line.startswith("-") for line in diff) <= num_changes + 1
    assert sum(line.startswith("+") for line in diff) <= num_changes + 2


@given(written_files(), st.integers())
def test_no_budget_exceeds_what_the_machine_holds(text: str, seed: int) -> None:
    found, new = plan(text, seed)
    if found.changes_something:
        spec = spec_of(new)
        assert can_serve(spec, ROOM)
        assert as_written(spec, ROOM).replicas <= MAX_REPLICAS or found.meets_as_written


@given(written_files(), st.integers())
def test_what_the_user_decided_stays(text: str, seed: int) -> None:
    _, new = plan(text, seed)
    old_spec, new_spec = spec_of(text), spec_of(new)
    if old_spec.kv_cache.dram is None:
        assert new_spec.kv_cache.dram is None
    if old_spec.placement.share_group is not None:
        assert new_spec.kv_cache.hbm == old_spec.kv_cache.hbm
    if old_spec.policy == "stock":
        assert new_spec.kv_cache.dram == old_spec.kv_cache.dram
    decided = {"kv_cache", "replicas", "autoscaling", "scheduler"}
    assert new_spec.model_dump(exclude=decided) == old_spec.model_dump(exclude=decided)


def _comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


def _file(kv_cache: str, head: str = "") -> str:
    return (
        f"{head}apiVersion: superinfer.dev/v1alpha1\nkind: SuperInferService\n"
        f"metadata: {{name: chat}}\nspec:\n  kvCache: {kv_cache}\n"
    )


@pytest.mark.parametrize(
    "kv_cache",
    [
        # The same text stands for both tiers.
        "{hbm: &tier {max: 8Gi}, dram: *tier}",
        # The new entry would hide all that is merged in.
        "\n    <<: &tiers {hbm: {max: 8Gi, min: 1Gi}, slab: 2Gi}\n    dram: {max: 8Gi}",
    ],
)
def test_what_cannot_be_changed_in_place_is_refused(kv_cache: str) -> None:
    change = Change(("spec", "kvCache", "hbm", "max"), "9Gi")
    with pytest.raises(ConfigError, match=r"set by hand spec\.kvCache\.hbm\.max: 9Gi"):
        patched(_file(kv_cache), [change])


def test_an_alias_that_the_change_does_not_reach_is_no_obstacle() -> None:
    text = _file("{hbm: &tier {max: 8Gi}, dram: *tier}")
    new = patched(text, [Change(("spec", "replicas"), 2)])
    assert "dram: *tier" in new
    assert spec_of(new).replicas == 2


def test_the_difference_of_the_example_file() -> None:
    text = (EXAMPLES / "chat.yaml").read_text()
    spec = spec_of(text)
    written = as_written(spec, ROOM)
    assert written == Provision(1, 320 * GIB, 18 * GIB)
    new = patched(text, changes(spec, ROOM, Provision(2, 24 * GIB, 20 * GIB + 2**29)))
    assert _changed(unified_diff(text, new, "chat.yaml")) == [
        "-    hbm: {min: 12Gi, max: 18Gi, initial: 16Gi, step: 1Gi}",
        "-    dram: {min: 32Gi, max: 320Gi, initial: 64Gi, step: 32Gi}",
        "+    hbm: {min: 12Gi, max: 20.5Gi, initial: 20.5Gi, step: 1Gi}",
        "+    dram: {min: 24Gi, max: 24Gi, initial: 24Gi, step: 32Gi}",
        "+  replicas: 2",
    ]
    assert unified_diff(text, text, "chat.yaml") == ""


def _changed(diff: str) -> list[str]:
    return [
        line
        for line in diff.splitlines()
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]


@given(st.sampled_from(["a: 1\n", "a: 1", "b: 2"]), st.sampled_from(["a: 2", "a: 3\n"]))
def test_every_line_of_a_difference_ends(old: str, new: str) -> None:
    diff = unified_diff(old, new, "f.yaml")
    assert diff.endswith("\n")
    assert sum(line.startswith("\\ No newline") for line in diff.splitlines()) == sum(
        not text.endswith("\n") for text in (old, new)
    )
