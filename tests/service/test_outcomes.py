"""A job that ends without success says so at what it was to make, also where no worker is left."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from service import ids
from service.errors import fail
from service.state.cartridge_shelf import CartridgeShelf, CartridgeState
from service.state.content import ContentStore, TextFacts
from service.state.corpora import Corpora
from service.state.corpus import CorpusState
from service.state.job import Job, JobKind, JobState
from service.state.jobs import MAX_ATTEMPTS, Jobs
from service.state.outcomes import tell_unmade
from service.state.store import Store

BROKEN = fail("INTERNAL", "the worker failed").record


@dataclass
class Room:
    corpora: Corpora
    shelf: CartridgeShelf
    jobs: Jobs
    clock: list[float]

    def start(self) -> tuple[Job, Job]:
        """An index job and a train job, both claimed."""
        self.corpora.mark_indexing("books")
        self.jobs.enqueue(JobKind.INDEX, "books", ids.corpus_name("books"), {})
        wanted = {"cartridge_id": "cart-one"}
        name = ids.cartridge_name("books", "cart-one")
        self.jobs.enqueue(JobKind.TRAIN, "books", name, wanted)
        claimed = (self.jobs.claim("w1"), self.jobs.claim("w1"))
        assert claimed[0] is not None
        assert claimed[1] is not None
        return claimed[0], claimed[1]

    def reasons(self) -> list[str]:
        """Why corpus and cartridge were not made."""
        corpus, cartridge = self.corpora.get("books"), self.shelf.get("books", "cart-one")
        assert (corpus.state, cartridge.state) == (CorpusState.FAILED, CartridgeState.FAILED)
        return [made.error.reason for made in (corpus, cartridge) if made.error]


@pytest.fixture
def room(store: Store, tmp_path: Path) -> Room:
    corpora, shelf = Corpora(store, ContentStore(tmp_path)), CartridgeShelf(store)
    corpora.create("books")
    corpora.add_document("books", "a.txt", TextFacts("0" * 64, 4, 4, False))
    shelf.create(
        "books", "cart-one", prefix_tokens=16, query_offset=0, model_fingerprint="f",
        corpus_digest=corpora.get("books").content_digest,
    )  # fmt: skip
    clock = [0.0]
    jobs = Jobs(store, 30.0, clock=lambda: clock[0], on_unmade=tell_unmade(corpora, shelf))
    return Room(corpora, shelf, jobs, clock)


def test_a_job_that_ends_its_workers_fails_what_it_was_to_make(room: Room) -> None:
    room.start()
    for _ in range(2 * MAX_ATTEMPTS):
        room.clock[0] += 31
        room.jobs.claim("w1")
    assert room.jobs.claim("w1") is None
    assert room.reasons() == ["POISON_JOB", "POISON_JOB"]


@pytest.mark.parametrize("release", [Jobs.release_all, lambda jobs: jobs.release_worker("w1")])
def test_a_job_cancelled_while_its_worker_died_is_told(
    room: Room, release: Callable[[Jobs], int]
) -> None:
    for job in room.start():
        room.jobs.cancel(job.id)
    release(room.jobs)
    assert room.reasons() == ["JOB_CANCELLED", "JOB_CANCELLED"]


def test_a_failed_and_a_cancelled_job_are_told_by_their_worker(room: Room) -> None:
    index, train = room.start()
    assert room.jobs.fail(index.id, index.token, BROKEN)
    assert room.jobs.cancelled(train.id, train.token)
    assert room.reasons() == ["INTERNAL", "JOB_CANCELLED"]


def test_a_worker_that_lost_its_job_tells_nothing(room: Room) -> None:
    for job in room.start():
        assert not room.jobs.fail(job.id, job.token - 1, BROKEN)
    assert room.corpora.get("books").state is CorpusState.INDEXING
    assert room.shelf.get("books", "cart-one").state is CartridgeState.TRAINING


def test_a_failure_that_is_tried_again_is_not_told(room: Room) -> None:
    index, _ = room.start()
    room.jobs.fail(index.id, index.token, BROKEN, retryable=True)
    assert room.corpora.get("books").state is CorpusState.INDEXING


def test_a_job_ends_well_although_its_corpus_is_gone(room: Room) -> None:
    jobs = room.start()
    room.corpora.delete("books")
    for job in jobs:
        assert room.jobs.cancelled(job.id, job.token)
        assert room.jobs.get(job.id).state is JobState.CANCELLED
