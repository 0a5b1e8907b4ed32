"""Builders of a service's Kubernetes objects: pure functions from the spec to plain dicts.

Equal input gives equal output, and nothing in a pod template depends on the operator's own version,
so neither a second look nor an upgrade of the operator ever rolls pods.
"""
