"""The client against a real gRPC server: uploads survive breaks, errors carry their reasons."""

import hashlib
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from longmemory.v1 import (
    corpus_pb2,
    corpus_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
)

from service.client import calls as client_calls
from service.client.connection import Client, ClientError, SourceDocument
from service.client.types import Corpus, Decision, Delta, Evidence, Summary
from service.client.upload import CHUNK_BYTES


def refuse(context: Any, code: int, reason: str, message: str) -> None:
    detail = any_pb2.Any()
    info = error_details_pb2.ErrorInfo(reason=reason, domain="longmemory", metadata={"id": "x"})
    detail.Pack(info)
    status = status_pb2.Status(code=code, message=message, details=[detail])
    context.abort_with_status(rpc_status.to_status(status))


def operation(name: str, progress: float, done: bool = False) -> operations_pb2.Operation:
    running = job_pb2.JobMetadata.PHASE_DONE if done else job_pb2.JobMetadata.PHASE_RUNNING
    made = operations_pb2.Operation(name=name, done=done)
    made.metadata.Pack(
        job_pb2.JobMetadata(
            kind="index", corpus="corpora/books", phase=running, progress=progress, metrics={"a": 1}
        )
    )
    if done:
        made.response.Pack(corpus_pb2.Corpus(name="corpora/books", token_count=7))
    return made


@dataclass
class FakeServer(
    corpus_pb2_grpc.CorpusServiceServicer,
    job_pb2_grpc.JobServiceServicer,
    query_pb2_grpc.QueryServiceServicer,
    operations_pb2_grpc.OperationsServicer,
):
    """As little of a server as the client needs; `breaks` is how many calls it breaks off."""

    breaks: int = 0
    corpora: dict[str, str] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    offsets: list[tuple[str, int]] = field(default_factory=list)
    watched_after: list[str] = field(default_factory=list)
    asked: list[query_pb2.QueryRequest] = field(default_factory=list)

    def take_break(self, context: Any) -> None:
        if self.breaks:
            self.breaks -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")

    def CreateCorpus(self, request: Any, context: Any) -> corpus_pb2.Corpus:
        name = f"corpora/{request.corpus_id}"
        if name in self.corpora:
            refuse(context, code_pb2.ALREADY_EXISTS, "CORPUS_EXISTS", "it exists; use another id")
        self.corpora[name] = request.corpus.display_name
        return corpus_pb2.Corpus(name=name, state=corpus_pb2.Corpus.STATE_OPEN)

    def GetCorpus(self, request: Any, context: Any) -> corpus_pb2.Corpus:
        if request.name not in self.corpora:
            refuse(context, code_pb2.NOT_FOUND, "CORPUS_NOT_FOUND", "there is none; create it")
        return corpus_pb2.Corpus(name=request.name, display_name=self.corpora[request.name])

    def ListDocuments(self, request: Any, context: Any) -> corpus_pb2.ListDocumentsResponse:
        ids = sorted(self.documents)
        start = int(request.page_token or 0)
        page = [
            corpus_pb2.Document(id=one, sha256=hashlib.sha256(self.documents[one]).hexdigest())
            for one in ids[start : start + 2]
        ]
        after = str(start + 2) if start + 2 < len(ids) else ""
        return corpus_pb2.ListDocumentsResponse(documents=page, next_page_token=after)

    def UploadDocuments(self, requests: Any, context: Any) -> corpus_pb2.UploadDocumentsResponse:
        for number, request in enumerate(requests):
            if request.HasField("header"):
                assert number == 0
                if request.header.request_id not in self.request_ids:
                    self.parts, self.finished = {}, []
                self.request_ids.append(request.header.request_id)
                continue
            if number == 3:
                self.take_break(context)
            self.keep(request.chunk)
        total = sum(map(len, self.parts.values()))
        return corpus_pb2.UploadDocumentsResponse(
            document_count=len(self.finished), byte_count=total
        )

    def keep(self, chunk: corpus_pb2.DocumentChunk) -> None:
        part = self.parts.get(chunk.document_id, b"")
        assert chunk.offset == len(part)
        assert chunk.crc32c == google_crc32c.value(chunk.data)
        self.offsets.append((chunk.document_id, chunk.offset))
        self.parts[chunk.document_id] = part + chunk.data
        if chunk.finish_document:
            whole = self.parts[chunk.document_id]
            assert chunk.sha256 == hashlib.sha256(whole).hexdigest()
            self.documents[chunk.document_id] = whole
            self.finished.append(chunk.document_id)

    def GetUpload(self, request: Any, context: Any) -> corpus_pb2.Upload:
        assert request.request_id == self.request_ids[-1]
        return corpus_pb2.Upload(
            documents=[
                corpus_pb2.UploadedDocument(
                    document_id=one, committed_bytes=len(part), finished=one in self.finished
                )
                for one, part in self.parts.items()
            ]
        )

    def IndexCorpus(self, request: Any, context: Any) -> operations_pb2.Operation:
        return operation("operations/one", 0.0)

    def GetOperation(self, request: Any, context: Any) -> operations_pb2.Operation:
        return operation(request.name, 0.5)

    def WatchJob(self, request: Any, context: Any) -> Iterator[job_pb2.WatchJobResponse]:
        self.watched_after.append(request.after_event_id)
        for event in range(int(request.after_event_id or 0) + 1, 4):
            if event == 3:
                self.take_break(context)
            done = operation(request.name, event / 3, done=event == 3)
            yield job_pb2.WatchJobResponse(event_id=str(event), operation=done)

    def answer(self, request: query_pb2.QueryRequest) -> query_pb2.QueryResponse:
        self.asked.append(request)
        response = query_pb2.QueryResponse(
            answer="forty-two",
            route=query_pb2.RouteDecision(
                route=query_pb2.ROUTE_CRAG, reason="CORPUS_LONG", signals={"tokens": 9.0}
            ),
            evidence=[query_pb2.Evidence(document_id="a", end_char=3, score=0.5, text="abc")],
            finish_reason=query_pb2.FINISH_REASON_STOP,
        )
        response.usage.output_tokens = 2
        response.usage.total_time.FromMilliseconds(1500)
        return response

    def Query(self, request: Any, context: Any) -> query_pb2.QueryResponse:
        return self.answer(request)

    def ExplainRoute(self, request: Any, context: Any) -> query_pb2.RouteDecision:
        return self.answer(request.query).route

    def StreamQuery(self, request: Any, context: Any) -> Iterator[query_pb2.StreamQueryResponse]:
        whole = self.answer(request.query)
        yield query_pb2.StreamQueryResponse(route=whole.route)
        evidence = query_pb2.EvidenceList(evidence=whole.evidence)
        yield query_pb2.StreamQueryResponse(evidence=evidence)
        for text in ("forty", "-two"):
            yield query_pb2.StreamQueryResponse(delta=query_pb2.TextDelta(text=text))
        yield query_pb2.StreamQueryResponse(summary=whole)


