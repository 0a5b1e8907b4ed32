"""Who may send telemetry, and whose it is.

`Authenticate` is all that the receivers know: from an ``Authorization`` header to the identity of
the service that its points belong to, or None.
"""

import hmac
from collections.abc import Callable, Sequence

from superinfer_operator.tokens import Purpose, verify

Authenticate = Callable[[str | None], str | None]
"""From the ``Authorization`` header to the sender's service; None: refused."""


def one_token(token: str, service: str) -> Authenticate:
    """Accept ``token`` alone; all that it brings belongs to ``service``."""

    def authenticate(header: str | None) -> str | None:
        same = hmac.compare_digest(_bearer(header).encode(), token.encode())
        return service if same and token else None

    return authenticate


def service_tokens(keys: Callable[[], Sequence[bytes]]) -> Authenticate:
    """Accept the derived tokens of all services (`tokens`).

    ``keys`` is asked anew each time, so that a rotated key takes effect without a restart.
    """

    def authenticate(header: str | None) -> str | None:
        service = verify(keys(), Purpose.OTLP, _bearer(header))
        return None if service is None else str(service)

    return authenticate


def _bearer(header: str | None) -> str:
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
