"""A real server with a real worker: every metric moves when it should, and `top` shows it."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from longmemory.v1 import cartridge_pb2, query_pb2
from process_room import COMMAND, ENVIRONMENT, PATIENCE, ROUTES, Server, serving, until
from test_metrics import LABELS

from service.telemetry.reading import Reading, read_page

pytestmark = [pytest.mark.process, pytest.mark.long]

SECRET = "Who keeps the lamp of the harbor?"
FIRST = "longmemory_time_to_first_token_seconds"


@dataclass
class Watched:
    """A server and its metrics page."""

    server: Server
    url: str

    def read(self) -> Reading:
        return read_page(self.url)

    def one(self, name: str, **labels: str) -> float:
        return self.read().one(name, **labels)

    def ask(self, route: str, tokens: int = 6, corpus: str = "books") -> Any:
        query = self.server.query(corpus, ROUTES[route], tokens)
        query.query = SECRET
        return self.server.queries.Query(query)

    def top(self, *flags: str) -> str:
        done = subprocess.run(
            [*COMMAND, "top", "--once", "--every", "0.2", "--metrics", self.url, *flags],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=True,
        )  # fmt: skip
        return done.stdout


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, sources: dict[str, str]
) -> Iterator[Watched]:
    data = tmp_path_factory.mktemp("watched") / "data"
    flags = ("--metrics", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug")
    with serving(data, model_folder, more=flags) as server:
        output = data.with_suffix(".server.out")
        found = until(lambda: re.search(r"^metrics at (\S+)$", output.read_text(), re.M), "a page")
        watched = Watched(server, found[1])
        before = watched.read()
        assert before.by("longmemory_jobs", "state") == {}
        assert before.one("longmemory_worker_alive") == 0
        indexing = server.register("books", sources)
        until(lambda: watched.one("longmemory_worker_alive") == 1, "the worker's gauge")
        server.succeed(indexing)
        server.succeed(server.train("books", 2))
        yield watched


def test_jobs_are_counted_by_state_and_a_running_one_tells_its_heartbeats_age(
    watched: Watched,
) -> None:
    assert watched.one("longmemory_jobs", kind="index", state="succeeded") == 1
    assert watched.one("longmemory_jobs", kind="train", state="succeeded") == 1
    job = watched.server.train("books", 100_000, "endless")
    until(lambda: watched.one("longmemory_jobs", kind="train", state="running") == 1, "the job")
    ages = watched.read().by("longmemory_job_heartbeat_age_seconds", "kind")
    assert ages.keys() <= {"train"}  # an age of exactly 0 is left out of the sums
    until(lambda: watched.read().by("longmemory_job_heartbeat_age_seconds", "kind"), "an age")
    watched.server.cli("jobs", "cancel", job.name.rpartition("/")[2])
    until(lambda: watched.one("longmemory_jobs", kind="train", state="cancelled") == 1, "its end")
    assert watched.read().by("longmemory_job_heartbeat_age_seconds", "kind") == {}


def test_answers_move_what_they_should(watched: Watched) -> None:
    before = watched.read()
    for route in ROUTES:
        watched.ask(route)
    now = watched.read()

    def moved(name: str, **labels: str) -> float:
        return now.one(name, **labels) - before.one(name, **labels)

    for route in ROUTES:
        assert moved("longmemory_answers_total", route=route, reason="REQUESTED") == 1
        assert moved(f"{FIRST}_count", route=route) == 1
        assert moved(f"{FIRST}_sum", route=route) > 0
    assert 1 <= moved("longmemory_generated_tokens_total") <= 6 * len(ROUTES)
    called = {"grpc_service": "longmemory.v1.QueryService", "grpc_method": "Query"}
    assert moved("grpc_server_handled_total", grpc_code="OK", **called) == len(ROUTES)
    assert moved("grpc_server_handling_seconds_count", **called) == len(ROUTES)
    assert now.one("longmemory_resident_corpora") == 1
    assert now.one("longmemory_questions_under_way") == 0
    assert now.one("longmemory_model_alive") == 1


def test_cartridges_in_memory_are_weighed_and_their_use_is_counted(watched: Watched) -> None:
    name = "corpora/books/cartridges/cart-one"
    evict = cartridge_pb2.EvictCartridgeRequest(name=name)
    watched.server.cartridges.EvictCartridge(evict)
    before = watched.read()
    assert before.one("longmemory_resident_cartridges") == 0
    assert before.one("longmemory_resident_cartridge_bytes") == 0
    for _ in range(2):
        watched.ask("cartridge")
    now = watched.read()
    assert now.one("longmemory_resident_cartridges") == 1
    # 16 rows of keys and values: 4 layers, 2 heads, 16 wide, 4 bytes each
    assert now.one("longmemory_resident_cartridge_bytes") >= 16 * 2 * 4 * 2 * 16 * 4
    for count in ("hits", "loads"):
        counter = f"longmemory_cartridge_{count}_total"
        assert now.one(counter) - before.one(counter) >= 1, count


def test_a_stream_is_in_the_batch_until_its_reader_leaves(watched: Watched) -> None:
    query = watched.server.query("books", ROUTES["none"], 1024)
    streams = [watched.server.stream(query) for _ in range(3)]
    for stream in streams:
        next(stream)

    def are_seen() -> bool:
        now = watched.read()
        return (
            now.one("longmemory_batch_size") >= 1
            and now.one("longmemory_batch_kv_bytes") > 0
            and now.one("longmemory_questions_under_way") >= 1
        )

    until(are_seen, "answers in the batch")
    for stream in streams:
        stream.cancel()
    until(lambda: watched.one("longmemory_questions_under_way") == 0, "the end of all")
    until(lambda: watched.one("longmemory_batch_size") == 0, "an empty batch")
    now = watched.read()
    assert now.one("longmemory_batch_kv_bytes") == 0
    assert now.one("longmemory_queue_length") == 0


def test_refusals_are_counted_by_their_reason(watched: Watched) -> None:
    before = watched.one("longmemory_rejected_total", reason="CORPUS_NOT_FOUND")
    with pytest.raises(grpc.RpcError):
        watched.ask("none", corpus="nowhere")
    assert watched.one("longmemory_rejected_total", reason="CORPUS_NOT_FOUND") == before + 1


def test_labels_are_from_fixed_sets_and_hold_no_name_of_a_callers(watched: Watched) -> None:
    watched.ask("crag")
    now = watched.read()
    fixed = {"version", "model", "device", "dtype"}  # of this process, from its start
    for name, samples in now.values.items():
        for labels in samples:
            for label, value in labels:
                if label not in fixed | {"le"} and not name.startswith("process_"):
                    assert value in LABELS[label], (name, label, value)
    assert "books" not in str(now.values)
    assert "cart-one" not in str(now.values)


def test_top_shows_it_to_people_and_to_programs(watched: Watched) -> None:
    watched.ask("crag")
    told = json.loads(watched.top("--json"))
    assert told["model_alive"] is True
    assert told["jobs"]["succeeded"] >= 2
    assert told["corpora"] == 1
    assert told["tokens"] >= 1
    assert told["tokens_per_second"] >= 0
    assert told["routes"]["crag"]["answers"] >= 1
    assert 0 < told["routes"]["crag"]["p50"] <= told["routes"]["crag"]["p95"]
    shown = watched.top()
    assert "tokens/s" in shown
    assert re.search(r"crag +\d+ answers, first token p50 / p95 \d", shown)


def test_the_whole_log_of_server_and_worker_holds_no_text(
    watched: Watched, sources: dict[str, str]
) -> None:
    watched.ask("infini_retri")
    with pytest.raises(grpc.RpcError):
        watched.server.queries.Query(
            query_pb2.QueryRequest(corpus="corpora/books", query=SECRET * 2000)
        )
    output = watched.server.data.with_suffix(".server.out").read_text()
    log = output + (watched.server.data / "logs" / "worker.log").read_text()
    calls = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert {"infini_retri"} <= {line.get("route") for line in calls}
    assert "job left" in log
    assert "keeps the lamp" not in log
    for text in sources.values():
        for sentence in re.split(r"(?<=[.!?])\s+|\n+", text):
            assert len(sentence) < 20 or sentence not in log
