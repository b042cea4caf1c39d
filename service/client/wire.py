"""Messages of the wire to the client's values. Sends nothing."""

from __future__ import annotations

from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import any_pb2
from longmemory.v1 import cartridge_pb2, corpus_pb2, info_pb2, job_pb2, query_pb2

from service.client import types as types
from service.client.failures import error_report


def corpus(message: corpus_pb2.Corpus) -> types.Corpus:
    """A corpus."""
    found = message.dense_search
    dense = types.DenseSearch(found.lists, found.probes, found.recall)
    return types.Corpus(
        name=message.name,
        id=message.name.rpartition("/")[2],
        display_name=message.display_name,
        state=_word(corpus_pb2.Corpus.State, message.state, "STATE_"),
        error=error_report(message.error) if message.HasField("error") else None,
        documents=message.document_count,
        num_bytes=message.byte_count,
        characters=message.char_count,
        sentences=message.sentence_count,
        tokens=message.token_count,
        content_digest=message.content_digest,
        indexed_digest=message.indexed_digest,
        etag=message.etag,
        create_time=_seconds(message.create_time),
        dense=dense if message.HasField("dense_search") else None,
    )


def document(message: corpus_pb2.Document) -> types.Document:
    """A document."""
    return types.Document(
        message.id,
        message.sha256,
        message.byte_count,
        message.char_count,
        _seconds(message.create_time),
    )


def cartridge(message: cartridge_pb2.Cartridge) -> types.Cartridge:
    """A cartridge."""
    parts = message.name.split("/")
    return types.Cartridge(
        name=message.name,
        corpus_id=parts[1] if len(parts) == 4 else "",
        id=parts[-1],
        state=_word(cartridge_pb2.Cartridge.State, message.state, "STATE_"),
        prefix_tokens=message.prefix_tokens,
        query_offset=message.query_offset,
        size_bytes=message.size_bytes,
        model_fingerprint=message.model_fingerprint,
        corpus_digest=message.corpus_digest,
        tensor_digest=message.tensor_digest,
        metrics=dict(message.metrics),
        create_time=_seconds(message.create_time),
        error=error_report(message.error) if message.HasField("error") else None,
        changed_share=message.changed_share,
    )


def resident(message: cartridge_pb2.ResidentCartridge) -> types.ResidentCartridge:
    """A cartridge in memory."""
    return types.ResidentCartridge(message.name, message.part, message.size_bytes, message.hits)


def job(operation: operations_pb2.Operation, event_id: str = "") -> types.JobSnapshot:
    """An operation with its JobMetadata."""
    metadata = job_pb2.JobMetadata()
    operation.metadata.Unpack(metadata)
    return types.JobSnapshot(
        name=operation.name,
        kind=metadata.kind,
        corpus=metadata.corpus,
        target=metadata.target,
        phase=_word(job_pb2.JobMetadata.Phase, metadata.phase, "PHASE_"),
        progress=metadata.progress,
        message=metadata.message,
        attempt=metadata.attempt,
        metrics=dict(metadata.metrics),
        done=operation.done,
        error=error_report(operation.error) if operation.HasField("error") else None,
        result=_result(operation.response),
        create_time=_seconds(metadata.create_time),
        event_id=event_id,
    )


def decision(message: query_pb2.RouteDecision) -> types.Decision:
    """A decision; an unset requested route is auto."""
    return types.Decision(
        route=_route(message.route),
        requested=_route(message.requested_route),
        reason=message.reason,
        explanation=message.explanation,
        signals=dict(message.signals),
        cartridge=message.cartridge,
        fallbacks=tuple(
            types.Fallback(_route(left.route), left.reason, left.message)
            for left in message.fallbacks
        ),
        options=tuple(
            types.Option(
                _route(one.route),
                one.quality,
                _seconds(one.expected_time),
                _seconds(one.slow_time),
                one.prompt_tokens,
                one.utility,
                one.closed_reason,
                one.closed_message,
            )
            for one in message.options
        ),
        id=message.decision_id,
        runner_up=_route(message.runner_up),
        margin=message.margin,
    )


