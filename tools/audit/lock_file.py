"""What can be said of the pinned stack without asking anybody: pins, hashes, closure, licences."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_OPTION = re.compile(r"^\s*(--(?!hash=)\S+|-[a-z]\b)")
_ADDRESS = re.compile(r"\b[a-z][a-z+.]*://", re.IGNORECASE)
_TOO_LONG = 80


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock file."""

    name: str
    version: str
    num_hashes: int


def pins(text: str) -> dict[str, Pin]:
    """Return the packages that a lock file names, by canonical name."""
    found = {}
    for entry in _entries(text):
        requirement = Requirement(entry.partition("--hash=")[0].strip())
        version = next((s.version for s in requirement.specifier if s.operator == "=="), "")
        name = canonicalize_name(requirement.name)
        found[name] = Pin(name, version, entry.count("--hash=sha256:"))
    return found


def loose_ends(text: str) -> list[str]:
    """Return what lets anything but the named files be installed; empty: nothing does."""
    said = [f"{pin.name}: no version" for pin in pins(text).values() if not pin.version]
    said += [f"{pin.name}: no hash" for pin in pins(text).values() if not pin.num_hashes]
    said += [f"option {line.strip()}" for line in text.splitlines() if _OPTION.match(line)]
    said += [f"address in {line.strip()}" for line in text.splitlines() if _ADDRESS.search(line)]
    return said


def unmet(locked: Mapping[str, Pin], exempt: Mapping[str, str]) -> list[str]:
    """Return what installed packages ask for and the lock does not give.

    Args:
        exempt: versions that are installed on purpose against what packages ask for, by name.
    """
    said = []
    for pin in locked.values():
        try:
            asked = distribution(pin.name).requires or []
        except PackageNotFoundError:
            continue  # not for this machine
        for text in asked:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            name = canonicalize_name(requirement.name)
            given = locked.get(name)
            if given is None:
                said.append(f"{pin.name} asks for {requirement}, which is not locked")
            elif exempt.get(name) != given.version and not requirement.specifier.contains(
                given.version, prereleases=True
            ):
                said.append(f"{pin.name} asks for {requirement}, locked is {given.version}")
    return said


def licence(name: str) -> str | None:
    """Return the licence that an installed package states; None: none, or not installed."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return None
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier") or []
        if each.startswith("License :: ") and each != "License :: OSI Approved"
    ]
    stated = metadata.get("License-Expression") or ", ".join(classifiers)
    return stated or _first_line(metadata.get("License") or "")


def _first_line(text: str) -> str | None:
    line = text.strip().splitlines()[0].strip() if text.strip() else ""
    return line[:_TOO_LONG] or None


def _entries(text: str) -> Iterator[str]:
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        entry = line.partition("#")[0].strip()
        if entry and not entry.startswith("-"):
            yield entry


def read_overrides(path: Path) -> dict[str, str]:
    """Return the versions that `requirements/overrides.txt` sets."""
    return {name: pin.version for name, pin in pins(path.read_text()).items()}
