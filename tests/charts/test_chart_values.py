"""Values: each is documented and typed, and a wrong one is refused in words that name it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helm import CHART, CRDS_CHART, Helm, HelmFailed

pytestmark = pytest.mark.cluster

REFUSED = [
    ({"replicas": 2}, "replicas"),
    ({"image": {"name": "op"}}, "name"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"image": {"tag": 1.2}}, "tag"),
    ({"image": {"digest": "sha256:12"}}, "digest"),
    ({"runtimeImage": {"repository": ""}}, "repository"),
    ({"fullnameOverride": "Upper"}, "fullnameOverride"),
    ({"imagePullSecrets": ["pull"]}, "imagePullSecrets"),
    ({"watchNamespaces": "team"}, "watchNamespaces"),
    ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
    ({"otlpEndpoint": "collector:4318"}, "otlpEndpoint"),
    ({"logLevel": "loud"}, "logLevel"),
    ({"tls": {"secretName": ""}}, "secretName"),
    ({"networkPolicy": {"enabled": "yes"}}, "enabled"),
    ({"networkPolicy": {"metricsFrom": [{}]}}, "metricsFrom"),
    ({"collector": {"exporters": {"otlphttp/superinfer": {}}}}, "otlphttp/superinfer"),
    ({"collector": {"caFile": "ca.crt"}}, "caFile"),
    ({"statusPage": {"port": 8080}}, "port"),
    ({"statusPage": {"from": [{}]}}, "from"),
    ({"serviceMonitor": {"interval": 30}}, "interval"),
    ({"prometheusRule": {"runbooks": "two words"}}, "runbooks"),
    ({"dashboards": {"labels": {"a": 1}}}, "labels"),
    ({"env": [{"value": "1"}]}, "env"),
    ({"env": [{"name": "A", "value": 1}]}, "value"),
    ({"podLabels": {"a": 1}}, "podLabels"),
    ({"extraObjects": [1]}, "extraObjects"),
]


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=lambda case: json.dumps(case)[:40])
def test_a_wrong_value_is_refused_by_name(helm: Helm, values: dict[str, Any], named: str) -> None:
    with pytest.raises(HelmFailed) as refused:
        helm.rendered(CHART, values)

    message = str(refused.value)
    assert "values don't meet the specifications of the schema" in message
    assert named in message


COLLECTOR = {"otlpEndpoint": "http://collector:4318", "networkPolicy": {"enabled": False}}


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({}, "set otlpEndpoint to the collector's address"),
        ({"otlpEndpoint": "http://collector:4318"}, "networkPolicy.extraOtlpFrom"),
        (
            {**COLLECTOR, "collector": {"receiverTls": {"cert_file": "/tls.crt"}}},
            "otlpEndpoint must begin with https://",
        ),
        (
            {
                **COLLECTOR,
                "collector": {
                    "exporters": {"otlphttp/own": {"auth": {"authenticator": "headers_setter"}}}
                },
            },
            "collector.exporters.otlphttp/own: .* put the backend's own key into headers",
        ),
    ],
    ids=["nobody-sends-there", "let-in-nowhere", "plain-senders", "tokens-given-away"],
)
def test_a_collector_that_could_not_work_is_refused(
    helm: Helm, values: dict[str, Any], advice: str
) -> None:
    collector = {"enabled": True, **values.get("collector", {})}
    with pytest.raises(HelmFailed, match=advice):
        helm.rendered(CHART, {**values, "collector": collector})


def test_a_wrong_value_of_the_crd_chart_is_refused(helm: Helm) -> None:
    with pytest.raises(HelmFailed, match="keep"):
        helm.rendered(CRDS_CHART, {"crds": {"keep": "yes"}})


def leaves(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """The paths of a schema's values, into objects whose fields are known."""
    for name, inner in schema["properties"].items():
        if inner.get("properties") and name != "resources":
            yield from leaves(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def documented(text: str) -> set[str]:
    """The paths of values that have a comment of the form ``# -- what it is``."""
    found, above, parent = set(), False, ""
    for line in text.splitlines():
        value = re.match(r"( *)(\w+):", line)
        if line.lstrip().startswith("#"):
            above = above or line.lstrip().startswith("# -- ")
        elif value:
            nested = len(value[1]) == 2 and parent != "resources"
            if above:
                found.add(f"{parent}.{value[2]}" if nested else value[2])
            parent = parent if value[1] else value[2]
            above = False
    return found


@pytest.mark.parametrize("chart", [CHART, CRDS_CHART], ids=lambda chart: chart.name)
def test_values_file_and_schema_name_the_same_values(chart: Any) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    text = (chart / "values.yaml").read_text()

    assert documented(text) == set(leaves(schema)) - {"global"}
    for path in documented(text):
        found = yaml.safe_load(text)
        for name in path.split("."):
            found = found[name]
