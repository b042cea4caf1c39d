"""Spans by OpenTelemetry, an extra that is imported where somebody asks for it and not before.

A call's span is handed on by hand: an answer is a generator whose parts may run in other contexts
than the one it was begun in.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from service.telemetry.call import Attributes, CallSpan, Untraced

_CLOSE_SECONDS = 3.0


class Tracing(Protocol):
    """Makes a span for each call."""

    def call(
        self, method: str, request_id: str, headers: Mapping[str, str]
    ) -> AbstractContextManager[tuple[CallSpan, Attributes]]:
        """A call's span for as long as the block lasts; its attributes are told at its end."""
        ...

    def close(self) -> None:
        """Sends what is still to be sent."""
        ...


class NoTracing:
    """Makes none."""

    @contextmanager
    def call(
        self, method: str, request_id: str, headers: Mapping[str, str]
    ) -> Iterator[tuple[CallSpan, Attributes]]:
        """Attributes that nobody reads."""
        yield Untraced(), {}

    def close(self) -> None:
        """Nothing."""


class OpenTelemetry:
    """Spans to an exporter; without one to the OTLP endpoint that the standard environment variables
    (OTEL_EXPORTER_OTLP_ENDPOINT and its kin) name.

    Raises ValueError where the packages are not installed.
    """

    def __init__(self, version: str, exporter: Any = None) -> None:
        try:
            from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import (
                TraceContextTextMapPropagator,
            )
        except ImportError as error:
            raise ValueError(
                f"otel: the package {error.name} is not installed; install longmemory with its "
                "extra [otel], or leave --otel out"
            ) from error
        name = os.environ.get("OTEL_SERVICE_NAME") or "longmemory"
        resource = Resource.create({SERVICE_NAME: name, SERVICE_VERSION: version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _otlp()))
        self._tracer = self._provider.get_tracer("longmemory", version)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def call(
        self, method: str, request_id: str, headers: Mapping[str, str]
    ) -> Iterator[tuple[CallSpan, Attributes]]:
        """A span of the server's kind, below the caller's where a `traceparent` came with the call."""
        from opentelemetry.trace import SpanKind

        service, _, name = method.strip("/").rpartition("/")
        opened = self._tracer.start_span(
            method.strip("/"),
            context=self._propagator.extract(dict(headers)),
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": name,
                "request_id": request_id,
            },
        )
        with _ending(opened) as attributes:
            yield _OpenSpan(self._tracer, opened), attributes

    def close(self) -> None:
        """Sends what is still to be sent, for a few seconds at most: a collector that is away must not
        hold up the end of the server.
        """
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(_CLOSE_SECONDS)


class _OpenSpan:
    """A call's span with its parts below it."""

    def __init__(self, tracer: Any, span: Any) -> None:
        self._tracer, self._span = tracer, span

    @contextmanager
    def part(self, name: str) -> Iterator[Attributes]:
        """A span below the call's."""
        from opentelemetry.trace import set_span_in_context

        with _ending(self._tracer.start_span(name, set_span_in_context(self._span))) as attributes:
            yield attributes


@contextmanager
def _ending(span: Any) -> Iterator[Attributes]:
    """Ends a span with its block. Of an error it tells the kind alone: its words may quote a text."""
    from opentelemetry.trace import StatusCode

    attributes: Attributes = {}
    try:
        yield attributes
    except (asyncio.CancelledError, GeneratorExit):  # whoever asked has left
        attributes["cancelled"] = True
        raise
    except BaseException as error:
        span.set_status(StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        for name, value in attributes.items():
            span.set_attribute(name, value)
        span.end()


def _otlp() -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ValueError(
            f"otel: the package {error.name} is not installed; install longmemory with its extra [otel]"
        ) from error
    return OTLPSpanExporter()
