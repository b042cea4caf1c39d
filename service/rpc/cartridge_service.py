"""CartridgeService: the jobs that train cartridges, and the cartridges they make."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty
from longmemory.v1 import cartridge_pb2, cartridge_pb2_grpc

from service import ids
from service.errors import ServiceError, fail
from service.rpc import wire
from service.rpc.backend import Backend
from service.state.corpus import Corpus
from service.state.job import JobKind

WINDOW_RESERVE_TOKENS = 512
"""What a question and its answer need of the window beside the corpus while a cartridge learns."""


class CartridgeService(cartridge_pb2_grpc.CartridgeServiceServicer):
    """Checks requests, asks the backend in a thread, and sends what it says."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def TrainCartridge(
        self, request: cartridge_pb2.TrainCartridgeRequest, context: Any
    ) -> operations_pb2.Operation:
        """Start the training of a new cartridge."""
        corpus_id = ids.parse_corpus_name(request.parent, "parent")
        if request.cartridge_id:
            ids.parse_id(request.cartridge_id, "cartridge_id")
        recipe = _recipe(request)
        stored = await asyncio.to_thread(
            self._backend.requests.once,
            "TrainCartridge",
            request.request_id,
            request.SerializeToString(deterministic=True),
            lambda: self._train(corpus_id, request.cartridge_id, recipe).SerializeToString(),
        )
        return operations_pb2.Operation.FromString(stored)

    async def GetCartridge(
        self, request: cartridge_pb2.GetCartridgeRequest, context: Any
    ) -> cartridge_pb2.Cartridge:
        """One cartridge."""
        name = ids.parse_cartridge_name(request.name)
        return wire.cartridge(
            await asyncio.to_thread(self._backend.shelf.get, name.corpus_id, name.cartridge_id)
        )

    async def ListCartridges(
        self, request: cartridge_pb2.ListCartridgesRequest, context: Any
    ) -> cartridge_pb2.ListCartridgesResponse:
        """A page of the cartridges of one corpus, or of all."""
        corpus_id = ""
        if request.parent != "corpora/-":
            corpus_id = ids.parse_corpus_name(request.parent, "parent")
            await asyncio.to_thread(self._backend.corpora.require, corpus_id)
        records, token = await asyncio.to_thread(
            self._backend.shelf.list, corpus_id, request.page_size, request.page_token
        )
        return cartridge_pb2.ListCartridgesResponse(
            cartridges=[wire.cartridge(one) for one in records], next_page_token=token
        )

    async def DeleteCartridge(
        self, request: cartridge_pb2.DeleteCartridgeRequest, context: Any
    ) -> Empty:
        """Remove a cartridge; training that is under way is cancelled."""
        name = ids.parse_cartridge_name(request.name)
        await asyncio.to_thread(self._delete, name)
        return Empty()

    def _train(
        self, corpus_id: str, cartridge_id: str, recipe: dict[str, object]
    ) -> operations_pb2.Operation:
        backend = self._backend
        corpus = backend.corpora.get(corpus_id)
        self._check_trainable(corpus)
        cartridge_id = cartridge_id or f"c-{uuid.uuid4().hex[:12]}"
        prefix_tokens = recipe["prefix_tokens"]
        assert isinstance(prefix_tokens, int)
        backend.shelf.create(
            corpus_id,
            cartridge_id,
            prefix_tokens=prefix_tokens,
            query_offset=0,
            model_fingerprint=backend.info.model_fingerprint,
            corpus_digest=corpus.content_digest,
        )
        target = ids.cartridge_name(corpus_id, cartridge_id)
        wanted = {"cartridge_id": cartridge_id} | recipe
        job = backend.jobs.enqueue(JobKind.TRAIN, corpus_id, target, wanted)
        backend.supervisor.wake()
        return wire.operation(job)

    def _check_trainable(self, corpus: Corpus) -> None:
        if not corpus.document_count or corpus.indexed_digest != corpus.content_digest:
            raise fail(
                "CORPUS_NOT_READY",
                f"the corpus '{corpus.id}' is not indexed as it stands; index it, wait for the "
                "operation's end, and train then",
                corpus_id=corpus.id,
                state=corpus.state.value,
            )
        longest = self._backend.info.window_tokens - WINDOW_RESERVE_TOKENS
        if corpus.token_count > longest:
            raise fail(
                "CARTRIDGE_CORPUS_TOO_LONG",
                f"the corpus '{corpus.id}' has {corpus.token_count} tokens, a cartridge of this "
                f"model holds at most {longest}; ask with the route auto (InfiniRetri or CRAG "
                "read any length), or train on a part of it as a corpus of its own",
                corpus_id=corpus.id,
                token_count=corpus.token_count,
                limit=longest,
            )

    def _delete(self, name: ids.CartridgeName) -> None:
        backend = self._backend
        target = ids.cartridge_name(name.corpus_id, name.cartridge_id)
        unfinished, token = [], ""
        while True:
            page, token = backend.jobs.list(page_token=token, corpus_id=name.corpus_id)
            unfinished += [j.id for j in page if j.target == target and not j.state.is_final]
            if not token:
                break
        deleted = backend.shelf.delete(name.corpus_id, name.cartridge_id)
        for job_id in unfinished:
            backend.jobs.cancel(job_id)
        backend.artifacts.forget_cartridge(deleted)


def _recipe(request: cartridge_pb2.TrainCartridgeRequest) -> dict[str, object]:
    recipe: dict[str, object] = {}
    for field in ("prefix_tokens", "max_steps", "conversations"):
        value = getattr(request, field)
        if value < 0:
            raise _invalid(field, f"{value} is negative; use 0 for the server's default, or more")
        recipe[field] = value
    seconds = 0.0
    if request.HasField("time_budget"):
        seconds = request.time_budget.seconds + request.time_budget.nanos / 1e9
        if seconds <= 0:
            raise _invalid("time_budget", "it is not above 0; leave it out for no limit")
    return recipe | {"time_budget_seconds": seconds}


def _invalid(field: str, wrong: str) -> ServiceError:
    return fail("INVALID_VALUE", f"{field}: {wrong}", field=field)
