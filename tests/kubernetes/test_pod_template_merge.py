"""``podTemplate`` over the pod: nothing that its writer said is lost, and nothing of ours."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.service import SuperInferService
from superinfer_operator.children import Children
from superinfer_operator.objects.merge import merged
from superinfer_operator.objects.naming import MOVED_OFF_ANNOTATION, labels
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.objects.pod import pod_template
from superinfer_operator.objects.workload import deployment
from superinfer_operator.plan import plan

Service = Callable[..., SuperInferService]
LEAVES = st.integers() | st.text(max_size=2) | st.booleans()


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with lists of named and of other things in them."""
    inner = st.recursive(
        leaves,
        lambda values: (
            st.dictionaries(st.sampled_from("abc"), values, max_size=3)
            | st.lists(values, max_size=2)
            | st.lists(
                st.dictionaries(st.sampled_from("abc"), values, max_size=2).flatmap(
                    lambda fields: st.sampled_from("xyz").map(lambda name: {"name": name, **fields})
                ),
                max_size=3,
                unique_by=lambda item: item["name"],
            )
        ),
        max_leaves=8,
    )
    return st.dictionaries(st.sampled_from("abc"), inner, max_size=3)


def of_one_schema() -> st.SearchStrategy[dict[str, Any]]:
    """Objects in which a field is always a value, always a named list, or always an object."""
    named = st.lists(
        st.fixed_dictionaries({"name": st.sampled_from("xyz")}, optional={"v": LEAVES}),
        max_size=3,
        unique_by=lambda item: item["name"],
    )
    fields = {"a": LEAVES, "b": LEAVES, "items": named, "inner": st.deferred(of_one_schema)}
    return st.fixed_dictionaries({}, optional=fields)


def holds_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(inner is None or holds_null(inner) for inner in value.values())
    return isinstance(value, list) and any(map(holds_null, value))


@given(trees(LEAVES), trees(LEAVES | st.none()))
def test_a_merge_changes_neither_leaves_no_null_and_need_not_be_repeated(
    base: dict[str, Any], patch: dict[str, Any]
) -> None:
    before = copy.deepcopy((base, patch))

    once = merged(base, patch)

    assert (base, patch) == before
    assert not holds_null(once)
    assert merged(once, patch) == once
    assert merged(base, {}) == base
    for key, value in patch.items():
        assert (key in once) == (value is not None)


@given(of_one_schema(), of_one_schema(), of_one_schema())
def test_patches_without_null_may_be_merged_with_each_other_first(
    base: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert merged(merged(base, one), other) == merged(base, merged(one, other))


@pytest.mark.parametrize(
    ("base", "patch", "result"),
    [
        ([{"name": "a", "v": 1}], [{"name": "a", "v": 2}], [{"name": "a", "v": 2}]),
        ([{"name": "a"}], [{"name": "b"}], [{"name": "a"}, {"name": "b"}]),
        ([{"name": "a", "v": 1}], [{"name": "a", "v": None}], [{"name": "a"}]),
        ([{"name": "a"}], [], [{"name": "a"}]),
        ([], [{"name": "a", "v": None}], [{"name": "a"}]),
        ([{"name": "a"}], ["b"], ["b"]),
        ([{"name": "a"}], [{"name": ["odd"]}], [{"name": ["odd"]}]),
        (["a"], ["b", "c"], ["b", "c"]),
        ({"a": 1}, [1], [1]),
        ([1], {"a": None, "b": {"c": None}}, {"b": {}}),
    ],
)
def test_lists_of_named_things_merge_and_all_others_are_replaced(
    base: Any, patch: Any, result: Any
) -> None:
    assert merged(base, patch) == result


def runtime(service: Service, platform: Platform, tokens: Tokens, **patch: Any) -> dict[str, Any]:
    """The runtime's container with ``patch`` merged over it."""
    template = {"spec": {"containers": [{"name": "runtime", **patch}]}}
    built = pod_template(service(podTemplate=template), platform, tokens, "config")
    (found,) = built["spec"]["containers"]
    return dict(found)


def test_one_volume_may_be_mounted_twice_and_ours_stay(
    service: Service, platform: Platform, tokens: Tokens
) -> None:
    own = runtime(service, platform, tokens)["volumeMounts"]
    mounts = [
        {"name": "models", "mountPath": "/a"},
        {"name": "models", "mountPath": "/b", "subPath": "b"},
        {"name": "home", "mountPath": "/cache"},
    ]

    built = runtime(service, platform, tokens, volumeMounts=mounts)["volumeMounts"]

    assert built == own + mounts


def test_a_port_without_a_name_comes_beside_ours(
    service: Service, platform: Platform, tokens: Tokens
) -> None:
    built = runtime(service, platform, tokens, ports=[{"containerPort": 9000}])["ports"]

    assert [port["containerPort"] for port in built] == [8000, 9000]
    assert built[0]["name"] == "http"


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "text",
        {"labels": None, "annotations": None},
        {"labels": {"superinfer.dev/service": "other", "mine": "1"}},
        {"annotations": {"superinfer.dev/config": None, "superinfer.dev/tokens": "x"}},
    ],
)
def test_our_labels_and_annotations_survive_whatever_is_written(
    service: Service, platform: Platform, tokens: Tokens, metadata: Any
) -> None:
    sis = service(podTemplate={"metadata": metadata})

    built = deployment(sis, platform, tokens, "config", 1, "chat-old")["spec"]["template"]

    annotations = built["metadata"]["annotations"]
    assert labels(sis).items() <= built["metadata"]["labels"].items()
    assert annotations["superinfer.dev/config"] == "config"
    assert annotations["superinfer.dev/tokens"] == tokens.fingerprint
    assert annotations[MOVED_OFF_ANNOTATION] == "chat-old"


def test_a_spec_is_never_changed_by_what_is_built_of_it(
    service: Service, platform: Platform, tokens: Tokens
) -> None:
    sis = service(podTemplate={"metadata": {"annotations": {"a": "b"}}, "spec": {"x": [{}]}})
    before = sis.model_dump_json()

    for _ in range(2):
        deployment(sis, platform, tokens, "config", 1, "chat-old")
        plan(sis, Children(), platform, tokens, None)

    assert sis.model_dump_json() == before
