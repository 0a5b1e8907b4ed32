"""Rules of the repository that no tool enforces."""

import importlib.util
import operator
from pathlib import Path
from types import ModuleType

from superinfer_contract.metrics import ALL
from superinfer_contract.runtime_config import SchedulerKnobs, ServerConfig

ROOT = Path(__file__).parents[2]


def test_the_operator_folder_never_shadows_the_standard_library() -> None:
    assert callable(operator.itemgetter)
    for source_root in ("operator", "runtime", "contract"):
        assert not (ROOT / source_root / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def generator(name: str) -> ModuleType:
    """A script of tools/docs."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_metrics_reference_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    made = generator("metrics_reference").reference()
    assert page == made, "run python tools/docs/metrics_reference.py"
    assert all(metric.name in page for metric in ALL)


def test_the_configuration_reference_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    made = generator("configuration_reference").reference()
    assert page == made, "run python tools/docs/configuration_reference.py"
    for model, at in ((SchedulerKnobs, "scheduler"), (ServerConfig, "server")):
        assert all(f"`{at}.{name}`" in page for name in model.model_fields)


def test_the_command_reference_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    made = generator("cli_reference").reference(page)
    assert page == made, "run python tools/docs/cli_reference.py"
    for command in ("serve", "bench", "plan", "simulate"):
        assert f"`superinfer {command}`" in page
    for command in ("up", "run"):
        assert f"`superinfer-operator {command}`" in page


def test_structures_names_every_module() -> None:
    page = (ROOT / "docs" / "structures.md").read_text()
    for package in ("policy", "duplexkv", "engine"):
        for module in (ROOT / "runtime" / "superinfer_runtime" / package).glob("[a-z]*.py"):
            assert module.stem in page, f"docs/structures.md does not name {package}/{module.stem}"
