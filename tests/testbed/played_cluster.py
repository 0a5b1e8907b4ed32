"""A cluster that is played: API server, Deployment controller, scheduler and kubelet, step by step.

Every part moves only when it is told to, in any order, and the operator sees each kind through a
watch of its own that may be late. What must never happen is checked as it would happen: a
configuration is deleted that some pod may still have to start with.
"""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from superinfer_contract.service import SuperInferService
from superinfer_operator.children import Children, NodeSeen, has_ended, is_ready, is_terminating
from superinfer_operator.keeper import WATCHED_KINDS
from superinfer_operator.kube.applied import Applied, key_of
from superinfer_operator.kube.trim import trimmed, trimmed_node, trimmed_pod
from superinfer_operator.objects.naming import CONFIG_ANNOTATION, OPERATOR
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.plan import Plan, plan

Object = dict[str, Any]
NAME = "chat"
DEPLOYMENT = ("Deployment", NAME)
HAND_OVER = "hand-over"
POD, NODE = "Pod", "Node"
COMPLETE = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}


class PlayedCluster:
    """Four nodes with a GPU each, and the operator's own objects."""

    def __init__(self, platform: Platform, tokens: Tokens) -> None:
        self.platform, self.tokens = platform, tokens
        self.objects: dict[tuple[str, str], Object] = {}
        self.pods: dict[str, Object] = {}
        self.cordoned: set[str] = set()
        self.nodes = ("n0", "n1", "n2", "n3")
        self.broken_configs: set[str] = set()  # pods with one of these never get ready
        self.applies = 0
        self.now_s = 0.0
        self.restart_operator()
        self._revisions: dict[str, tuple[Object, int]] = {}  # template and pods wanted
        self._owners: set[str] = set()  # of the Deployment's replicas
        self._version = 0
        self._seen: dict[str, dict[str, Any]] = {}
        self.watch()

    # --- the operator -----------------------------------------------------------------------

    def restart_operator(self) -> None:
        """Forget what was applied; what the watches show is listed anew."""
        self.applied = Applied(WATCHED_KINDS)

    def watch(self, kinds: tuple[str, ...] = (*sorted(WATCHED_KINDS), POD, NODE)) -> None:
        """Let the operator see objects of these kinds as they are now."""
        for kind in kinds:
            self._seen[kind] = copy.deepcopy(dict(self._shown(kind)))

    def _shown(self, kind: str) -> Iterator[tuple[str, Any]]:
        if kind == POD:
            yield from ((name, trimmed_pod(pod)) for name, pod in self.pods.items())
        elif kind == NODE:
            yield from ((name, self._node(name)) for name in self.nodes)
        else:
            for (found, name), obj in self.objects.items():
                if found == kind:
                    yield name, trimmed(obj)

    def _node(self, name: str) -> NodeSeen:
        return trimmed_node(
            {"metadata": {"name": name}, "spec": {"unschedulable": name in self.cordoned}}
        )

    @property
    def children(self) -> Children:
        """What the operator sees."""
        objects = {
            (kind, name): obj for kind in WATCHED_KINDS for name, obj in self._seen[kind].items()
        }
        return Children(objects, self._seen[POD], self._seen[NODE])

    def plan(self, sis: SuperInferService) -> Plan:
        return plan(sis, self.children, self.platform, self.tokens, None)

    def operate(self, sis: SuperInferService) -> Plan:
        """Let the operator carry out its plan once."""
        wanted = self.plan(sis)
        if wanted.hand_over_replicas is not None and DEPLOYMENT in self.objects:
            self._hand_over(wanted.hand_over_replicas)
        for obj in wanted.apply:
            if not self.applied.is_current(obj, self.children.named(*key_of(obj)), self.now_s):
                self.applies += 1
                self.applied.note(obj, trimmed(self._apply(obj)), self.now_s)
        for key in wanted.delete:
            self._check_unused(key)
            self.objects.pop(key, None)
            self.applied.forget(key)
        return wanted

    def _hand_over(self, replicas: int) -> None:
        if self.objects[DEPLOYMENT]["spec"]["replicas"] == replicas:  # else a conflict
            self._owners.add(HAND_OVER)

    def _check_unused(self, key: tuple[str, str]) -> None:
        wanted = [template for template, count in self._revisions.values() if count]
        for holder in (*wanted, *self.live.values()):
            annotations = holder["metadata"]["annotations"]
            assert key != ("ConfigMap", annotations[CONFIG_ANNOTATION]), f"{key} is in use"

    # --- the API server ---------------------------------------------------------------------

    def _apply(self, wish: Object) -> Object:
        obj = copy.deepcopy(wish)
        if obj["kind"] == "Deployment":
            there = self.objects.get(DEPLOYMENT)
            if there is None:
                self._owners = set()
            self._owners -= {OPERATOR}
            if "replicas" in obj["spec"]:
                self._owners = {OPERATOR}
            else:  # a field that nobody holds falls back to its default
                held = there["spec"]["replicas"] if there and self._owners else 1
                obj["spec"]["replicas"] = held
        return self.store(obj)

    def store(self, obj: Object) -> Object:
        """Take what somebody wrote; status and identity stay."""
        key = key_of(obj)
        before = self.objects.get(key)
        if before is not None and _content(before) == _content(obj):
            version = before["metadata"]["resourceVersion"]
        else:
            self._version += 1
            version = str(self._version)
        identity = {"uid": str(key), "resourceVersion": version}
        if "spec" in obj and obj["kind"] != "Service":
            identity["generation"] = int(version)  # type: ignore[assignment]
        stored = {**obj, "metadata": {**obj["metadata"], **identity}}
        stored["status"] = (before or {}).get("status", {})
        if key == DEPLOYMENT:
            stored["metadata"]["managedFields"] = [
                {
                    "manager": OPERATOR,
                    "operation": "Apply",
                    "fieldsV1": {"f:spec": {"f:replicas": {}} if OPERATOR in self._owners else {}},
                }
            ]
        self.objects[key] = stored
        return stored

    def scale(self, replicas: int) -> None:
        """Another scaler than the operator sets the Deployment's replicas."""
        if DEPLOYMENT in self.objects:
            self._owners = {"scaler"}
            deployment = copy.deepcopy(self.objects[DEPLOYMENT])
            deployment["spec"]["replicas"] = replicas
            self.store(deployment)

    # --- controllers and nodes --------------------------------------------------------------

    @property
    def live(self) -> dict[str, Object]:
        return {
            name: pod
            for name, pod in self.pods.items()
            if not (is_terminating(pod) or has_ended(pod))
        }

    def control(self) -> None:
        """Let the Deployment controller and its ReplicaSets take one step each."""
        deployment = self.objects.get(DEPLOYMENT)
        if deployment is None:
            self._revisions = {}
            self.pods = {}
            return
        template, replicas = deployment["spec"]["template"], deployment["spec"]["replicas"]
        current = json.dumps(template, sort_keys=True)
        self._scale_revisions(current, template, replicas)
        for revision, (pods_template, wanted) in self._revisions.items():
            self._keep(revision, pods_template, wanted)
        updated = sum(pod["revision"] == current for pod in self.live.values())
        ready = sum(map(is_ready, self.live.values()))
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(self.live),
            "updatedReplicas": updated,
            "conditions": [COMPLETE] if updated == ready == len(self.live) == replicas else [],
        }

    def _scale_revisions(self, current: str, template: Object, replicas: int) -> None:
        wanted = {revision: count for revision, (_, count) in self._revisions.items()}
        wanted.setdefault(current, 0)
        old = [revision for revision, count in wanted.items() if count and revision != current]
        if not old:
            wanted[current] = replicas
        elif wanted[current] < replicas and sum(wanted.values()) < replicas + 1:
            wanted[current] += 1
        else:
            ready = [pod["revision"] for pod in self.live.values() if is_ready(pod)]
            unready_new = max(wanted[current] - ready.count(current), 0)
            if sum(wanted.values()) - replicas - unready_new > 0:
                wanted[old[0]] -= 1
        templates = {revision: made for revision, (made, _) in self._revisions.items()}
        templates[current] = template
        self._revisions = {
            revision: (templates[revision], count) for revision, count in wanted.items()
        }

    def _keep(self, revision: str, template: Object, wanted: int) -> None:
        own = [name for name, pod in self.live.items() if pod["revision"] == revision]
        if len(own) < wanted:
            self._version += 1
            name = f"{NAME}-{self._version:03}"
            annotations = dict(template["metadata"]["annotations"])
            self.pods[name] = {
                "metadata": {"name": name, "annotations": annotations},
                "spec": {},
                "status": {"phase": "Pending"},
                "revision": revision,
            }
        elif len(own) > wanted:
            self.pods[own[0]]["metadata"]["deletionTimestamp"] = "now"

    def run_pods(self) -> None:
        """Let scheduler and kubelets take a step: pods get nodes, start, or are gone."""
        self.pods = {name: pod for name, pod in self.pods.items() if not is_terminating(pod)}
        for pod in self.live.values():
            if "nodeName" in pod["spec"]:
                config = pod["metadata"]["annotations"][CONFIG_ANNOTATION]
                starts = ("ConfigMap", config) in self.objects and config not in self.broken_configs
                ready = str(starts or is_ready(pod))
                pod["status"] = {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": ready}],
                }
                continue
            taken = {each["spec"].get("nodeName") for each in self.live.values()}
            free = [node for node in self.nodes if node not in taken | self.cordoned]
            if free:
                pod["spec"]["nodeName"] = free[0]

    # --- all together -----------------------------------------------------------------------

    def settle(self, sis: SuperInferService, rounds: int = 40) -> Plan:
        """Let everybody do their part until nothing is left to do, or for so many rounds."""
        steps: tuple[Callable[[], object], ...] = (
            self.watch,
            lambda: self.operate(sis),
            self.control,
            self.run_pods,
        )
        for _ in range(rounds):
            before = copy.deepcopy((self.objects, self.pods, self._revisions))
            for step in steps:
                step()
            if before == (self.objects, self.pods, self._revisions):
                break
        self.watch()
        return self.plan(sis)


def _content(obj: Object) -> Object:
    kept = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    metadata = obj["metadata"]
    return kept | {"labels": metadata.get("labels"), "owners": metadata.get("ownerReferences")}
