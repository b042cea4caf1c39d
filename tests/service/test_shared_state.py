"""Two servers and two workers on one Redis and one data folder, as processes of their own."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from longmemory.v1 import cartridge_pb2, corpus_pb2, query_pb2
from process_room import PATIENCE, Server, WorkerProcess, long_text, serving, until, working
from redis_room import RedisServer, serving_redis

from service.state.redis_store import RedisStore
from service.state.tables import JOBS

pytestmark = [pytest.mark.process, pytest.mark.long]
SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)


@dataclass
class Fleet:
    redis: RedisServer
    servers: tuple[Server, Server]
    workers: tuple[WorkerProcess, WorkerProcess]
    data: Path

    def job(self, operation: Any) -> dict[str, Any]:
        """A job's record as the store holds it."""
        store = RedisStore(self.redis.url)
        found = JOBS.get(store, (operation.name.rpartition("/")[2],))
        store.close()
        assert found is not None
        return found

    def holder(self, operation: Any) -> WorkerProcess:
        """The worker that has the job."""
        held = self.job(operation)["worker"]
        (found,) = [worker for worker in self.workers if worker.name == held]
        return found

    def leftovers(self) -> list[str]:
        return self.servers[0].leftovers()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    data, lease = folder / "data", ("--lease", "3")
    with ExitStack() as stack:
        redis = stack.enter_context(
            serving_redis(folder / "redis", "--appendonly", "yes", "--appendfsync", "always")
        )
        workers = [
            stack.enter_context(working(data, model_folder, redis.url, f"worker{n}", *lease))
            for n in range(2)
        ]
        servers = [
            stack.enter_context(serving(data, model_folder, state=redis.url, name=f"server{n}"))
            for n in range(2)
        ]
        assert len({worker.name for worker in workers}) == 2
        yield Fleet(redis, (servers[0], servers[1]), (workers[0], workers[1]), data)


@pytest.fixture(scope="module")
def shared(fleet: Fleet, sources: dict[str, str]) -> str:
    """A corpus with an index and a cartridge, made at the first server."""
    first = fleet.servers[0]
    first.succeed(first.register("shared", sources))
    first.succeed(first.train("shared", 2))
    return "shared"


