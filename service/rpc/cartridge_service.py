"""CartridgeService: the jobs that train cartridges, and the cartridges they make."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.empty_pb2 import Empty
from longmemory.v1 import cartridge_pb2, cartridge_pb2_grpc

from cartridges.effort import Effort
from engine.fail_point import fail_point
from service import ids
from service.errors import ServiceError, fail
from service.first_cartridge import INSTANT
from service.parts import LEAST_PART_TOKENS
from service.rpc import wire
from service.rpc.access import CallersBackend
from service.state.cartridge_shelf import CartridgeRecord
from service.state.corpus import Corpus
from service.state.job import JobKind
from service.state.pages import all_pages

_EFFORTS = {
    cartridge_pb2.TrainCartridgeRequest.EFFORT_UNSPECIFIED: Effort.FAST,
    cartridge_pb2.TrainCartridgeRequest.EFFORT_INSTANT: Effort.INSTANT,
    cartridge_pb2.TrainCartridgeRequest.EFFORT_FAST: Effort.FAST,
    cartridge_pb2.TrainCartridgeRequest.EFFORT_THOROUGH: Effort.THOROUGH,
}


class CartridgeService(CallersBackend, cartridge_pb2_grpc.CartridgeServiceServicer):
    """Checks requests, asks the backend in a thread, and sends what it says."""

    async def TrainCartridge(
        self, request: cartridge_pb2.TrainCartridgeRequest, context: Any
    ) -> operations_pb2.Operation:
        """Start the training of a new cartridge."""
        corpus_id = ids.parse_corpus_name(request.parent, "parent")
        if request.cartridge_id:
            ids.parse_id(request.cartridge_id, "cartridge_id")
        if request.cartridge_id == INSTANT:
            raise _invalid(
                "cartridge_id",
                f"'{INSTANT}' is the one that indexing makes and replaces; choose another id",
            )
        recipe = _recipe(request, corpus_id)
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
        return await asyncio.to_thread(lambda: self._sent(self._record(name)))

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
            cartridges=await asyncio.to_thread(lambda: [self._sent(one) for one in records]),
            next_page_token=token,
        )

    async def WarmCartridge(
        self, request: cartridge_pb2.WarmCartridgeRequest, context: Any
    ) -> cartridge_pb2.ResidentCartridge:
        """Load a cartridge ahead of its questions."""
        name = ids.parse_cartridge_name(request.name)
        record = await asyncio.to_thread(self._record, name)
        return wire.resident(await self._backend.residents.warm(record, request.part))

    async def EvictCartridge(
        self, request: cartridge_pb2.EvictCartridgeRequest, context: Any
    ) -> Empty:
        """Drop a cartridge from memory; nothing happens where it is not there."""
        name = ids.parse_cartridge_name(request.name)
        await asyncio.to_thread(self._record, name)
        await self._backend.residents.evict(name.corpus_id, name.cartridge_id)
        return Empty()

    async def GetResidency(
        self, request: cartridge_pb2.GetResidencyRequest, context: Any
    ) -> cartridge_pb2.Residency:
        """What is in memory, the least used first."""
        residents = self._backend.residents
        return cartridge_pb2.Residency(
            cartridges=[wire.resident(one) for one in await residents.all()],
            limit_bytes=residents.limit_bytes,
        )

    async def DeleteCartridge(
        self, request: cartridge_pb2.DeleteCartridgeRequest, context: Any
    ) -> Empty:
        """Remove a cartridge; training that is under way is cancelled."""
        name = ids.parse_cartridge_name(request.name)
        await asyncio.to_thread(self._delete, name)
        await self._backend.residents.evict(name.corpus_id, name.cartridge_id)
        return Empty()

    def _record(self, name: ids.CartridgeName) -> CartridgeRecord:
        return self._backend.shelf.get(name.corpus_id, name.cartridge_id)

    def _sent(self, record: CartridgeRecord) -> cartridge_pb2.Cartridge:
        return wire.cartridge(record, self._backend.staleness(record))

    def _train(
        self, corpus_id: str, cartridge_id: str, recipe: dict[str, object]
    ) -> operations_pb2.Operation:
        backend = self._backend
        corpus = backend.corpora.get(corpus_id)
        self._check_trainable(corpus)
        if recipe["base"]:
            self._check_base(corpus_id, str(recipe["base"]))
        cartridge_id = cartridge_id or f"c-{uuid.uuid4().hex[:12]}"
        prefix_tokens = recipe["prefix_tokens"]
        assert isinstance(prefix_tokens, int)
        target = ids.cartridge_name(corpus_id, cartridge_id)
        wanted = {"cartridge_id": cartridge_id} | recipe
        with backend.jobs.transaction():  # no record without the job that ends it
            backend.shelf.create(
                corpus_id,
                cartridge_id,
                prefix_tokens=prefix_tokens,
                query_offset=0,
                model_fingerprint=backend.info.model_fingerprint,
                corpus_digest=corpus.content_digest,
            )
            fail_point("cartridge.promised")
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
        longest = self._backend.limits.max_cartridge_tokens
        if corpus.token_count > longest:
            raise fail(
                "CARTRIDGE_CORPUS_TOO_LONG",
                f"the corpus '{corpus.id}' has {corpus.token_count} tokens, a cartridge is built for "
                f"{longest} at most; ask with the route auto (InfiniRetri or CRAG read any length), or "
                "train on a part of it as a corpus of its own",
                corpus_id=corpus.id,
                token_count=corpus.token_count,
                limit=longest,
            )

    def _check_base(self, corpus_id: str, base: str) -> None:
        record = self._backend.shelf.get(corpus_id, base)
        if not record.has_tensors:
            raise fail(
                "CARTRIDGE_NOT_READY",
                f"base: cartridge '{base}' is {record.state.value.lower()}; start from one that is "
                "ready or stale, or leave it out",
                field="base",
            )
        if record.model_fingerprint != self._backend.info.model_fingerprint:
            raise fail(
                "CARTRIDGE_MODEL_MISMATCH",
                f"base: cartridge '{base}' was trained for another model; leave it out",
                field="base",
            )

    def _delete(self, name: ids.CartridgeName) -> None:
        backend = self._backend
        target = ids.cartridge_name(name.corpus_id, name.cartridge_id)
        jobs = all_pages(
            lambda token: backend.jobs.list(page_token=token, corpus_id=name.corpus_id)
        )
        unfinished = [job.id for job in jobs if job.target == target and not job.state.is_final]
        deleted = backend.shelf.delete(name.corpus_id, name.cartridge_id)
        fail_point("cartridge.deleted")
        for job_id in unfinished:
            backend.jobs.cancel(job_id)
        backend.artifacts.forget_cartridge(deleted)


def _recipe(request: cartridge_pb2.TrainCartridgeRequest, corpus_id: str) -> dict[str, object]:
    recipe: dict[str, object] = {}
    for field in ("prefix_tokens", "max_steps", "conversations", "part_tokens"):
        value = getattr(request, field)
        if value < 0:
            raise _invalid(field, f"{value} is negative; use 0 for the server's default, or more")
        recipe[field] = value
    if request.conversations == 1:
        raise _invalid("conversations", "1 is too few to hold any out; use 0, or at least 2")
    if 0 < request.part_tokens < LEAST_PART_TOKENS:
        raise _invalid(
            "part_tokens",
            f"{request.part_tokens} is too few; use 0, or at least {LEAST_PART_TOKENS}",
        )
    seconds = 0.0
    if request.HasField("time_budget"):
        seconds = request.time_budget.seconds + request.time_budget.nanos / 1e9
        if seconds <= 0:
            raise _invalid("time_budget", "it is not above 0; leave it out for no limit")
    effort = _EFFORTS.get(request.effort)
    if effort is None:
        raise _invalid("effort", f"{request.effort} is none; use instant, fast or thorough")
    return recipe | {
        "time_budget_seconds": seconds,
        "effort": effort.value,
        "base": _base_id(request.base, corpus_id) if request.base else "",
    }


def _base_id(base: str, corpus_id: str) -> str:
    name = ids.parse_cartridge_name(base, "base")
    if name.corpus_id != corpus_id:
        raise _invalid("base", f"it belongs to '{name.corpus_id}'; start from one of this corpus")
    return name.cartridge_id


def _invalid(field: str, wrong: str) -> ServiceError:
    return fail("INVALID_VALUE", f"{field}: {wrong}", field=field)
