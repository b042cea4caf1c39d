"""QueryService: questions in, decisions and answers out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from longmemory.v1 import query_pb2, query_pb2_grpc

from service import ids
from service.answers import AnswerEvent, Question
from service.errors import ServiceError, fail
from service.rpc import answer_wire, query_wire
from service.rpc.access import CallersBackend
from service.rpc.wire import duration

T = TypeVar("T")


class QueryService(CallersBackend, query_pb2_grpc.QueryServiceServicer):
    """Hands checked questions to the answerer and sends its events."""

    async def Query(self, request: query_pb2.QueryRequest, context: Any) -> query_pb2.QueryResponse:
        """A whole answer; a repeat under the same request id gets the first one."""
        asked = await self._question(request, context)

        async def run() -> bytes:
            answer = answer_wire.AnswerOnWire(asked.corpus_id)
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
        answer = answer_wire.AnswerOnWire(asked.corpus_id)
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
        return answer_wire.decision(await self._backend.answerer.decide(asked), asked.corpus_id)

    async def Retrieve(
        self, request: query_pb2.RetrieveRequest, context: Any
    ) -> query_pb2.RetrieveResponse:
        """Evidence alone, with the candidates ranked behind it."""
        _require_query(request)
        most = query_wire.candidates(request.max_candidates, self._backend.limits)
        asked = await self._question(request.query, context, "query.")
        began = time.monotonic()
        decision, found = await self._backend.answerer.retrieve(asked)
        return query_pb2.RetrieveResponse(
            route=answer_wire.decision(decision, asked.corpus_id),
            evidence=answer_wire.evidence(found.evidence),
            candidates=answer_wire.evidence(found.ranking[:most]),
            search_time=duration(time.monotonic() - began),
        )

    async def QueryText(
        self, requests: AsyncIterator[query_pb2.QueryTextRequest], context: Any
    ) -> AsyncIterator[query_pb2.QueryTextResponse]:
        """The events of an answer from the text that follows the question."""
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("question"):
            raise fail(
                "TEXT_QUESTION_MISSING",
                "question: the first message has none; send it before the text",
                field="question",
            )
        asked = query_wire.text_question(first.question, self._backend.limits, _deadline(context))
        answer = answer_wire.AnswerOnWire("")
        events = self._backend.text_answerer.answer(asked, _pieces(requests))
        async with _closing(events) as events:
            async for event in events:
                yield answer.add_of_text(event)

    async def RecordFeedback(
        self, request: query_pb2.RecordFeedbackRequest, context: Any
    ) -> query_pb2.RecordFeedbackResponse:
        """Keep what a caller says of an answer."""
        corpus_id = ids.parse_corpus_name(request.corpus, "corpus")
        if not request.decision_id:
            raise fail(
                "INVALID_VALUE",
                "decision_id: it is empty; give that of the answer's route",
                field="decision_id",
            )
        is_good = query_wire.verdict(request.verdict)
        await asyncio.to_thread(self._backend.corpora.require, corpus_id)
        good, bad = await asyncio.to_thread(
            self._backend.outcomes.judge, corpus_id, request.decision_id, is_good
        )
        return query_pb2.RecordFeedbackResponse(good_count=good, bad_count=bad)

    async def CountTokens(
        self, request: query_pb2.CountTokensRequest, context: Any
    ) -> query_pb2.CountTokensResponse:
        """Tokens of a text under the served model."""
        count = await asyncio.to_thread(self._backend.count_tokens, request.text)
        return query_pb2.CountTokensResponse(token_count=count)

    async def _question(
        self, request: query_pb2.QueryRequest, context: Any, path: str = ""
    ) -> Question:
        asked = query_wire.question(request, self._backend.limits, _deadline(context), path)
        await asyncio.to_thread(self._check_exists, asked)
        return asked

    def _check_exists(self, asked: Question) -> None:
        try:
            self._backend.corpora.require(asked.corpus_id)
            if asked.cartridge_id:
                self._backend.shelf.get(asked.corpus_id, asked.cartridge_id)
        except ServiceError as error:
            if error.reason != "STATE_UNAVAILABLE":  # else the answerer knows what it has loaded
                raise

    def _events(self, asked: Question) -> AbstractAsyncContextManager[AsyncIterator[AnswerEvent]]:
        return _closing(self._backend.answerer.answer(asked))


@asynccontextmanager
async def _closing(events: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Ends a stream of events with its block, also where its reader has left."""
    try:
        yield events
    finally:
        close = getattr(events, "aclose", None)
        if close:
            await close()


async def _pieces(requests: AsyncIterator[query_pb2.QueryTextRequest]) -> AsyncIterator[str]:
    async for request in requests:
        if request.HasField("question"):
            raise fail(
                "INVALID_VALUE", "question: there is one already; ask anew", field="question"
            )
        yield request.text


def _deadline(context: Any) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining


def _require_query(
    request: query_pb2.StreamQueryRequest
    | query_pb2.ExplainRouteRequest
    | query_pb2.RetrieveRequest,
) -> None:
    if not request.HasField("query"):
        raise fail("INVALID_VALUE", "query: it is not set; send a QueryRequest", field="query")
