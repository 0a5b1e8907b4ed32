"""What the charts render: objects that Kubernetes takes, restricted pods, one source of truth."""

import importlib.util
import tomllib
from typing import Any

import pytest
import yaml
from helm import CHART, CHARTS, CRDS_CHART, ROOT, Helm
from kubernetes_rules import problems, restricted_violations

pytestmark = pytest.mark.cluster

EVERYTHING = {
    "fullnameOverride": "blue",
    "image": {"repository": "registry.example:5000/op", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "watchNamespaces": ["a", "b"],
    "otlpEndpoint": "http://collector:4318",
    "tls": {"enabled": True, "secretName": "blue-tls", "runtimeCaSecretName": "blue-ca"},
    "serviceAccount": {"name": "blue-sa", "annotations": {"a": "b"}},
    "networkPolicy": {
        "extraOtlpFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "watch"}}}],
    },
    "collector": {"enabled": True, "exporters": {"otlphttp/own": {"endpoint": "http://own"}}},
    "statusPage": {"enabled": True, "port": 9000, "from": [{"namespaceSelector": {}}]},
    "serviceMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "runbooks": "https://wiki.example/superinfer"},
    "dashboards": {"enabled": True},
    "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
    "nodeSelector": {"kubernetes.io/arch": "arm64"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "blue"},
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}},
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}-more'}}",
    ],
}
NOTHING = {
    "serviceAccount": {"create": False, "name": "given"},
    "rbac": {"create": False},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "signingKey": {"existingSecret": "given"},
    "resources": None,
    "priorityClassName": "",
}
CASES = [
    pytest.param({}, id="defaults"),
    pytest.param(EVERYTHING, id="all"),
    pytest.param(NOTHING, id="least"),
]


PROMETHEUS_KINDS = ("PrometheusRule", "ServiceMonitor")


