"""Two authorities, and a runtime's budget routes behind a certificate of the first."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from certificates import Authority, KeyPair
from light_runtime import LightEngine, app
from served_app import served_app
from superinfer_contract.runtime_config import KvCacheConfig, RuntimeConfig, ServerConfig
from superinfer_contract.tls import TlsFiles, server_context
from superinfer_runtime.server.drain import Drain

HOST = "chat.team.svc"
ADMIN_TOKEN = "admin"
SERVED_CONFIG = RuntimeConfig(
    kv_cache=KvCacheConfig(slab="1Mi"), server=ServerConfig(admin_token=ADMIN_TOKEN)
)

Served = Callable[[KeyPair | None], AbstractAsyncContextManager[int]]


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return _authority(tmp_path / "ours")


@pytest.fixture
def foreign(tmp_path: Path) -> Authority:
    return _authority(tmp_path / "foreign")


def _authority(folder: Path) -> Authority:
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def served() -> Served:
    """Serves a runtime with a certificate, or plain; gives the port."""

    @asynccontextmanager
    async def serve(pair: KeyPair | None) -> AsyncIterator[int]:
        tls = None if pair is None else server_context(TlsFiles(pair.public, pair.key))
        engine = LightEngine(SERVED_CONFIG, kv_bytes=1, hold_s=0, ballast=False)
        async with served_app(app(engine, Drain(), None), tls) as port:
            yield port

    return serve