def refused(call: Any, *arguments: Any) -> tuple[grpc.StatusCode, str, bool]:
    """Code and reason of an error, and whether it says when to try again."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments)
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    retry = any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
    return caught.value.code(), info.reason, retry


def test_what_one_server_was_given_every_server_has(fleet: Fleet, shared: str) -> None:
    _, second = fleet.servers
    assert second.corpus(shared).state == corpus_pb2.Corpus.STATE_READY
    assert second.queries.Query(second.query(shared, query_pb2.ROUTE_CRAG)).evidence
    answer = second.queries.Query(second.query(shared, query_pb2.ROUTE_CARTRIDGE))
    assert answer.usage.prefix_tokens == 16
    asked = ("ask", shared, "Who looks after the lamp?", "--max-tokens", "4")
    assert [server.json(*asked)["answer"] != "" for server in fleet.servers] == [True, True]
    assert [one["id"] for one in second.json("corpus", "ls")] == [shared]


def test_two_workers_share_the_jobs_and_do_each_once(fleet: Fleet) -> None:
    operations = [
        server.register(f"many-{number}-{at}", {"a.txt": long_text(10 * number + at, 40)})
        for number in range(4)
        for at, server in enumerate(fleet.servers)
    ]
    for operation in operations:
        assert fleet.servers[1].succeed(operation).attempt == 1
        states = [event.phase for event in fleet.servers[0].history(operation)]
        assert states == sorted(states), "queued, then running, then done, and never back"
    said = [worker.log.count("job started") for worker in fleet.workers]
    assert min(said) > 0
    assert len(list((fleet.data / "indexes").glob("many-*/*.json"))) == len(operations)
    until(lambda: not fleet.leftovers(), "the removal of the work folders")


def test_a_worker_stopped_past_its_lease_cannot_commit(fleet: Fleet, shared: str) -> None:
    first, second = fleet.servers
    training = first.train(shared, 150, "contested")
    first.reach(training, "step", 9)
    zombie, claim = fleet.holder(training), fleet.job(training)
    with zombie.stopped():
        until(lambda: fleet.job(training)["token"] > claim["token"], "another claim")
        done = second.succeed(training)
        assert done.attempt == 2
    finished = fleet.job(training)
    until(lambda: f"job={claim['id']} lost=True" in zombie.log, "the end of the zombie's attempt")
    folder = fleet.data / "cartridges" / shared / "contested"
    assert [path.name for path in folder.iterdir()] == [f"{claim['id']}.{finished['token']}"]
    assert fleet.job(training) == finished
    ready = second.cartridge(shared, "contested")
    assert ready.state == cartridge_pb2.Cartridge.STATE_READY
    manifest = json.loads(next(folder.glob("*/manifest.json")).read_text())
    assert manifest["corpus_digest"] == ready.corpus_digest
    until(lambda: not fleet.leftovers(), "the removal of the work folders")


def health(server: Server, service: str) -> int:
    with grpc.insecure_channel(server.address) as channel:
        request = health_pb2.HealthCheckRequest(service=f"longmemory.v1.{service}")
        status: int = health_pb2_grpc.HealthStub(channel).Check(request).status
        return status


def test_while_redis_is_away_questions_are_answered_and_jobs_wait(
    fleet: Fleet, shared: str
) -> None:
    first, second = fleet.servers
    query = first.query(shared, query_pb2.ROUTE_CRAG)
    for server in fleet.servers:
        server.queries.Query(query)  # the corpus is loaded
    indexing = first.register("patient", {"long.txt": long_text(77)})
    first.reach(indexing, "windows_read", 2)
    before = fleet.job(indexing)["token"]
    fleet.redis.kill()
    for server in fleet.servers:
        until(lambda s=server: health(s, "CorpusService") == NOT_SERVING, "degraded health")
        assert health(server, "JobService") == NOT_SERVING
        assert health(server, "QueryService") == SERVING
        assert server.queries.Query(query).evidence
        query.request_id = "00000000-0000-4000-8000-000000000001"
        assert server.queries.Query(query).evidence
        assert list(server.stream(query))
        name = corpus_pb2.GetCorpusRequest(name=f"corpora/{shared}")
        told = refused(server.corpora.GetCorpus, name)
        assert told == (grpc.StatusCode.UNAVAILABLE, "STATE_UNAVAILABLE", True)
    until(lambda: any("STATE_UNAVAILABLE" in worker.log for worker in fleet.workers), "a wait")
    fleet.redis.start()
    for server in fleet.servers:
        until(lambda s=server: health(s, "CorpusService") == SERVING, "health")
    done = second.succeed(indexing)
    assert fleet.job(indexing)["token"] >= before
    assert done.metrics["windows_read"] <= done.metrics["windows"]
    assert second.corpus("patient").state == corpus_pb2.Corpus.STATE_READY
    assert len(list((fleet.data / "indexes" / "patient").glob("*.json"))) == 1
    until(lambda: not fleet.leftovers(), "the removal of the work folders")


def test_a_worker_that_is_told_to_end_gives_its_job_back(fleet: Fleet, model_folder: Path) -> None:
    first = fleet.servers[0]
    indexing = first.register("handed", {"long.txt": long_text(99)})
    first.reach(indexing, "windows_read", 1)
    leaver = fleet.holder(indexing)
    leaver.process.terminate()
    assert leaver.process.wait(PATIENCE) == 0
    assert first.succeed(indexing).attempt == 1, "the attempt did not count"
    assert fleet.job(indexing)["token"] > 0

    (other,) = [worker for worker in fleet.workers if worker is not leaver]
    other.process.send_signal(signal.SIGTERM)
    assert other.process.wait(PATIENCE) == 0
    jobs = [first.register(f"single-{n}", {"a.txt": long_text(n, 20)}) for n in range(2)]
    with working(fleet.data, model_folder, fleet.redis.url, "once", "--once") as once:
        assert once.process.wait(PATIENCE) == 0
        assert once.log.count("job started") == 1
    ended = [
        first.operations.GetOperation(operations_pb2.GetOperationRequest(name=job.name)).done
        for job in jobs
    ]
    assert ended == [True, False]
