"""The metrics as a page on a port of their own, served by threads of their own."""

from __future__ import annotations

import socket
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from service.listen_address import ListenAddress

_IDLE_SECONDS = 10.0  # a scraper that says nothing for so long loses its thread


class PageAddress(ListenAddress):
    """Where the page is."""

    NAME = "metrics"
    OPEN = "the page asks for no password; use 127.0.0.1, or set insecure"


class MetricsPage:
    """Serves a registry from its making to `close`. Raises OSError where the address is taken."""

    def __init__(self, address: PageAddress, registry: CollectorRegistry) -> None:
        kind = _Server6 if address.family is socket.AF_INET6 else _Server
        try:
            self._server = kind((address.host, address.port), _Handler)
        except OSError as error:
            raise OSError(
                f"cannot serve metrics at {address.text} ({error.strerror}); choose another address"
            ) from error
        self._server.set_app(make_wsgi_app(registry))
        self.url = f"{address.url(self._server.server_port)}/metrics"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Ends the page; a scrape that is under way is cut off with the process at the latest."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _IDLE_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes come every few seconds and are no news."""
