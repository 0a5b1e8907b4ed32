"""Go programs of pinned modules, built once per machine into a cache.

A module is a folder here with go.mod and go.sum, and the main package if that is our own. The
cached folder's name is made of all that decides about the binaries, so a cached one is never stale,
and a build that was interrupted leaves none behind. The standard library only, because this runs
before any virtual environment.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
GO_SETTINGS = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-mod=readonly",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}
STAMPED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")

Packages = dict[str, dict[str, str]]
"""Per module: the package of each binary."""


class Unable(Exception):
    """Why there are no binaries."""


def cached(name: str, packages: Packages, takes: str) -> Path:
    """Return the folder of the binaries, building them if this machine has none.

    Raises:
        Unable: there is no Go, or it is too old.
        CalledProcessError: the build failed; why is on standard error.
    """
    stamp = hashlib.sha256(json.dumps([_go(packages), GO_SETTINGS, packages]).encode())
    for module in packages:
        stamp.update(" ".join(_build_command(HERE / module)).encode())
        for file in sorted((HERE / module).iterdir()):
            stamp.update(file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve()
    folder = cache / "superinfer" / name / stamp.hexdigest()[:16]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            print(f"building {name}'s binaries (once, {takes})", file=sys.stderr)
            unfinished = folder.parent / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            for module, binaries in packages.items():
                _build(HERE / module, binaries, unfinished)
            unfinished.rename(folder)
    return folder


def print_folder(name: str, packages: Packages, takes: str, instead: str = "") -> int:
    """Print the folder of the binaries as `cached` returns it, or why there is none.

    Args:
        instead: what else helps who has no Go.
    """
    try:
        print(cached(name, packages, takes))
    except Unable as why:
        advice = f"install Go {needed_go(packages)} or newer{instead}"
        print(f"error: {why}; {advice}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failed:
        print(f"error: building {failed.cmd[-1]} failed, see above", file=sys.stderr)
        return 1
    return 0


def needed_go(packages: Packages) -> str:
    """The oldest version of Go that all the modules can be built with."""
    lines = [re.search(r"^go (\S+)", _go_mod(HERE / name), re.MULTILINE) for name in packages]
    return max((line[1] for line in lines if line), key=_numbers)


def output(*command: str) -> str:
    """What a program says."""
    environment = {**os.environ, **GO_SETTINGS}
    return subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True).stdout


def _go(packages: Packages) -> str:
    """Version and platform of Go, which must be new enough for all modules."""
    if not shutil.which("go"):
        raise Unable("Go is not installed")
    told = output("go", "env", "GOVERSION", "GOOS", "GOARCH")
    version = told.partition("\n")[0]
    if _numbers(version) < _numbers(needed_go(packages)):
        raise Unable(f"{version or 'this Go'} is too old")
    return told


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _build(module: Path, packages: dict[str, str], folder: Path) -> None:
    for binary, package in packages.items():
        subprocess.run(
            [*_build_command(module), "-o", str(folder / binary), package],
            cwd=module,
            env={**os.environ, **GO_SETTINGS},
            check=True,
            stdout=sys.stderr,
        )


def _build_command(module: Path) -> list[str]:
    flags = " ".join(["-s -w", *_version_flags(_go_mod(module))])
    return ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags]


def _version_flags(go_mod: str) -> list[str]:
    """Linker flags that put versions into Kubernetes and Helm; module builds do not."""
    values: dict[str, str] = {}
    kubernetes = re.search(r"^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\S+)", go_mod, re.MULTILINE)
    if kubernetes:
        told = {
            "gitVersion": kubernetes[1],
            "gitMajor": kubernetes[2],
            "gitMinor": kubernetes[3],
            "gitTreeState": "clean",
            "gitCommit": "module",
            "buildDate": "1970-01-01T00:00:00Z",
        }
        values |= {f"{package}.{name}": text for package in STAMPED for name, text in told.items()}
    helm = re.search(r"^\s*(helm\.sh/helm/v\d+) (v\S+)", go_mod, re.MULTILINE)
    if helm:
        values[f"{helm[1]}/internal/version.version"] = helm[2]
        # The Kubernetes that `helm template` takes a cluster to be; Helm 4 finds it by itself.
        client = re.search(r"^\s*k8s\.io/client-go v0\.(\d+)\.", go_mod, re.MULTILINE)
        if client:
            for package in (f"{helm[1]}/pkg/chartutil", f"{helm[1]}/pkg/lint/rules"):
                values |= {f"{package}.k8sVersionMajor": "1"}
                values |= {f"{package}.k8sVersionMinor": client[1]}
    return [f"-X {name}={text}" for name, text in values.items()]


def _go_mod(module: Path) -> str:
    return (module / "go.mod").read_text()