@dataclass
class Room:
    fake: FakeServer
    client: Client


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setattr(client_calls, "FIRST_PAUSE_SECONDS", 0.01)
    fake = FakeServer()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    corpus_pb2_grpc.add_CorpusServiceServicer_to_server(fake, server)
    job_pb2_grpc.add_JobServiceServicer_to_server(fake, server)
    query_pb2_grpc.add_QueryServiceServicer_to_server(fake, server)
    operations_pb2_grpc.add_OperationsServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}") as client:
        yield Room(fake, client)
    server.stop(None).wait()


def test_a_corpus_is_created_once_and_may_exist_where_that_is_fine(room: Room) -> None:
    assert room.client.create_corpus("books", "Books").id == "books"
    assert room.client.create_corpus("books", exist_ok=True).display_name == "Books"
    with pytest.raises(ClientError, match="it exists") as raised:
        room.client.create_corpus("books")
    assert (raised.value.code, raised.value.reason) == ("ALREADY_EXISTS", "CORPUS_EXISTS")
    assert raised.value.metadata == {"id": "x"}


def test_an_upload_brings_bytes_and_files_and_skips_what_is_there(
    room: Room, tmp_path: Path
) -> None:
    file = tmp_path / "c.txt"
    file.write_bytes(b"c" * (CHUNK_BYTES + 1))
    room.fake.documents = {"a": b"same", "b": b"old", "x": b"other"}
    sources = [SourceDocument("a", b"same"), SourceDocument("b", b"new"), SourceDocument("c", file)]
    seen: list[int] = []
    report = room.client.upload("books", sources, seen.append)
    assert (report.documents, report.skipped) == (2, 1)
    assert room.fake.documents["b"] == b"new"
    assert room.fake.documents["c"] == file.read_bytes()
    assert seen == sorted(seen)
    assert seen[-1] == 4 + 3 + CHUNK_BYTES + 1


