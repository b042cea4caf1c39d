"""A worker that was stopped past its lease commits nothing, on both stores, wherever it was stopped."""

import re
import signal
from pathlib import Path

import pytest
from process_room import Server, WorkerProcess, long_text, serving, until, working
from redis_room import RedisServer

from benchmarks.whole_artifacts import found_faults
from service.client.connection import Client

pytestmark = [pytest.mark.process, pytest.mark.long, pytest.mark.timeout(900)]

BEFORE_COMMIT = {"index": "catalog.renamed:1:stop", "train": "cartridge.stored:1:stop"}


def is_stopped(worker: WorkerProcess) -> bool:
    stat = Path(f"/proc/{worker.process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


def artifacts(server: Server) -> dict[str, int]:
    """All files of indexes and cartridges, each with its inode: the same if none was written anew."""
    folders = (server.data / "indexes", server.data / "cartridges")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(server.data)): path.stat().st_ino for path in files}


@pytest.fixture(params=["sqlite", "redis"])
def state(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return ""
    redis: RedisServer = request.getfixturevalue("fresh_redis")
    return redis.url


@pytest.mark.parametrize("kind", BEFORE_COMMIT)
def test_a_worker_stopped_right_before_its_commit_records_nothing_once_it_goes_on(
    tmp_path: Path, model_folder: Path, sources: dict[str, str], state: str, kind: str
) -> None:
    data, short = tmp_path / "data", ("--lease", "2")
    with serving(data, model_folder, state=state, more=("--workers", "0")) as server:
        if kind == "train":
            with working(data, model_folder, state, "first", *short):
                server.succeed(server.register("books", sources))
            job = server.train("books", 2)
        else:
            job = server.register("books", {"a.txt": long_text(12, 60)})
        point = BEFORE_COMMIT[kind]
        with working(data, model_folder, state, "late", *short, fail_point=point) as late:
            until(lambda: is_stopped(late), "the stop before the commit")
            with (
                working(data, model_folder, state, "other", *short),
                Client(server.address) as client,
            ):
                assert server.succeed(job).attempt == 2
                until(lambda: not server.leftovers(), "what the other cleared up")
                made, told = artifacts(server), client.list_jobs()
                late.process.send_signal(signal.SIGCONT)
                until(lambda: re.search(r"job left.*lost=True", late.log), "the end of its attempt")
                until(lambda: not server.leftovers(), "what the late one cleared up")
                assert artifacts(server) == made
                assert client.list_jobs() == told
                assert found_faults(data, client) == {}
