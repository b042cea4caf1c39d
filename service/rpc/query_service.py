"""QueryService: questions in, decisions and answers out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from longmemory.v1 import query_pb2, query_pb2_grpc

from service.answers import AnswerEvent, Question
from service.errors import fail
from service.rpc import query_wire
from service.rpc.backend import Backend


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """Hands checked questions to the answerer and sends its events."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def Query(self, request: query_pb2.QueryRequest, context: Any) -> query_pb2.QueryResponse:
        """A whole answer; a repeat under the same request id gets the first one."""
        asked = await self._question(request, context)

        async def run() -> bytes:
            answer = query_wire.AnswerOnWire(asked.corpus_id)
            async with self._events(asked) as events:
                async for event in events:
                    answer.add(event)
            return answer.whole().SerializeToString()

        body = request.SerializeToString(deterministic=True)
        stored = await self._backend.requests.once_async("Query", request.request_id, body, run)
        return query_pb2.QueryResponse.FromString(stored)

    async def StreamQuery(
        self, request: query_pb2.StreamQueryRequest, context: Any
    ) -> AsyncIterator[query_pb2.StreamQueryResponse]:
        """The events of an answer as they come."""
        _require_query(request)
        asked = await self._question(request.query, context, "query.")
        answer = query_wire.AnswerOnWire(asked.corpus_id)
        async with self._events(asked) as events:
            async for event in events:
                # Routes without retrieval have no evidence to tell of.
                if event != ():
                    yield answer.add(event)

    async def ExplainRoute(
        self, request: query_pb2.ExplainRouteRequest, context: Any
    ) -> query_pb2.RouteDecision:
        """The route that would be taken."""
        _require_query(request)
        asked = await self._question(request.query, context, "query.")
        return query_wire.decision(await self._backend.answerer.decide(asked), asked.corpus_id)

    async def _question(
        self, request: query_pb2.QueryRequest, context: Any, path: str = ""
    ) -> Question:
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        asked = query_wire.question(request, self._backend.limits, deadline, path)
        await asyncio.to_thread(self._check_exists, asked)
        return asked

    def _check_exists(self, asked: Question) -> None:
        self._backend.corpora.require(asked.corpus_id)
        if asked.cartridge_id:
            self._backend.shelf.get(asked.corpus_id, asked.cartridge_id)

    @asynccontextmanager
    async def _events(self, asked: Question) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
        events = self._backend.answerer.answer(asked)
        try:
            yield events
        finally:
            close = getattr(events, "aclose", None)
            if close:
                await close()


def _require_query(request: query_pb2.StreamQueryRequest | query_pb2.ExplainRouteRequest) -> None:
    if not request.HasField("query"):
        raise fail("INVALID_VALUE", "query: it is not set; send a QueryRequest", field="query")
