"""Cartridges over the wire: when training is taken on, and what becomes of the records."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration
from grpc_room import INFO, LIMITS, UUIDS, GrpcRoom, open_room, refused
from longmemory.v1 import cartridge_pb2, corpus_pb2, job_pb2

PARENT, NAME = "corpora/books", "corpora/books/cartridges/cart-one"


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[GrpcRoom]:
    async with open_room(tmp_path) as opened:
        await opened.filled()
        yield opened


async def train(room: GrpcRoom, **values: Any) -> operations_pb2.Operation:
    wanted = {"parent": PARENT, "cartridge_id": "cart-one"} | values
    return await room.cartridges.TrainCartridge(cartridge_pb2.TrainCartridgeRequest(**wanted))


async def get(room: GrpcRoom) -> cartridge_pb2.Cartridge:
    return await room.cartridges.GetCartridge(cartridge_pb2.GetCartridgeRequest(name=NAME))


async def test_a_corpus_must_be_indexed_as_it_stands(room: GrpcRoom) -> None:
    found = await refused(train(room))
    assert (found.code, found.reason) == ("FAILED_PRECONDITION", "CORPUS_NOT_READY")
    assert (await refused(get(room))).reason == "CARTRIDGE_NOT_FOUND"


async def test_a_corpus_beyond_the_limit_is_refused_with_a_way_out(room: GrpcRoom) -> None:
    room.index(tokens=LIMITS.max_cartridge_tokens + 1)
    found = await refused(train(room))
    assert (found.code, found.reason) == ("FAILED_PRECONDITION", "CARTRIDGE_CORPUS_TOO_LONG")
    assert "InfiniRetri" in found.message
    room.index(tokens=LIMITS.max_cartridge_tokens)
    await train(room)


async def test_training_becomes_a_record_and_a_job(room: GrpcRoom) -> None:
    room.index()
    wanted = {"prefix_tokens": 64, "time_budget": Duration(seconds=2, nanos=500_000_000)}
    operation = await train(room, **wanted, request_id=UUIDS[1])
    assert await train(room, **wanted, request_id=UUIDS[1]) == operation
    record = await get(room)
    assert (record.state, record.prefix_tokens) == (cartridge_pb2.Cartridge.STATE_TRAINING, 64)
    assert record.model_fingerprint == INFO.model_fingerprint
    job = room.backend.jobs.claim("worker")
    assert job is not None
    assert job.target == NAME
    assert job.request == {
        "cartridge_id": "cart-one",
        "prefix_tokens": 64,
        "max_steps": 0,
        "conversations": 0,
        "part_tokens": 0,
        "time_budget_seconds": 2.5,
        "effort": "fast",
        "base": "",
    }
    assert room.notes.wakes == 1
    assert (await refused(train(room))).reason == "CARTRIDGE_EXISTS"
    assert (await refused(train(room, request_id=UUIDS[1]))).reason == "REQUEST_ID_REUSED"

    corpus = room.backend.corpora.get("books")
    room.backend.shelf.mark_ready(
        "books",
        "cart-one",
        prefix_tokens=60,
        query_offset=60,
        size_bytes=5,
        corpus_digest=corpus.content_digest,
        tensor_digest="d" * 64,
        metrics={"loss": 0.5},
    )
    room.backend.jobs.finish(job.id, job.token, {})
    ended = await room.operations.GetOperation(
        operations_pb2.GetOperationRequest(name=operation.name)
    )
    made = cartridge_pb2.Cartridge()
    assert ended.response.Unpack(made)
    assert (made.name, made.prefix_tokens, made.metrics["loss"]) == (NAME, 60, 0.5)


async def test_the_server_names_a_cartridge_that_has_no_name(room: GrpcRoom) -> None:
    room.index()
    metadata = job_pb2.JobMetadata()
    (await train(room, cartridge_id="")).metadata.Unpack(metadata)
    listed = await room.cartridges.ListCartridges(
        cartridge_pb2.ListCartridgesRequest(parent="corpora/-")
    )
    assert [one.name for one in listed.cartridges] == [metadata.target]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prefix_tokens", -1),
        ("max_steps", -1),
        ("conversations", -5),
        ("conversations", 1),
        ("part_tokens", -1),
        ("part_tokens", 255),
        ("effort", 9),
        ("cartridge_id", "instant"),
        ("base", "corpora/others/cartridges/cart-one"),
        ("time_budget", Duration()),
    ],
)
async def test_a_senseless_recipe_is_refused(room: GrpcRoom, field: str, value: object) -> None:
    found = await refused(train(room, **{field: value}))
    assert (found.reason, found.field) == ("INVALID_VALUE", field)


def mark_ready(room: GrpcRoom, digest: str) -> None:
    room.backend.shelf.mark_ready(
        "books",
        "cart-one",
        prefix_tokens=60,
        query_offset=60,
        size_bytes=5,
        corpus_digest=digest,
        tensor_digest="d" * 64,
        metrics={},
    )


async def test_training_may_start_from_another_cartridge_that_has_tensors(room: GrpcRoom) -> None:
    room.index()
    found = await refused(train(room, base=NAME, cartridge_id="cart-two"))
    assert found.reason == "CARTRIDGE_NOT_FOUND"
    await train(room)
    found = await refused(train(room, base=NAME, cartridge_id="cart-two"))
    assert (found.reason, found.field) == ("CARTRIDGE_NOT_READY", "base")

    mark_ready(room, "of another time")
    assert (await get(room)).state == cartridge_pb2.Cartridge.STATE_STALE
    await train(room, base=NAME, cartridge_id="cart-two", effort="EFFORT_THOROUGH")
    first, second = (room.backend.jobs.claim("worker") for _ in range(2))
    assert first is not None
    assert second is not None
    assert (second.request["base"], second.request["effort"]) == ("cart-one", "thorough")


async def test_a_stale_cartridge_tells_how_much_has_changed(room: GrpcRoom) -> None:
    room.index()
    await train(room)
    mark_ready(room, room.backend.corpora.get("books").content_digest)
    assert (await get(room)).changed_share == 0.0
    mark_ready(room, "of another time")
    assert (await get(room)).changed_share == 0.25
    listed = await room.cartridges.ListCartridges(
        cartridge_pb2.ListCartridgesRequest(parent=PARENT)
    )
    assert [one.changed_share for one in listed.cartridges] == [0.25]


async def test_a_cartridge_is_warmed_listed_and_evicted(room: GrpcRoom) -> None:
    room.index()
    await train(room)
    mark_ready(room, "of another time")
    warm = await room.cartridges.WarmCartridge(
        cartridge_pb2.WarmCartridgeRequest(name=NAME, part=2)
    )
    assert (warm.name, warm.part, warm.size_bytes, warm.hits) == (NAME, 2, 64, 3)
    everything = cartridge_pb2.GetResidencyRequest()
    listed = await room.cartridges.GetResidency(everything)
    assert (list(listed.cartridges), listed.limit_bytes) == ([warm], 1000)
    await room.cartridges.EvictCartridge(cartridge_pb2.EvictCartridgeRequest(name=NAME))
    assert not (await room.cartridges.GetResidency(everything)).cartridges

    unknown = f"{PARENT}/cartridges/unknown"
    for call in (
        room.cartridges.WarmCartridge(cartridge_pb2.WarmCartridgeRequest(name=unknown)),
        room.cartridges.EvictCartridge(cartridge_pb2.EvictCartridgeRequest(name=unknown)),
    ):
        assert (await refused(call)).reason == "CARTRIDGE_NOT_FOUND"


async def test_a_deleted_cartridge_leaves_the_memory(room: GrpcRoom) -> None:
    room.index()
    await train(room)
    mark_ready(room, "of another time")
    await room.cartridges.WarmCartridge(cartridge_pb2.WarmCartridgeRequest(name=NAME))
    await room.cartridges.DeleteCartridge(cartridge_pb2.DeleteCartridgeRequest(name=NAME))
    assert not (await room.cartridges.GetResidency(cartridge_pb2.GetResidencyRequest())).cartridges


async def test_training_that_cannot_be_queued_leaves_no_record(
    room: GrpcRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.index()

    def full(*args: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(room.backend.jobs, "_put", full)
    assert (await refused(train(room))).code == "INTERNAL"
    assert (await refused(get(room))).reason == "CARTRIDGE_NOT_FOUND"


async def test_a_deleted_cartridge_ends_its_training(room: GrpcRoom) -> None:
    room.index()
    operation = await train(room)
    await room.cartridges.DeleteCartridge(cartridge_pb2.DeleteCartridgeRequest(name=NAME))
    assert [one.id for one in room.notes.cartridges] == ["cart-one"]
    assert room.backend.jobs.get(operation.name.partition("/")[2]).state == "CANCELLED"
    assert (await refused(get(room))).reason == "CARTRIDGE_NOT_FOUND"


async def test_a_corpus_with_cartridges_is_deleted_by_force_only(room: GrpcRoom) -> None:
    room.index()
    await train(room)
    mark_ready(room, "of another time")
    await room.cartridges.WarmCartridge(cartridge_pb2.WarmCartridgeRequest(name=NAME))
    request = corpus_pb2.DeleteCorpusRequest(name=PARENT)
    found = await refused(room.corpora.DeleteCorpus(request))
    assert (found.code, found.field) == ("FAILED_PRECONDITION", "force")
    request.force = True
    await room.corpora.DeleteCorpus(request)
    assert room.notes.corpora[0].cartridge_ids == ("cart-one",)
    assert not (await room.cartridges.GetResidency(cartridge_pb2.GetResidencyRequest())).cartridges


async def test_cancelling_queued_training_marks_the_cartridge(room: GrpcRoom) -> None:
    room.index()
    operation = await train(room)
    await room.operations.CancelOperation(
        operations_pb2.CancelOperationRequest(name=operation.name)
    )
    record = await get(room)
    assert record.state == cartridge_pb2.Cartridge.STATE_FAILED
    assert record.error.message
