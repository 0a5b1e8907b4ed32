"""The Dockerfile, the chart and the operator's pods agree on users, commands and folders."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from superinfer_operator.objects.pod import HOME, USER_ID

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "charts" / "superinfer"
STAGE = re.compile(r"^FROM \S+ AS (\S+)$", re.MULTILINE)


def stage(name: str) -> str:
    """Return the instructions of a stage, a line each."""
    text = (ROOT / "Dockerfile").read_text()
    parts = STAGE.split(re.sub(r"\s*\\\n\s*", " ", text))
    return dict(zip(parts[1::2], parts[2::2], strict=True))[name]


def said(name: str, instruction: str) -> str:
    """Return what the one instruction of that kind says in a stage."""
    (found,) = re.findall(rf"^{instruction} (.*)$", stage(name), re.MULTILINE)
    return str(found)


@pytest.mark.parametrize(
    ("name", "command"),
    [("operator", ["superinfer-operator", "run"]), ("runtime", ["superinfer", "serve"])],
)
def test_images_run_their_program_as_the_pods_user(name: str, command: list[str]) -> None:
    assert json.loads(said(name, "ENTRYPOINT")) == command
    assert said(name, "USER") == f"{USER_ID}:{USER_ID}"
    assert "superinfer:x:10001:10001::" in stage(name)


def test_the_runtime_s_home_is_where_its_pods_may_write() -> None:
    assert f"HOME={HOME} " in said("runtime", "ENV")
    assert said("runtime", "WORKDIR") == HOME


def test_the_operator_s_home_is_the_one_folder_its_pod_may_write() -> None:
    deployment = (CHART / "templates" / "deployment.yaml").read_text()
    assert "HOME=/tmp " in said("operator", "ENV")
    assert "{name: tmp, mountPath: /tmp}" in deployment
    assert f"command: [{', '.join(json.loads(said('operator', 'ENTRYPOINT')))}]" in deployment


def test_the_chart_runs_the_operator_s_image_as_its_user() -> None:
    shared = (CHART / "templates" / "_helpers.tpl").read_text()
    ports = set(
        re.findall(r"containerPort: (\d+)", (CHART / "templates/deployment.yaml").read_text())
    )
    assert f"runAsUser: {USER_ID}\nrunAsGroup: {USER_ID}\n" in shared
    page = yaml.safe_load((CHART / "values.yaml").read_text())["statusPage"]["port"]
    assert set(said("operator", "EXPOSE").split()) == {*ports, str(page)}


def test_images_have_the_version_and_the_names_that_the_chart_asks_for() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for name, key in (("operator", "image"), ("runtime", "runtimeImage")):
        assert f"\nARG VERSION={version}\n" in stage(name)
        assert values[key]["repository"] == f"superinfer/{name}"
