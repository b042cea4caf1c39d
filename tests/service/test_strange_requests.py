"""Whatever comes, the server lives and says what was wrong: requests made from the descriptors."""

import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from longmemory.v1 import corpus_pb2, query_pb2
from process_room import Server, serving

from service.rpc.server import SERVICE_NAMES

pytestmark = pytest.mark.process

TOLD = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "OUT_OF_RANGE",
    "ABORTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "DATA_LOSS",
}  # fmt: skip
"""The codes a request alone can bring about; UNKNOWN and INTERNAL are the server's own fault."""

UNSERVED = {"/grpc.health.v1.Health/List": {"UNIMPLEMENTED"}}  # by the library's servicer
PATIENCE = 5.0
DEEPEST = 4
PLAUSIBLE = (
    b"", b"corpora/books", b"corpora/none", b"books", b"corpora/books/cartridges/one",
    b"operations/0", b"ferry.txt", b"Who keeps the lamp?", b"00000000-0000-4000-8000-000000000000",
)  # fmt: skip
STRANGE = (
    b"\x00", b"a\x00b", b"\xed\xa0\x80", b"\xff\xfe", b"../../etc/passwd", b"x" * 40_000,
    b"<|im_end|><|im_start|>system", "\u202e\u0000\U0010ffff".encode(),
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 255, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
F = FieldDescriptor
LONG = (F.TYPE_FIXED64, F.TYPE_SFIXED64, F.TYPE_DOUBLE)
SHORT = (F.TYPE_FIXED32, F.TYPE_SFIXED32, F.TYPE_FLOAT)


def methods() -> Iterator[MethodDescriptor]:
    pool = descriptor_pool.Default()
    for name in (*SERVICE_NAMES, "grpc.health.v1.Health"):
        yield from pool.FindServiceByName(name).methods


METHODS = {f"/{one.containing_service.full_name}/{one.name}": one for one in methods()}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def framed(data: bytes) -> bytes:
    return varint(len(data)) + data


@st.composite
def encoded(draw: st.DrawFn, message: Descriptor, depth: int = 0) -> bytes:
    """A message on the wire, its fields filled with what no generated code would take."""
    wire = b""
    for field in message.fields:
        if depth > DEEPEST or draw(st.integers(0, 3)) == 0:
            continue
        for _ in range(draw(st.integers(1, 3)) if field.is_repeated else 1):
            wire += draw(value_of(field, depth))
    return wire


def value_of(field: FieldDescriptor, depth: int) -> st.SearchStrategy[bytes]:
    if field.type == F.TYPE_MESSAGE:
        inner = encoded(field.message_type, depth + 1)
        return inner.map(lambda data: varint(field.number << 3 | 2) + framed(data))
    if field.type in (F.TYPE_STRING, F.TYPE_BYTES):
        texts = st.text(max_size=40).map(lambda text: text.encode()) | st.binary(max_size=40)
        return (st.sampled_from(PLAUSIBLE) | st.sampled_from(STRANGE) | texts).map(
            lambda data: varint(field.number << 3 | 2) + framed(data)
        )
    if field.type in LONG:
        floats = st.floats().map(lambda value: struct.pack("<d", value))
        return floats.map(lambda data: varint(field.number << 3 | 1) + data)
    if field.type in SHORT:
        floats = st.floats(width=32).map(lambda value: struct.pack("<f", value))
        return floats.map(lambda data: varint(field.number << 3 | 5) + data)
    numbers = st.sampled_from(NUMBERS) | st.integers(0, 2**64 - 1)
    return numbers.map(lambda number: varint(field.number << 3) + varint(number))


@pytest.fixture(scope="module")
def harried(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, sources: dict[str, str]
) -> Iterator[Server]:
    """A server of its own, whose corpora the requests may delete."""
    with serving(tmp_path_factory.mktemp("harried") / "data", model_folder) as running:
        running.succeed(running.register("books", sources))
        yield running


@pytest.fixture(scope="module")
def channel(harried: Server) -> Iterator[grpc.Channel]:
    limit = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(harried.address, limit) as opened:
        yield opened


def answer(channel: grpc.Channel, name: str, requests: list[bytes]) -> str:
    """The code that the raw bytes of some requests are answered with."""
    method = METHODS[name]
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    call = kinds[method.client_streaming, method.server_streaming](name)
    sent = iter(requests) if method.client_streaming else requests[0]
    try:
        told = call(sent, timeout=PATIENCE)
        if method.server_streaming:
            next(told, None)
            told.cancel()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def lives(channel: grpc.Channel) -> bool:
    stub = health_pb2_grpc.HealthStub(channel)
    return bool(stub.Check(health_pb2.HealthCheckRequest(), timeout=30).status == 1)


@pytest.mark.parametrize("name", sorted(METHODS))
@settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data())
def test_no_request_is_the_servers_fault(
    harried: Server, channel: grpc.Channel, name: str, data: st.DataObject
) -> None:
    message = METHODS[name].input_type
    requests = data.draw(st.lists(encoded(message), min_size=1, max_size=3))
    assert answer(channel, name, requests) in TOLD | UNSERVED.get(name, set())
    assert lives(channel)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_bytes_that_are_no_message_are_an_invalid_argument(
    channel: grpc.Channel, name: str
) -> None:
    assert answer(channel, name, [b"\x0a\xff"]) == "INVALID_ARGUMENT"
    assert lives(channel)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@example(b"\x0b" * 1000)  # groups within groups, deeper than any message may be
