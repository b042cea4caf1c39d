"""Records, jobs and errors to protobuf; only `query_wire` and `answer_wire` convert too.

Knows no database and no transport.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2
from longmemory.v1 import cartridge_pb2, corpus_pb2, info_pb2, job_pb2

from service import ids
from service.errors import ErrorRecord, ServiceError
from service.library import Loaded
from service.state.cartridge_shelf import CartridgeRecord
from service.state.catalog import CatalogDense
from service.state.corpus import Corpus, Document
from service.state.job import Job, JobKind, JobState
from service.state.uploads import UploadStatus

if TYPE_CHECKING:
    from service.rpc.info_service import ServerInfo

DOMAIN = "longmemory.v1"
"""The domain of every ErrorInfo."""


def status(error: ErrorRecord | ServiceError) -> status_pb2.Status:
    """An error as google.rpc.Status: ErrorInfo, and BadRequest and RetryInfo where they apply."""
    field = error.field if isinstance(error, ServiceError) else None
    retry = error.retry_after_seconds if isinstance(error, ServiceError) else None
    metadata = dict(error.metadata) | ({"field": field} if field else {})
    made = status_pb2.Status(code=code_pb2.Code.Value(error.code.value), message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    made.details.add().Pack(info)
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=field, description=error.message, reason=error.reason
        )
        made.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry is not None:
        made.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration(retry)))
    return made


def corpus(record: Corpus, dense: CatalogDense | None = None) -> corpus_pb2.Corpus:
    """A corpus as it is sent, and how its vectors are searched where that was looked up."""
    return corpus_pb2.Corpus(
        name=ids.corpus_name(record.id),
        display_name=record.display_name,
        state=f"STATE_{record.state.value}",
        error=_stored_error(record.error),
        document_count=record.document_count,
        byte_count=record.byte_count,
        char_count=record.char_count,
        sentence_count=record.sentence_count,
        token_count=record.token_count,
        content_digest=record.content_digest if record.document_count else "",
        indexed_digest=record.indexed_digest or "",
        etag=record.etag,
        create_time=_timestamp(record.create_time),
        dense_search=_dense_search(dense) if dense else None,
    )


def _dense_search(dense: CatalogDense) -> corpus_pb2.DenseSearch:
    return corpus_pb2.DenseSearch(lists=dense.lists, probes=dense.probes, recall=dense.recall)


def document(record: Document) -> corpus_pb2.Document:
    """A document as it is sent."""
    return corpus_pb2.Document(
        id=record.document_id,
        sha256=record.sha256,
        byte_count=record.byte_count,
        char_count=record.char_count,
        create_time=_timestamp(record.create_time),
    )


def upload(
    corpus_id: str, request_id: str, documents: tuple[UploadStatus, ...]
) -> corpus_pb2.Upload:
    """How far an upload has come, as it is sent."""
    return corpus_pb2.Upload(
        corpus=ids.corpus_name(corpus_id),
        request_id=request_id,
        documents=[
            corpus_pb2.UploadedDocument(
                document_id=one.document_id,
                committed_bytes=one.committed_bytes,
                finished=one.finished,
            )
            for one in documents
        ],
    )


def cartridge(record: CartridgeRecord, changed: float = 0.0) -> cartridge_pb2.Cartridge:
    """A cartridge as it is sent; `changed` is the share of its corpus that it does not know."""
    return cartridge_pb2.Cartridge(
        name=ids.cartridge_name(record.corpus_id, record.id),
        state=f"STATE_{record.state.value}",
        prefix_tokens=record.prefix_tokens,
        query_offset=record.query_offset,
        size_bytes=record.size_bytes,
        model_fingerprint=record.model_fingerprint,
        corpus_digest=record.corpus_digest,
        tensor_digest=record.tensor_digest,
        metrics=dict(record.metrics),
        create_time=_timestamp(record.create_time),
        error=_stored_error(record.error),
        changed_share=changed,
    )


def resident(loaded: Loaded) -> cartridge_pb2.ResidentCartridge:
    """A cartridge in memory as it is sent."""
    return cartridge_pb2.ResidentCartridge(
        name=ids.cartridge_name(loaded.corpus_id, loaded.cartridge_id),
        part=loaded.cartridge.number,
        size_bytes=loaded.num_bytes,
        hits=loaded.hits,
    )


def job_metadata(job: Job) -> job_pb2.JobMetadata:
    """The metadata of a job's operation."""
    is_retried = job.error is not None and not job.state.is_final
    return job_pb2.JobMetadata(
        kind=job.kind.value,
        corpus=ids.corpus_name(job.corpus_id),
        target=job.target,
        phase=_phase(job),
        progress=job.progress,
        message=job.message,
        attempt=job.attempt,
        metrics=dict(job.metrics),
        create_time=_timestamp(job.create_time),
        start_time=_timestamp(job.start_time),
        end_time=_timestamp(job.end_time),
        heartbeat_time=_timestamp(job.heartbeat_time),
        warnings=[status(job.error)] if is_retried and job.error else [],
    )


