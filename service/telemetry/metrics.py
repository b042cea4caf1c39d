"""What is counted as it happens, in a registry of our own. Every label is of a set that is fixed.

No id, no name and no text that a caller sends becomes a label: what is in no set counts as "other".
"""

from __future__ import annotations

from collections.abc import Set

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from service.answers import Route
from service.errors import REASONS
from service.escalation import ESCALATED
from service.telemetry.gauges import Gauges, Sources
from service.telemetry.watched_answers import TEXT_SENT

OTHER = "other"
ROUTES = frozenset(route.value for route in Route if route is not Route.AUTO)
ROUTE_REASONS = frozenset(
    {
        "REQUESTED",
        "HIGHEST_UTILITY",
        "OFF_TOPIC",
        "UNANSWERABLE",
        "EXPLORED",
        ESCALATED,
        "DEADLINE_TOO_SHORT",
        TEXT_SENT,
    }
)
CODES = frozenset(code.name for code in grpc.StatusCode)
# From a health check to an answer of a thousand tokens on a CPU.
_CALL_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_FIRST_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 60.0)


class Metrics:
    """The registry and what feeds it; an `Observer`."""

    def __init__(self, methods: Set[str], sources: Sources) -> None:
        """`methods` are the full names of the calls that are served."""
        self.registry = CollectorRegistry()
        self._methods = methods
        called = ("grpc_service", "grpc_method")
        self._handled = Counter(
            "grpc_server_handled",
            "Calls that ended, by their status code.",
            (*called, "grpc_code"),
            registry=self.registry,
        )
        self._handling = Histogram(
            "grpc_server_handling_seconds",
            "How long calls took, streams from their first message to their last.",
            called,
            buckets=_CALL_SECONDS,
            registry=self.registry,
        )
        self._rejected = Counter(
            "longmemory_rejected",
            "Calls that were refused, by the reason of the error.",
            ("reason",),
            registry=self.registry,
        )
        self._answers = Counter(
            "longmemory_answers",
            "Answers that came to their end, by route and by why it was taken.",
            ("route", "reason"),
            registry=self.registry,
        )
        self._first_token = Histogram(
            "longmemory_time_to_first_token_seconds",
            "From a question's arrival to the first text of its answer.",
            ("route",),
            buckets=_FIRST_SECONDS,
            registry=self.registry,
        )
        self.registry.register(Gauges(sources))
        ProcessCollector(registry=self.registry)

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Counts a call and its time."""
        known = method.strip("/") if method.strip("/") in self._methods else f"{OTHER}/{OTHER}"
        called = known.split("/")
        self._handled.labels(*called, _one_of(CODES, code)).inc()
        self._handling.labels(*called).observe(seconds)

    def rejected(self, reason: str) -> None:
        """Counts a refusal."""
        self._rejected.labels(_one_of(REASONS.keys(), reason)).inc()

    def began(self, route: str, seconds: float) -> None:
        """Counts a time to a first token."""
        self._first_token.labels(_one_of(ROUTES, route)).observe(seconds)

    def answered(self, route: str, reason: str) -> None:
        """Counts an answer."""
        self._answers.labels(_one_of(ROUTES, route), _one_of(ROUTE_REASONS, reason)).inc()


def _one_of(known: Set[str], value: str) -> str:
    return value if value in known else OTHER
