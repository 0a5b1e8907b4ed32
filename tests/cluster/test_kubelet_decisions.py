"""What the process kubelet decides: verdicts, restarts, resizes, statuses, where Services lead."""

from pathlib import Path

import pytest
from kubelet import leftovers
from kubelet.api import Object
from kubelet.backends import Frontend, frontends
from kubelet.pod_status import ContainerView, PodView, patch, status
from kubelet.probe_counter import CrashBackoff, ProbeCounter
from kubelet.quantity import parse
from kubelet.resize import ResizePolicy, ResizeState, Room, actuate, allocate, sizes
from kubelet.service_samples import service, slice_of

POD: Object = {
    "metadata": {
        "name": "p",
        "namespace": "ns",
        "uid": "u",
        "labels": {"app": "web"},
        "generation": 3,
    },
    "spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": "1Gi"}}}]},
}


def test_verdicts_need_results_in_a_row() -> None:
    counter = ProbeCounter(success_threshold=2, failure_threshold=3)

    told = [counter.observe(good) for good in (True, True, False, False, True, False, False, False)]

    assert told == [None, True, None, None, None, None, None, False]


def test_crashes_wait_twice_as_long_each_time_up_to_a_limit() -> None:
    backoff = CrashBackoff(first_s=10)

    assert [backoff.after_run(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert [backoff.after_run(600), backoff.after_run(1)] == [0, 10]


ALLOCATABLE = {"cpu": "72", "memory": "480Gi"}


def resources(memory: str) -> Object:
    return {"requests": {"memory": memory}, "limits": {"memory": memory}}


@pytest.mark.parametrize(
    ("memory", "taken", "policy", "reason"),
    [
        ("200Gi", "100Gi", ResizePolicy.GRANT, None),
        ("481Gi", "0", ResizePolicy.GRANT, "Infeasible"),
        ("400Gi", "100Gi", ResizePolicy.GRANT, "Deferred"),
        ("200Gi", "0", ResizePolicy.DEFER, "Deferred"),
        ("200Gi", "0", ResizePolicy.INFEASIBLE, "Infeasible"),
    ],
)
def test_what_a_node_answers_to_growth(
    memory: str, taken: str, policy: ResizePolicy, reason: str | None
) -> None:
    before = {"main": resources("100Gi")}
    room = Room(ALLOCATABLE, {"memory": parse(taken)})

    told = allocate(ResizeState(before, before), {"main": resources(memory)}, room, policy)

    if reason is None:
        assert told.allocated == {"main": resources(memory)}
        assert told.in_progress is not None
        assert actuate(told, {}).actual == told.allocated
    else:
        assert told.pending is not None
        assert told.pending.reason == reason
        assert told.allocated == before


def test_a_wish_taken_back_leaves_nothing_pending() -> None:
    before = {"main": resources("100Gi")}
    room = Room(ALLOCATABLE, {})
    pending = allocate(
        ResizeState(before, before), {"main": resources("1Ti")}, room, ResizePolicy.GRANT
    )

    assert allocate(pending, before, room, ResizePolicy.GRANT) == ResizeState(before, before)


def test_a_limit_never_falls_below_what_is_in_use() -> None:
    large, small = {"main": resources("2Gi")}, {"main": resources("1Gi")}
    granted = allocate(ResizeState(large, large), small, Room(ALLOCATABLE, {}), ResizePolicy.GRANT)

    refused = actuate(granted, {"main": 3 << 29})

    assert refused.actual == large
    assert refused.in_progress is not None
    assert refused.in_progress.reason == "Error"
    assert "below current usage" in refused.in_progress.message
    assert actuate(refused, {"main": 1 << 29}) == ResizeState(small, small)


def view(*containers: ContainerView, policy: str = "Always") -> PodView:
    manifest = {**POD, "spec": {**POD["spec"], "restartPolicy": policy}}
    state = ResizeState(sizes(POD["spec"]), sizes(POD["spec"]))
    return PodView(manifest, "10.0.0.1", "10.0.0.5", "t0", True, [], containers, state)


def ended(code: int) -> Object:
    return {"terminated": {"exitCode": code}}


@pytest.mark.parametrize(
    ("state", "last", "policy", "phase"),
    [
        ({"waiting": {}}, {}, "Always", "Pending"),
        ({"running": {}}, {}, "Always", "Running"),
        ({"waiting": {}}, ended(1), "Always", "Running"),
        (ended(0), {}, "Always", "Running"),
        (ended(0), {}, "Never", "Succeeded"),
        (ended(1), {}, "Never", "Failed"),
        (ended(1), {}, "OnFailure", "Running"),
    ],
)
def test_phases(state: Object, last: Object, policy: str, phase: str) -> None:
    container = ContainerView("main", "image", state=state, last_state=last)

    assert status(view(container, policy=policy), {}, "now")["phase"] == phase


def test_conditions_keep_the_time_of_their_last_change() -> None:
    container = ContainerView("main", "image", state={"running": {}})
    first = status(view(container), {}, "t1")
    container.ready = True
    second = status(view(container), first, "t2")
    times = {each["type"]: each["lastTransitionTime"] for each in second["conditions"]}

    assert times["Ready"] == "t2"
    assert times["Initialized"] == "t1"


def test_a_resize_condition_that_is_over_is_deleted() -> None:
    before = {"conditions": [{"type": "PodResizePending"}, {"type": "PodScheduled"}]}
    new = status(view(ContainerView("main", "image")), before, "now")

    assert patch("u", new, before)["status"]["conditions"][-1] == {
        "type": "PodResizePending",
        "$patch": "delete",
    }


def test_the_proxy_leads_to_ready_pods_and_only_then_to_ending_ones() -> None:
    web = [service("ns", "web", "10.96.0.7", 80)]
    where = Frontend("10.96.0.7", 80)

    def led(*endpoints: tuple[str, bool, bool]) -> list[tuple[str, int]]:
        return frontends(web, [slice_of("web", *endpoints)], ("127.0.0.1", 6443))[where]

    assert led(("10.0.0.1", True, False), ("10.0.0.2", False, True)) == [("10.0.0.1", 8000)]
    assert led(("10.0.0.2", False, True)) == [("10.0.0.2", 8000)]
    assert led(("10.0.0.3", False, False)) == []


def test_the_kubernetes_service_leads_to_the_api_server() -> None:
    found = frontends([service("default", "kubernetes", "10.96.0.1", 443)], [], ("127.0.0.1", 1))

    assert found == {Frontend("10.96.0.1", 443): [("127.0.0.1", 1)]}


def test_what_a_living_testbed_made_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "CLAIMS", tmp_path / "claims")
    undone = tmp_path / "undone"
    claim = leftovers.Claim("bridge")
    claim.before("touch", str(undone))

    leftovers.sweep()
    with pytest.raises(BlockingIOError):
        leftovers.Claim("bridge")
    assert not undone.exists()

    claim.release()
    assert undone.exists()
    assert not list(leftovers.CLAIMS.iterdir())


def test_a_machine_without_the_tools_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(SystemExit, match=r"needs root and iproute2 .*\(missing: ip, unshare"):
        leftovers.require_tools()
