"""A server that is told to end amid its work ends all that it has begun, and nothing that is new."""

import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from longmemory.v1 import job_pb2, query_pb2, query_pb2_grpc
from process_room import PATIENCE, Server, is_running, long_text, serving, until

TOKENS, ROUTES = 300, (query_pb2.ROUTE_CRAG, query_pb2.ROUTE_CARTRIDGE, query_pb2.ROUTE_NONE)


class Reader(threading.Thread):
    """Reads one answer on a connection of its own."""

    def __init__(self, server: Server, query: query_pb2.QueryRequest) -> None:
        super().__init__(daemon=True)
        self._server, self._query = server, query
        self.kinds: list[str] = []
        self.text, self.error = "", ""

    def run(self) -> None:
        request = query_pb2.StreamQueryRequest(query=self._query)
        with grpc.insecure_channel(self._server.address) as channel:
            try:
                for event in query_pb2_grpc.QueryServiceStub(channel).StreamQuery(request):
                    self.text += event.delta.text
                    self.kinds.append(event.WhichOneof("event"))
            except grpc.RpcError as error:
                self.error = str(error)


@pytest.mark.process
def test_a_server_terminated_under_load_ends_its_answers_and_begins_none(
    tmp_path: Path, model_folder: Path, sources: dict[str, str]
) -> None:
    with serving(tmp_path / "data", model_folder) as server:
        server.succeed(server.register("books", sources))
        server.succeed(server.train("books", 2))
        queries = [server.query("books", route, TOKENS) for route in ROUTES]
        whole = [server.queries.Query(query) for query in queries]
        indexing = server.register("long", {"long.txt": long_text(8, 3000)})
        server.reach(indexing, "windows_read", 1)
        watching = server.jobs.WatchJob(job_pb2.WatchJobRequest(name=indexing.name))
        worker = server.worker()
        readers = [Reader(server, query) for query in queries * 2]
        for reader in readers:
            reader.start()
        until(lambda: all("delta" in reader.kinds for reader in readers), "answers under way")

        server.process.send_signal(signal.SIGTERM)
        refused = until(lambda: refusal(server), "a refusal")
        assert refused.code() is grpc.StatusCode.UNAVAILABLE
        assert "SERVER_STOPPING" in str(refused.trailing_metadata())
        assert health(server) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert any(reader.is_alive() for reader in readers), "new calls are refused amid old ones"
        for reader in readers:
            reader.join(PATIENCE)
        assert server.process.wait(PATIENCE) == 0
        for reader, told in zip(readers, whole * 2, strict=True):
            assert reader.error == ""
            assert reader.kinds[-1] == "summary"
            assert reader.text == told.answer
        with pytest.raises(grpc.RpcError) as caught:
            list(watching)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not is_running(worker)


def health(server: Server) -> int:
    with grpc.insecure_channel(server.address) as channel:
        request = health_pb2.HealthCheckRequest()
        return int(health_pb2_grpc.HealthStub(channel).Check(request).status)


def refusal(server: Server) -> Any:
    """What a new connection is told that asks a question; None while it is let in."""
    with grpc.insecure_channel(server.address) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        try:
            stub.Query(server.query("books", query_pb2.ROUTE_NONE, 1), timeout=PATIENCE)
        except grpc.RpcError as error:
            return error
        return None
