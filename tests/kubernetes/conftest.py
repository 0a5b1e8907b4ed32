"""A service, its surroundings, and children as the watches would show them."""

from collections.abc import Callable
from typing import Any

import pytest
from played_cluster import PlayedCluster
from superinfer_contract.service import API_VERSION, KIND, SuperInferService
from superinfer_operator.objects.platform import Platform, Tokens

Service = Callable[..., SuperInferService]


@pytest.fixture
def service() -> Service:
    """Makes services of one name; keyword arguments are fields of the spec."""

    def make(name: str = "chat", **spec: Any) -> SuperInferService:
        metadata = {"name": name, "namespace": "team", "uid": "u-1", "generation": 3}
        return SuperInferService.model_validate(
            {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
        )

    return make


@pytest.fixture
def platform() -> Platform:
    return Platform("runtime:1", "superinfer-system", "http://operator:4318")


@pytest.fixture
def tokens() -> Tokens:
    return Tokens("admin", "otlp", "f00")


@pytest.fixture
def played(platform: Platform, tokens: Tokens) -> PlayedCluster:
    return PlayedCluster(platform, tokens)
