"""One runtime's HTTP face, as the operator uses it: probes and live KV budgets.

Every failure is one of two errors, so callers need no knowledge of HTTP: the runtime did not answer
(`RuntimeUnreachable`, try again later), or it said no (`RuntimeRefused`, with its words). Of each
there is a kind that no waiting mends: its certificate is not trusted, our token is not taken.
"""

import ssl
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from types import TracebackType

import httpx
from pydantic import ValidationError
from superinfer_contract import kv_budget
from superinfer_contract.kv_budget import KvBudget, KvBudgetPatch

TIMEOUT_S = 5.0


class RuntimeUnreachable(Exception):
    """No answer, or none that a runtime of this contract would give."""


class RuntimeUntrusted(RuntimeUnreachable):
    """Whoever answers shows a certificate that is not trusted; no token was sent."""


class RuntimeRefused(Exception):
    """The runtime answered with an error; the message carries its status and words."""


class TokenRefused(RuntimeRefused):
    """The runtime takes none of our tokens."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who must answer: a certificate of ``host`` that ``context`` trusts."""

    context: ssl.SSLContext
    host: str


class _AnyToken(httpx.Auth):
    """Bearer authentication with one of several tokens: the one that was taken last comes first."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = list(tokens)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        for token in list(self._tokens):
            request.headers["authorization"] = f"Bearer {token}"
            answer = yield request
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                self._tokens.sort(key=lambda each: each != token)
                return


class RuntimeClient:
    """Client of the runtime at ``base_url``; ``tokens`` are bearer tokens that it may take.

    >>> async with RuntimeClient("http://127.0.0.1:8000", token) as runtime:
    ...     await runtime.patch_budget(KvBudgetPatch(dram_bytes="8Mi"))
    """

    def __init__(self, base_url: str, *tokens: str, identity: Identity | None = None) -> None:
        # trust_env off: a proxy of the environment must never see the loopback or the token.
        self._http = httpx.AsyncClient(
            base_url=base_url,
            auth=_AnyToken(tokens),
            timeout=TIMEOUT_S,
            trust_env=False,
            verify=True if identity is None else identity.context,
        )
        # Pods are called by address, their certificates are for the service's name.
        self._extensions = {} if identity is None else {"sni_hostname": identity.host}

    async def __aenter__(self) -> "RuntimeClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def is_live(self) -> bool:
        """Whether the process's loop answers."""
        return await self._answers_ok("/live")

    async def is_ready(self) -> bool:
        """Whether the model is loaded and requests are taken."""
        return await self._answers_ok("/ready")

    async def get_budget(self) -> KvBudget:
        """Return the budgets in force.

        Raises:
            RuntimeUnreachable: no answer. RuntimeRefused: an error answer.
        """
        return await self._budget("GET", None)

    async def patch_budget(self, patch: KvBudgetPatch) -> KvBudget:
        """Wish for other budgets; idempotent.

        Raises:
            RuntimeUnreachable: no answer. RuntimeRefused: an error answer.
        """
        return await self._budget("PATCH", patch.model_dump(exclude_none=True))

    async def _answers_ok(self, path: str) -> bool:
        try:
            return (await self._http.get(path, extensions=self._extensions)).is_success
        except httpx.HTTPError:
            return False

    async def _budget(self, method: str, body: dict[str, int] | None) -> KvBudget:
        try:
            response = await self._http.request(
                method, kv_budget.PATH, json=body, extensions=self._extensions
            )
        except httpx.HTTPError as error:
            untrusted = _untrusted(error)
            if untrusted is not None:
                raise RuntimeUntrusted(
                    f"its certificate is not trusted: {untrusted}; see spec.server.tls and the "
                    "operator's --runtime-ca"
                ) from error
            said = str(error) or type(error).__name__
            raise RuntimeUnreachable(f"{method} {kv_budget.PATH}: {said}") from error
        if response.is_error:
            refused = TokenRefused if response.status_code == 401 else RuntimeRefused
            raise refused(f"{method} {kv_budget.PATH}: {response.status_code} {_message(response)}")
        try:
            return KvBudget.model_validate_json(response.content)
        except ValidationError as error:
            raise RuntimeUnreachable(
                f"{method} {kv_budget.PATH}: the answer is no KV budget; does another program "
                "listen on this port?"
            ) from error


def _untrusted(error: BaseException) -> str | None:
    """What is wrong with the certificate, if that is what ``error`` comes from."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message
        cause = cause.__cause__ or cause.__context__
    return None


def _message(response: httpx.Response) -> str:
    """The words of an error in OpenAI's shape, or the beginning of the body."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
