"""From a volume's definition to the files in it: pure, so that every rule can be tested."""

from dataclasses import dataclass

from kubelet.api import Object
from kubelet.downward import Facts, field_value, resource_value
from kubelet.sources import Missing, Sources, Token

DEFAULT_MODE = 0o644
TOKEN_LIFETIME_S = 3600


@dataclass(frozen=True)
class File:
    """One file of a projected volume."""

    data: bytes
    mode: int


def is_projected(volume: Object) -> bool:
    """Whether the kubelet writes the volume's files itself and keeps them up to date."""
    return any(kind in volume for kind in ("configMap", "secret", "projected", "downwardAPI"))


def project(volume: Object, facts: Facts, sources: Sources) -> dict[str, File]:
    """Return the volume's files by relative path.

    Raises:
        Missing: an object or key that is not optional does not exist.
    """
    if "configMap" in volume:
        return _source({"configMap": volume["configMap"]}, volume["configMap"], facts, sources)
    if "secret" in volume:
        secret = {**volume["secret"], "name": volume["secret"]["secretName"]}
        return _source({"secret": secret}, secret, facts, sources)
    if "downwardAPI" in volume:
        return _source(volume, volume["downwardAPI"], facts, sources)
    files: dict[str, File] = {}
    for source in volume["projected"].get("sources", ()):
        files |= _source(source, volume["projected"], facts, sources)
    return files


def _source(source: Object, volume: Object, facts: Facts, sources: Sources) -> dict[str, File]:
    mode = volume.get("defaultMode", DEFAULT_MODE)
    if "configMap" in source:
        return _keys("configmap", source["configMap"], mode, sources)
    if "secret" in source:
        return _keys("secret", source["secret"], mode, sources)
    if "downwardAPI" in source:
        return {
            item["path"]: File(_own_value(item, facts).encode(), item.get("mode", mode))
            for item in source["downwardAPI"].get("items", ())
        }
    token = source["serviceAccountToken"]
    wanted = Token(token.get("audience", ""), token.get("expirationSeconds", TOKEN_LIFETIME_S))
    return {token["path"]: File(sources.token(wanted).encode(), mode)}


def _keys(kind: str, reference: Object, mode: int, sources: Sources) -> dict[str, File]:
    optional = reference.get("optional", False)
    name = reference.get("name", "")
    data = sources.data("secret" if kind == "secret" else "configmap", name, optional)
    if data is None:
        return {}
    if "items" not in reference:
        return {key: File(value, mode) for key, value in data.items()}
    files = {}
    for item in reference["items"]:
        if item["key"] in data:
            files[item["path"]] = File(data[item["key"]], item.get("mode", mode))
        elif not optional:
            raise Missing(f"{kind} {name} references non-existent key: {item['key']}")
    return files


def _own_value(item: Object, facts: Facts) -> str:
    if "fieldRef" in item:
        return field_value(facts, item["fieldRef"]["fieldPath"])
    reference = item["resourceFieldRef"]
    for container in facts.pod["spec"]["containers"]:
        if container["name"] == reference["containerName"]:
            return resource_value(facts, container, reference)
    raise Missing(f"container {reference['containerName']} not found")
