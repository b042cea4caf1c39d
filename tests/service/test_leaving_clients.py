"""Clients that leave in mid-answer, hundreds of times, take everything of theirs along."""

from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from longmemory.v1 import query_pb2, query_pb2_grpc
from process_room import ROUTES, Server, until

pytestmark = [pytest.mark.process, pytest.mark.long]

LEAVINGS = 500
WARMING = 100  # what a server takes once, such as the arenas of its allocator, it takes in these
MOST_GROWTH = 24 * 1024**2
"""Bytes; 500 answers that were kept would have 500 rows of keys and values, some 100 KiB each."""


@dataclass(frozen=True)
class Footprint:
    """What a process holds of the machine."""

    threads: int
    handles: int
    resident: int


def footprint(server: Server) -> Footprint:
    folder = Path(f"/proc/{server.process.pid}")
    status = dict(
        line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
    )
    handles = len(list((folder / "fd").iterdir()))
    return Footprint(int(status["Threads"]), handles, int(status["VmRSS"].split()[0]) * 1024)


def leave(server: Server, corpus_id: str, number: int) -> None:
    """Reads up to the first text; every other client leaves with its whole connection."""
    route = list(ROUTES)[number % len(ROUTES)]
    query = server.query(corpus_id, ROUTES[route], tokens=1000)
    query.query = f"{query.query} {number}"
    if number % 2:
        answer = server.stream(query)
        _read_until_text(answer)
        answer.cancel()
        return
    with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        _read_until_text(stub.StreamQuery(query_pb2.StreamQueryRequest(query=query)))


def _read_until_text(answer: grpc.Call) -> None:
    while next(answer).WhichOneof("event") != "delta":
        pass


def test_five_hundred_clients_that_leave_in_mid_stream_leave_nothing_behind(
    server: Server, trained: str
) -> None:
    for number in range(WARMING):
        leave(server, trained, number)
    before = footprint(server)
    for number in range(LEAVINGS):
        leave(server, trained, number)
    until(lambda: footprint(server).handles <= before.handles, "the handles of those who left")
    after = footprint(server)
    assert after.threads <= before.threads
    assert after.resident - before.resident < MOST_GROWTH, (before, after)
    assert server.queries.Query(server.query(trained)).answer
