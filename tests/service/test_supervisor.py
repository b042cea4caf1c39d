"""Who gives jobs out again: the only server takes all back, one among several nothing of the others."""

from pathlib import Path

import pytest

from service.config import ServiceConfig
from service.queues import Queues
from service.state.job import JobKind, JobState
from service.state.jobs import Jobs
from service.state.store import Store
from service.supervisor import WorkerSupervisor, wanted_workers
from service.tenants import Tenants

REDIS = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("state", "workers", "wanted"),
    [("", None, 1), (REDIS, None, 0), ("sqlite", 0, 0), (REDIS, 1, 1)],
)
def test_a_server_starts_a_worker_unless_others_share_its_state(
    tmp_path: Path, state: str, workers: int | None, wanted: int
) -> None:
    assert wanted_workers(ServiceConfig(tmp_path, state=state, workers=workers)) == wanted


@pytest.mark.parametrize(("state", "left"), [("", JobState.QUEUED), (REDIS, JobState.RUNNING)])
def test_jobs_of_others_are_left_to_their_leases(
    store: Store, tmp_path: Path, state: str, left: JobState
) -> None:
    jobs = Jobs(store)
    queued = jobs.enqueue(JobKind.INDEX, "books", "corpora/books", {})
    supervisor = WorkerSupervisor(
        ServiceConfig(tmp_path, state=state, workers=0), Queues(Tenants(store, tmp_path))
    )
    for act in (supervisor.start, supervisor.stop):
        assert jobs.claim("elsewhere") is not None
        act()
        assert jobs.get(queued.id).state is left
        jobs.release_worker("elsewhere")
