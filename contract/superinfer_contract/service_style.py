"""How a SuperInferService is written: Kubernetes' camelCase, and unknown fields are refused."""

import re

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel


def kubernetes_name(name: str) -> str:
    """Return the name that field ``name`` has in YAML: ``run_quantum_s`` -> runQuantumSeconds."""
    return to_camel(re.sub(r"_s$", "_seconds", name))


STRICT = ConfigDict(frozen=True, extra="forbid", alias_generator=kubernetes_name)