def by_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the one object of a kind."""
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


@pytest.mark.parametrize("chart", sorted(CHARTS.iterdir()), ids=lambda chart: chart.name)
def test_lint_finds_nothing(helm: Helm, chart: Any) -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", chart)


@pytest.mark.parametrize("values", CASES)
def test_kubernetes_takes_every_object(helm: Helm, values: dict[str, Any]) -> None:
    made = helm.objects(CHART, values)

    of_its_own = [each for each in made if each["kind"] not in PROMETHEUS_KINDS]
    assert [said for each in of_its_own for said in problems(each)] == []
    pods = [each["spec"] for each in made if each["kind"] == "Pod"]
    pods.append(by_kind(made, "Deployment")["spec"]["template"]["spec"])
    assert [said for pod in pods for said in restricted_violations(pod)] == []


@pytest.mark.parametrize("values", CASES)
def test_selectors_find_the_operator_and_nothing_else(helm: Helm, values: dict[str, Any]) -> None:
    made = helm.objects(CHART, values)
    labels = by_kind(made, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        by_kind(made, "Deployment")["spec"]["selector"]["matchLabels"],
        by_kind(made, "Service")["spec"]["selector"],
    ]
    selectors += [
        each["spec"].get("podSelector", each["spec"].get("selector"))["matchLabels"]
        for each in made
        if each["kind"] in ("NetworkPolicy", "PodDisruptionBudget")
    ]

    tests_labels = by_kind(made, "Pod")["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= tests_labels.items()


def test_values_reach_the_operator(helm: Helm) -> None:
    made = helm.objects(CHART, EVERYTHING)
    (container,) = by_kind(made, "Deployment")["spec"]["template"]["spec"]["containers"]

    assert container["image"] == f"registry.example:5000/op@sha256:{'0' * 64}"
    assert container["args"][1:] == [
        "--runtime-image=superinfer/runtime:0.1.0",
        "--otlp-endpoint=http://collector:4318",
        "--tls-certificate=/etc/superinfer/tls/tls.crt",
        "--tls-key=/etc/superinfer/tls/tls.key",
        "--otlp-ca=/etc/superinfer/tls/ca.crt",
        "--runtime-ca=/etc/superinfer/runtime-ca/ca.crt",
        "--log-level=info",
        "--status-port=9000",
        "--namespace=a",
        "--namespace=b",
        "--service-monitor-label=release=prometheus",
    ]
    assert container["env"][1]["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    names = {each["metadata"]["name"] for each in made}
    own = {"blue", "blue-cluster", "blue-collector", "blue-sa", "blue-signing", "blue-test"}
    own |= {f"blue-{board}" for board in ("slo", "rotation", "budgets", "fleet")}
    assert names == own | {"extra", "superinfer-more"}


def test_with_tls_the_secrets_are_mounted_and_runtimes_told(helm: Helm) -> None:
    pod = by_kind(helm.objects(CHART, {"tls": {"enabled": True}}), "Deployment")["spec"]["template"]
    (container,) = pod["spec"]["containers"]

    endpoint = "https://superinfer-operator.superinfer-system.svc:4318"
    assert f"--otlp-endpoint={endpoint}" in container["args"]
    assert not any(each.startswith("--runtime-ca") for each in container["args"])
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    (tls,) = (each for each in pod["spec"]["volumes"] if each["name"] == "tls")
    assert tls["secret"]["secretName"] == "superinfer-operator-tls"
    for file in ("tls-certificate", "tls-key", "otlp-ca"):
        assert any(each.startswith(f"--{file}={mounted['tls']}/") for each in container["args"])


def test_rules_and_dashboards_are_the_files_as_they_are(helm: Helm) -> None:
    made = helm.objects(CHART, EVERYTHING)
    rules = (CHART / "files" / "rules.yaml").read_text()
    moved = rules.replace(
        "runbook_url: docs/runbooks", "runbook_url: https://wiki.example/superinfer"
    )
    boards = {
        name: text
        for each in made
        if "grafana_dashboard" in each["metadata"].get("labels", {})
        for name, text in each["data"].items()
    }

    assert moved.count("wiki.example") == rules.count("- alert:")
    assert by_kind(made, "PrometheusRule")["spec"] == yaml.safe_load(moved)
    files = (CHART / "files" / "dashboards").glob("*.json")
    assert boards == {file.name: file.read_text().rstrip() for file in files}


def test_with_watched_namespaces_the_operator_may_write_there_only(helm: Helm) -> None:
    made = helm.objects(CHART, EVERYTHING)

    bound = [each for each in made if each["kind"] == "RoleBinding"]
    assert [each["metadata"]["namespace"] for each in bound] == ["a", "b"]
    assert {each["roleRef"]["name"] for each in bound} == {"blue"}
    assert by_kind(made, "ClusterRoleBinding")["roleRef"]["name"] == "blue-cluster"
    (everywhere,) = (
        each
        for each in made
        if each["kind"] == "ClusterRole" and each["metadata"]["name"] == "blue-cluster"
    )
    verbs = {verb for rule in everywhere["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}


def test_by_default_only_runtimes_reach_the_operator_and_nobody_its_metrics(helm: Helm) -> None:
    telemetry, metrics = by_kind(helm.objects(), "NetworkPolicy")["spec"]["ingress"]

    assert [port["port"] for port in telemetry["ports"]] == ["otlp-http", "otlp-grpc"]
    assert [port["port"] for port in metrics["ports"]] == ["http"]
    (test,) = metrics["from"]
    assert test["podSelector"]["matchLabels"]["app.kubernetes.io/name"].endswith("-test")
    assert {"podSelector", "namespaceSelector"} == telemetry["from"][0].keys()


def test_the_status_page_is_for_those_named_only(helm: Helm) -> None:
    def rule(values: dict[str, Any]) -> list[dict[str, Any]]:
        rules = by_kind(helm.objects(CHART, {"statusPage": values}), "NetworkPolicy")
        return [each for each in rules["spec"]["ingress"] if {"port": "status"} in each["ports"]]

    made = helm.objects(CHART, EVERYTHING)
    (container,) = by_kind(made, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "status", "containerPort": 9000} in container["ports"]
    status = {"name": "status", "port": 9000, "targetPort": "status"}
    assert status in by_kind(made, "Service")["spec"]["ports"]

    peers = EVERYTHING["statusPage"]["from"]
    assert rule({"enabled": True, "from": peers}) == [
        {"from": peers, "ports": [{"port": "status"}]}
    ]
    # A rule without peers would let everybody in.
    assert rule({"enabled": True}) == []
    assert rule({"enabled": False, "from": peers}) == []


def test_the_crd_chart_renders_the_crd(helm: Helm) -> None:
    (file,) = (ROOT / "crds").glob("*.yaml")
    crd = yaml.safe_load(file.read_text())

    for keep in (True, False):
        (made,) = helm.objects(CRDS_CHART, {"crds": {"keep": keep}})
        assert made["spec"] == crd["spec"]
        assert made["metadata"]["name"] == crd["metadata"]["name"]
        policy = made["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)


def test_the_single_manifest_is_what_the_chart_renders(helm: Helm) -> None:
    script = ROOT / "tools" / "charts" / "single_manifest.py"
    spec = importlib.util.spec_from_file_location("single_manifest", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    made = module.manifest(helm)

    assert module.MANIFEST.read_text() == made, f"run {script}"
    assert [said for each in yaml.safe_load_all(made) for said in problems(each)] == []


@pytest.mark.parametrize("chart", [CHART, CRDS_CHART], ids=lambda chart: chart.name)
def test_charts_have_the_version_of_the_distribution(chart: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert {told["version"], told["appVersion"]} == {project["version"]}
