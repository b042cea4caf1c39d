"""A job has one holder at a time, outlives its workers, and every change is an event."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from service.errors import Code, ServiceError, fail
from service.state.job import Job, JobKind, JobState
from service.state.jobs import EVENTS_KEPT, MAX_ATTEMPTS, Jobs
from service.state.store import Store, scoped
from service.state.tables import JOBS

ERROR = fail("INTERNAL", "the model ran out of memory", step=7).record


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(store: Store, clock: Clock) -> Jobs:
    return Jobs(store, lease_seconds=30, clock=clock)


def enqueue(jobs: Jobs, target: str = "books") -> Job:
    return jobs.enqueue(JobKind.INDEX, "books", target, {"depth": 1})


def claim(jobs: Jobs, worker: str = "w1") -> Job:
    job = jobs.claim(worker)
    assert job is not None
    return job


def states(jobs: Jobs, job_id: str) -> list[JobState]:
    return [job.state for _, job in jobs.events_since(job_id)]


def test_the_same_work_is_queued_once_while_it_is_unfinished(jobs: Jobs) -> None:
    first = enqueue(jobs)
    assert enqueue(jobs).id == first.id
    assert jobs.enqueue(JobKind.INDEX, "books", "books", {"depth": 2}).id != first.id
    assert jobs.enqueue(JobKind.TRAIN, "books", "books", {"depth": 1}).id != first.id
    held = claim(jobs)
    assert enqueue(jobs).id == first.id == held.id
    jobs.finish(held.id, held.token, {})
    assert enqueue(jobs).id != first.id


def test_the_oldest_job_is_claimed_first_and_only_once(jobs: Jobs) -> None:
    first, second = enqueue(jobs, "one"), enqueue(jobs, "two")
    assert [claim(jobs, "w1").id, claim(jobs, "w2").id] == [first.id, second.id]
    assert jobs.claim("w3") is None
    held = jobs.get(first.id)
    assert (held.state, held.worker, held.attempt) == (JobState.RUNNING, "w1", 1)
    assert held.lease_until == 1030


def test_many_claimers_on_two_connections_never_share_a_job(
    open_state: Callable[[], Store],
) -> None:
    connections = [Jobs(open_state()) for _ in range(2)]
    for number in range(40):
        enqueue(connections[0], f"target-{number}")
    taken: list[str] = []

    def work(jobs: Jobs, worker: str) -> None:
        while job := jobs.claim(worker):
            taken.append(job.id)

    threads = [threading.Thread(target=work, args=(connections[n % 2], f"w{n}")) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40


def test_an_expired_lease_is_taken_over_before_the_queue(jobs: Jobs, clock: Clock) -> None:
    lost = enqueue(jobs, "lost")
    dead = claim(jobs, "dead")
    enqueue(jobs, "waiting")
    clock.now += 31
    job = claim(jobs, "w2")
    assert (job.id, job.attempt, job.worker) == (lost.id, 2, "w2")
    assert job.token > dead.token


def test_a_renewed_lease_is_not_taken_over(jobs: Jobs, clock: Clock) -> None:
    job = claim_new(jobs)
    for _ in range(4):
        clock.now += 20
        assert jobs.renew(job.id, job.token) == "ok"
        assert jobs.claim("w2") is None


def claim_new(jobs: Jobs) -> Job:
    enqueue(jobs)
    return claim(jobs)


def test_a_stale_token_changes_nothing(jobs: Jobs, clock: Clock) -> None:
    zombie = claim_new(jobs)
    clock.now += 31
    owner = claim(jobs, "w2")
    before = jobs.get(owner.id)
    assert jobs.renew(zombie.id, zombie.token, 0.9) == "lost"
    assert not jobs.finish(zombie.id, zombie.token, {"by": "zombie"})
    assert not jobs.fail(zombie.id, zombie.token, ERROR, retryable=True)
    assert not jobs.cancelled(zombie.id, zombie.token)
    assert jobs.get(owner.id) == before
    assert jobs.finish(owner.id, owner.token, {"by": "owner"})
    assert not jobs.finish(owner.id, owner.token, {"by": "owner again"})
    done = jobs.get(owner.id)
    assert (done.state, done.result, done.progress) == (JobState.SUCCEEDED, {"by": "owner"}, 1.0)


def test_progress_is_reported_and_silence_makes_no_event(jobs: Jobs) -> None:
    job = claim_new(jobs)
    jobs.renew(job.id, job.token, 0.5, "half", {"loss": 2.5})
    jobs.renew(job.id, job.token)
    jobs.renew(job.id, job.token, 0.5, "half")
    now = jobs.get(job.id)
    assert (now.progress, now.message, now.metrics) == (0.5, "half", {"loss": 2.5})
    assert len(jobs.events_since(job.id)) == 3


@pytest.mark.parametrize(("given", "kept"), [(-1.0, 0.0), (1.5, 1.0), (float("nan"), 0.0)])
def test_progress_stays_between_nothing_and_all(jobs: Jobs, given: float, kept: float) -> None:
    job = claim_new(jobs)
    assert jobs.renew(job.id, job.token, given) == "ok"
    assert jobs.get(job.id).progress == kept


def test_a_watcher_that_comes_back_misses_nothing_and_sees_nothing_twice(jobs: Jobs) -> None:
    job = claim_new(jobs)
    seen = list(jobs.events_since(job.id))
    for step in range(1, 4):
        jobs.renew(job.id, job.token, step / 10)
    seen += jobs.events_since(job.id, seen[-1][0])
    jobs.finish(job.id, job.token, {"size": 3})
    seen += jobs.events_since(job.id, seen[-1][0])
    assert seen == list(jobs.events_since(job.id))
    assert [event.progress for _, event in seen] == [0, 0, 0.1, 0.2, 0.3, 1]
    assert seen[-1][1] == jobs.get(job.id)


def test_only_the_last_events_are_kept(jobs: Jobs) -> None:
    job = claim_new(jobs)
    for step in range(EVENTS_KEPT + 5):
        jobs.renew(job.id, job.token, message=f"step {step}")
    events = jobs.events_since(job.id)
    assert len(events) == EVENTS_KEPT
    assert events[-1][1].message == f"step {EVENTS_KEPT + 4}"


def test_a_retryable_failure_is_tried_again_after_growing_pauses_until_the_attempts_are_spent(
    jobs: Jobs, clock: Clock
) -> None:
    enqueue(jobs)
    pauses = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        job = claim(jobs)
        assert job.attempt == attempt
        assert jobs.fail(job.id, job.token, ERROR, retryable=True)
        if attempt < MAX_ATTEMPTS:
            again = jobs.get(job.id)
            assert (again.state, again.error) == (JobState.QUEUED, ERROR)
            assert not jobs.has_work()
            pauses.append(again.ready_time - clock.now)
            clock.now = again.ready_time
    assert pauses == [2, 4, 8, 16]
    failed = jobs.get(job.id)
    assert (failed.state, failed.error) == (JobState.FAILED, ERROR)
    assert jobs.claim("w1") is None


def test_a_final_failure_keeps_its_error(jobs: Jobs) -> None:
    job = claim_new(jobs)
    assert jobs.fail(job.id, job.token, ERROR)
    failed = jobs.get(job.id)
    assert (failed.state, failed.error, failed.worker) == (JobState.FAILED, ERROR, "")
    assert failed.end_time == 1000


@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_job_that_ends_its_workers_is_put_aside(
    jobs: Jobs, clock: Clock, is_noticed: bool
) -> None:
    job_id = enqueue(jobs).id
    for number in range(MAX_ATTEMPTS):
        claim(jobs, f"w{number}")
        if is_noticed:
            assert jobs.release_worker(f"w{number}") == 1
        clock.now += 31
    assert jobs.claim("last") is None
    failed = jobs.get(job_id)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert (failed.error.reason, failed.error.metadata["attempts"]) == ("POISON_JOB", "5")


def test_restarts_of_the_server_do_not_use_up_the_attempts(jobs: Jobs) -> None:
    enqueue(jobs)
    tokens = []
    for _ in range(MAX_ATTEMPTS * 2):
        job = claim(jobs)
        tokens.append(job.token)
        assert job.attempt == 1
        assert jobs.release_all() == 1
        assert jobs.renew(job.id, job.token) == "lost"
    assert tokens == sorted(set(tokens))


def test_a_dead_worker_gives_back_its_own_jobs_only(jobs: Jobs) -> None:
    first, second = enqueue(jobs, "one"), enqueue(jobs, "two")
    claim(jobs, "w1")
    claim(jobs, "w2")
    assert jobs.release_worker("w1") == 1
    assert jobs.get(first.id).state is JobState.QUEUED
    assert jobs.get(second.id).state is JobState.RUNNING
    assert claim(jobs, "w3").id == first.id


def test_a_queued_job_is_cancelled_at_once(jobs: Jobs) -> None:
    job = jobs.cancel(enqueue(jobs).id)
    assert job.state is JobState.CANCELLED
    assert job.error is not None
    assert job.error.code is Code.CANCELLED
    assert jobs.claim("w1") is None


def test_a_running_job_hears_of_its_cancellation_when_it_renews(jobs: Jobs) -> None:
    job = claim_new(jobs)
    assert jobs.cancel(job.id).state is JobState.RUNNING
    assert enqueue(jobs).id != job.id
    assert jobs.renew(job.id, job.token, 0.3) == "cancel"
    assert jobs.cancelled(job.id, job.token)
    assert states(jobs, job.id)[-1] is JobState.CANCELLED
    assert jobs.cancel(job.id) == jobs.get(job.id)


@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_cancelled_job_does_not_come_back_when_its_worker_dies(
    jobs: Jobs, clock: Clock, is_noticed: bool
) -> None:
    job = claim_new(jobs)
    jobs.cancel(job.id)
    if is_noticed:
        jobs.release_worker("w1")
    clock.now += 31
    assert jobs.claim("w2") is None
    assert jobs.get(job.id).state is JobState.CANCELLED


def test_jobs_survive_a_restart_with_their_events(open_state: Callable[[], Store]) -> None:
    first = open_state()
    job = claim_new(Jobs(first))
    events = Jobs(first).events_since(job.id)
    first.close()
    reopened = Jobs(open_state())
    assert reopened.get(job.id) == job
    assert reopened.events_since(job.id) == events


def test_a_retried_job_lets_newer_ones_pass(jobs: Jobs, clock: Clock) -> None:
    failing, newer = enqueue(jobs, "failing"), enqueue(jobs, "newer")
    job = claim(jobs)
    jobs.fail(job.id, job.token, ERROR, retryable=True)
    assert claim(jobs).id == newer.id
    assert jobs.claim("w1") is None
    clock.now += 60
    assert jobs.claim("w1") is not None
    assert jobs.get(failing.id).attempt + jobs.get(newer.id).attempt == 3


def test_a_job_that_is_given_back_is_the_next_and_its_attempt_does_not_count(jobs: Jobs) -> None:
    first = enqueue(jobs, "one")
    enqueue(jobs, "two")
    job = claim(jobs, "stopping")
    assert jobs.give_back(job.id, job.token)
    assert not jobs.give_back(job.id, job.token)
    again = claim(jobs, "w2")
    assert (again.id, again.attempt) == (first.id, 1)


def test_only_the_holder_of_the_last_claim_may_commit(jobs: Jobs, clock: Clock) -> None:
    zombie = claim_new(jobs)
    assert jobs.holds(zombie.id, zombie.token)
    clock.now += 31
    assert jobs.holds(zombie.id, zombie.token), "nobody else has claimed it"
    owner = claim(jobs, "w2")
    assert not jobs.holds(zombie.id, zombie.token)
    assert jobs.holds(owner.id, owner.token)


def test_a_claim_that_the_store_lost_in_a_crash_is_not_given_to_another_as_the_same(
    jobs: Jobs, store: Store, clock: Clock
) -> None:
    job = enqueue(jobs)
    before = store.get("jobs", (job.id,))
    zombie = claim(jobs)
    assert before is not None
    JOBS.put(store, (job.id,), before)
    clock.now += 0.01
    owner = claim(jobs, "w2")
    assert owner.token != zombie.token
    assert jobs.renew(zombie.id, zombie.token) == "lost"


def test_two_tenants_have_queues_of_their_own(store: Store) -> None:
    one, two = Jobs(scoped(store, "one")), Jobs(scoped(store, "two"))
    job = enqueue(one)
    assert two.claim("w1") is None
    assert claim(one).id == job.id


def test_jobs_are_listed_newest_first_for_one_corpus_or_all(jobs: Jobs, clock: Clock) -> None:
    made = []
    for number in range(5):
        clock.now += 1
        corpus = "one" if number % 2 else "two"
        made.append(jobs.enqueue(JobKind.INDEX, corpus, f"{number}", {}).id)
    page, token = jobs.list(3)
    rest, end = jobs.list(3, token)
    assert ([job.id for job in page + rest], end) == (made[::-1], "")
    assert [job.target for job in jobs.list(corpus_id="one")[0]] == ["3", "1"]
    with pytest.raises(ServiceError, match="page_token"):
        jobs.list(3, token, corpus_id="one")


def test_only_a_finished_job_is_forgotten(jobs: Jobs) -> None:
    job = claim_new(jobs)
    with pytest.raises(ServiceError) as caught:
        jobs.delete(job.id)
    assert caught.value.reason == "JOB_NOT_FINISHED"
    jobs.finish(job.id, job.token, {})
    jobs.delete(job.id)
    for act in (jobs.get, jobs.delete, jobs.cancel, jobs.events_since):
        with pytest.raises(ServiceError) as caught:
            act(job.id)
        assert caught.value.reason == "JOB_NOT_FOUND"
