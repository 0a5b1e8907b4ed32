"""Lock files let nothing in but what they name, and the check would see it if they did."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
HASH = "--hash=sha256:" + "0" * 64


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / "audit" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lock_file() -> ModuleType:
    return tool("lock_file")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_pinned_and_hashed_and_no_index_is_named(
    lock_file: ModuleType, lock: Path
) -> None:
    text = lock.read_text()
    assert lock_file.pins(text)
    assert lock_file.loose_ends(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a>=1 {HASH}", "a: no version"),
        ("a==1", "a: no hash"),
        (f"--find-links x\na==1 \\\n    {HASH}", "option --find-links x"),
        (f"-r other.txt\na==1 {HASH}", "option -r other.txt"),
        (f"--index-url s://x\na==1 {HASH}", "address in --index-url s://x"),
        (f"a @ git+s://x/y {HASH}", f"address in a @ git+s://x/y {HASH}"),
    ],
)
def test_a_loose_end_is_seen(lock_file: ModuleType, text: str, said: str) -> None:
    assert said in lock_file.loose_ends(text)


def test_what_is_installed_asks_for_nothing_that_is_not_locked(lock_file: ModuleType) -> None:
    locked = lock_file.pins((ROOT / "requirements" / "cpu.lock").read_text())
    exempt = lock_file.read_overrides(ROOT / "requirements" / "overrides.txt")
    assert lock_file.unmet(locked, exempt) == []

    without = {name: pin for name, pin in locked.items() if name != "anyio"}
    assert any("asks for anyio" in said for said in lock_file.unmet(without, exempt))
    assert any("asks for torch==" in said for said in lock_file.unmet(locked, {}))


def test_a_service_that_knows_nothing_is_not_taken_for_good_news(tmp_path: Path) -> None:
    silent = tmp_path / "pip-audit"
    answer = '{"dependencies": [{"name": "idna", "skip_reason": "not found"}]}'
    silent.write_text(f"#!/bin/sh\necho '{answer}'\n")
    silent.chmod(0o755)
    vulnerabilities = tool("vulnerabilities")
    with pytest.raises(vulnerabilities.ServiceUnreachable, match="knows nothing of idna"):
        vulnerabilities.findings(silent, LOCKS[0])


def test_findings_and_packages_passed_over_are_told(tmp_path: Path) -> None:
    knowing = tmp_path / "pip-audit"
    vulnerable = '{"name": "idna", "version": "2.0", "vulns": [{"id": "CVE-1"}]}'
    unknown = '{"name": "other", "skip_reason": "not found"}'
    knowing.write_text(f"#!/bin/sh\necho '{{\"dependencies\": [{vulnerable}, {unknown}]}}'\n")
    knowing.chmod(0o755)
    told = tool("vulnerabilities").findings(knowing, LOCKS[0])
    assert told == ["other: not known to the service", "idna 2.0: CVE-1"]
