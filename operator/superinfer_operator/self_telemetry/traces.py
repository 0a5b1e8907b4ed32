"""The operator's own traces: one span a reconciliation and one a turn of the control loop.

Without the standard ``OTEL_EXPORTER_OTLP_*`` variables nothing is recorded.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracerProvider, Span

from superinfer_operator.self_telemetry import push

RECONCILE = "superinfer.operator.reconcile"
TURN = "superinfer.operator.turn"
SERVICE = "superinfer.service"


class OperatorTraces:
    """Spans of one operator process; one that ends with an exception says so.

    >>> with traces.reconcile("team/chat"):
    ...     await reconcile()
    """

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider
        recording = NoOpTracerProvider() if provider is None else provider
        self._tracer = recording.get_tracer("superinfer_operator")

    @classmethod
    def create(cls, environment: Mapping[str, str] = os.environ) -> "OperatorTraces":
        """Return traces that are pushed where ``environment`` says, if it does.

        Raises:
            ConfigError: it names a protocol that is not spoken.
        """
        processor = push.span_processor(environment)
        if processor is None:
            return cls(None)
        provider = TracerProvider(resource=push.resource(), shutdown_on_exit=False)
        provider.add_span_processor(processor)
        return cls(provider)

    def reconcile(self, service: str) -> AbstractContextManager[Span]:
        """The span of one reconciliation of ``service``."""
        return self._tracer.start_as_current_span(RECONCILE, attributes={SERVICE: service})

    def turn(self, service: str) -> AbstractContextManager[Span]:
        """The span of one turn of ``service``'s control loop."""
        return self._tracer.start_as_current_span(TURN, attributes={SERVICE: service})

    def shutdown(self) -> None:
        """Push what is left, and stop; blocks for a few seconds at most."""
        if self._provider is not None:
            push.end(self._provider.shutdown)
