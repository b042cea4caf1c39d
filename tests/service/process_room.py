"""A server as people run it: a process with a worker, driven by the command line and a plain client."""

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from longmemory.v1 import (
    cartridge_pb2,
    cartridge_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    job_pb2,
    job_pb2_grpc,
    query_pb2,
    query_pb2_grpc,
)

from engine.fail_point import VARIABLE

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "service.cli.main")
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protos")]),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
PATIENCE = 120.0
Launch = Callable[[Sequence[str], Mapping[str, str], Path], Any]
ASKED = "Who looks after the lamp?"
ROUTES = {
    "cartridge": query_pb2.ROUTE_CARTRIDGE,
    "infini_retri": query_pb2.ROUTE_INFINI_RETRI,
    "crag": query_pb2.ROUTE_CRAG,
    "full_context": query_pb2.ROUTE_FULL_CONTEXT,
    "none": query_pb2.ROUTE_NONE,
}


def environment(fail_point: str) -> dict[str, str]:
    """Of a process that is to pass through, or to end at a fail point."""
    return ENVIRONMENT | ({VARIABLE: fail_point} if fail_point else {})


def launched(arguments: Sequence[str], env: Mapping[str, str], output: Path) -> Any:
    """A command of its own process, which writes to `output`."""
    with output.open("wb") as file:
        return subprocess.Popen([*COMMAND, *arguments], env=env, stdout=file, stderr=file)


def until(found: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true value of `found`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.03)
    raise AssertionError(f"waited in vain for {what}")


