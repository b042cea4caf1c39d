"""The jobs of all tenants, for those who work on them: each tenant's queue lies in its own records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from service.limits import Limits
from service.state.cartridge_shelf import CartridgeShelf
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.job import Job, JobCensus, JobKind, JobState
from service.state.jobs import LEASE_SECONDS, Jobs
from service.state.outcomes import tell_unmade
from service.tenants import Tenant, Tenants
from service.work_folders import WorkFolders


@dataclass(frozen=True, slots=True)
class Queue:
    """One tenant's jobs, and where they are worked on."""

    tenant: Tenant
    corpora: Corpora
    shelf: CartridgeShelf
    jobs: Jobs
    folders: WorkFolders

    @classmethod
    def of(
        cls, tenant: Tenant, lease_seconds: float = LEASE_SECONDS, limits: Limits | None = None
    ) -> Queue:
        """The queue in a tenant's records."""
        store, content = tenant.store, ContentStore(tenant.layout.data, tenant.layout.elsewhere)
        corpora, shelf = Corpora(store, content, limits), CartridgeShelf(store, limits)
        jobs = Jobs(store, lease_seconds, limits, on_unmade=tell_unmade(corpora, shelf))
        folders = WorkFolders(tenant.layout.work, jobs, tenant.layout.data)
        return cls(tenant, corpora, shelf, jobs, folders)


class Queues:
    """Every tenant's queue; who comes new is seen at the next call."""

    def __init__(self, tenants: Tenants, lease_seconds: float = LEASE_SECONDS) -> None:
        self._tenants, self._lease_seconds = tenants, lease_seconds

    def all(self) -> Iterator[Queue]:
        """Those whose jobs were taken longest ago first."""
        for tenant in self._tenants.all():
            yield Queue.of(tenant, self._lease_seconds)

    def claim(self, worker: str) -> tuple[Queue, Job] | None:
        """The next job, from the tenants in turn, so that nobody's long queue keeps others waiting.
        Whose turn it is stands in the store: workers come and go, some after one job.
        """
        for queue in self.all():
            if not queue.jobs.has_work():  # looked up before it locks others out
                continue
            with queue.jobs.transaction():
                if job := queue.jobs.claim(worker):
                    self._tenants.note_taken(queue.tenant.name)
                    return queue, job
        return None

    def has_work(self) -> bool:
        """Whether `claim` would find something."""
        return any(queue.jobs.has_work() for queue in self.all())

    def release_worker(self, worker: str, is_counted: bool = True) -> int:
        """Queues again what a dead worker held; how many jobs."""
        return sum(queue.jobs.release_worker(worker, is_counted) for queue in self.all())

    def release_all(self) -> int:
        """Queues again what ran when the only server stopped; how many jobs."""
        return sum(queue.jobs.release_all() for queue in self.all())

    def sweep(self) -> None:
        """Removes the folders of jobs that have ended."""
        for queue in self.all():
            queue.folders.sweep()

    def census(self) -> JobCensus:
        """All tenants' jobs together."""
        counts: Counter[tuple[JobKind, JobState]] = Counter()
        ages: dict[JobKind, float] = {}
        for queue in self.all():
            one = queue.jobs.census()
            counts.update(one.counts)
            for kind, age in one.heartbeat_ages.items():
                ages[kind] = max(ages.get(kind, 0.0), age)
        return JobCensus(counts, ages)
