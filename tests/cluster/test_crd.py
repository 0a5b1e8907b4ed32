"""The CRD on a real API server: it is taken, fills in defaults, and refuses what it says.

Many wrong services are offered in one call of kubectl; the answer names each by its name. Nothing
of these is kept (``--dry-run=server``).
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane
from crd_broken import BROKEN, CLASS, IMMUTABLE, bound_breakers
from crd_specs import FULL_STATUS, SPEC_SCHEMA, specs
from hypothesis import Phase, given, settings
from superinfer_contract.service import API_VERSION, GROUP, KIND, ServiceSpec, SuperInferService
from superinfer_contract.validation import load_model
from superinfer_operator.crd.definition import NAME, object_schema, walk

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
CRD_FILE = ROOT / "crds" / "superinfer.dev_superinferservices.yaml"
Refusals = Callable[[list[dict[str, Any]]], dict[str, str]]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
REFUSED = re.compile(
    rf'{KIND}(\.{GROUP})? "(?P<name>[^"]+)" is invalid:(?P<said>.*?)(?=\n(The|Error) |\Z)',
    re.DOTALL,
)
OFFER = ("create", "--dry-run=server", "--validate=false", "--filename=-")
"""Nothing is kept, and kubectl's own look at types does not come before the server's."""
OFFERED = 200
SOME_ACCEPTED = 10
SAYS = {
    "type": "must be of type",
    "required": "Required value",
    "minimum": "should be greater than",
    "maximum": "should be less than",
    "enum": "Unsupported value",
    "pattern": "should match",
    "minLength": "should be at least",
    "maxLength": "may not be more than",
    "minItems": "should have at least",
    "maxItems": "must have at most",
    "maxProperties": "must have at most",
}


BOUNDS = list(bound_breakers())


def service(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def server(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRD."""
    control_plane.kubectl("apply", "--server-side", "--filename", str(CRD_FILE))
    control_plane.kubectl("wait", "--for=condition=Established", f"crd/{NAME}")
    return control_plane


@pytest.fixture(scope="module")
def refusals(server: ControlPlane) -> Refusals:
    """A function that offers services and returns what is said of those refused, by name."""

    def offer(services: list[dict[str, Any]]) -> dict[str, str]:
        items = {"apiVersion": "v1", "kind": "List", "items": services}
        said = complaint(server, *OFFER, input=items)
        found = {match["name"]: match["said"] for match in REFUSED.finditer(said)}
        assert found or not said, said
        return found

    return offer


@pytest.fixture(scope="module")
def broken_rules(refusals: Refusals) -> dict[str, str]:
    return refusals(
        [service(broken.name or f"rule-{i}", broken.spec) for i, broken in enumerate(BROKEN)]
    )


@pytest.fixture(scope="module")
def broken_bounds(refusals: Refusals) -> dict[str, str]:
    return refusals([service(f"bound-{i}", spec) for i, (_, _, spec) in enumerate(BOUNDS)])


