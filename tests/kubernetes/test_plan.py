"""What is applied and deleted, in a small cluster that is played: it always comes to rest."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from played_cluster import DEPLOYMENT, NODE, POD, PlayedCluster
from superinfer_contract.service import SuperInferService
from superinfer_operator.children import Children, is_ready
from superinfer_operator.keeper import WATCHED_KINDS
from superinfer_operator.kube.applied import UNWATCHED_FOR_S, Applied, key_of
from superinfer_operator.objects.configuration import secret
from superinfer_operator.objects.naming import CONFIG_ANNOTATION
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.plan import Plan, plan, replicas_to_write

Service = Callable[..., SuperInferService]


@pytest.mark.parametrize(
    ("spec", "wished", "written"),
    [
        ({}, None, 1),
        ({"replicas": 0}, None, 0),
        ({"replicas": 3}, 9, 3),
        ({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}, None, 2),
        ({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}, 3, 3),
        ({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}, 9, 4),
        ({"autoscaling": {"scaler": "External"}}, 3, None),
        ({"autoscaling": {"scaler": "External"}, "replicas": 2}, None, None),
    ],
)
def test_who_sets_the_replicas(
    service: Service, spec: dict[str, Any], wished: int | None, written: int | None
) -> None:
    assert replicas_to_write(service(**spec).spec, wished) == written


def kinds(wanted: Plan) -> list[str]:
    return [obj["kind"] for obj in wanted.apply]


def config_maps(played: PlayedCluster) -> list[str]:
    return [name for kind, name in played.objects if kind == "ConfigMap"]


def test_a_second_look_applies_nothing(service: Service, played: PlayedCluster) -> None:
    played.settle(service())
    applies = played.applies

    played.operate(service())

    assert played.applies == applies
    assert len(played.objects) == 6


def test_a_new_operator_applies_all_once_and_changes_nothing(
    service: Service, played: PlayedCluster
) -> None:
    played.settle(service())
    before, applies = copy.deepcopy((played.objects, played.pods)), played.applies

    played.restart_operator()
    played.settle(service())

    assert played.applies == applies + 6
    assert (played.objects, played.pods) == before


def test_the_same_spec_and_children_give_the_same_plan(
    service: Service, played: PlayedCluster
) -> None:
    played.settle(service())

    assert played.plan(service()) == played.plan(service())
    assert kinds(played.plan(service())) == kinds(
        plan(service(), Children(), played.platform, played.tokens, None)
    )


@pytest.mark.parametrize("key", ["uid", "labels", "ownerReferences", "generation"])
def test_whatever_of_an_object_is_changed_it_is_applied_again(
    service: Service, tokens: Tokens, platform: Platform, key: str
) -> None:
    (wish,) = (
        obj
        for obj in plan(service(), Children(), platform, tokens, None).apply
        if obj["kind"] == "Deployment"
    )
    held = {**wish, "metadata": {**wish["metadata"], "uid": "1", "generation": 4}}
    other: dict[str, Any] = {"uid": "2", "labels": {}, "ownerReferences": [], "generation": 5}
    edited = {**held, "metadata": {**held["metadata"], key: other[key]}}
    moved = {**held, "status": {"replicas": 9}}
    applied = Applied(WATCHED_KINDS)
    assert not applied.is_current(wish, held, now_s=0)

    applied.note(wish, held, now_s=0)

    assert applied.is_current(wish, held, now_s=10**9)
    assert applied.is_current(wish, moved, now_s=0)
    assert not applied.is_current(wish, edited, now_s=0)
    assert not applied.is_current(wish, None, now_s=0)
    assert not applied.is_current({**wish, "spec": {}}, held, now_s=0)


def test_unwatched_objects_are_applied_again_in_time(service: Service, tokens: Tokens) -> None:
    applied, wish = Applied(WATCHED_KINDS), secret(service(), tokens)
    applied.note(wish, {}, now_s=0.0)

    assert applied.is_current(wish, None, now_s=UNWATCHED_FOR_S - 1)
    assert not applied.is_current(wish, None, now_s=UNWATCHED_FOR_S)


PARTS = ("operate", "watch", "control", "run")
EVENTS = (
    *("configure", "break", "scale", "scaler", "scale-by-other", "delete", "edit"),
    *("cordon", "uncordon", "kill", "fail", "restart"),
)
steps = st.lists(
    st.tuples(st.sampled_from(PARTS) | st.sampled_from(EVENTS), st.integers(0, 6)), max_size=40
)


class Story:
    """What happens to one service in a played cluster."""

    def __init__(self, service: Service, played: PlayedCluster) -> None:
        self.service, self.played = service, played
        self.drain_s, self.replicas, self.external = 30, 1, False

    @property
    def sis(self) -> SuperInferService:
        scaling = {"autoscaling": {"scaler": "External"}} if self.external else {}
        return self.service(
            server={"drainSeconds": self.drain_s}, replicas=self.replicas, **scaling
        )

    def step(self, step: str, number: int) -> None:
        played = self.played
        pods, objects = sorted(played.live), sorted(played.objects)
        match step:
            case "operate":
                played.operate(self.sis)
            case "watch":
                seen = (*sorted(WATCHED_KINDS), POD, NODE)
                played.watch((seen[number % len(seen)],))
            case "control":
                played.control()
            case "run":
                played.run_pods()
            case "configure":
                self.drain_s = 30 + number
            case "break":
                played.broken_configs ^= set(config_maps(played)[:1])
            case "scale":
                self.replicas = number % 3
            case "scaler":
                self.external = not self.external
            case "scale-by-other" if self.external:
                played.scale(number % 3)
            case "delete" if objects:
                played.objects.pop(objects[number % len(objects)])
            case "edit" if DEPLOYMENT in played.objects:
                edited = copy.deepcopy(played.objects[DEPLOYMENT])
                edited["spec"]["paused"] = not edited["spec"].get("paused", False)
                played.store(edited)
            case "cordon":
                played.cordoned.add("n0")
            case "uncordon":
                played.cordoned.discard("n0")
            case "kill" if pods:
                played.pods.pop(pods[number % len(pods)])
            case "fail" if pods:
                played.pods[pods[number % len(pods)]]["status"] = {"phase": "Failed"}
            case "restart":
                played.restart_operator()
                played.watch()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_whatever_happens_the_cluster_comes_to_what_the_spec_says(
    service: Service, platform: Platform, tokens: Tokens, steps: list[tuple[str, int]]
) -> None:
    story = Story(service, PlayedCluster(platform, tokens))
    played = story.played
    for step, number in steps:
        story.step(step, number)
    played.broken_configs = set()
    played.now_s += UNWATCHED_FOR_S

    wanted = played.settle(story.sis)
    applies = played.applies
    played.operate(story.sis)

    assert played.applies == applies
    assert wanted.hand_over_replicas is None
    for obj in wanted.apply:
        held = played.objects[key_of(obj)]
        written = obj.get("spec", {})
        assert {key: held["spec"][key] for key in written} == written
    assert len(config_maps(played)) == 1
    deployment = played.objects[DEPLOYMENT]
    assert len(played.live) == deployment["spec"]["replicas"]
    if not story.external:
        assert len(played.live) == story.replicas
    assert all(map(is_ready, played.live.values()))
    if len(played.live) == 1:
        (pod,) = played.live.values()
        assert pod["spec"]["nodeName"] not in played.cordoned


def test_a_pod_of_the_old_revision_can_start_anew_while_the_new_one_does_not_come_up(
    service: Service, played: PlayedCluster
) -> None:
    played.settle(service())
    (old,) = played.live
    config = played.pods[old]["metadata"]["annotations"][CONFIG_ANNOTATION]
    changed = service(server={"drainSeconds": 1})
    played.watch()
    played.operate(changed)
    played.broken_configs = {name for name in config_maps(played) if name != config}
    played.settle(changed)

    played.pods.pop(old)
    played.watch()
    played.operate(changed)
    played.settle(changed)

    ready = [pod for pod in played.live.values() if is_ready(pod)]
    assert [pod["metadata"]["annotations"][CONFIG_ANNOTATION] for pod in ready] == [config]
    played.broken_configs = set()
    played.settle(changed)
    assert config not in config_maps(played)


@pytest.mark.parametrize(
    ("template", "updated", "pod", "phase", "goes"),
    [
        ("current", 1, None, "", True),
        ("current", 1, "old", "Running", False),
        ("current", 1, "old", "Failed", True),
        ("current", 0, None, "", False),
        ("old", 1, None, "", False),
        (None, 0, None, "", False),
    ],
    ids=("unused", "running", "ended", "rolling", "not-applied-yet", "not-seen-yet"),
)
def test_a_configuration_goes_when_nobody_can_need_it_any_more(
    service: Service,
    platform: Platform,
    tokens: Tokens,
    template: str | None,
    updated: int,
    pod: str | None,
    phase: str,
    goes: bool,
) -> None:
    names = {"old": "chat-runtime-old", "current": config_name(service(), platform, tokens)}
    objects: dict[tuple[str, str], Any] = {("ConfigMap", name): {} for name in names.values()}
    if template is not None:
        annotations = {CONFIG_ANNOTATION: names[template]}
        objects[DEPLOYMENT] = {
            "metadata": {"generation": 1},
            "spec": {"replicas": 1, "template": {"metadata": {"annotations": annotations}}},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": updated},
        }
    holder = {"annotations": {CONFIG_ANNOTATION: names[pod]}} if pod else {}
    pods = {"p": {"metadata": holder, "status": {"phase": phase}}} if pod else {}

    wanted = plan(service(), Children(objects, pods), platform, tokens, None)

    assert wanted.delete == ((("ConfigMap", names["old"]),) if goes else ())


def config_name(sis: SuperInferService, platform: Platform, tokens: Tokens) -> str:
    (name,) = (
        obj["metadata"]["name"]
        for obj in plan(sis, Children(), platform, tokens, None).apply
        if obj["kind"] == "ConfigMap"
    )
    return str(name)


def test_replicas_are_handed_over_before_we_let_go(service: Service, played: PlayedCluster) -> None:
    played.settle(service(replicas=3))
    external = service(autoscaling={"scaler": "External"})
    assert played.plan(external).hand_over_replicas == 3

    played.settle(external)
    assert len(played.live) == 3
    assert played.plan(external).hand_over_replicas is None

    played.scale(2)
    played.settle(external)
    assert len(played.live) == 2

    played.settle(service(replicas=1))
    assert len(played.live) == 1


def test_an_external_scaler_is_never_written_over(service: Service, played: PlayedCluster) -> None:
    external = service(autoscaling={"scaler": "External"}, replicas=1)
    played.settle(external)

    played.scale(3)
    played.settle(external)

    assert len(played.live) == 3


def test_what_is_switched_off_is_deleted_and_what_the_cluster_lacks_is_not_applied(
    service: Service, played: PlayedCluster
) -> None:
    played.settle(service())
    off = service(networkPolicy={"enabled": False})
    without = played.plan(off)
    played.platform = replace(played.platform, service_monitors=True)

    assert ("NetworkPolicy", "chat") in without.delete
    assert "NetworkPolicy" not in kinds(without)
    assert "ServiceMonitor" not in kinds(without)
    assert "ServiceMonitor" in kinds(played.plan(service()))
    labels = {"release": "prometheus", "app.kubernetes.io/name": "another"}
    played.platform = replace(played.platform, service_monitor_labels=labels)
    (monitor,) = (each for each in played.plan(service()).apply if each["kind"] == "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["metadata"]["labels"]["app.kubernetes.io/name"] == "superinfer"
    played.settle(off)
    assert ("NetworkPolicy", "chat") not in played.objects
    assert played.plan(off).delete == ()
