"""For every method that takes a name of something: requests that name one tenant's things in each of the
fields that can.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from longmemory.v1 import cartridge_pb2, corpus_pb2, job_pb2, query_pb2
from tenant_room import SECRETS, UPLOAD, Member

from service.rpc.server import SERVICE_NAMES

METHODS = {
    f"/{service}/{method.name}": method
    for service in SERVICE_NAMES
    for method in descriptor_pool.Default().FindServiceByName(service).methods
}
NAMING = {
    "name", "parent", "corpus", "cartridge", "base", "document_id", "decision_id", "request_id",
}  # fmt: skip
"""Fields that name what is there already."""
OTHER_WORDS = {
    "corpus_id", "cartridge_id",  # of what is to be made, so the caller's own
    "page_token", "after_event_id", "etag",  # places in what is the caller's own
    "query", "text", "stop_sequences", "display_name", "sha256", "filter",
}  # fmt: skip
NAMELESS = {
    "/longmemory.v1.CorpusService/CreateCorpus",
    "/longmemory.v1.CorpusService/ListCorpora",
    "/longmemory.v1.CartridgeService/GetResidency",
    "/longmemory.v1.QueryService/QueryText",
    "/longmemory.v1.QueryService/CountTokens",
    "/longmemory.v1.InfoService/GetInfo",
}
"""Methods that name nothing that is there already."""
IDEMPOTENT = {
    "CreateCorpusRequest", "IndexCorpusRequest", "TrainCartridgeRequest", "QueryRequest",
}  # fmt: skip
"""Messages whose `request_id` names a request, tried in a test of its own, and no upload."""


@dataclass(frozen=True, slots=True)
class Things:
    """Names of one tenant's things. `books` is a corpus that the other tenant has too, by its name."""

    corpus: str
    document: str
    cartridge: str
    upload: str
    decision: str
    decision_of_books: str
    ended: str
    queued: str

    def unknown(self) -> "Things":
        """Names of the same lengths that nobody has."""
        return replace(
            self, corpus="nosuch", document="only-nobody.txt", cartridge="none-one",
            upload=str(uuid.uuid4()), decision=_other(self.decision),
            decision_of_books=_other(self.decision_of_books), ended=_other(self.ended),
            queued=_other(self.queued),
        )  # fmt: skip

    def renamed(self, told: bytes, other: "Things") -> bytes:
        """What was told of these, as if it had been told of the others."""
        for mine, theirs in zip(astuple(self), astuple(other), strict=True):
            assert len(mine) == len(theirs)
            told = told.replace(mine.encode(), theirs.encode())
        return told


def make_things(owner: Member, text: str) -> Things:
    """Two corpora with one text, each with an own document and a cartridge, and what comes of them."""
    decisions = []
    for corpus_id in ("books", "secret"):
        owner.create(corpus_id)
        owner.upload(corpus_id, "only-theirs.txt", text.encode(), request_id=UPLOAD)
        ended = owner.index(corpus_id)
        owner.room.work()
        training = owner.train(corpus_id)
        owner.room.work()
        owner.ended(training)
        asked = owner.ask(corpus_id, route=query_pb2.ROUTE_CRAG)
        decisions.append(owner.queries.Query(asked).route.decision_id)
    owner.create("waits")
    owner.upload("waits", "a.txt", text.encode())
    queued = owner.index("waits")
    return Things(
        "secret", "only-theirs.txt", "cart-one", UPLOAD, decisions[1], decisions[0],
        _id(owner.ended(ended)), _id(queued),
    )  # fmt: skip