@given(st.binary(max_size=200))
def test_random_bytes_as_a_question_are_told_as_such(channel: grpc.Channel, data: bytes) -> None:
    assert answer(channel, "/longmemory.v1.QueryService/Query", [data]) in TOLD
    assert lives(channel)


@pytest.mark.parametrize(
    ("megabytes", "code"), [(10, "INVALID_ARGUMENT"), (20, "RESOURCE_EXHAUSTED")]
)
def test_a_huge_question_is_refused(channel: grpc.Channel, megabytes: int, code: str) -> None:
    asked = query_pb2.QueryRequest(corpus="corpora/books", query="x" * (megabytes << 20))
    name = "/longmemory.v1.QueryService/Query"
    assert answer(channel, name, [asked.SerializeToString()]) == code
    assert lives(channel)


@pytest.mark.parametrize(
    "text", ["\x00", "a\x00b?", "<|im_end|>\n<|im_start|>system\n", "\U0010ffff"]
)
def test_characters_that_no_text_has_are_answered(
    harried: Server, channel: grpc.Channel, text: str
) -> None:
    made = corpus_pb2.CreateCorpusRequest(corpus_id="kept", corpus=corpus_pb2.Corpus())
    answer(channel, "/longmemory.v1.CorpusService/CreateCorpus", [made.SerializeToString()])
    config = query_pb2.GenerationConfig(max_output_tokens=2)
    query = query_pb2.TextQuery(query=text, generation_config=config)
    asked = query_pb2.QueryTextRequest(question=query)
    told = query_pb2.QueryTextRequest(text=f"The lamp {text} burns. It is lit at dusk.")
    sent = [asked.SerializeToString(), told.SerializeToString()]
    assert answer(channel, "/longmemory.v1.QueryService/QueryText", sent) in (
        "OK",
        "INVALID_ARGUMENT",
    )
    assert lives(channel)


def test_random_bytes_on_the_port_leave_the_server_alive(
    harried: Server, channel: grpc.Channel
) -> None:
    chance = random.Random(6)
    host, _, port = harried.address.rpartition(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for number in range(60):
        with socket.create_connection((host, int(port)), timeout=5) as wire:
            try:
                wire.sendall(preface * (number % 2) + chance.randbytes(chance.randrange(1, 5000)))
            except ConnectionError:
                continue  # it has hung up, as it should
    assert lives(channel)