def is_running(pid: int) -> bool:
    """Whether a process is alive; a zombie that nobody has fetched is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Server:
    """A running server with its folder, its address and stubs on a channel of its own."""

    process: subprocess.Popen[bytes]
    data: Path
    address: str
    corpora: Any
    cartridges: Any
    jobs: Any
    queries: Any
    operations: Any

    def worker(self) -> int:
        """The process id of the server's worker."""
        return until(self.find_worker, "a worker")

    def suspend(self, worker: int) -> None:
        """Stops a worker where it holds no lock on the database, which the server will need."""
        with closing(sqlite3.connect(self.data / "longmemory.sqlite3", timeout=10)) as database:
            database.execute("BEGIN IMMEDIATE")
            os.kill(worker, signal.SIGSTOP)
            stat = Path(f"/proc/{worker}/stat")
            until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the stop")
            database.rollback()

    def find_worker(self) -> int:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                command = stat.with_name("cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == self.process.pid and b"service.worker" in command:
                return int(stat.parent.name)
        return 0

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that succeeds."""
        done = subprocess.run(
            [*COMMAND, *arguments, "--server", self.address],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """What a command prints as its only JSON document."""
        return json.loads(self.cli(*arguments, "--json").stdout)

    def upload(self, corpus_id: str, documents: dict[str, str]) -> None:
        name = f"corpora/{corpus_id}"

        def messages() -> Iterator[corpus_pb2.UploadDocumentsRequest]:
            header = corpus_pb2.UploadHeader(corpus=name)
            yield corpus_pb2.UploadDocumentsRequest(header=header)
            for document_id, text in documents.items():
                data = text.encode()
                chunk = corpus_pb2.DocumentChunk(
                    document_id=document_id, data=data, crc32c=google_crc32c.value(data),
                    finish_document=True,
                )  # fmt: skip
                yield corpus_pb2.UploadDocumentsRequest(chunk=chunk)

        assert self.corpora.UploadDocuments(messages()).document_count == len(documents)

    def register(self, corpus_id: str, documents: dict[str, str]) -> Any:
        """A new corpus with its documents; the operation that indexes it."""
        made = corpus_pb2.CreateCorpusRequest(corpus_id=corpus_id, corpus=corpus_pb2.Corpus())
        self.corpora.CreateCorpus(made)
        self.upload(corpus_id, documents)
        return self.corpora.IndexCorpus(corpus_pb2.IndexCorpusRequest(name=f"corpora/{corpus_id}"))

    def train(self, corpus_id: str, steps: int, cartridge_id: str = "cart-one") -> Any:
        return self.cartridges.TrainCartridge(
            cartridge_pb2.TrainCartridgeRequest(
                parent=f"corpora/{corpus_id}", cartridge_id=cartridge_id, prefix_tokens=16,
                max_steps=steps, conversations=8,
            )
        )  # fmt: skip

    def wait(self, operation: Any) -> Any:
        """The operation at its end."""
        request = operations_pb2.WaitOperationRequest(
            name=operation.name, timeout=Duration(seconds=int(PATIENCE))
        )
        ended = self.operations.WaitOperation(request, timeout=PATIENCE + 5)
        assert ended.done
        return ended

    def succeed(self, operation: Any) -> job_pb2.JobMetadata:
        """The metadata of an operation that ends well."""
        ended = self.wait(operation)
        assert not ended.HasField("error"), ended.error
        return metadata(ended)

    def reach(self, operation: Any, metric: str, least: float) -> None:
        """Waits until a running job's metric is there; a job that ended before has failed us."""
        request = operations_pb2.GetOperationRequest(name=operation.name)

        def is_there() -> bool:
            now = self.operations.GetOperation(request)
            assert not now.done, f"the job ended before its {metric} was seen at {least}"
            return metadata(now).metrics[metric] >= least

        until(is_there, f"{metric} {least}")

    def history(self, operation: Any) -> list[job_pb2.JobMetadata]:
        """All changes of a job that has ended."""
        request = job_pb2.WatchJobRequest(name=operation.name, after_event_id="0")
        return [metadata(event.operation) for event in self.jobs.WatchJob(request)]

    def corpus(self, corpus_id: str) -> corpus_pb2.Corpus:
        return self.corpora.GetCorpus(corpus_pb2.GetCorpusRequest(name=f"corpora/{corpus_id}"))

    def cartridge(self, corpus_id: str, cartridge_id: str = "cart-one") -> cartridge_pb2.Cartridge:
        name = f"corpora/{corpus_id}/cartridges/{cartridge_id}"
        return self.cartridges.GetCartridge(cartridge_pb2.GetCartridgeRequest(name=name))

    def cartridges_of(self, corpus_id: str) -> list[cartridge_pb2.Cartridge]:
        request = cartridge_pb2.ListCartridgesRequest(parent=f"corpora/{corpus_id}")
        return list(self.cartridges.ListCartridges(request).cartridges)

    def query(self, corpus_id: str, route: int = 0, tokens: int = 6) -> query_pb2.QueryRequest:
        config = query_pb2.GenerationConfig(max_output_tokens=tokens)
        return query_pb2.QueryRequest(
            corpus=f"corpora/{corpus_id}", query=ASKED, route=route, generation_config=config
        )

    def stream(self, query: query_pb2.QueryRequest) -> Any:
        return self.queries.StreamQuery(query_pb2.StreamQueryRequest(query=query))

    def leftovers(self) -> list[str]:
        """Staging files and work folders, which no ended job may leave."""
        folders = [path.name for path in (self.data / "work").glob("*/")]
        return folders + [path.name for path in self.data.rglob("*staging*")]


def metadata(operation: Any) -> job_pb2.JobMetadata:
    found = job_pb2.JobMetadata()
    assert operation.metadata.Unpack(found)
    return found


@contextmanager
def serving(
    data: Path,
    model: Path,
    instant_tokens: int = 0,
    state: str = "",
    name: str = "server",
    more: Sequence[str] = (),
    fail_point: str = "",
    launch: Launch = launched,
) -> Iterator[Server]:
    """A server, ended hard at the end unless it has ended before; `name` is its own in the folder."""
    data.mkdir(parents=True, exist_ok=True)
    output = data.with_suffix(f".{name}.out")
    flags = ["--data", data, "--listen", "127.0.0.1:0", "--model", model, "--threads", "1"]
    flags += ["--instant-tokens", instant_tokens, "--state", state, *more]
    process = launch(["serve", *map(str, flags)], environment(fail_point), output)

    def announced() -> re.Match[str] | None:
        assert process.poll() is None, output.read_text()
        return re.search(r"^longmemory serves at (\S+:\d+)$", output.read_text(), re.MULTILINE)

    try:
        address = until(announced, "the server")[1]
        with grpc.insecure_channel(address) as channel:
            yield Server(
                process, data, address, corpus_pb2_grpc.CorpusServiceStub(channel),
                cartridge_pb2_grpc.CartridgeServiceStub(channel),
                job_pb2_grpc.JobServiceStub(channel), query_pb2_grpc.QueryServiceStub(channel),
                operations_pb2_grpc.OperationsStub(channel),
            )  # fmt: skip
    finally:
        process.kill()
        process.wait(30)


@dataclass
class WorkerProcess:
    """A worker of its own, by the command `longmemory worker`."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def log(self) -> str:
        return self.output.read_text()

    @property
    def name(self) -> str:
        """Its name in the jobs that it claims."""
        return until(lambda: re.search(r"waiting for jobs.*(worker-\w+)", self.log), "a worker")[1]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Inside, it is there and does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def working(
    data: Path,
    model: Path,
    state: str,
    name: str,
    *more: str,
    fail_point: str = "",
    launch: Launch = launched,
) -> Iterator[WorkerProcess]:
    """A worker, ended hard at the end unless it has ended before."""
    data.mkdir(parents=True, exist_ok=True)
    output = data.with_suffix(f".{name}.out")
    flags = ["--data", data, "--state", state, "--model", model, "--threads", "1"]
    flags += ["--instant-tokens", 0, *more]
    process = launch(["worker", *map(str, flags)], environment(fail_point), output)
    try:
        yield WorkerProcess(process, output)
    finally:
        process.kill()
        process.wait(30)


def long_text(seed: int, sentences: int = 600) -> str:
    """Some twenty windows that no other text has."""
    chance = random.Random(seed)
    words = ("harbor", "lamp", "ferry", "tide", "rope", "anchor", "keeper", "storm", "signal")
    lines = [
        f"The {chance.choice(words)} number {chance.randrange(10**6)} of the {chance.choice(words)} "
        f"lies beside the {chance.choice(words)}."
        for _ in range(sentences)
    ]
    return "\n\n".join(" ".join(lines[at : at + 8]) for at in range(0, sentences, 8))