def rows(things: Things) -> Mapping[str, Sequence[Any]]:
    """By the method's path; a list is a stream of requests. What destroys comes last."""
    secret, books = f"corpora/{things.corpus}", "corpora/books"
    cartridges = [f"{corpus}/cartridges/{things.cartridge}" for corpus in (secret, books)]
    ended, queued = f"operations/{things.ended}", f"operations/{things.queued}"
    asked = query_pb2.GenerationConfig(max_output_tokens=2)
    queries = [
        query_pb2.QueryRequest(
            corpus=corpus, query="Who?", route=query_pb2.ROUTE_CARTRIDGE,
            cartridge=cartridge, generation_config=asked,
        )
        for corpus, cartridge in zip((secret, books), cartridges, strict=True)
    ]  # fmt: skip
    found = [
        query_pb2.QueryRequest(corpus=secret, query="Who?", generation_config=asked),
        query_pb2.QueryRequest(
            corpus=books, query="Who?", cartridge=cartridges[1], generation_config=asked
        ),
    ]
    return {
        "/longmemory.v1.CorpusService/GetCorpus": [corpus_pb2.GetCorpusRequest(name=secret)],
        "/longmemory.v1.CorpusService/ListDocuments": [
            corpus_pb2.ListDocumentsRequest(parent=secret)
        ],
        "/longmemory.v1.CorpusService/GetUpload": [
            corpus_pb2.GetUploadRequest(corpus=corpus, request_id=things.upload)
            for corpus in (secret, books)
        ],
        "/longmemory.v1.CartridgeService/GetCartridge": [
            cartridge_pb2.GetCartridgeRequest(name=name) for name in cartridges
        ],
        "/longmemory.v1.CartridgeService/ListCartridges": [
            cartridge_pb2.ListCartridgesRequest(parent=secret)
        ],
        "/longmemory.v1.CartridgeService/WarmCartridge": [
            cartridge_pb2.WarmCartridgeRequest(name=name) for name in cartridges
        ],
        "/longmemory.v1.QueryService/Query": queries,
        "/longmemory.v1.QueryService/StreamQuery": [
            query_pb2.StreamQueryRequest(query=one) for one in queries
        ],
        "/longmemory.v1.QueryService/ExplainRoute": [
            query_pb2.ExplainRouteRequest(query=one) for one in queries
        ],
        "/longmemory.v1.QueryService/Retrieve": [
            query_pb2.RetrieveRequest(query=one) for one in found
        ],
        "/longmemory.v1.QueryService/RecordFeedback": [
            query_pb2.RecordFeedbackRequest(
                corpus=corpus, decision_id=decision, verdict=query_pb2.VERDICT_BAD
            )
            for corpus, decision in ((secret, things.decision), (books, things.decision_of_books))
        ],
        "/longmemory.v1.JobService/WatchJob": [job_pb2.WatchJobRequest(name=ended)],
        "/google.longrunning.Operations/GetOperation": [
            operations_pb2.GetOperationRequest(name=name) for name in (ended, queued)
        ],
        "/google.longrunning.Operations/ListOperations": [
            operations_pb2.ListOperationsRequest(name=secret)
        ],
        "/google.longrunning.Operations/WaitOperation": [
            operations_pb2.WaitOperationRequest(name=name, timeout=Duration(nanos=1))
            for name in (ended, queued)
        ],
        "/longmemory.v1.CartridgeService/TrainCartridge": [
            cartridge_pb2.TrainCartridgeRequest(parent=corpus, base=base, cartridge_id="cart-two")
            for corpus, base in zip((secret, books), cartridges, strict=True)
        ],
        "/longmemory.v1.CorpusService/UploadDocuments": [
            [
                corpus_pb2.UploadDocumentsRequest(
                    header=corpus_pb2.UploadHeader(corpus=secret, request_id=things.upload)
                ),
                corpus_pb2.UploadDocumentsRequest(
                    chunk=corpus_pb2.DocumentChunk(document_id=things.document)
                ),
            ]
        ],
        "/longmemory.v1.CorpusService/IndexCorpus": [corpus_pb2.IndexCorpusRequest(name=secret)],
        "/google.longrunning.Operations/CancelOperation": [
            operations_pb2.CancelOperationRequest(name=queued)
        ],
        "/google.longrunning.Operations/DeleteOperation": [
            operations_pb2.DeleteOperationRequest(name=ended)
        ],
        "/longmemory.v1.CartridgeService/EvictCartridge": [
            cartridge_pb2.EvictCartridgeRequest(name=name) for name in cartridges
        ],
        "/longmemory.v1.CartridgeService/DeleteCartridge": [
            cartridge_pb2.DeleteCartridgeRequest(name=name) for name in cartridges
        ],
        "/longmemory.v1.CorpusService/DeleteDocument": [
            corpus_pb2.DeleteDocumentRequest(corpus=corpus, document_id=things.document)
            for corpus in (secret, books)
        ],
        "/longmemory.v1.CorpusService/DeleteCorpus": [
            corpus_pb2.DeleteCorpusRequest(name=secret, force=True)
        ],
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended, with every byte that its caller was sent but for times."""

    code: str
    told: bytes

    @property
    def names_a_secret(self) -> bool:
        return any(word.encode() in self.told.lower() for word in SECRETS)


def outcome(caller: Member, path: str, request: Any) -> Outcome:
    """What a caller hears of a request, under an id that every such call bears."""
    described, channel = METHODS[path], caller.channel
    kinds: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    make = kinds[described.client_streaming, described.server_streaming]
    call = make(path, lambda message: message.SerializeToString(deterministic=True), bytes)
    given = iter(request) if isinstance(request, list) else request
    try:
        answer = call(given, metadata=(("x-request-id", "the-same"),))
        return Outcome("OK", answer if isinstance(answer, bytes) else b"".join(answer))
    except grpc.RpcError as error:
        trailing = sorted((key, _bytes(value)) for key, value in error.trailing_metadata())
        told = [_bytes(error.details()), *(part for pair in trailing for part in pair if part)]
        return Outcome(error.code().name, b"\n".join(_bytes(one) for one in told))


def words_of(message: Descriptor, seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Every field of text in a message and those inside it, behind the name of its message."""
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield message.name, field.name
        inner = field.message_type
        is_ours = inner is not None and inner.full_name.startswith("longmemory.")
        if is_ours and field.name != "corpus" and inner.full_name not in seen:
            yield from words_of(inner, seen | {inner.full_name})


def named_in(message: Any) -> Iterator[tuple[str, str]]:
    """The fields of text that a request sets."""
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING:
            yield message.DESCRIPTOR.name, field.name
        elif field.type == FieldDescriptor.TYPE_MESSAGE and hasattr(value, "ListFields"):
            yield from named_in(value)


def _id(operation: Any) -> str:
    return str(operation.name.rpartition("/")[2])


def _other(known: str) -> str:
    """Nobody's id of the same form."""
    made = uuid.uuid4().hex
    assert len(made) == len(known)
    return made


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
