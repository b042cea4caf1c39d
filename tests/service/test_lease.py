"""A worker that lost its job counts for nothing; one whose store is away goes on."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.errors import ServiceError, fail
from service.lease import (
    JobCancelledError,
    JobLostError,
    Lease,
    Surroundings,
    WorkerStoppingError,
)
from service.state.job import Job, JobKind, JobState
from service.state.jobs import Jobs
from service.state.patience import patiently
from service.state.store import Store
from service.work_folders import WorkFolders, token_of

AWAY = fail("STATE_UNAVAILABLE", "away")


@dataclass
class Room:
    store: Store
    jobs: Jobs
    now: list[float]
    job: Job
    around: Surroundings

    def take_over(self) -> Job:
        """What another worker does once the lease has run out."""
        self.now[0] += 31
        job = self.jobs.claim("w2")
        assert job is not None
        return job


@pytest.fixture
def room(store: Store) -> Room:
    now = [1000.0]
    jobs = Jobs(store, clock=lambda: now[0])
    jobs.enqueue(JobKind.INDEX, "books", "corpora/books", {})
    job = jobs.claim("w1")
    assert job is not None
    return Room(store, jobs, now, job, Surroundings())


def write_in(lease: Lease, store: Store) -> None:
    with lease.committing():
        store.put("things", ("made",), {})


def test_what_the_holder_of_a_job_commits_counts(room: Room) -> None:
    with Lease(room.jobs, room.job, room.around) as lease:
        write_in(lease, room.store)
    assert room.store.get("things", ("made",)) is not None


def test_what_a_worker_commits_that_lost_its_job_is_not_written(room: Room) -> None:
    with Lease(room.jobs, room.job, room.around) as lease:
        room.take_over()
        with pytest.raises(JobLostError):
            write_in(lease, room.store)
        with pytest.raises(JobLostError):
            lease.report(0.5, "half")
    assert room.store.get("things", ("made",)) is None


def test_a_cancelled_job_and_a_worker_that_is_to_end_are_told_at_the_next_report(
    room: Room,
) -> None:
    with Lease(room.jobs, room.job, room.around) as lease:
        lease.report(0.1, "going on")
        room.around.stopping.set()
        with pytest.raises(WorkerStoppingError):
            lease.report(0.2, "going on")
        room.jobs.cancel(room.job.id)
        with pytest.raises(JobCancelledError):
            lease.report(0.3, "going on")


def test_a_store_that_is_away_does_not_end_the_work(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> str:
        raise AWAY

    with Lease(room.jobs, room.job, room.around) as lease:
        monkeypatch.setattr(room.jobs, "renew", away)
        lease.report(0.5, "half")
        monkeypatch.undo()
        lease.report(0.6, "more")
    assert room.jobs.get(room.job.id).progress == 0.6


def test_a_silent_worker_keeps_its_job_by_its_heart_beat(store: Store) -> None:
    jobs = Jobs(store, lease_seconds=0.75)
    jobs.enqueue(JobKind.INDEX, "books", "corpora/books", {})
    job = jobs.claim("w1")
    assert job is not None
    beats = threading.Semaphore(0)
    renew = jobs.renew

    def counted(*given: object) -> object:
        beats.release()
        return renew(*given)  # type: ignore[arg-type]

    jobs.renew = counted  # type: ignore[method-assign, assignment]
    with Lease(jobs, job, Surroundings()):
        for _ in range(30):
            assert beats.acquire(timeout=30)
        assert jobs.claim("w2") is None
    assert jobs.get(job.id).state is JobState.RUNNING


def test_an_orphan_is_known_by_its_parent() -> None:
    assert not Surroundings(os.getppid()).is_orphaned
    assert not Surroundings().is_orphaned
    assert Surroundings(1 if os.getppid() != 1 else 2).is_orphaned


def test_waiting_for_the_store_ends_when_it_is_back_or_when_the_worker_is_to_end() -> None:
    answers: list[object] = [AWAY, AWAY, "there"]

    def ask() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) < 3

    assert patiently(ask, pause) == "there"
    assert pauses == sorted(set(pauses))
    answers[:] = [AWAY]
    with pytest.raises(ServiceError, match="away"):
        patiently(ask, pause)
    answers[:] = [fail("CORPUS_NOT_FOUND", "gone")]
    with pytest.raises(ServiceError, match="gone"):
        patiently(ask, pause)
    assert len(pauses) == 3


def test_a_worker_goes_on_until_it_is_told_to_stop_or_its_server_is_gone() -> None:
    around = Surroundings(os.getppid())
    assert around.pause_for(0)
    around.stopping.set()
    assert not around.pause_for(60)
    assert not Surroundings(1 if os.getppid() != 1 else 2).pause_for(0)


@pytest.fixture
def work_folder(tmp_path: Path) -> Path:
    return tmp_path / "work"


def test_a_later_claim_goes_on_where_an_earlier_one_was_and_takes_its_folder_away(
    room: Room, work_folder: Path
) -> None:
    folders = WorkFolders(work_folder, room.jobs)
    zombie = folders.take(room.job)
    (zombie / "checkpoint").write_text("step 9")
    owner = folders.take(room.take_over())
    assert (owner / "checkpoint").read_text() == "step 9"
    assert token_of(owner) > token_of(zombie)
    with pytest.raises(FileNotFoundError):
        (zombie / "checkpoint").write_text("step 10")
    assert [path.name for path in work_folder.iterdir()] == [owner.name]


def test_only_folders_of_jobs_that_are_over_are_swept(
    room: Room, work_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = WorkFolders(work_folder, room.jobs)
    work = folders.take(room.job)
    (work_folder / "0123.7").mkdir()
    (work_folder / "server.busy").touch()

    def away(job_id: str) -> Job:
        raise AWAY

    monkeypatch.setattr(room.jobs, "get", away)
    with pytest.raises(ServiceError):
        folders.sweep()
    monkeypatch.undo()
    assert work.exists()
    folders.sweep()
    assert sorted(path.name for path in work_folder.iterdir()) == [work.name, "server.busy"]
    room.jobs.finish(room.job.id, room.job.token, {})
    folders.sweep()
    assert [path.name for path in work_folder.iterdir()] == ["server.busy"]
