"""The ConfigMap with the runtime's configuration, and the Secret with its tokens.

What the user keeps in Secrets of their own (API keys, a certificate) is mounted, never copied.
"""

import base64
import hashlib
from pathlib import Path

from superinfer_contract.runtime_config import TlsConfig
from superinfer_contract.service import SuperInferService

from superinfer_operator.objects.naming import Object, child, config_map_name, secret_name
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.runtime_file import (
    ADMIN_TOKEN_FILE,
    CONFIG_FILE,
    OTLP_CA_FILE,
    OTLP_TOKEN_FILE,
    Wiring,
    config_json,
    runtime_config,
)

CONFIG_FOLDER = Path("/etc/superinfer/config")
TOKENS_FOLDER = Path("/etc/superinfer/tokens")
API_KEYS_FOLDER = Path("/etc/superinfer/api-keys")
TLS_FOLDER = Path("/etc/superinfer/tls")
ANY_ADDRESS = "0.0.0.0"
HASH_LENGTH = 10


def config_map(service: SuperInferService, platform: Platform) -> Object:
    """Return the configuration of this revision; immutable, and named by what it holds."""
    wiring = Wiring(
        ANY_ADDRESS,
        service.spec.server.port,
        TOKENS_FOLDER,
        platform.otlp_endpoint,
        {"service.namespace": service.metadata.namespace},
        otlp_ca_file=TOKENS_FOLDER / OTLP_CA_FILE if platform.otlp_ca else None,
        api_key_file=_api_key_file(service),
        tls=None if service.spec.server.tls is None else _TLS,
    )
    text = config_json(runtime_config(service, wiring))
    digest = hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]
    return child(service, "v1", "ConfigMap", config_map_name(service, digest)) | {
        "immutable": True,
        "data": {CONFIG_FILE: text},
    }


def secret(service: SuperInferService, tokens: Tokens, otlp_ca: str | None = None) -> Object:
    """Return the tokens, which the operator can write and never needs to read.

    Beside them lies the authority of the receivers that the telemetry token is shown to.
    """
    authority = {} if otlp_ca is None else {OTLP_CA_FILE: _encoded(otlp_ca)}
    return child(service, "v1", "Secret", secret_name(service)) | {
        "type": "Opaque",
        "data": {
            ADMIN_TOKEN_FILE: _encoded(tokens.admin),
            OTLP_TOKEN_FILE: _encoded(tokens.otlp),
            **authority,
        },
    }


_TLS = TlsConfig(certificate=TLS_FOLDER / "tls.crt", key=TLS_FOLDER / "tls.key")


def _api_key_file(service: SuperInferService) -> Path | None:
    reference = service.spec.server.api_key_secret_ref
    return None if reference is None else API_KEYS_FOLDER / reference.key


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
