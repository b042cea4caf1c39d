"""What is killed, cancelled or deleted amid its work ends well and leaves nothing behind."""

import os
import signal
import subprocess
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2
from longmemory.v1 import cartridge_pb2, corpus_pb2, query_pb2
from process_room import (
    COMMAND,
    ENVIRONMENT,
    PATIENCE,
    Server,
    is_running,
    long_text,
    serving,
    until,
)

pytestmark = pytest.mark.process


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
    server.suspend(worker)  # it cannot hear of the cancellation any more
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


@pytest.mark.long
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
        record = next((first.data / "windows").rglob("*.safetensors"))
        record.with_suffix(".torn.staging").write_bytes(b"what it was writing as it died")
    with serving(tmp_path / "data", model_folder) as second:
        metrics = second.succeed(job).metrics
        if kind == "index":
            assert 0 < metrics["windows_read"] < metrics["windows"]
        else:
            assert metrics["step"] == 200
        assert len(list((second.data / "indexes").glob("*/*.json"))) == 1
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
