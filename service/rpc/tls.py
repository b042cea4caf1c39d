"""The server's certificates: checked at the start, read anew when their files change."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import grpc
import structlog

_log = structlog.stdlib.get_logger("longmemory.tls")

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; with `client_ca` every client must show a certificate of that authority (mTLS)."""

    certificate: Path  # the server's own first, then what signed it
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Raises ValueError where a file cannot be read or the key is not the certificate's."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # With a password given, an encrypted key is refused instead of asked for.
            context.load_cert_chain(self.certificate, self.key, password="")
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise ValueError(
                f"the TLS files {', '.join(map(str, self._paths()))} cannot be used ({error}); give PEM "
                "files, the key without a password and the certificate's own"
            ) from error

    def stamp(self) -> Stamp:
        """What changes when a file does; raises OSError."""
        found = [path.stat() for path in self._paths()]
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    def _paths(self) -> list[Path]:
        values = [getattr(self, entry.name) for entry in fields(self)]
        return [value for value in values if value is not None]


def tls_files(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> TlsFiles | None:
    """The files where any is named; raises ValueError where certificate or key is missing."""
    if certificate and key:
        return TlsFiles(certificate, key, client_ca)
    if certificate or key or client_ca:
        raise ValueError("TLS needs a certificate and its key; name both, or none of the TLS files")
    return None


def reloading_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that are looked at for every new connection. Raises ValueError, see `check`."""
    files.check()
    dynamic: Any = grpc.dynamic_ssl_server_credentials
    first = _configuration(files)
    return dynamic(first, _fetcher(files), require_client_authentication=bool(files.client_ca))  # type: ignore[no-any-return]


def _fetcher(files: TlsFiles) -> Callable[[], Any]:
    """Gives the new configuration where files have changed and fit, else None: the old one stays."""
    seen = files.stamp()

    def fetch() -> Any:
        nonlocal seen
        try:
            stamp = files.stamp()
            if stamp == seen:
                return None
            files.check()
            configuration = _configuration(files)
        except (OSError, ValueError) as error:
            # Certificate and key are two files: between their two writes they do not fit.
            _log.warning("the new TLS files are not used yet", problem=str(error))
            return None
        seen = stamp
        _log.info("new TLS files are in use")
        return configuration

    return fetch


def _configuration(files: TlsFiles) -> Any:
    authority = files.client_ca.read_bytes() if files.client_ca else None
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_certificate_configuration([pair], authority)
