"""Two servers and two workers with data folders of their own, one Redis and one store of files."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from longmemory.v1 import cartridge_pb2, corpus_pb2, query_pb2
from process_room import Server, WorkerProcess, serving, until, working
from redis_room import serving_redis

pytestmark = pytest.mark.process


@dataclass
class Machines:
    """`store` is the folder behind the URL; the machines share nothing else but Redis."""

    servers: tuple[Server, Server]
    workers: tuple[WorkerProcess, WorkerProcess]
    store: Path
    another: Callable[[str], AbstractContextManager[Server]]

    @contextmanager
    def away(self) -> Iterator[None]:
        """Inside, nobody reaches the store."""
        aside = self.store.with_name("aside")
        self.store.rename(aside)
        self.store.write_text("no folder any more")
        try:
            yield
        finally:
            self.store.unlink()
            aside.rename(self.store)

    def takes(self, server: Server, corpus_id: str, documents: dict[str, str]) -> bool:
        """Whether a server takes documents; for a while after the store was away it does not ask it."""
        try:
            server.upload(corpus_id, documents)
        except grpc.RpcError as error:
            if reason(error) != "STORE_UNAVAILABLE":
                raise
            return False
        return True

    def stored(self, folder: str) -> list[str]:
        found = (self.store / folder).rglob("*")
        return sorted(path.relative_to(self.store).as_posix() for path in found if path.is_file())


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    store = folder / "store"
    more = ("--store", f"file://{store}")
    with ExitStack() as stack:
        redis = stack.enter_context(
            serving_redis(folder / "redis", "--appendonly", "yes", "--appendfsync", "always")
        )
        workers = [
            stack.enter_context(
                working(folder / name, model_folder, redis.url, name, "--lease", "3", *more)
            )
            for name in ("worker0", "worker1")
        ]

        def serve(name: str) -> AbstractContextManager[Server]:
            return serving(folder / name, model_folder, state=redis.url, name=name, more=more)

        servers = [stack.enter_context(serve(name)) for name in ("server0", "server1")]
        yield Machines((servers[0], servers[1]), (workers[0], workers[1]), store, serve)


@pytest.fixture(scope="module")
def shared(machines: Machines, sources: dict[str, str]) -> str:
    """A corpus with an index and a cartridge, ordered at the first server."""
    first = machines.servers[0]
    first.succeed(first.register("shared", sources))
    first.succeed(first.train("shared", 2))
    return "shared"


def reason(error: grpc.RpcError) -> str:
    info = error_details_pb2.ErrorInfo()
    status = rpc_status.from_call(error)
    assert status is not None
    assert status.details[0].Unpack(info)
    return info.reason


def test_what_one_machine_made_every_machine_serves(machines: Machines, shared: str) -> None:
    for server in machines.servers:
        assert server.corpus(shared).state == corpus_pb2.Corpus.STATE_READY
        for route in (query_pb2.ROUTE_CRAG, query_pb2.ROUTE_INFINI_RETRI):
            assert server.queries.Query(server.query(shared, route)).evidence
        answer = server.queries.Query(server.query(shared, query_pb2.ROUTE_CARTRIDGE))
        assert answer.usage.prefix_tokens == 16
        assert server.queries.Query(server.query(shared, query_pb2.ROUTE_FULL_CONTEXT)).answer
    assert len(machines.stored("documents")) == 2
    assert machines.stored("windows")
    assert not [name for name in machines.stored("") if "staging" in name or "work/" in name]


def test_a_cartridge_trained_anew_is_learned_from_the_old_one_of_another_machine(
    machines: Machines, shared: str
) -> None:
    _, second = machines.servers
    for number in range(4):  # whichever worker has the old one, another gets one of these
        operation = second.cartridges.TrainCartridge(
            cartridge_pb2.TrainCartridgeRequest(
                parent=f"corpora/{shared}", cartridge_id=f"again-{number}", prefix_tokens=16,
                max_steps=2, conversations=8, base=f"corpora/{shared}/cartridges/cart-one",
            )
        )  # fmt: skip
        second.succeed(operation)
    begun = [worker.log.count("job started") for worker in machines.workers]
    assert sum(begun) >= 6


def test_an_edit_reads_its_windows_alone_whichever_machine_does_it(
    machines: Machines, sources: dict[str, str]
) -> None:
    first, second = machines.servers
    texts = {name: f"{text}\nThe edited corpus." for name, text in sources.items()}
    with machines.workers[0].stopped():
        first.succeed(first.register("edited", texts))
    before = machines.stored("indexes/edited")
    second.upload("edited", {"new.txt": "A keeper called Ulmann has the lamp now."})
    again = corpus_pb2.IndexCorpusRequest(name="corpora/edited")
    with machines.workers[1].stopped():
        done = second.succeed(second.corpora.IndexCorpus(again))
    assert done.metrics["windows_read"] == 1
    for server in machines.servers:
        found = server.queries.Retrieve(
            query_pb2.RetrieveRequest(
                query=query_pb2.QueryRequest(
                    corpus="corpora/edited", query="Who is Ulmann?", route=query_pb2.ROUTE_CRAG
                ),
                max_candidates=50,
            )
        )
        assert "Ulmann" in " ".join(one.text for one in found.candidates)
    after = machines.stored("indexes/edited")
    assert len([name for name in after if name.endswith(".json")]) <= 2
    assert set(after) != set(before)


@pytest.mark.long
def test_a_new_machine_serves_what_there_is_and_mends_what_is_damaged(
    machines: Machines, shared: str
) -> None:
    with machines.another("server2") as third:
        for route in (query_pb2.ROUTE_CRAG, query_pb2.ROUTE_CARTRIDGE):
            assert third.queries.Query(third.query(shared, route)).answer
    catalog = next((third.data / "indexes" / shared).glob("*.json"))
    catalog.write_bytes(catalog.read_bytes()[:-20])
    for text in (third.data / "documents").glob("*/*"):
        text.write_bytes(b"damaged")
    with machines.another("server2") as third:
        assert third.queries.Query(third.query(shared, query_pb2.ROUTE_CRAG)).evidence


def test_a_corpus_deleted_at_one_machine_ends_cleanly_at_the_other(
    machines: Machines, sources: dict[str, str]
) -> None:
    first, second = machines.servers
    first.succeed(first.register("doomed", sources))
    first.succeed(first.train("doomed", 2))
    streams = [second.stream(second.query("doomed", query_pb2.ROUTE_CARTRIDGE, 200))]
    assert next(streams[0])
    request = corpus_pb2.DeleteCorpusRequest(name="corpora/doomed", force=True)
    first.corpora.DeleteCorpus(request)
    assert list(streams[0]), "an answer under way ends"
    with pytest.raises(grpc.RpcError) as caught:
        second.queries.Query(second.query("doomed"))
    assert reason(caught.value) == "CORPUS_NOT_FOUND"
    until(lambda: not machines.stored("indexes/doomed"), "the index to go from the store")
    until(lambda: not machines.stored("cartridges/doomed"), "the cartridge to go from the store")
    assert machines.stored("documents"), "texts of other corpora stay"


def test_while_the_store_is_away_what_is_here_is_answered_and_uploads_are_told(
    machines: Machines, shared: str, sources: dict[str, str]
) -> None:
    first, _ = machines.servers
    first.queries.Query(first.query(shared, query_pb2.ROUTE_CRAG))
    with machines.away():
        assert first.queries.Query(first.query(shared, query_pb2.ROUTE_CRAG)).evidence
        with pytest.raises(grpc.RpcError) as caught:
            first.register("later", sources)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason(caught.value) == "STORE_UNAVAILABLE"
    until(lambda: machines.takes(first, "later", sources), "the store to be asked again")
    again = corpus_pb2.IndexCorpusRequest(name="corpora/later")
    first.succeed(first.corpora.IndexCorpus(again))


def test_a_job_waits_for_a_store_that_is_away(machines: Machines, sources: dict[str, str]) -> None:
    first, second = machines.servers
    made = corpus_pb2.CreateCorpusRequest(corpus_id="patient", corpus=corpus_pb2.Corpus())
    first.corpora.CreateCorpus(made)
    texts = {name: f"{text}\nPatience." for name, text in sources.items()}
    until(lambda: machines.takes(first, "patient", texts), "the store to be asked again")
    with machines.away():
        request = corpus_pb2.IndexCorpusRequest(name="corpora/patient")
        operation = first.corpora.IndexCorpus(request)
        told = operations_pb2.GetOperationRequest(name=operation.name)
        until(
            lambda: (
                any("STORE_UNAVAILABLE" in worker.log for worker in machines.workers)
                or "store" in str(first.operations.GetOperation(told))
            ),
            "the job to meet the store",
        )
    assert second.succeed(operation).attempt >= 2
