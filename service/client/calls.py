"""One channel to a server: its stubs, calls with a time limit, pages, and pauses between tries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from google.longrunning import operations_pb2_grpc
from grpc_health.v1 import health_pb2_grpc  # type: ignore[import-untyped]
from longmemory.v1 import (
    cartridge_pb2_grpc,
    corpus_pb2_grpc,
    info_pb2_grpc,
    job_pb2_grpc,
    query_pb2_grpc,
)

from service.client.credentials import Credentials, open_channel
from service.client.failures import client_errors

MESSAGE_BYTES = 64 * 1024 * 1024
CALL_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.25

_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # A proxy in the environment is meant for the web, and seldom carries HTTP/2.
    ("grpc.enable_http_proxy", 0),
    # A server that restarts is back in a second; gRPC's own pauses grow to two minutes.
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class Calls:
    """The stubs of one server, and how they are called."""

    def __init__(self, address: str, credentials: Credentials | None = None) -> None:
        self.address = address
        self._channel = open_channel(address, credentials or Credentials(), _OPTIONS)
        self.corpora = self._stub(corpus_pb2_grpc.CorpusServiceStub)
        self.cartridges = self._stub(cartridge_pb2_grpc.CartridgeServiceStub)
        self.queries = self._stub(query_pb2_grpc.QueryServiceStub)
        self.jobs = self._stub(job_pb2_grpc.JobServiceStub)
        self.info = self._stub(info_pb2_grpc.InfoServiceStub)
        self.operations = self._stub(operations_pb2_grpc.OperationsStub)
        self.health = self._stub(health_pb2_grpc.HealthStub)

    def close(self) -> None:
        """Close the channel; calls under way end."""
        self._channel.close()

    def errors(self) -> AbstractContextManager[None]:
        """Inside, errors of gRPC are raised as ClientError."""
        return client_errors(self.address)

    def call(self, method: Any, request: Any, timeout: float | None = CALL_SECONDS) -> Any:
        """The response of a unary call."""
        with self.errors():
            return method(request, timeout=timeout)

    def stream(self, method: Any, request: Any, timeout: float | None = None) -> Iterator[Any]:
        """The responses of a streaming call; it is cancelled when the caller stops early."""
        with self.errors():
            call = method(request, timeout=timeout)
            try:
                yield from call
            finally:
                call.cancel()

    def pages(self, method: Any, request: Any, field: str) -> Iterator[Any]:
        """The entries of all pages of a listing."""
        while True:
            response = self.call(method, request)
            yield from getattr(response, field)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def _stub(self, stub: Any) -> Any:  # protoc writes stubs without types
        return stub(self._channel)


class Pauses:
    """Growing pauses between the tries of something."""

    def __init__(self, tries: int) -> None:
        self._left = tries - 1
        self.num_taken = 0

    def take(self) -> bool:
        """Wait before the next try; False at once when none is left."""
        if self._left <= 0:
            return False
        time.sleep(FIRST_PAUSE_SECONDS * 2**self.num_taken)
        self._left -= 1
        self.num_taken += 1
        return True
