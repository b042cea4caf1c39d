"""What a client shows of itself and how it knows its server: a bearer token, TLS files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Nothing given means no token and no TLS. Raises ValueError for half of a certificate.

    `tls_ca` is the PEM file of who signed the server's certificate; certificate and key are the
    client's own, for a server that asks for them.
    """

    token: str = ""
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("a client's certificate needs its key; name both, or neither")
        if self.tls_certificate and not self.tls_ca:
            raise ValueError(
                "a client's certificate is for TLS; name the server's authority, tls_ca"
            )


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends the token with every call; gRPC's own call credentials refuse a channel without TLS."""

    def __init__(self, token: str) -> None:
        self._entry = ("authorization", f"Bearer {token}")

    def _send(self, continuation: Any, details: Any, request: Any) -> Any:
        sent = _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), self._entry],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
        return continuation(sent, request)

    # The four differ in their types alone.
    intercept_unary_unary: Any = _send
    intercept_unary_stream: Any = _send
    intercept_stream_unary: Any = _send
    intercept_stream_stream: Any = _send


def open_channel(
    address: str, credentials: Credentials, options: Sequence[tuple[str, Any]]
) -> grpc.Channel:
    """A channel that sends the token; raises OSError where a TLS file cannot be read."""
    if credentials.tls_ca:
        channel = grpc.secure_channel(address, _tls(credentials), options=options)
    else:
        channel = grpc.insecure_channel(address, options=options)
    return (
        grpc.intercept_channel(channel, _Bearer(credentials.token))
        if credentials.token
        else channel
    )


def _tls(credentials: Credentials) -> grpc.ChannelCredentials:
    files = (credentials.tls_ca, credentials.tls_key, credentials.tls_certificate)
    return grpc.ssl_channel_credentials(*(path.read_bytes() if path else None for path in files))
