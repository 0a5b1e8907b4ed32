"""A vLLM built for GPUs, started where none is visible."""

import socket

import pytest
import vllm.platforms
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_contract.validation import ConfigError
from superinfer_runtime.server.admin_token import AdminToken
from superinfer_runtime.server.launch import Launch, launch
from vllm.platforms.interface import UnspecifiedPlatform


def test_no_device_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vllm.platforms.current_platform.is_cpu()
    monkeypatch.setattr(vllm.platforms, "_current_platform", UnspecifiedPlatform())
    said: list[str] = []
    with socket.socket() as listener:
        order = Launch(RuntimeConfig(), "", [], AdminToken(), None, None, listener)
        with pytest.raises(ConfigError, match="make a GPU visible"):
            launch(order, said.append, said.append)
    assert said == []
