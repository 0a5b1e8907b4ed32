"""A kubeconfig of one user of one cluster."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_kubeconfig(
    folder: Path, name: str, url: str, ca_file: Path, credentials: Mapping[str, str]
) -> Path:
    """Write NAME.kubeconfig, readable for its owner alone: JSON, which every YAML reader takes."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "testbed", "cluster": {"server": url, "certificate-authority": str(ca_file)}}
        ],
        "users": [{"name": name, "user": dict(credentials)}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": name}}],
        "current-context": "testbed",
    }
    file = folder / f"{name}.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(json.dumps(content, indent=2))
    return file
