"""The service as people run it: a server process, its worker, the command line and a plain client."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
import torch
from conftest import ROOT, tiny_config
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
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.process

COMMAND = (sys.executable, "-m", "service.cli.main")
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protos")]),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
PATIENCE = 120.0
ASKED = "Who looks after the lamp?"
ROUTES = {
    "cartridge": query_pb2.ROUTE_CARTRIDGE,
    "infini_retri": query_pb2.ROUTE_INFINI_RETRI,
    "crag": query_pb2.ROUTE_CRAG,
    "full_context": query_pb2.ROUTE_FULL_CONTEXT,
    "none": query_pb2.ROUTE_NONE,
}


def until(found: Callable[[], Any], what: str) -> Any:
    """The first true value of `found`."""
    end = time.monotonic() + PATIENCE
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
def serving(data: Path, model: Path) -> Iterator[Server]:
    """A server, ended hard at the end unless it has ended before."""
    data.mkdir(parents=True, exist_ok=True)
    output = data.with_suffix(".out")
    flags = ["--data", data, "--listen", "127.0.0.1:0", "--model", model, "--threads", "1"]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "serve", *map(str, flags)], env=ENVIRONMENT, stdout=file, stderr=file
        )

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


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A tiny random Llama as anyone would save one."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(tiny_config("llama", max_position_embeddings=4096))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Iterator[Server]:
    """The server of all tests that leave it alive."""
    with serving(tmp_path_factory.mktemp("shared") / "data", model_folder) as running:
        yield running


@pytest.fixture(scope="session")
def sources(handbook: str) -> dict[str, str]:
    """Two documents, together about a thousand tokens."""
    lines = handbook.splitlines()
    return {"duties/lamps.md": "\n".join(lines[:11]), "ferry.txt": "\n".join(lines[11:20])}


@pytest.fixture(scope="module")
def trained(server: Server, sources: dict[str, str]) -> str:
    """A corpus with an index and a cartridge on the shared server."""
    server.succeed(server.register("trained", sources))
    server.succeed(server.train("trained", 2))
    return "trained"


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


def test_a_corpus_goes_its_whole_way_by_the_command_line(
    server: Server, sources: dict[str, str], tmp_path: Path
) -> None:
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0\0")
    added = server.json("corpus", "add", "by-hand", str(tmp_path))
    assert added["corpus"]["state"] == "ready"
    assert [entry["path"].rpartition("/")[2] for entry in added["skipped_files"]] == ["image.png"]
    assert "by-hand" in {corpus["id"] for corpus in server.json("corpus", "ls")}
    shown = server.json("corpus", "show", "by-hand")
    assert {one["id"] for one in shown["document_list"]} == set(sources)

    training = ("--tokens", "16", "--steps", "2", "--conversations", "8", "--watch", "--json")
    lines = server.cli("cartridge", "train", "by-hand", *training).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]
    made = events[-1]["result"]
    short = f"by-hand/{made['id']}"
    assert (made["state"], made["prefix_tokens"]) == ("ready", 16)
    assert short in server.cli("cartridge", "ls").stdout
    assert server.json("cartridge", "show", short)["tensor_digest"] == made["tensor_digest"]

    job = events[-1]["name"].rpartition("/")[2]
    assert job in {one["name"].rpartition("/")[2] for one in server.json("jobs", "ls")}
    assert "train succeeded" in server.cli("jobs", "watch", job).stdout
    folder = server.data / "cartridges" / "by-hand" / made["id"]
    assert folder.is_dir()
    server.cli("cartridge", "rm", short)
    assert not folder.exists()
    server.cli("corpus", "rm", "by-hand", "--yes")
    assert "by-hand" not in {corpus["id"] for corpus in server.json("corpus", "ls")}


@pytest.mark.parametrize("route", [*ROUTES, "auto"])
def test_every_route_answers_on_the_command_line(
    server: Server, trained: str, sources: dict[str, str], route: str
) -> None:
    ask = ("ask", trained, ASKED, "--route", route, "--max-tokens", "6")
    answer = server.json(*ask)
    assert list(answer)[:5] == ["answer", "route", "reason", "evidence", "usage"]
    assert answer["route"] == route or (route == "auto" and answer["route"] in ROUTES)
    assert answer["usage"]["output_tokens"] > 0
    for piece in answer["evidence"]:
        assert sources[piece["document"]][piece["start"] : piece["end"]] == piece["text"]
    assert bool(answer["evidence"]) == (answer["route"] in ("crag", "infini_retri"))
    explained = server.cli(*ask, "--explain").stdout
    assert answer["reason"] in explained
    assert answer["explanation"] in explained
    assert "nearest_cosine" in explained


def test_a_corpus_goes_its_whole_way_by_a_generated_client(
    server: Server, sources: dict[str, str]
) -> None:
    indexing = server.register("by-wire", sources)
    events = server.jobs.WatchJob(job_pb2.WatchJobRequest(name=indexing.name))
    assert [event.operation.done for event in events][-1]
    corpus = corpus_pb2.Corpus()
    assert server.wait(indexing).response.Unpack(corpus)
    assert corpus == server.corpus("by-wire")
    assert corpus.state == corpus_pb2.Corpus.STATE_READY
    training = server.train("by-wire", 2)
    made = cartridge_pb2.Cartridge()
    assert server.wait(training).response.Unpack(made)
    assert made == server.cartridge("by-wire")
    assert made.state == cartridge_pb2.Cartridge.STATE_READY
    got = operations_pb2.GetOperationRequest(name=training.name)
    assert server.operations.GetOperation(got).done


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_streams_in_its_order_what_a_query_says_at_once(
    server: Server, trained: str, sources: dict[str, str], route: str
) -> None:
    query = server.query(trained, ROUTES[route])
    events = list(server.stream(query))
    kinds = [event.WhichOneof("event") for event in events]
    has_evidence = route in ("crag", "infini_retri")
    before = ["route", "evidence"] if has_evidence else ["route"]
    assert kinds[: len(before)] == before
    assert kinds[-1] == "summary"
    assert set(kinds[len(before) : -1]) <= {"delta"}
    assert events[0].route.route == ROUTES[route]
    for piece in events[1].evidence.evidence:
        assert sources[piece.document_id][piece.start_char : piece.end_char] == piece.text
    usage = events[-1].summary.usage
    length = server.cartridge(trained).prefix_tokens
    assert usage.prefix_tokens == (length if route == "cartridge" else 0)
    text = "".join(event.delta.text for event in events)
    whole = server.queries.Query(query)
    assert whole.answer == text
    assert whole.usage.output_tokens == usage.output_tokens > 0


def test_a_killed_worker_does_not_end_the_indexing(server: Server) -> None:
    indexing = server.register("unlucky", {"long.txt": long_text(1)})
    server.reach(indexing, "windows_read", 3)
    os.kill(server.worker(), signal.SIGKILL)
    done = server.succeed(indexing)
    assert done.attempt == 2
    assert 0 < done.metrics["windows_read"] < done.metrics["windows"]
    assert server.corpus("unlucky").state == corpus_pb2.Corpus.STATE_READY
    assert server.queries.Query(server.query("unlucky", query_pb2.ROUTE_CRAG)).evidence
    assert server.leftovers() == []


def test_a_killed_worker_does_not_end_the_training(server: Server, trained: str) -> None:
    training = server.train(trained, 200, "unlucky")
    server.reach(training, "step", 9)
    os.kill(server.worker(), signal.SIGKILL)
    assert server.succeed(training).attempt == 2
    steps = [
        event.metrics["step"]
        for event in server.history(training)
        if event.attempt == 2 and "step" in event.metrics and event.message == "distilling"
    ]
    assert steps[0] > 1, "the second worker began anew"
    assert steps[-1] == 200
    assert server.cartridge(trained, "unlucky").state == cartridge_pb2.Cartridge.STATE_READY
    query = server.query(trained, query_pb2.ROUTE_CARTRIDGE)
    query.cartridge = f"corpora/{trained}/cartridges/unlucky"
    assert server.queries.Query(query).usage.prefix_tokens == 16
    assert server.leftovers() == []


def test_a_cancelled_training_ends_as_cancelled(server: Server, trained: str) -> None:
    training = server.train(trained, 2000, "unwanted")
    server.reach(training, "step", 1)
    server.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=training.name))
    ended = server.wait(training)
    assert ended.error.code == grpc.StatusCode.CANCELLED.value[0]
    assert server.cartridge(trained, "unwanted").state == cartridge_pb2.Cartridge.STATE_FAILED
    until(lambda: not server.leftovers(), "the removal of the work folder")
    assert not (server.data / "cartridges" / trained / "unwanted").exists()
    assert server.queries.Query(server.query(trained, query_pb2.ROUTE_CARTRIDGE)).answer


def test_a_training_cancelled_while_its_worker_died_ends_as_cancelled(
    server: Server, trained: str
) -> None:
    training = server.train(trained, 2000, "orphaned")
    server.reach(training, "step", 1)
    worker = server.worker()
    os.kill(worker, signal.SIGSTOP)  # it cannot hear of the cancellation any more
    server.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=training.name))
    os.kill(worker, signal.SIGKILL)
    assert server.wait(training).error.code == grpc.StatusCode.CANCELLED.value[0]
    assert server.cartridge(trained, "orphaned").state == cartridge_pb2.Cartridge.STATE_FAILED
    until(lambda: not server.leftovers(), "the removal of the work folder")


def test_a_second_server_on_the_same_folder_is_refused(server: Server, model_folder: Path) -> None:
    flags = ["--data", str(server.data), "--listen", "127.0.0.1:0", "--model", str(model_folder)]
    second = subprocess.run(
        [*COMMAND, "serve", *flags],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert "DATA_FOLDER_LOCKED" in second.stderr
    assert str(server.process.pid) in second.stderr
    assert "Traceback" not in second.stderr + second.stdout


def test_an_edit_costs_its_windows_and_the_same_text_nothing(server: Server, handbook: str) -> None:
    first = server.succeed(server.register("edited", {"book.md": handbook}))
    assert first.metrics["windows_read"] == first.metrics["windows"] > 2

    again = server.corpora.IndexCorpus(corpus_pb2.IndexCorpusRequest(name="corpora/edited"))
    server.upload("edited", {"book.md": handbook})
    repeated = server.corpora.IndexCorpus(corpus_pb2.IndexCorpusRequest(name="corpora/edited"))
    assert again.done
    assert repeated == again

    server.upload("edited", {"book.md": handbook + "\n\nThe last lamp is green.\n"})
    edit = server.corpora.IndexCorpus(corpus_pb2.IndexCorpusRequest(name="corpora/edited"))
    assert not edit.done
    metrics = server.succeed(edit).metrics
    assert 0 < metrics["windows_read"] < metrics["windows"]

    other = server.succeed(server.register("copied", {"other.md": handbook}))
    assert other.metrics["windows_read"] == 0 < other.metrics["windows"]


def test_a_cancelled_answer_ends_and_the_one_beside_it_is_whole(
    server: Server, trained: str
) -> None:
    kept = server.query(trained, query_pb2.ROUTE_CRAG, tokens=80)
    alone = server.queries.Query(kept).answer
    dropped = server.stream(server.query(trained, query_pb2.ROUTE_NONE, tokens=1000))
    while next(dropped).WhichOneof("event") != "delta":
        pass
    texts: list[str] = []

    def read() -> None:
        texts.append("".join(event.delta.text for event in server.stream(kept)))

    reader = threading.Thread(target=read)
    reader.start()
    next(dropped)
    dropped.cancel()
    with pytest.raises(grpc.RpcError) as caught:
        list(dropped)
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    reader.join(PATIENCE)
    assert texts == [alone]


def test_a_deleted_corpus_leaves_no_folder(server: Server, sources: dict[str, str]) -> None:
    server.succeed(server.register("doomed", sources))
    server.succeed(server.train("doomed", 2))
    running = server.train("doomed", 2000, "cart-two")
    server.reach(running, "step", 1)
    refused = corpus_pb2.DeleteCorpusRequest(name="corpora/doomed")
    with pytest.raises(grpc.RpcError) as caught:
        server.corpora.DeleteCorpus(refused)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    server.corpora.DeleteCorpus(corpus_pb2.DeleteCorpusRequest(name="corpora/doomed", force=True))
    server.wait(running)
    until(lambda: not server.leftovers(), "the end of the training's traces")
    kept = [path for path in server.data.rglob("doomed*") if path.parent.name != "models"]
    assert kept == []


@pytest.mark.parametrize("kind", ["index", "train"])
def test_a_job_goes_on_after_its_server_was_killed(
    tmp_path: Path, model_folder: Path, sources: dict[str, str], kind: str
) -> None:
    with serving(tmp_path / "data", model_folder) as first:
        text = sources if kind == "train" else {"long.txt": long_text(2)}
        job = first.register("books", text)
        if kind == "train":
            first.succeed(job)
            job = first.train("books", 200)
        metric, least = ("windows_read", 3) if kind == "index" else ("step", 9)
        first.reach(job, metric, least)
        worker = first.worker()
        first.process.kill()
        until(lambda: not is_running(worker), "the end of the orphaned worker")
    with serving(tmp_path / "data", model_folder) as second:
        metrics = second.succeed(job).metrics
        if kind == "index":
            assert 0 < metrics["windows_read"] < metrics["windows"]
        else:
            assert metrics["step"] == 200
        assert len(list((second.data / "indexes").glob("*/*"))) == 1
        cartridges = [path.name for path in (second.data / "cartridges").glob("*/*")]
        assert cartridges == (["cart-one"] if kind == "train" else [])
        assert second.leftovers() == []
        route = query_pb2.ROUTE_CARTRIDGE if kind == "train" else query_pb2.ROUTE_INFINI_RETRI
        answer = second.queries.Query(second.query("books", route))
        assert bool(answer.evidence) == (kind == "index")


def test_a_terminated_server_ends_well_and_takes_its_worker_along(
    tmp_path: Path, model_folder: Path
) -> None:
    with serving(tmp_path / "data", model_folder) as server:
        server.register("books", {"long.txt": long_text(3)})
        worker = server.worker()
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0
        assert not is_running(worker)
