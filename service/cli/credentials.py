"""The options in front of every command: whose token, and how the server is known."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.client.credentials import Credentials


_given: ContextVar[tuple[str, Path | None, Path | None, Path | None] | None] = ContextVar(
    "credentials", default=None
)


def take_credentials(
    token: Annotated[
        str, typer.Option(envvar="LONGMEMORY_TOKEN", show_default=False, help="A bearer token.")
    ] = "",
    tls_ca: Annotated[
        Path | None,
        typer.Option(envvar="LONGMEMORY_TLS_CA", help="PEM: who signed the server's certificate."),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(envvar="LONGMEMORY_TLS_CERTIFICATE", help="PEM: the client's certificate."),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="LONGMEMORY_TLS_KEY", help="PEM: its key.")
    ] = None,
) -> None:
    """A long-context memory service: register texts, train cartridges, ask."""
    _given.set((token, tls_ca, tls_certificate, tls_key))


def credentials_given() -> Credentials:
    """What was given in front of the command; raises ValueError where it does not fit together."""
    from service.client.credentials import Credentials

    given = _given.get()
    return Credentials(*given) if given else Credentials()
