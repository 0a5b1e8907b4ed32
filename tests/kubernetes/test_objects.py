"""The objects that the operator makes of a spec."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_contract.service import SuperInferService
from superinfer_operator.objects.configuration import config_map, secret
from superinfer_operator.objects.grace import Grace
from superinfer_operator.objects.merge import merged
from superinfer_operator.objects.network import disruption_budget, network_policy
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.objects.pod import pod_template

Service = Callable[..., SuperInferService]


def template(service: Service, platform: Platform, tokens: Tokens, **spec: Any) -> dict[str, Any]:
    built: dict[str, Any] = pod_template(service(**spec), platform, tokens, "config")
    return built


def container(built: dict[str, Any]) -> dict[str, Any]:
    (found,) = built["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_a_pod_ends_only_after_its_requests(
    service: Service, platform: Platform, tokens: Tokens
) -> None:
    built = template(service, platform, tokens, server={"drainSeconds": 42.5})

    asleep_s = container(built)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert built["spec"]["terminationGracePeriodSeconds"] > asleep_s + 42.5


@given(st.floats(0, 10**5))
def test_grace_covers_all_that_comes_before_the_end(drain_s: float) -> None:
    grace = Grace.of(drain_s)

    assert grace.drain_s >= drain_s
    assert grace.termination_s > grace.pre_stop_s + grace.drain_s


def test_memory_is_reserved_for_the_whole_dram_tier_or_follows_it(
    service: Service, platform: Platform, tokens: Tokens
) -> None:
    tier = {"min": "1Gi", "initial": "2Gi", "max": "8Gi"}
    memory = {"memory": "4Gi", "dramCharge": 1.5}

    def limit(policy: str) -> str:
        kv_cache = {"dram": tier, "policy": policy}
        resources = container(
            template(service, platform, tokens, kvCache=kv_cache, resources=memory)
        )["resources"]
        assert resources["limits"]["memory"] == resources["requests"]["memory"]
        return str(resources["limits"]["memory"])

    assert limit("Ceiling") == f"{(4 + 12) * 1024}Mi"
    assert limit("FollowBudget") == f"{(4 + 3) * 1024}Mi"


def test_pods_want_a_superchip_unless_told_otherwise(
    service: Service, platform: Platform, tokens: Tokens
) -> None:
    affinity = template(service, platform, tokens)["spec"]["affinity"]["nodeAffinity"]
    required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    wanted = {each["key"]: each["values"] for each in required[0]["matchExpressions"]}
    anywhere = {"arch": None, "gpuFamily": None, "gpuProducts": []}

    assert wanted["kubernetes.io/arch"] == ["arm64"]
    assert wanted["nvidia.com/gpu.family"] == ["hopper"]
    assert "NVIDIA-GH200-480GB" in wanted["nvidia.com/gpu.product"]
    assert "affinity" not in template(service, platform, tokens, placement=anywhere)["spec"]


def test_pods_keep_the_restricted_pod_security_standard(
    service: Service, platform: Platform, tokens: Tokens
) -> None:
    built = template(service, platform, tokens)
    security = container(built)["securityContext"]

    assert built["spec"]["securityContext"]["runAsNonRoot"] is True
    assert built["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True
    assert not any("hostPath" in volume for volume in built["spec"]["volumes"])


def test_the_configuration_is_what_a_runtime_reads_and_holds_no_secret(
    service: Service, platform: Platform
) -> None:
    built = config_map(service(server={"drainSeconds": 7}), platform)
    text = built["data"]["runtime.json"]
    config = RuntimeConfig.model_validate_json(text)

    assert config.server.drain_s == 7
    assert config.server.host == "0.0.0.0"
    assert config.telemetry.resource["service.namespace"] == "team"
    assert config.server.admin_token is None
    assert config.telemetry.otlp_headers == {}


def test_a_configuration_has_a_name_of_its_own_and_keeps_it(
    service: Service, platform: Platform
) -> None:
    name = config_map(service(), platform)["metadata"]["name"]

    assert config_map(service(), platform)["metadata"]["name"] == name
    assert config_map(service(replicas=4), platform)["metadata"]["name"] == name
    changed = service(server={"drainSeconds": 1})
    assert config_map(changed, platform)["metadata"]["name"] != name


def test_the_secret_carries_the_tokens(service: Service, tokens: Tokens) -> None:
    data = secret(service(), tokens)["data"]

    assert {name: base64.b64decode(value) for name, value in data.items()} == {
        "admin-token": b"admin",
        "otlp-token": b"otlp",
    }


@pytest.mark.parametrize(("replicas", "unavailable"), [(1, 0), (2, 1), (None, 1)])
def test_a_lone_pod_is_not_evicted(
    service: Service, replicas: int | None, unavailable: int
) -> None:
    assert disruption_budget(service(), replicas)["spec"]["maxUnavailable"] == unavailable


def test_only_the_own_namespace_the_operator_and_the_named_may_connect(service: Service) -> None:
    peer = {"podSelector": {"matchLabels": {"app": "gateway"}}}

    rule = network_policy(service(networkPolicy={"extraFrom": [peer]}), "system")["spec"]["ingress"]

    assert len(rule) == 1
    assert rule[0]["from"][-1] == peer
    assert "system" in json.dumps(rule[0]["from"][1])


def test_a_pod_template_is_merged_by_name(
    service: Service, platform: Platform, tokens: Tokens
) -> None:
    patch = {
        "metadata": {"annotations": {"mine": "1"}},
        "spec": {
            "hostNetwork": True,
            "enableServiceLinks": None,
            "containers": [
                {"name": "runtime", "env": [{"name": "HOME", "value": "/x"}, {"name": "A"}]},
                {"name": "side", "image": "side"},
            ],
        },
    }
    plain = template(service, platform, tokens)

    built = template(service, platform, tokens, podTemplate=patch)

    assert built["metadata"]["annotations"] == {**plain["metadata"]["annotations"], "mine": "1"}
    assert built["spec"]["hostNetwork"] is True
    assert "enableServiceLinks" not in built["spec"]
    runtime, side = built["spec"]["containers"]
    assert {each["name"]: each.get("value") for each in runtime["env"]}["HOME"] == "/x"
    assert runtime["env"][-1] == {"name": "A"}
    assert runtime["image"] == "runtime:1"
    assert side["image"] == "side"


values = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


@given(objects, objects)
def test_merging_twice_is_merging_once(base: dict[str, Any], patch: dict[str, Any]) -> None:
    before = json.dumps(base, sort_keys=True)

    once = merged(base, patch)

    assert merged(once, patch) == once
    assert merged(base, {}) == base
    assert json.dumps(base, sort_keys=True) == before
