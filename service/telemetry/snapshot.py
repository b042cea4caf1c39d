"""What a server does now, as `longmemory top` shows it: made of two looks at its metrics page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.telemetry.reading import Reading

_FIRST_TOKEN = "longmemory_time_to_first_token_seconds"


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """A route since the server's start; seconds to the first token, None before there was one."""

    answers: float
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts as they stand; `tokens_per_second` over the time between the looks. Jobs and refusals
    of 0 are left out.
    """

    model_alive: bool
    worker_alive: bool
    questions: float
    queue: float
    batch: float
    batch_bytes: float
    tokens: float
    tokens_per_second: float
    jobs: Mapping[str, float]  # by state
    heartbeat_ages: Mapping[str, float]  # of the running ones, by kind
    corpora: float
    cartridges: float
    cartridge_bytes: float
    hits: float
    loads: float
    routes: Mapping[str, RouteSnapshot]
    rejected: Mapping[str, float]  # by reason

    @classmethod
    def of(cls, before: Reading, now: Reading) -> Snapshot:
        """What two looks at one page tell; a server that was started anew between them has made all
        of its tokens since.
        """
        tokens, earlier = (one.one("longmemory_generated_tokens_total") for one in (now, before))
        made = tokens - earlier if tokens >= earlier else tokens
        answers = now.by("longmemory_answers_total", "route")
        begun = now.by(f"{_FIRST_TOKEN}_count", "route")
        return cls(
            model_alive=bool(now.one("longmemory_model_alive")),
            worker_alive=bool(now.one("longmemory_worker_alive")),
            questions=now.one("longmemory_questions_under_way"),
            queue=now.one("longmemory_queue_length"),
            batch=now.one("longmemory_batch_size"),
            batch_bytes=now.one("longmemory_batch_kv_bytes"),
            tokens=tokens,
            tokens_per_second=made / max(1e-9, now.time - before.time),
            jobs=now.by("longmemory_jobs", "state"),
            heartbeat_ages=now.by("longmemory_job_heartbeat_age_seconds", "kind"),
            corpora=now.one("longmemory_resident_corpora"),
            cartridges=now.one("longmemory_resident_cartridges"),
            cartridge_bytes=now.one("longmemory_resident_cartridge_bytes"),
            hits=now.one("longmemory_cartridge_hits_total"),
            loads=now.one("longmemory_cartridge_loads_total"),
            routes={
                route: RouteSnapshot(
                    answers.get(route, 0.0),
                    now.quantile(0.5, _FIRST_TOKEN, route=route),
                    now.quantile(0.95, _FIRST_TOKEN, route=route),
                )
                for route in sorted(answers.keys() | begun.keys())
            },
            rejected=now.by("longmemory_rejected_total", "reason"),
        )

    def as_json(self) -> dict[str, Any]:
        """The snapshot as JSON values."""
        return asdict(self)
