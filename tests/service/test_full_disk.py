"""A disk that is full in earnest, a small file system of its own: said so, and gone on from there."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from google.longrunning import operations_pb2
from google.rpc import error_details_pb2
from grpc_room import UUIDS, chunk, header, open_room, refused
from longmemory.v1 import cartridge_pb2, corpus_pb2
from process_room import Server, metadata, serving, until

from service.full_disk import full_disk
from service.state.sqlite_store import SqliteStore

KIB = 1024


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A file system of so many bytes at a folder; what is yielded gives it another size."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o"]
    made = subprocess.run(
        [*mount, f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a file system takes a right that is not there")
    try:
        yield lambda size: _run(*mount, f"remount,size={size}", "tmpfs", folder)
    finally:
        _run("umount", "--lazy", folder)


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * KIB):
            pass


async def test_an_upload_to_a_full_disk_is_told_and_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / "state.sqlite3")
    with small_disk(tmp_path / "data", 64 * KIB):
        async with open_room(tmp_path / "data", store) as room:
            await room.new_corpus()
            ballast = tmp_path / "data" / "ballast"
            _fill(ballast)
            found = await refused(
                room.upload(header(request_id=UUIDS[1]), chunk(b"Once upon a time", finish=True))
            )
            assert (found.code, found.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
            assert "free some space" in found.message
            listing = corpus_pb2.ListDocumentsRequest(parent="corpora/books")
            assert not (await room.corpora.ListDocuments(listing)).documents
            ballast.unlink()
            done = await room.upload(
                header(request_id=UUIDS[1]), chunk(b"Once upon a time", finish=True)
            )
            assert (done.document_count, done.byte_count) == (1, 16)


def warned(server: Server, operation: Any) -> str:
    """The reason of a job's last failure, once there is one."""
    request = operations_pb2.GetOperationRequest(name=operation.name)

    def reason() -> str:
        now = server.operations.GetOperation(request)
        info = error_details_pb2.ErrorInfo()
        told = [now.error] if now.done else metadata(now).warnings
        return info.reason if told and told[0].details[0].Unpack(info) else ""

    return str(until(reason, "a failure"))


@pytest.mark.process
def test_indexing_and_training_on_a_full_disk_are_told_and_end_well_when_there_is_room(
    tmp_path: Path, model_folder: Path, sources: dict[str, str]
) -> None:
    data = tmp_path / "data"
    with (
        small_disk(data / "windows", 16 * KIB) as resize_windows,
        small_disk(data / "cartridges", 8 * KIB) as resize_cartridges,
        serving(data, model_folder) as server,
    ):
        indexing = server.register("books", sources)
        assert warned(server, indexing) == "DISK_FULL"
        assert server.corpus("books").state != corpus_pb2.Corpus.STATE_READY
        resize_windows(16 * KIB * KIB)
        server.succeed(indexing)
        assert server.queries.Query(server.query("books")).answer

        training = server.train("books", 2)
        assert warned(server, training) == "DISK_FULL"
        assert server.cartridge("books").state == cartridge_pb2.Cartridge.STATE_TRAINING
        resize_cartridges(16 * KIB * KIB)
        server.succeed(training)
        assert server.cartridge("books").state == cartridge_pb2.Cartridge.STATE_READY
        until(lambda: not server.leftovers(), "the worker to clear up")
        server.process.terminate()
        server.process.wait(60)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_is_full_in_the_words_of_every_library(number: int) -> None:
    for error in (OSError(number, os.strerror(number)), ValueError("I/O error (os error 28)")):
        found = full_disk(error)
        assert found is not None
        assert found.reason == "DISK_FULL"
    assert full_disk(OSError(errno.EIO, "broken")) is None