def test_the_server_takes_the_crd(server: ControlPlane) -> None:
    crd = json.loads(server.kubectl("get", "crd", NAME, "--output=json"))
    conditions = {each["type"]: each["status"] for each in crd["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert crd["spec"]["names"]["shortNames"] == ["sis"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_taken_and_means_the_same(
    server: ControlPlane, namespace: str, path: Path
) -> None:
    wanted = load_model(SuperInferService, path)
    server.kubectl("apply", "--server-side", "--namespace", namespace, "--filename", str(path))
    stored = get(server, namespace, wanted.metadata.name)
    assert ServiceSpec.model_validate(stored["spec"]) == wanted.spec


def test_the_server_fills_in_all_defaults(server: ControlPlane, namespace: str) -> None:
    bare = service("bare", {})
    del bare["spec"]
    create(server, namespace, bare)
    spec = get(server, namespace, "bare")["spec"]
    assert ServiceSpec.model_validate(spec) == ServiceSpec()
    assert set(spec) == {name for name, at in SPEC_SCHEMA["properties"].items() if "default" in at}
    assert spec["kvCache"]["dram"] == {"min": 0, "max": "4Gi"}

    create(server, namespace, service("part", {"rollout": {"maxSurge": 2}, "autoscaling": {}}))
    spec = get(server, namespace, "part")["spec"]
    assert spec["rollout"] == {"maxSurge": 2, "maxUnavailable": 0, "startTimeoutSeconds": 1800}
    assert spec["autoscaling"] == {"scaler": "Ladder", "minReplicas": 1, "maxReplicas": 1}


@pytest.mark.parametrize("verb", ["create", "apply"])
def test_null_survives_where_it_means_something(
    server: ControlPlane, namespace: str, verb: str
) -> None:
    arguments = ("--server-side",) if verb == "apply" else ()
    spec = {"kvCache": {"dram": None}, "placement": {"arch": None, "gpuFamily": None}}
    manifest = json.dumps(service("nulls", spec))
    server.kubectl(verb, *arguments, "--namespace", namespace, "--filename=-", input=manifest)
    stored = get(server, namespace, "nulls")["spec"]
    assert stored["kvCache"] == {"dram": None, "slab": "1Gi", "policy": "Ceiling"}
    assert (stored["placement"]["arch"], stored["placement"]["gpuFamily"]) == (None, None)


def test_null_elsewhere_is_as_if_left_out(server: ControlPlane, namespace: str) -> None:
    spec = {"replicas": None, "model": None, "kvCache": {"hbm": None}, "rollout": None}
    create(server, namespace, service("nulls", spec))
    create(server, namespace, service("bare", {}))
    assert get(server, namespace, "nulls")["spec"] == get(server, namespace, "bare")["spec"]


@pytest.mark.parametrize("index", range(len(BROKEN)), ids=[each.message for each in BROKEN])
def test_each_rule_refuses_with_its_message(broken_rules: dict[str, str], index: int) -> None:
    broken = BROKEN[index]
    said = broken_rules[broken.name or f"rule-{index}"]
    assert broken.message in said
    assert broken.at in said
    assert "rule:" not in said  # the server has no message of ours and shows the expression


def test_no_rule_goes_untested() -> None:
    stated = {
        (path, validation["message"])
        for path, node in walk(object_schema())
        for validation in node.get("x-kubernetes-validations", ())
    }
    assert stated == {broken.rule for broken in BROKEN} | {("spec", IMMUTABLE)}


@pytest.mark.parametrize(
    "index", range(len(BOUNDS)), ids=[f"{path}-{keyword}" for path, keyword, _ in BOUNDS]
)
def test_each_bound_refuses(broken_bounds: dict[str, str], index: int) -> None:
    path, keyword, _ = BOUNDS[index]
    said = broken_bounds[f"bound-{index}"]
    assert path.replace("{}", ".a") in re.sub(r"\[\d+\]", "[]", said)
    assert SAYS[keyword] in said


def test_two_classes_of_one_name_are_refused(refusals: Refusals) -> None:
    classes = [{"name": "a", "default": first, **CLASS} for first in (True, False)]
    said = refusals([service("twice", {"sloClasses": classes})])["twice"]
    assert "spec.sloClasses[1]: Duplicate value" in said


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"model": {"uri": "org/a"}}, {"model": {"uri": "org/b"}}),
        ({"model": {"uri": "org/a"}}, {"model": {"path": "/models/a"}}),
        ({"model": {"uri": "org/a"}}, {}),
        ({}, {"model": {"uri": "org/a"}}),
    ],
    ids=["changed", "moved", "removed", "added"],
)
def test_the_model_is_immutable(
    server: ControlPlane, namespace: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    create(server, namespace, service("fixed", before))
    arguments = ("replace", "--namespace", namespace, "--filename=-")
    assert IMMUTABLE in complaint(server, *arguments, input=service("fixed", after))
    assert not complaint(server, *arguments, input=service("fixed", {**before, "mode": "Plan"}))


def test_unknown_fields_are_refused(server: ControlPlane, namespace: str) -> None:
    wrong = service("typo", {"kvCache": {"dram": {"max": "4Gi", "maximum": "8Gi"}}})
    arguments = ("--namespace", namespace, "--filename=-")
    for verb in (("create",), ("apply", "--server-side")):
        said = complaint(server, *verb, *arguments, input=wrong)
        assert "spec.kvCache.dram.maximum" in said


def test_free_form_fields_keep_what_they_are_given(server: ControlPlane, namespace: str) -> None:
    spec = {
        "engine": {"args": {"max-model-len": 4096, "enforce-eager": True, "nested": {"a": [1]}}},
        "podTemplate": {"spec": {"volumes": [{"name": "a", "emptyDir": {}}]}},
        "placement": {"tolerations": [{"operator": "Exists"}], "nodeSelector": {"zone": "a"}},
        "networkPolicy": {"extraFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]},
    }
    create(server, namespace, service("free", spec))
    stored = ServiceSpec.model_validate(get(server, namespace, "free")["spec"])
    assert stored == ServiceSpec.model_validate(spec)


def test_what_the_server_accepts_the_model_accepts(refusals: Refusals) -> None:
    offered = some_specs()
    refused = refusals([service(f"any-{i}", spec) for i, spec in enumerate(offered)])
    accepted = [spec for i, spec in enumerate(offered) if f"any-{i}" not in refused]
    assert len(accepted) > SOME_ACCEPTED
    for spec in accepted:
        ServiceSpec.model_validate(spec)


def test_scaling_and_a_written_status(server: ControlPlane, namespace: str) -> None:
    create(server, namespace, service("full", {"model": {"path": "/models/a"}, "replicas": 1}))
    patch_status(server, namespace, "full", FULL_STATUS)
    assert get(server, namespace, "full")["status"] == FULL_STATUS

    server.kubectl("scale", "sis/full", "--namespace", namespace, "--replicas=3")
    assert get(server, namespace, "full")["spec"]["replicas"] == 3
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/superinferservices/full/scale"
    scale = json.loads(server.kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 2, "selector": FULL_STATUS["selector"]}

    head, row = server.kubectl("get", "sis", "--namespace", namespace, "--output=wide").splitlines()
    shown = re.split(r" {2,}", row.strip())
    assert dict(zip(re.split(r" {2,}", head.strip()), shown, strict=True)) == {
        "NAME": "full",
        "MODEL": "/models/a",
        "READY": "True",
        "SERVABLE": "True",
        "REPLICAS": "2",
        "KV-DRAM": "16Gi of 64Gi",
        "RUNG": "GrowDRAM",
        "ATTAINMENT": "chat 97%",
        "REASON": "AllReplicasReady",
        "AGE": shown[-1],
    }
    narrow = server.kubectl("get", "superinfer", "--namespace", namespace).splitlines()[0]
    assert "RUNG" in narrow
    assert "REASON" not in narrow


def test_a_status_of_the_wrong_shape_is_refused(server: ControlPlane, namespace: str) -> None:
    create(server, namespace, service("full", {}))
    with pytest.raises(AssertionError, match=r"status.conditions\[0\].reason: Required value"):
        patch_status(
            server, namespace, "full", {"conditions": [{"type": "Ready", "status": "True"}]}
        )


def test_kubectl_explains_the_fields(server: ControlPlane) -> None:
    said = " ".join(server.kubectl("explain", "sis.spec.kvCache").split())
    for name, field in SPEC_SCHEMA["properties"]["kvCache"]["properties"].items():
        assert name in said
        assert field["description"] in said


def some_specs() -> list[dict[str, Any]]:
    """Return random specs within the schema, to be offered to the server all at once."""
    found = []

    @given(specs())
    @settings(max_examples=OFFERED, deadline=None, database=None, phases=[Phase.generate])
    def collect(spec: dict[str, Any]) -> None:
        found.append(spec)

    collect()
    return found


def complaint(server: ControlPlane, *arguments: str, input: Mapping[str, Any]) -> str:
    """Return what kubectl says when it fails; nothing when it does not."""
    ran = server.run_kubectl(*arguments, input=json.dumps(input))
    return ran.stderr if ran.returncode else ""


def create(server: ControlPlane, namespace: str, body: dict[str, Any]) -> None:
    server.kubectl("create", "--namespace", namespace, "--filename=-", input=json.dumps(body))


def get(server: ControlPlane, namespace: str, name: str) -> dict[str, Any]:
    got = json.loads(server.kubectl("get", "sis", name, "--namespace", namespace, "--output=json"))
    assert isinstance(got, dict)
    return got


def patch_status(server: ControlPlane, namespace: str, name: str, status: dict[str, Any]) -> None:
    patch = json.dumps({"status": status})
    arguments = ("--namespace", namespace, "--subresource=status", "--type=merge", "--patch", patch)
    server.kubectl("patch", "sis", name, *arguments)
