"""Writes deploy/superinfer-operator.yaml from the chart, for those who install without Helm.

    PYTHONPATH=tests/testbed python tools/charts/single_manifest.py

The chart is the one source. What only Helm needs is left out: its labels, and the Secret, which
would hold the same key for everybody.
"""

import re

from helm import CHART, NAMESPACE, ROOT, Helm, helm_programs

MANIFEST = ROOT / "deploy" / "superinfer-operator.yaml"
SIGNING_SECRET = "superinfer-operator-signing"
HEAD = f"""\
# Generated from deploy/charts/superinfer by tools/charts/single_manifest.py; a test compares.
# The operator without Helm:
#   kubectl apply --server-side -f crds/ -f deploy/
#   kubectl -n {NAMESPACE} create secret generic {SIGNING_SECRET} \\
#     --from-literal=key="$(openssl rand -hex 32)"
# The operator derives every service's tokens from that key, so it reads no Secret.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""
ONLY_HELMS = re.compile(
    r"^(|# Source: .*| *app\.kubernetes\.io/managed-by: Helm| *helm\.sh/chart: .*)\n", re.MULTILINE
)


def manifest(helm: Helm) -> str:
    """Return the file's text."""
    values = {"signingKey": {"existingSecret": SIGNING_SECRET}}
    return HEAD + ONLY_HELMS.sub("", helm.rendered(CHART, values, "--skip-tests"))


if __name__ == "__main__":
    MANIFEST.write_text(manifest(Helm(helm_programs()["helm3"])))
