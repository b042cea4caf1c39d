"""Whose jobs come next, and that the work on all tenants' jobs touches each in its own place."""

from pathlib import Path

import pytest

from service.queues import Queue, Queues
from service.state.job import JobKind, JobState
from service.state.store import Store
from service.tenants import Tenants

NAMES = ("default", "one", "two")


@pytest.fixture
def tenants(store: Store, tmp_path: Path) -> Tenants:
    made = Tenants(store, tmp_path)
    for name in NAMES:
        made.enrol(name)
    return made


def fill(tenants: Tenants, name: str, count: int) -> None:
    jobs = Queue.of(tenants.of(name)).jobs
    for number in range(count):
        jobs.enqueue(JobKind.INDEX, f"c-{number}", f"corpora/c-{number}", {})


def taken_by(queues: Queues) -> str:
    """Whose job a worker takes."""
    claimed = queues.claim("worker-1")
    return claimed[0].tenant.name if claimed else ""


def test_tenants_are_served_in_turn_by_one_worker_and_by_workers_of_one_job_each(
    tenants: Tenants,
) -> None:
    fill(tenants, "default", 6)
    fill(tenants, "one", 2)
    fill(tenants, "two", 1)
    lasting = Queues(tenants)
    told = [taken_by(lasting if number % 2 else Queues(tenants)) for number in range(9)]
    assert sorted(told[:3]) == sorted(NAMES), "each once before any has a second"
    assert sorted(told[3:5]) == ["default", "one"]
    assert told[5:] == ["default"] * 4
    assert taken_by(lasting) == ""


def test_who_comes_new_is_served_before_a_long_queue_goes_on(tenants: Tenants) -> None:
    queues = Queues(tenants)
    fill(tenants, "default", 5)
    assert [taken_by(queues) for _ in range(3)] == ["default"] * 3
    tenants.enrol("newcomer")
    fill(tenants, "newcomer", 1)
    assert queues.has_work()
    assert [taken_by(queues) for _ in range(3)] == ["newcomer", "default", "default"]


def test_a_claim_is_kept_with_its_turn_or_not_at_all(
    tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tenants, "one", 1)
    queues = Queues(tenants)
    with monkeypatch.context() as broken:
        broken.setattr(Tenants, "note_taken", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            queues.claim("worker-1")
    (job,) = Queue.of(tenants.of("one")).jobs.list()[0]
    assert (job.state, job.attempt) == (JobState.QUEUED, 0)
    assert taken_by(queues) == "one"


def test_a_job_is_changed_in_its_own_tenants_records_alone(tenants: Tenants) -> None:
    for name in NAMES:
        fill(tenants, name, 1)
    queues = Queues(tenants)
    for _ in NAMES:
        queue, job = queues.claim("worker-1") or pytest.fail("there is work")
        queue.folders.take(job)
        assert [path.name for path in (queue.tenant.layout.work).iterdir()] == [
            f"{job.id}.{job.token}"
        ]
    assert queues.census().counts == {(JobKind.INDEX, JobState.RUNNING): 3}
    assert queue.jobs.finish(job.id, job.token, {})
    for name in set(NAMES) - {queue.tenant.name}:
        other = Queue.of(tenants.of(name)).jobs
        assert not other.finish(job.id, job.token, {})
        assert not other.holds(job.id, job.token)
        assert [one.state for one in other.list()[0]] == [JobState.RUNNING]
    queues.sweep()
    assert not list(queue.tenant.layout.work.iterdir())
    assert queues.release_worker("worker-1") == 2
    assert queues.census().counts == {
        (JobKind.INDEX, JobState.QUEUED): 2,
        (JobKind.INDEX, JobState.SUCCEEDED): 1,
    }


def test_the_default_tenant_has_what_was_stored_before_there_were_tenants(
    store: Store, tmp_path: Path
) -> None:
    default = Tenants(store, tmp_path).of("default")
    assert default.store is store
    assert default.layout.data == tmp_path
    assert [tenant.name for tenant in Tenants(store, tmp_path).all()] == ["default"]


def test_a_name_that_is_no_id_has_no_folder(tenants: Tenants, tmp_path: Path) -> None:
    for name in ("..", "a/b", "", "One", "x" * 64):
        with pytest.raises(Exception, match="tenant"):
            tenants.enrol(name)
    found = {path.name for path in (tmp_path / "tenants").iterdir()}
    assert found == {"one", "two"}
