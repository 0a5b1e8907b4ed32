"""What the process kubelet makes of manifests: commands, variables, volumes, host names."""

import base64
import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubelet import atomic_folder
from kubelet.api import Object
from kubelet.downward import Facts
from kubelet.environment import environment
from kubelet.expansion import expand
from kubelet.hosts import hosts_file, write_hosts
from kubelet.projection import File, project
from kubelet.quantity import in_units, parse
from kubelet.service_samples import service, slice_of
from kubelet.sources import Missing, Sources

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
FACTS = Facts(POD, "10.0.0.5", "10.0.0.1", {"cpu": "72", "memory": "480Gi"})
OBJECTS: dict[tuple[str, str], Object] = {
    ("configmap", "cm"): {"data": {"a": "1", "b": "two"}},
    ("secret", "s"): {"data": {"key": base64.b64encode(b"\x00raw").decode()}},
}
SOURCES = Sources(
    find=lambda kind, name: OBJECTS.get((kind, name)),
    token=lambda token: f"token for {token.audience} of {token.lifetime_s} s",
)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("cost: 5$", "cost: 5$"),
    ],
)
def test_references_expand_as_in_kubernetes(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


@given(st.text())
def test_doubled_dollars_protect_any_text(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"A": "1"}) == text


@pytest.mark.parametrize(
    ("quantity", "number"),
    [("100m", "0.1"), ("2", "2"), ("1Ki", "1024"), ("1k", "1000"), ("1e3", "1000"), ("1E", "1e18")],
)
def test_quantities(quantity: str, number: str) -> None:
    assert parse(quantity) == Decimal(number)


def test_a_wrong_quantity_is_named() -> None:
    with pytest.raises(ValueError, match="'12 GB' is not a quantity"):
        parse("12 GB")
    assert in_units("1500m", "1") == 2


def test_variables_override_in_order() -> None:
    container = {
        "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "cm"}}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "URL", "value": "http://$(IP):$(CM_a)"},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {
                "name": "NONE",
                "valueFrom": {"secretKeyRef": {"name": "x", "key": "y", "optional": True}},
            },
        ],
    }

    found = environment({"PATH": "/bin"}, [], container, FACTS, SOURCES)

    assert found == {
        "PATH": "/bin",
        "HOSTNAME": "p",
        "CM_a": "1",
        "CM_b": "two",
        "IP": "10.0.0.5",
        "URL": "http://10.0.0.5:1",
        "CPU": "72",
    }


def test_service_variables_are_for_the_own_namespace_and_the_api_server() -> None:
    services = [
        service("default", "kubernetes", "10.96.0.1", 443),
        service("ns", "my-web", "10.96.0.7", 80),
        service("other", "db", "10.96.0.8", 5432),
        service("ns", "headless", "None", 80),
    ]

    found = environment({}, services, {}, FACTS, SOURCES)
    quiet = Facts({**POD, "spec": {**POD["spec"], "enableServiceLinks": False}}, "", "", {})

    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert found["MY_WEB_PORT"] == "tcp://10.96.0.7:80"
    assert not [name for name in found if name.startswith(("DB_", "HEADLESS_"))]
    assert "MY_WEB_PORT" not in environment({}, services, {}, quiet, SOURCES)


@pytest.mark.parametrize(
    "source",
    [
        {"configMapKeyRef": {"name": "none", "key": "a"}},
        {"configMapKeyRef": {"name": "cm", "key": "none"}},
        {"secretKeyRef": {"name": "none", "key": "a"}},
    ],
)
def test_a_missing_source_is_an_error(source: Object) -> None:
    with pytest.raises(Missing, match="none"):
        environment({}, [], {"env": [{"name": "X", "valueFrom": source}]}, FACTS, SOURCES)


def test_a_projected_volume_gathers_all_its_sources() -> None:
    volume = {
        "name": "v",
        "projected": {
            "defaultMode": 0o440,
            "sources": [
                {
                    "configMap": {
                        "name": "cm",
                        "items": [{"key": "a", "path": "sub/a", "mode": 0o600}],
                    }
                },
                {"secret": {"name": "s"}},
                {"secret": {"name": "none", "optional": True}},
                {
                    "serviceAccountToken": {
                        "path": "token",
                        "audience": "me",
                        "expirationSeconds": 600,
                    }
                },
                {
                    "downwardAPI": {
                        "items": [
                            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                            {
                                "path": "memory",
                                "resourceFieldRef": {
                                    "containerName": "main",
                                    "resource": "limits.memory",
                                    "divisor": "1Mi",
                                },
                            },
                        ]
                    }
                },
            ],
        },
    }

    assert project(volume, FACTS, SOURCES) == {
        "sub/a": File(b"1", 0o600),
        "key": File(b"\x00raw", 0o440),
        "token": File(b"token for me of 600 s", 0o440),
        "labels": File(b'app="web"', 0o440),
        "memory": File(b"1024", 0o440),
    }


def test_a_volume_of_a_missing_object_or_key_cannot_be_made() -> None:
    with pytest.raises(Missing, match='configmap "none" not found'):
        project({"configMap": {"name": "none"}}, FACTS, SOURCES)
    items = [{"key": "z", "path": "z"}]
    with pytest.raises(Missing, match="non-existent key: z"):
        project({"secret": {"secretName": "s", "items": items}}, FACTS, SOURCES)


FILES = st.dictionaries(
    st.sampled_from(["a", "b", "d/x", "d/y"]),
    st.builds(File, st.binary(max_size=4), st.sampled_from([0o400, 0o644])),
)


@given(st.lists(FILES, min_size=1, max_size=4))
def test_a_volume_always_holds_exactly_the_last_files(
    tmp_path_factory: pytest.TempPathFactory, versions: list[dict[str, File]]
) -> None:
    folder = tmp_path_factory.mktemp("volume")
    for files in versions:
        atomic_folder.write(folder, files)
        seen = {
            name: (folder / name).read_bytes()
            for name in ("a", "b", "d/x", "d/y")
            if (folder / name).exists()
        }
        assert seen == {name: file.data for name, file in files.items()}
        assert len([each for each in folder.iterdir() if not each.is_symlink()]) == 1
    assert not atomic_folder.write(folder, versions[-1])


def test_an_open_reader_keeps_the_old_version(tmp_path: Path) -> None:
    atomic_folder.write(tmp_path, {"a": File(b"old", 0o644)})
    with (tmp_path / "a").open("rb") as reader:
        atomic_folder.write(tmp_path, {"a": File(b"new", 0o644)})
        assert reader.read() == b"old"
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_headless_service_names_its_pods() -> None:
    services = [service("ns", "web", "None", 80), service("other", "db", "10.96.0.8", 80)]
    slices = [slice_of("web", ("10.0.0.1", True, False), ("10.0.0.2", False, True))]

    lines = hosts_file(POD, "10.0.0.5", services, slices).splitlines()

    assert "10.0.0.5\tp" in lines
    assert "10.0.0.1\tweb.ns.svc.cluster.local web.ns.svc web.ns web" in lines
    assert "10.96.0.8\tdb.other.svc.cluster.local db.other.svc db.other" in lines
    assert not [line for line in lines if line.startswith("10.0.0.2")]


def test_names_are_rewritten_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    write_hosts(path, "long text\n")
    before = path.stat().st_ino
    write_hosts(path, "short\n")

    assert path.read_text() == "short\n"
    assert path.stat().st_ino == before
