"""Jobs over the wire: watching without gap or repeat, and google.longrunning.Operations."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration
from grpc_room import GrpcRoom, open_room, refused
from longmemory.v1 import corpus_pb2, job_pb2

from service.errors import fail
from service.state.job import Job, JobKind
from service.state.store import Store


@pytest.fixture
async def room(store: Store, tmp_path: Path) -> AsyncIterator[GrpcRoom]:
    async with open_room(tmp_path, store) as opened:
        await opened.filled()
        yield opened


def queued(room: GrpcRoom, number: int = 0) -> str:
    job = room.backend.jobs.enqueue(JobKind.INDEX, "books", "corpora/books", {"number": number})
    return f"operations/{job.id}"


def claimed(room: GrpcRoom) -> Job:
    job = room.backend.jobs.claim("worker")
    assert job is not None
    return job


def watch(room: GrpcRoom, name: str, after: str = "") -> AsyncIterator[job_pb2.WatchJobResponse]:
    return room.jobs.WatchJob(job_pb2.WatchJobRequest(name=name, after_event_id=after))


async def get(room: GrpcRoom, name: str) -> operations_pb2.Operation:
    return await room.operations.GetOperation(operations_pb2.GetOperationRequest(name=name))


async def test_a_watch_resumes_with_no_gap_and_no_repeat(room: GrpcRoom) -> None:
    name = queued(room)
    job = claimed(room)
    for step in range(1, 6):
        room.backend.jobs.renew(job.id, job.token, progress=step / 10)
    kept = [str(number) for number, _ in room.backend.jobs.events_since(job.id)]
    seen: list[str] = []
    async for event in watch(room, name, kept[1]):
        seen.append(event.event_id)
        if len(seen) == 2:
            break
    resumed = watch(room, name, seen[-1])
    for step in range(6, 9):
        room.backend.jobs.renew(job.id, job.token, progress=step / 10)
    room.index()
    room.backend.jobs.finish(job.id, job.token, {})
    last = None
    async for event in resumed:
        seen.append(event.event_id)
        last = event
    assert seen == [str(n) for n, _ in room.backend.jobs.events_since(job.id)][2:]
    assert last is not None
    assert last.operation.done
    made = corpus_pb2.Corpus()
    assert last.operation.response.Unpack(made)
    assert made.state == corpus_pb2.Corpus.STATE_READY
    assert [event async for event in watch(room, name, seen[-1])] == []


async def test_a_new_watch_starts_with_the_job_as_it_is(room: GrpcRoom) -> None:
    name = queued(room)
    job = claimed(room)
    room.backend.jobs.renew(job.id, job.token, progress=0.5, message="half")
    stream = watch(room, name)
    first = await anext(aiter(stream))
    metadata = job_pb2.JobMetadata()
    first.operation.metadata.Unpack(metadata)
    assert (metadata.progress, metadata.message, metadata.attempt) == (0.5, "half", 1)
    assert metadata.phase == job_pb2.JobMetadata.PHASE_RUNNING
    await room.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=name))
    second = await anext(aiter(stream))
    second.operation.metadata.Unpack(metadata)
    assert metadata.phase == job_pb2.JobMetadata.PHASE_CANCELLING


async def test_a_failure_is_a_warning_until_it_is_the_end(
    room: GrpcRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.state.jobs.FIRST_PAUSE_SECONDS", 0.0)
    name = queued(room)
    job, metadata = claimed(room), job_pb2.JobMetadata()
    error = fail("DOCUMENT_DAMAGED", "the text is damaged").record
    room.backend.jobs.fail(job.id, job.token, error, retryable=True)
    retried = await get(room, name)
    retried.metadata.Unpack(metadata)
    assert not retried.HasField("error")
    assert [one.message for one in metadata.warnings] == ["the text is damaged"]
    job = claimed(room)
    room.backend.jobs.fail(job.id, job.token, error)
    ended = await get(room, name)
    ended.metadata.Unpack(metadata)
    assert (ended.done, ended.error.message) == (True, "the text is damaged")
    assert metadata.phase == job_pb2.JobMetadata.PHASE_DONE


async def test_waiting_ends_with_the_job_or_with_its_time(room: GrpcRoom) -> None:
    name, start = queued(room), time.monotonic()
    request = operations_pb2.WaitOperationRequest(name=name, timeout=Duration(nanos=300_000_000))
    assert not (await room.operations.WaitOperation(request)).done
    assert 0.25 < time.monotonic() - start < 5
    unhurried = operations_pb2.WaitOperationRequest(name=name)
    assert not (await room.operations.WaitOperation(unhurried, timeout=1.0)).done
    waiting = asyncio.ensure_future(room.operations.WaitOperation(unhurried, timeout=30))
    job = claimed(room)
    room.backend.jobs.cancelled(job.id, job.token)
    assert (await waiting).done


async def test_operations_are_listed_in_pages_and_deleted_when_over(room: GrpcRoom) -> None:
    names = [queued(room, number) for number in range(3)]
    lists, request = room.operations.ListOperations, operations_pb2.ListOperationsRequest
    first = await lists(request(page_size=2))
    rest = await lists(request(page_size=2, page_token=first.next_page_token))
    assert [one.name for one in (*first.operations, *rest.operations)] == names[::-1]
    assert len((await lists(request(name="corpora/books"))).operations) == 3
    assert (await lists(request(name="corpora/others"))).operations == []
    assert (await refused(lists(request(filter="done")))).field == "filter"
    delete = operations_pb2.DeleteOperationRequest(name=names[0])
    found = await refused(room.operations.DeleteOperation(delete))
    assert (found.code, found.reason) == ("FAILED_PRECONDITION", "JOB_NOT_FINISHED")
    await room.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=names[0]))
    await room.operations.DeleteOperation(delete)
    found = await refused(get(room, names[0]))
    assert (found.code, found.reason) == ("NOT_FOUND", "JOB_NOT_FOUND")


async def test_what_a_deleted_corpus_was_made_by_still_answers(room: GrpcRoom) -> None:
    name, made = queued(room), corpus_pb2.Corpus()
    job = claimed(room)
    room.backend.jobs.finish(job.id, job.token, {})
    await room.corpora.DeleteCorpus(corpus_pb2.DeleteCorpusRequest(name="corpora/books"))
    assert (await get(room, name)).response.Unpack(made)
    assert made == corpus_pb2.Corpus(name="corpora/books")


async def test_malformed_names_and_events_are_refused(room: GrpcRoom) -> None:
    found = await refused(get(room, "jobs/one"))
    assert (found.reason, found.field) == ("MALFORMED_ID", "name")
    for name, after, reason in (
        ("operations", "", "MALFORMED_ID"),
        ("operations/none", "", "JOB_NOT_FOUND"),
        (queued(room), "x", "INVALID_VALUE"),
        (queued(room), "9" * 40, "INVALID_VALUE"),
    ):
        found = await refused(anext(aiter(watch(room, name, after))))
        assert found.reason == reason
