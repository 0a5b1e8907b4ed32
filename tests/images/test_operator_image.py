"""The operator's image: built from the Dockerfile without a container engine, run as in a pod."""

import json
import re
from pathlib import Path

import pytest
from operator_image import OperatorImage

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MAX_BYTES = 200e6
UNWANTED = {"torch", "vllm", "pip", "pytest"}
PACKAGES = "opt/superinfer/lib/python3.11/site-packages"


@pytest.fixture(scope="session")
def image() -> OperatorImage:
    return OperatorImage.built()


def test_the_entry_point_runs_as_its_user_and_writes_only_to_tmp(image: OperatorImage) -> None:
    told = image.run(*image.config["Entrypoint"], "--help")
    assert "Reconcile the SuperInferServices" in told.stdout, told.stderr

    assert image.run("id", "--user").stdout.strip() == "10001"
    assert image.run("touch", "/tmp/here").returncode == 0
    for place in ("/here", "/opt/superinfer/here", "/var/tmp/here"):
        assert "Read-only file system" in image.run("touch", place).stderr


def test_the_operator_starts_as_far_as_there_is_no_cluster(image: OperatorImage) -> None:
    key = "head -c 64 /dev/urandom > /tmp/key"
    ports = "--http-port=0 --otlp-http-port=0 --otlp-grpc-port=0"
    run = f"{' '.join(image.config['Entrypoint'])} --signing-key=/tmp/key --runtime-image=r {ports}"

    told = image.run("sh", "-c", f"{key} && exec {run}")

    assert told.returncode == 1
    assert told.stderr.startswith("error: "), told.stderr
    assert "cluster" in told.stderr


def test_it_is_small_and_has_nothing_of_the_runtime_s(image: OperatorImage) -> None:
    assert image.size_bytes < MAX_BYTES
    installed = {each.name for each in (image.root / PACKAGES).iterdir()}
    assert "kopf" in installed
    assert not UNWANTED & installed
    assert not list((image.root / PACKAGES).rglob("*.pyc"))
    assert (image.root / PACKAGES / "superinfer_operator/status_page/page.html").is_file()


def test_the_sbom_lists_what_was_locked_and_nothing_else(image: OperatorImage) -> None:
    sbom = json.loads((image.root / "usr/share/sbom/superinfer-operator.cdx.json").read_text())
    lock = (ROOT / "requirements" / "operator.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))

    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["name"] == "superinfer"
    listed = {
        re.sub("[-_.]+", "-", each["name"]).lower(): each["version"] for each in sbom["components"]
    }
    listed.pop("superinfer", None)
    assert listed == locked
    assert "kopf" in listed


def test_labels_tell_what_it_is(image: OperatorImage) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "SuperInfer operator"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