def test_nothing_is_sent_when_the_server_has_it_all(room: Room) -> None:
    room.fake.documents = {"a": b"same"}
    report = room.client.upload("books", [SourceDocument("a", b"same")])
    assert (report.documents, report.skipped) == (0, 1)
    assert not room.fake.request_ids


def test_a_broken_upload_goes_on_where_the_server_stopped(room: Room) -> None:
    room.fake.breaks = 1
    long = b"y" * (2 * CHUNK_BYTES + 5)
    room.client.upload("books", [SourceDocument("a", b"x"), SourceDocument("b", long)])
    assert room.fake.documents == {"a": b"x", "b": long}
    assert room.fake.offsets == [("a", 0), ("b", 0), ("b", CHUNK_BYTES), ("b", 2 * CHUNK_BYTES)]
    assert len(room.fake.request_ids) == 2
    assert len(set(room.fake.request_ids)) == 1


def test_an_upload_gives_up_after_three_tries(room: Room) -> None:
    room.fake.breaks = 9
    with pytest.raises(ClientError) as raised:
        room.client.upload("books", [SourceDocument("a", b"y" * (9 * CHUNK_BYTES))])
    assert raised.value.code == "UNAVAILABLE"
    assert len(room.fake.request_ids) == 3


def test_a_file_that_goes_away_during_the_upload_is_an_error_of_its_own(
    room: Room, tmp_path: Path
) -> None:
    file = tmp_path / "gone.txt"
    file.write_text("text")
    sources = [SourceDocument("gone.txt", file)]
    with pytest.raises(FileNotFoundError, match=r"gone\.txt"):
        room.client.upload("books", sources, lambda num_bytes: file.unlink(missing_ok=True))


def test_a_watch_goes_on_after_its_last_event(room: Room) -> None:
    room.fake.breaks = 1
    seen = list(room.client.watch("one"))
    assert [snapshot.event_id for snapshot in seen] == ["1", "2", "3"]
    assert room.fake.watched_after == ["", "2"]
    assert [snapshot.done for snapshot in seen] == [False, False, True]
    assert seen[0].phase == "running"
    assert seen[0].metrics == {"a": 1.0}


def test_waiting_gives_what_the_job_made(room: Room) -> None:
    made = room.client.wait(room.client.index("books"))
    assert isinstance(made, Corpus)
    assert made.tokens == 7


def test_an_answer_comes_whole_with_its_reason_and_cost(room: Room) -> None:
    answer = room.client.ask("books", "What?", route="crag", max_output_tokens=5, temperature=0.0)
    assert list(answer.as_json())[:5] == ["answer", "route", "reason", "evidence", "usage"]
    assert answer.as_json()["evidence"] == [
        {"document": "a", "start": 0, "end": 3, "score": 0.5, "text": "abc"}
    ]
    assert answer.as_json()["usage"]["total_seconds"] == 1.5
    assert answer.finish == "stop"
    asked = room.fake.asked[0]
    assert (asked.corpus, asked.route) == ("corpora/books", query_pb2.ROUTE_CRAG)
    assert asked.generation_config.HasField("temperature")
    assert not asked.generation_config.HasField("seed")


def test_an_answer_comes_as_events(room: Room) -> None:
    events = list(room.client.ask_stream("books", "What?"))
    kinds = [type(event) for event in events]
    assert kinds == [Decision, tuple, Delta, Delta, Summary]
    assert isinstance(events[1], tuple)
    assert isinstance(events[1][0], Evidence)
    assert room.fake.asked[0].route == query_pb2.ROUTE_UNSPECIFIED


def test_a_route_is_explained_and_an_unknown_one_refused(room: Room) -> None:
    decision = room.client.explain("books", "What?")
    assert (decision.route, decision.requested) == ("crag", "auto")
    assert decision.signals == {"tokens": 9.0}
    with pytest.raises(ValueError, match="use one of auto, cartridge"):
        room.client.ask("books", "What?", route="rag")


def test_no_server_is_said_with_the_mend() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(ClientError, match="longmemory serve") as e:
        client.get_corpus("books")
    assert e.value.reason == "SERVER_UNREACHABLE"
