"""Every object that the operator makes, of any spec, is one that Kubernetes takes."""

import copy
import json
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes_rules import problems, restricted_violations
from superinfer_contract.quantity import parse_bytes
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_contract.service import API_VERSION, KIND, SuperInferService
from superinfer_operator.children import Children
from superinfer_operator.objects.configuration import config_map
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.objects.pod import CONTAINER
from superinfer_operator.plan import plan
from superinfer_operator.pod_memory import pod_memory_bytes, start_dram_bytes
from superinfer_operator.tokens import Purpose, fingerprint, service_token

LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9_.]{0,20}[a-z0-9])?", fullmatch=True)
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True)
MIB = 2**20
KEY = b"k" * 32


def of(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects in which any of these fields may be left out."""
    return st.fixed_dictionaries({}, optional=values)


POD_TEMPLATES = of(
    metadata=of(labels=st.just({"team": "blue"}), annotations=st.none() | st.just({"a": "b"})),
    spec=of(
        hostAliases=st.just([{"ip": "10.0.0.1", "hostnames": ["h"]}]),
        enableServiceLinks=st.none() | st.booleans(),
        securityContext=st.none() | st.just({"fsGroup": 5, "runAsUser": None}),
        affinity=st.just({"nodeAffinity": None, "podAntiAffinity": {}}),
        volumes=st.just([{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]),
        initContainers=st.just([{"name": "fetch", "image": "fetch:1", "command": None}]),
        containers=st.just(
            [
                {
                    "name": CONTAINER,
                    "env": [{"name": "HOME", "value": "/x"}, {"name": "NEW", "value": "1"}],
                    "livenessProbe": None,
                    "ports": [{"containerPort": 9000}],
                    "volumeMounts": [
                        {"name": "models", "mountPath": "/a"},
                        {"name": "models", "mountPath": "/b", "readOnly": True},
                    ],
                }
            ]
        ),
    ),
)
SIZES = st.integers(1, 64).map(lambda number: number * MIB)


@st.composite
def tiers(draw: st.DrawFn) -> dict[str, Any]:
    low, start, high = sorted(draw(st.tuples(SIZES, SIZES, SIZES)))
    return {"min": low, "initial": start, "max": high}


@st.composite
def placements(draw: st.DrawFn, has_hbm: bool) -> dict[str, Any]:
    chosen = draw(
        of(
            arch=st.none() | LABELS,
            gpuFamily=st.none() | LABELS,
            gpuProducts=st.lists(LABELS, max_size=3),
            nodeSelector=st.dictionaries(LABELS, LABELS, max_size=2),
            tolerations=st.just([{"key": "nvidia.com/gpu", "operator": "Exists"}]),
            runtimeClassName=st.none() | LABELS,
            priorityClassName=LABELS,
        )
    )
    if has_hbm and draw(st.booleans()):
        chosen["shareGroup"] = draw(LABELS)
    return chosen


@st.composite
def services(draw: st.DrawFn, pod_templates: bool = True) -> SuperInferService:
    """Any service that the models take, in all that reaches Kubernetes."""
    hbm = draw(st.none() | tiers())
    scaling = of(
        scaler=st.sampled_from(["Ladder", "External"]),
        minReplicas=st.just(1),
        maxReplicas=st.integers(1, 9),
    )
    spec = draw(
        of(
            image=of(
                name=st.just("registry.example/runtime@sha256:0"),
                pullPolicy=st.sampled_from(["Always", "Never"]),
                pullSecrets=st.just([{"name": "pull"}]),
            ),
            resources=of(
                gpus=st.integers(0, 16),
                cpu=st.sampled_from(["8", "500m", "1.5"]),
                memory=st.integers(1, 2**40),
                dramCharge=st.floats(1, 4),
            ),
            rollout=of(maxSurge=st.integers(1, 9), startTimeoutSeconds=st.integers(10, 86400)),
            server=of(port=st.integers(1, 65535), drainSeconds=st.floats(0, 10**4)),
            networkPolicy=of(
                enabled=st.booleans(), extraFrom=st.just([{"ipBlock": {"cidr": "10.0.0.0/8"}}])
            ),
            telemetry=of(intervalSeconds=st.floats(0.5, 60)),
            engine=of(args=st.dictionaries(LABELS, st.integers() | st.text(max_size=4))),
        )
    )
    kv_cache = {"dram": draw(st.none() | tiers()), "slab": MIB, **({"hbm": hbm} if hbm else {})}
    kv_cache["policy"] = draw(st.sampled_from(["Ceiling", "FollowBudget"]))
    spec |= {"kvCache": kv_cache, "placement": draw(placements(hbm is not None))}
    spec |= draw(of(autoscaling=scaling) | of(replicas=st.integers(0, 1000)))
    if pod_templates:
        spec["podTemplate"] = draw(POD_TEMPLATES)
    metadata = {"name": draw(NAMES), "namespace": draw(NAMES), "uid": "u", "generation": 1}
    return SuperInferService.model_validate(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
    )


def everything(sis: SuperInferService) -> dict[str, dict[str, Any]]:
    """All objects of a service by kind."""
    namespace, name = sis.metadata.namespace, sis.metadata.name
    tokens = Tokens(
        service_token(KEY, Purpose.ADMIN, namespace, name),
        service_token(KEY, Purpose.OTLP, namespace, name),
        fingerprint(KEY),
    )
    platform = Platform("runtime:1", "superinfer-system", "http://operator:4318")
    return {obj["kind"]: obj for obj in plan(sis, Children(), platform, tokens, 2).apply}


def pod_of(sis: SuperInferService) -> dict[str, Any]:
    found: dict[str, Any] = everything(sis)["Deployment"]["spec"]["template"]
    return found


def runtime_of(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in pod["spec"]["containers"] if c["name"] == CONTAINER)
    return found


@settings(max_examples=60)
@given(services())
def test_kubernetes_takes_every_object_and_equal_specs_give_equal_ones(
    sis: SuperInferService,
) -> None:
    before = sis.model_dump_json()

    made = everything(sis)

    assert [said for obj in made.values() for said in problems(obj)] == []
    assert everything(copy.deepcopy(sis)) == made
    assert sis.model_dump_json() == before
    selector = made["Deployment"]["spec"]["selector"]["matchLabels"]
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert selector.items() <= labels.items()
    assert made["Service"]["spec"]["selector"] == selector
    assert made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selector


def test_the_rules_of_these_tests_find_what_is_wrong() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "Upper"}, "dta": {}}

    assert len(problems(secret)) == 2
    assert len(problems({**secret, "metadata": {"name": "a", "labels": {"a": "-"}}})) == 2
    assert restricted_violations({"containers": [{"name": "c"}], "hostNetwork": True}) != []


@given(services(pod_templates=False))
def test_pods_are_restricted_and_reserve_all_they_may_take(sis: SuperInferService) -> None:
    pod = pod_of(sis)
    runtime = runtime_of(pod)
    reserved, spec = runtime["resources"], sis.spec

    assert restricted_violations(pod["spec"]) == []
    assert runtime["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert reserved["requests"]["memory"] == reserved["limits"]["memory"]
    start_bytes = pod_memory_bytes(spec.resources, start_dram_bytes(spec.kv_cache))
    assert parse_bytes(reserved["limits"]["memory"]) == start_bytes
    assert start_bytes >= spec.resources.memory
    gpus = str(spec.resources.gpus) if spec.resources.gpus else None
    for bound in reserved.values():
        assert bound.get("nvidia.com/gpu") == gpus
    assert "cpu" not in reserved["limits"]
    asleep_s = runtime["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > asleep_s + spec.server.drain_s
    probe = runtime["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= spec.rollout.start_timeout_s


@given(services(pod_templates=False))
def test_nodes_are_chosen_as_the_spec_says(sis: SuperInferService) -> None:
    affinity, wanted = pod_of(sis)["spec"].get("affinity", {}), sis.spec.placement
    node = affinity.get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    terms = {
        term["key"]: term["values"]
        for term in (node["nodeSelectorTerms"][0]["matchExpressions"] if node else ())
    }

    assert terms == {
        key: values
        for key, values in {
            "kubernetes.io/arch": [wanted.arch],
            "nvidia.com/gpu.family": [wanted.gpu_family],
            "nvidia.com/gpu.product": list(wanted.gpu_products),
        }.items()
        if values not in ([], [None])
    }
    beside = affinity.get("podAffinity", {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution", ()
    )
    labels = pod_of(sis)["metadata"]["labels"]
    assert bool(beside) == (wanted.share_group is not None)
    for term in beside:
        # A pod that matches its own term may be the first of its group.
        assert term["labelSelector"]["matchLabels"].items() <= labels.items()


@given(services())
def test_a_runtime_reads_back_the_configuration_that_was_meant(sis: SuperInferService) -> None:
    made = everything(sis)
    (text,) = made["ConfigMap"]["data"].values()
    config, spec = RuntimeConfig.model_validate_json(text), sis.spec

    assert json.loads(text)["version"] == config.version
    assert config.slo_classes == spec.slo_classes
    assert config.engine_args == spec.engine.args
    assert config.server.port == spec.server.port
    assert config.server.drain_s == spec.server.drain_s
    assert (config.kv_cache.dram is None) == (spec.kv_cache.dram is None)
    if spec.kv_cache.hbm is not None:
        assert config.kv_cache.hbm is not None
        shares = spec.placement.share_group is not None
        expected = spec.kv_cache.hbm.min if shares else spec.kv_cache.hbm.initial_bytes
        assert config.kv_cache.hbm.initial_bytes == expected
    for token in made["Secret"]["data"].values():
        assert token not in json.dumps([obj for obj in made.values() if obj["kind"] != "Secret"])


@given(services(), services())
def test_a_configuration_has_another_name_exactly_when_it_says_something_else(
    one: SuperInferService, other: SuperInferService
) -> None:
    renamed = other.model_copy(update={"metadata": one.metadata})
    first, second = everything(one)["ConfigMap"], everything(renamed)["ConfigMap"]

    same_name = first["metadata"]["name"] == second["metadata"]["name"]
    assert same_name == (first["data"] == second["data"])


@pytest.mark.parametrize(
    ("change", "rolls"),
    [
        ({"replicas": 5}, False),
        ({"budget": {"cooldownSeconds": 1}}, False),
        ({"mode": "Plan"}, False),
        ({"networkPolicy": {"enabled": False}}, False),
        ({"rollout": {"maxSurge": 3}}, False),
        ({"sloClasses": [{"name": "chat", "ttftSeconds": 1, "tbtSeconds": 1}]}, True),
        ({"engine": {"args": {"seed": 1}}}, True),
        ({"kvCache": {"dram": None}}, True),
        ({"server": {"port": 9000}}, True),
        ({"telemetry": {"intervalSeconds": 9}}, True),
        ({"policy": "stock"}, True),
        ({"image": {"name": "other:1"}}, True),
        ({"resources": {"memory": "1Gi"}}, True),
        ({"placement": {"gpuProducts": []}}, True),
        ({"podTemplate": {"metadata": {"annotations": {"a": "b"}}}}, True),
    ],
)
def test_what_rolls_pods_and_what_does_not(
    service: Any, change: dict[str, Any], rolls: bool
) -> None:
    plain, changed = pod_of(service()), pod_of(service(**change))

    assert (plain != changed) == rolls


def test_the_operators_surroundings_reach_the_pod_only_where_it_needs_them(service: Any) -> None:
    here = Platform("runtime:1", "superinfer-system", "http://operator:4318")
    moved = Platform("runtime:1", "elsewhere", "http://operator:4318", service_monitors=True)
    tokens = Tokens("admin", "otlp", "f00")

    pods = [
        next(
            obj
            for obj in plan(service(), Children(), where, tokens, None).apply
            if obj["kind"] == "Deployment"
        )
        for where in (here, moved)
    ]

    assert pods[0] == pods[1]
    assert config_map(service(), here) == config_map(service(), moved)
    assert version("superinfer") not in json.dumps(pods[0])
