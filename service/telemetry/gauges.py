"""What is measured when the metrics page is asked for: each part of the service tells how it stands.

The parts know nothing of it: they are asked through plain callables, in the page's own thread. A part
that cannot answer (a database that is locked, say) is left out of the page and counted; the rest of
the page is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import structlog
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from service.library import LibraryLoad
from service.model_thread import ModelLoad
from service.state.job import JobCensus, JobKind, JobState

_log = structlog.stdlib.get_logger("longmemory.metrics")


@dataclass(frozen=True, slots=True)
class Build:
    """What this process runs, fixed from its start."""

    version: str
    model: str  # the first digits of its fingerprint: names of models may be paths
    device: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts; each is called from any thread and may raise."""

    build: Build
    questions: Callable[[], int]  # under way
    model: Callable[[], ModelLoad]
    library: Callable[[], LibraryLoad]
    jobs: Callable[[], JobCensus]
    has_worker: Callable[[], bool]


class Gauges(Collector):
    """Asks all parts."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._failures = dict.fromkeys(("questions", "model", "library", "jobs", "worker"), 0)

    def collect(self) -> Iterable[Metric]:
        """Every family, in the order of the parts."""
        source = self._sources
        yield _build_info(source.build)
        parts: dict[str, Callable[[], Iterator[Metric]]] = {
            "questions": lambda: _questions(source.questions()),
            "model": lambda: _model(source.model()),
            "library": lambda: _library(source.library()),
            "jobs": lambda: _jobs(source.jobs()),
            "worker": lambda: _worker(source.has_worker()),
        }
        for name, ask in parts.items():
            try:
                yield from list(ask())
            except Exception as error:
                self._failures[name] += 1
                _log.warning("a part told nothing of itself", part=name, error=str(error))
        failures = CounterMetricFamily(
            "longmemory_scrape_failures", "Times that a part could not be asked.", labels=("part",)
        )
        for name, count in self._failures.items():
            failures.add_metric((name,), count)
        yield failures


def _build_info(build: Build) -> Metric:
    family = GaugeMetricFamily(
        "longmemory_build_info",
        "Always 1; what runs stands in the labels.",
        labels=("version", "model", "device", "dtype"),
    )
    family.add_metric((build.version, build.model, build.device, build.dtype), 1)
    return family


def _questions(under_way: int) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "longmemory_questions_under_way", "Questions that are admitted and not ended.", under_way
    )


def _model(load: ModelLoad) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "longmemory_model_alive", "Whether the model's thread lives.", float(load.is_alive)
    )
    yield GaugeMetricFamily(
        "longmemory_queue_length", "Calls and answers that wait for the model.", load.waiting
    )
    yield GaugeMetricFamily(
        "longmemory_batch_size", "Answers that are being decoded together.", load.decoding
    )
    yield GaugeMetricFamily(
        "longmemory_batch_kv_bytes",
        "Keys and values of the batch, without the prefixes of cartridges.",
        load.kv_bytes,
    )
    yield CounterMetricFamily("longmemory_generated_tokens", "Tokens decoded.", load.tokens)
    yield CounterMetricFamily(
        "longmemory_guessed_tokens", "Tokens guessed ahead of an answer.", load.guessed
    )
    yield CounterMetricFamily(
        "longmemory_guessed_right_tokens", "Guessed tokens that were right.", load.guessed_right
    )


def _library(load: LibraryLoad) -> Iterator[Metric]:
    yield GaugeMetricFamily("longmemory_resident_corpora", "Indexes in memory.", load.corpora)
    yield GaugeMetricFamily(
        "longmemory_resident_cartridges", "Parts of cartridges in memory.", load.cartridges
    )
    yield GaugeMetricFamily(
        "longmemory_resident_cartridge_bytes", "Their keys and values.", load.cartridge_bytes
    )
    yield CounterMetricFamily(
        "longmemory_cartridge_hits", "Times that a part was asked for and in memory.", load.hits
    )
    yield CounterMetricFamily(
        "longmemory_cartridge_loads", "Times that a part was read from its files.", load.loads
    )


def _jobs(census: JobCensus) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "longmemory_jobs", "Jobs that are known, by kind and state.", labels=("kind", "state")
    )
    for kind in JobKind:
        for state in JobState:
            count = census.counts.get((kind, state), 0)
            jobs.add_metric((kind.value, state.value.lower()), count)
    yield jobs
    ages = GaugeMetricFamily(
        "longmemory_job_heartbeat_age_seconds",
        "Of the running jobs of a kind, the age of the oldest heartbeat.",
        labels=("kind",),
    )
    for kind, age in census.heartbeat_ages.items():
        ages.add_metric((kind.value,), age)
    yield ages


def _worker(is_alive: bool) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "longmemory_worker_alive",
        "Whether this server's worker process runs; it ends where no job comes.",
        float(is_alive),
    )
