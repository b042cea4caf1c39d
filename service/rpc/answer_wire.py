"""The events of an answer to protobuf, one by one and as a whole."""

from __future__ import annotations

from longmemory.v1 import query_pb2

from engine.answer_row import FinishReason
from retrieval.corpus_index import Evidence
from service import answers, ids
from service.answers import AnswerEvent, Decision, Delta, Option, ReadSoFar, Route, Summary
from service.rpc.wire import duration
from service.text_answering import TextEvent

ROUTES: dict[Route, query_pb2.Route] = {
    Route.AUTO: query_pb2.ROUTE_UNSPECIFIED,
    Route.CARTRIDGE: query_pb2.ROUTE_CARTRIDGE,
    Route.INFINI_RETRI: query_pb2.ROUTE_INFINI_RETRI,
    Route.CRAG: query_pb2.ROUTE_CRAG,
    Route.FULL_CONTEXT: query_pb2.ROUTE_FULL_CONTEXT,
    Route.NONE: query_pb2.ROUTE_NONE,
    Route.DECLINE: query_pb2.ROUTE_DECLINE,
}
_FINISHES = {
    FinishReason.STOP: query_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: query_pb2.FINISH_REASON_LENGTH,
    FinishReason.CANCELLED: query_pb2.FINISH_REASON_CANCELLED,
}


def decision(value: Decision, corpus_id: str) -> query_pb2.RouteDecision:
    """A decision as it is sent; it names a cartridge of this corpus."""
    cartridge_id = value.cartridge_id
    return query_pb2.RouteDecision(
        route=ROUTES[value.route],
        requested_route=ROUTES[value.requested],
        reason=value.reason,
        explanation=value.explanation,
        signals=dict(value.signals),
        cartridge=ids.cartridge_name(corpus_id, cartridge_id) if cartridge_id else "",
        fallbacks=[
            query_pb2.RouteFallback(route=ROUTES[one.route], reason=one.reason, message=one.message)
            for one in value.fallbacks
        ],
        options=[_option(one) for one in value.options],
        decision_id=value.id,
        runner_up=ROUTES[value.runner_up.route if value.runner_up else Route.AUTO],
        margin=value.margin,
    )


def _option(one: Option) -> query_pb2.RouteOption:
    return query_pb2.RouteOption(
        route=ROUTES[one.route],
        quality=one.quality,
        expected_time=duration(one.p50),
        slow_time=duration(one.p95),
        prompt_tokens=one.tokens,
        utility=one.utility,
        closed_reason=one.closed,
        closed_message=one.why,
    )


def evidence(spans: tuple[Evidence, ...]) -> list[query_pb2.Evidence]:
    """Evidence as it is sent."""
    return [
        query_pb2.Evidence(
            document_id=span.document,
            start_char=span.start,
            end_char=span.end,
            score=span.score,
            text=span.text,
        )
        for span in spans
    ]


def usage(value: answers.Usage) -> query_pb2.Usage:
    """Counts and times as they are sent."""
    return query_pb2.Usage(
        prompt_tokens=value.prompt_tokens,
        prefix_tokens=value.prefix_tokens,
        output_tokens=value.output_tokens,
        queue_time=duration(value.queue_seconds),
        first_token_time=duration(value.first_token_seconds),
        total_time=duration(value.total_seconds),
        prepare_time=duration(value.prepare_seconds),
    )


class AnswerOnWire:
    """One answer as it grows: each event as a message of the stream, and the whole at the end."""

    def __init__(self, corpus_id: str) -> None:
        self._corpus_id = corpus_id
        self._response = query_pb2.QueryResponse()
        self._texts: list[str] = []

    def add(self, event: AnswerEvent) -> query_pb2.StreamQueryResponse:
        """The message of an event; of the last one, the summary without the text."""
        if isinstance(event, Decision):
            self._response.route.CopyFrom(decision(event, self._corpus_id))
            return query_pb2.StreamQueryResponse(route=self._response.route)
        if isinstance(event, Delta):
            self._texts.append(event.text)
            delta = query_pb2.TextDelta(text=event.text, token_ids=event.token_ids)
            return query_pb2.StreamQueryResponse(delta=delta)
        if isinstance(event, Summary):
            self._response.finish_reason = _FINISHES[event.finish]
            self._response.usage.CopyFrom(usage(event.usage))
            return query_pb2.StreamQueryResponse(summary=self._response)
        spans = evidence(event)
        self._response.evidence.extend(spans)
        return query_pb2.StreamQueryResponse(evidence=query_pb2.EvidenceList(evidence=spans))

    def add_of_text(self, event: TextEvent) -> query_pb2.QueryTextResponse:
        """The same for an answer from a text that came with its question."""
        if isinstance(event, ReadSoFar):
            progress = query_pb2.ReadingProgress(sentences=event.sentences, tokens=event.tokens)
            return query_pb2.QueryTextResponse(progress=progress)
        message = self.add(event)
        named = message.WhichOneof("event")
        return query_pb2.QueryTextResponse(**{named: getattr(message, named)})

    def whole(self) -> query_pb2.QueryResponse:
        """The answer in one message, text included."""
        whole = query_pb2.QueryResponse(answer="".join(self._texts))
        whole.MergeFrom(self._response)
        return whole