def evidence(messages: Any) -> tuple[types.Evidence, ...]:
    """A repeated field of evidence, in its order."""
    return tuple(
        types.Evidence(piece.document_id, piece.start_char, piece.end_char, piece.score, piece.text)
        for piece in messages
    )


def summary(message: query_pb2.QueryResponse) -> types.Summary:
    """Why an answer ended and what it cost."""
    usage = message.usage
    return types.Summary(
        _word(query_pb2.FinishReason, message.finish_reason, "FINISH_REASON_"),
        types.Usage(
            prompt_tokens=usage.prompt_tokens,
            prefix_tokens=usage.prefix_tokens,
            output_tokens=usage.output_tokens,
            first_token_seconds=_seconds(usage.first_token_time),
            total_seconds=_seconds(usage.total_time),
            queue_seconds=_seconds(usage.queue_time),
            prepare_seconds=_seconds(usage.prepare_time),
        ),
    )


def answer(message: query_pb2.QueryResponse) -> types.Answer:
    """A whole answer."""
    end = summary(message)
    return types.Answer(
        message.answer,
        decision(message.route),
        evidence(message.evidence),
        end.usage,
        end.finish,
    )


def answer_event(message: query_pb2.StreamQueryResponse) -> types.AnswerEvent | None:
    """One event of a stream; None for a kind that this client does not know yet."""
    match message.WhichOneof("event"):
        case "route":
            return decision(message.route)
        case "evidence":
            return evidence(message.evidence.evidence)
        case "delta":
            return types.Delta(message.delta.text, tuple(message.delta.token_ids))
        case "summary":
            return summary(message.summary)
    return None


def text_event(message: query_pb2.QueryTextResponse) -> types.TextEvent | None:
    """One event of an answer from a text; None for a kind that this client does not know yet."""
    match message.WhichOneof("event"):
        case "progress":
            return types.ReadSoFar(message.progress.sentences, message.progress.tokens)
        case "evidence":
            return evidence(message.evidence.evidence)
        case "delta":
            return types.Delta(message.delta.text, tuple(message.delta.token_ids))
        case "summary":
            return summary(message.summary)
    return None


def found(message: query_pb2.RetrieveResponse) -> types.Found:
    """What was found for a question."""
    return types.Found(
        decision(message.route),
        evidence(message.evidence),
        evidence(message.candidates),
        _seconds(message.search_time),
    )


def server_info(message: info_pb2.Info) -> types.ServerInfo:
    """What a server runs."""
    return types.ServerInfo(
        version=message.version,
        model_name=message.model_name,
        model_fingerprint=message.model_fingerprint,
        device=message.device,
        dtype=message.dtype,
        window_tokens=message.window_tokens,
        embedder=message.embedder,
        data_format=message.data_format,
    )


def _result(response: any_pb2.Any) -> types.Corpus | types.Cartridge | None:
    made_corpus, made_cartridge = corpus_pb2.Corpus(), cartridge_pb2.Cartridge()
    if response.Unpack(made_corpus):
        return corpus(made_corpus)
    if response.Unpack(made_cartridge):
        return cartridge(made_cartridge)
    return None


def _route(value: int) -> str:
    if value == query_pb2.ROUTE_UNSPECIFIED:
        return types.Route.AUTO.value
    return _word(query_pb2.Route, value, "ROUTE_")


def _word(kinds: Any, value: int, prefix: str) -> str:
    # A newer server may know values that this client does not.
    if value not in kinds.values():
        return f"unknown ({value})"
    return str(kinds.Name(value)).removeprefix(prefix).lower()


def _seconds(moment: Any) -> float:
    return float(moment.seconds) + float(moment.nanos) / 1e9