def operation(job: Job, made: Corpus | CartridgeRecord | None = None) -> operations_pb2.Operation:
    """A job as an operation; `made` is what it made, needed once it has succeeded.

    Where `made` was deleted since, the response holds the name alone.
    """
    operation = operations_pb2.Operation(name=ids.operation_name(job.id), done=job.state.is_final)
    operation.metadata.Pack(job_metadata(job))
    if job.state is JobState.SUCCEEDED:
        operation.response.CopyFrom(_response(job.kind, job.target, made))
    elif job.state.is_final and job.error:
        operation.error.CopyFrom(status(job.error))
    return operation


def indexed_already(record: Corpus) -> operations_pb2.Operation:
    """The finished operation for an index that needs no work and has no job."""
    operation = operations_pb2.Operation(name=ids.operation_name(uuid.uuid4().hex), done=True)
    name = ids.corpus_name(record.id)
    operation.metadata.Pack(
        job_pb2.JobMetadata(
            kind=JobKind.INDEX.value,
            corpus=name,
            target=name,
            phase=job_pb2.JobMetadata.PHASE_DONE,
            progress=1.0,
        )
    )
    operation.response.CopyFrom(_response(JobKind.INDEX, name, record))
    return operation


def job_event(event_id: int, operation: operations_pb2.Operation) -> job_pb2.WatchJobResponse:
    """One change of a job."""
    return job_pb2.WatchJobResponse(event_id=str(event_id), operation=operation)


def info(value: ServerInfo) -> info_pb2.Info:
    """Facts about the server as they are sent."""
    return info_pb2.Info(
        version=value.version,
        model_name=value.model_name,
        model_fingerprint=value.model_fingerprint,
        device=value.device,
        dtype=value.dtype,
        window_tokens=value.window_tokens,
        embedder=value.embedder,
        data_format=value.data_format,
    )


def _phase(job: Job) -> job_pb2.JobMetadata.Phase:
    if job.state.is_final:
        return job_pb2.JobMetadata.PHASE_DONE
    if job.state is JobState.QUEUED:
        return job_pb2.JobMetadata.PHASE_QUEUED
    is_leaving = job.cancel_requested
    phases = job_pb2.JobMetadata
    return phases.PHASE_CANCELLING if is_leaving else phases.PHASE_RUNNING


def _response(kind: JobKind, target: str, made: Corpus | CartridgeRecord | None) -> AnyMessage:
    packed = AnyMessage()
    if isinstance(made, Corpus):
        packed.Pack(corpus(made))
    elif isinstance(made, CartridgeRecord):
        packed.Pack(cartridge(made))
    elif kind is JobKind.INDEX:
        packed.Pack(corpus_pb2.Corpus(name=target))
    else:
        packed.Pack(cartridge_pb2.Cartridge(name=target))
    return packed


def _stored_error(error: ErrorRecord | None) -> status_pb2.Status | None:
    return status(error) if error else None


def _timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp


def duration(seconds: float) -> Duration:
    """Seconds as a Duration."""
    span = Duration()
    span.FromMicroseconds(round(seconds * 1e6))
    return span
