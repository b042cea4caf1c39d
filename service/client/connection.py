"""The client: one method for each thing a server does. Knows no terminal and shows no protobuf."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Unpack

from google.longrunning import operations_pb2
from longmemory.v1 import cartridge_pb2, corpus_pb2, info_pb2, query_pb2

from service.client import wire as wire
from service.client.calls import CALL_SECONDS, Calls
from service.client.credentials import Credentials
from service.client.failures import ClientError
from service.client.query import AskOptions, query_request, text_requests
from service.client.types import (
    Answer,
    AnswerEvent,
    Cartridge,
    Corpus,
    Decision,
    Document,
    Found,
    JobSnapshot,
    ResidentCartridge,
    ServerInfo,
    SourceDocument,
    TextEvent,
    UploadReport,
)
from service.client.upload import plan_upload, send_documents
from service.client.watch import get_job, watch_job

__all__ = ["Client", "ClientError", "Credentials", "SourceDocument"]

PAGE_SIZE = 1000


def corpus_name(corpus: str) -> str:
    """The resource name of a corpus given by id or by name."""
    return corpus if "/" in corpus else f"corpora/{corpus}"


def cartridge_name(cartridge: str) -> str:
    """The resource name of a cartridge given as corpus/cartridge or by name."""
    corpus, slash, own = cartridge.partition("/")
    return f"corpora/{corpus}/cartridges/{own}" if slash and "/" not in own else cartridge


def operation_name(job: str) -> str:
    """The resource name of a job given by id or by name."""
    return job if "/" in job else f"operations/{job}"


class Client:
    """A connection to one server; close it, or use it in a `with`.

    Corpora go by id or by name (`books`, `corpora/books`), cartridges by `books/one` or by name,
    jobs by id or by name. Every method raises ClientError when its call fails.
    """

    def __init__(self, address: str, credentials: Credentials | None = None) -> None:
        """Raises OSError where a TLS file cannot be read."""
        self.address = address
        self._calls = Calls(address, credentials)

    def close(self) -> None:
        """Close the connection; calls under way end."""
        self._calls.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def info(self, timeout: float = CALL_SECONDS) -> ServerInfo:
        """What the server runs."""
        request = info_pb2.GetInfoRequest()
        return wire.server_info(self._calls.call(self._calls.info.GetInfo, request, timeout))

    def create_corpus(
        self, corpus_id: str, display_name: str = "", exist_ok: bool = False
    ) -> Corpus:
        """Create an empty corpus; with `exist_ok` the one that is there is as good."""
        request = corpus_pb2.CreateCorpusRequest(
            corpus_id=corpus_id,
            corpus=corpus_pb2.Corpus(display_name=display_name),
            request_id=str(uuid.uuid4()),
        )
        try:
            return wire.corpus(self._calls.call(self._calls.corpora.CreateCorpus, request))
        except ClientError as error:
            if not exist_ok or error.code != "ALREADY_EXISTS":
                raise
            return self.get_corpus(corpus_id)

    def get_corpus(self, corpus_id: str) -> Corpus:
        """One corpus."""
        request = corpus_pb2.GetCorpusRequest(name=corpus_name(corpus_id))
        return wire.corpus(self._calls.call(self._calls.corpora.GetCorpus, request))

    def list_corpora(self) -> list[Corpus]:
        """All corpora, newest first."""
        request = corpus_pb2.ListCorporaRequest(page_size=PAGE_SIZE)
        found = self._calls.pages(self._calls.corpora.ListCorpora, request, "corpora")
        return [wire.corpus(one) for one in found]

    def delete_corpus(self, corpus_id: str, force: bool = False, etag: str = "") -> None:
        """Delete a corpus, with `force` its cartridges too."""
        request = corpus_pb2.DeleteCorpusRequest(
            name=corpus_name(corpus_id), force=force, etag=etag
        )
        self._calls.call(self._calls.corpora.DeleteCorpus, request)

    def list_documents(self, corpus_id: str) -> list[Document]:
        """The finished documents of a corpus, by id."""
        request = corpus_pb2.ListDocumentsRequest(
            parent=corpus_name(corpus_id), page_size=PAGE_SIZE
        )
        found = self._calls.pages(self._calls.corpora.ListDocuments, request, "documents")
        return [wire.document(one) for one in found]

    def delete_document(self, corpus_id: str, document_id: str) -> None:
        """Delete a document; the index covers it until the corpus is indexed again."""
        request = corpus_pb2.DeleteDocumentRequest(
            corpus=corpus_name(corpus_id), document_id=document_id
        )
        self._calls.call(self._calls.corpora.DeleteDocument, request)

    def upload(
        self,
        corpus_id: str,
        documents: Iterable[SourceDocument],
        progress: Callable[[int], None] | None = None,
    ) -> UploadReport:
        """Send the documents that the server does not have; a broken upload is taken up again.

        `progress` gets the bytes done so far, those that the server had included; it is called
        from another thread. Raises OSError when a document cannot be read.
        """
        known = {one.id: one.sha256 for one in self.list_documents(corpus_id)}
        plan = plan_upload(documents, known)
        if progress:
            progress(plan.known_bytes)
        if not plan.documents:
            return UploadReport(0, 0, plan.known_documents)
        sent = send_documents(self._calls, corpus_name(corpus_id), plan, progress)
        return UploadReport(sent.document_count, sent.byte_count, plan.known_documents)

    def index(self, corpus_id: str) -> str:
        """Start to bring the index up to the documents of now; the job's name."""
        request = corpus_pb2.IndexCorpusRequest(
            name=corpus_name(corpus_id), request_id=str(uuid.uuid4())
        )
        return str(self._calls.call(self._calls.corpora.IndexCorpus, request).name)

    def train(
        self,
        corpus_id: str,
        prefix_tokens: int = 0,
        max_steps: int = 0,
        conversations: int = 0,
        cartridge_id: str = "",
        effort: str = "",
        base: str = "",
        part_tokens: int = 0,
    ) -> str:
        """Start to train a cartridge; the job's name. Zeros and absences leave the choice to the server.

        `effort` is instant, fast or thorough; `base` is a cartridge to start from, as CORPUS/CARTRIDGE.
        """
        request = cartridge_pb2.TrainCartridgeRequest(
            parent=corpus_name(corpus_id),
            cartridge_id=cartridge_id,
            prefix_tokens=prefix_tokens,
            max_steps=max_steps,
            conversations=conversations,
            effort=f"EFFORT_{effort.upper()}" if effort else "EFFORT_UNSPECIFIED",
            base=cartridge_name(base) if base else "",
            part_tokens=part_tokens,
            request_id=str(uuid.uuid4()),
        )
        return str(self._calls.call(self._calls.cartridges.TrainCartridge, request).name)

    def warm_cartridge(self, cartridge: str, part: int = 0) -> ResidentCartridge:
        """Load a cartridge into the server's memory."""
        request = cartridge_pb2.WarmCartridgeRequest(name=cartridge_name(cartridge), part=part)
        return wire.resident(self._calls.call(self._calls.cartridges.WarmCartridge, request))

    def evict_cartridge(self, cartridge: str) -> None:
        """Drop a cartridge from the server's memory."""
        request = cartridge_pb2.EvictCartridgeRequest(name=cartridge_name(cartridge))
        self._calls.call(self._calls.cartridges.EvictCartridge, request)

    def resident_cartridges(self) -> tuple[list[ResidentCartridge], int]:
        """The cartridges in the server's memory, the least used first, and the bytes they may take."""
        request = cartridge_pb2.GetResidencyRequest()
        found = self._calls.call(self._calls.cartridges.GetResidency, request)
        return [wire.resident(one) for one in found.cartridges], int(found.limit_bytes)

    def get_cartridge(self, cartridge: str) -> Cartridge:
        """One cartridge."""
        request = cartridge_pb2.GetCartridgeRequest(name=cartridge_name(cartridge))
        return wire.cartridge(self._calls.call(self._calls.cartridges.GetCartridge, request))

    def list_cartridges(self, corpus_id: str = "-") -> list[Cartridge]:
        """The cartridges of a corpus, or of all, newest first."""
        request = cartridge_pb2.ListCartridgesRequest(
            parent=corpus_name(corpus_id), page_size=PAGE_SIZE
        )
        found = self._calls.pages(self._calls.cartridges.ListCartridges, request, "cartridges")
        return [wire.cartridge(one) for one in found]

    def delete_cartridge(self, cartridge: str) -> None:
        """Delete a cartridge's tensors and its record."""
        request = cartridge_pb2.DeleteCartridgeRequest(name=cartridge_name(cartridge))
        self._calls.call(self._calls.cartridges.DeleteCartridge, request)

    def get_job(self, job: str) -> JobSnapshot:
        """A job as it stands."""
        return get_job(self._calls, operation_name(job))

    def list_jobs(self) -> list[JobSnapshot]:
        """All jobs, newest first."""
        request = operations_pb2.ListOperationsRequest(name="operations", page_size=PAGE_SIZE)
        found = self._calls.pages(self._calls.operations.ListOperations, request, "operations")
        return [wire.job(one) for one in found]

    def cancel_job(self, job: str) -> None:
        """Ask a job to stop; it ends at its next step."""
        request = operations_pb2.CancelOperationRequest(name=operation_name(job))
        self._calls.call(self._calls.operations.CancelOperation, request)

    def watch(self, job: str, after: str = "") -> Iterator[JobSnapshot]:
        """The job at every change until it ends; goes on after a broken connection."""
        return watch_job(self._calls, operation_name(job), after)

    def wait(self, job: str) -> Corpus | Cartridge | None:
        """What a job made, once it has ended. Raises ClientError with the job's own error."""
        last = self.get_job(job)
        if not last.done:
            *_, last = self.watch(job)
        if last.error:
            failed = last.error
            raise ClientError(failed.code, failed.reason, failed.message, dict(failed.metadata))
        return last.result

    def ask(
        self,
        corpus_id: str,
        question: str,
        route: str = "auto",
        *,
        timeout: float | None = None,
        **options: Unpack[AskOptions],
    ) -> Answer:
        """The whole answer; `timeout` in seconds. Raises ValueError for an unknown route."""
        request = query_request(corpus_name(corpus_id), question, route, options)
        return wire.answer(self._calls.call(self._calls.queries.Query, request, timeout))

    def ask_stream(
        self,
        corpus_id: str,
        question: str,
        route: str = "auto",
        *,
        timeout: float | None = None,
        **options: Unpack[AskOptions],
    ) -> Iterator[AnswerEvent]:
        """The answer as it comes: Decision, tuple[Evidence, ...], Delta*, Summary.

        Closing the iterator early cancels the answer. Raises ValueError for an unknown route.
        """
        request = query_pb2.StreamQueryRequest(
            query=query_request(corpus_name(corpus_id), question, route, options)
        )
        for message in self._calls.stream(self._calls.queries.StreamQuery, request, timeout):
            event = wire.answer_event(message)
            if event is not None:
                yield event

    def retrieve(
        self,
        corpus_id: str,
        question: str,
        route: str = "infini_retri",
        *,
        most: int = 0,
        timeout: float | None = None,
        **options: Unpack[AskOptions],
    ) -> Found:
        """The evidence that an answer would be given, and the best `most` candidates; no answer."""
        request = query_pb2.RetrieveRequest(
            query=query_request(corpus_name(corpus_id), question, route, options),
            max_candidates=most,
        )
        return wire.found(self._calls.call(self._calls.queries.Retrieve, request, timeout))

    def ask_text(
        self,
        pieces: Iterable[str],
        question: str,
        *,
        timeout: float | None = None,
        **options: Unpack[AskOptions],
    ) -> Iterator[TextEvent]:
        """An answer from a text that is sent along, in pieces, and not kept: ReadSoFar*,
        tuple[Evidence, ...], Delta*, Summary. Closing the iterator early ends it all.
        """
        requests = text_requests(question, pieces, options)
        for message in self._calls.stream(self._calls.queries.QueryText, requests, timeout):
            event = wire.text_event(message)
            if event is not None:
                yield event

    def judge(self, corpus_id: str, decision_id: str, is_good: bool) -> tuple[int, int]:
        """Says whether an answer was right; how many of its kind and route are right and wrong."""
        verdict = query_pb2.VERDICT_GOOD if is_good else query_pb2.VERDICT_BAD
        request = query_pb2.RecordFeedbackRequest(
            corpus=corpus_name(corpus_id), decision_id=decision_id, verdict=verdict
        )
        found = self._calls.call(self._calls.queries.RecordFeedback, request)
        return found.good_count, found.bad_count

    def count_tokens(self, text: str) -> int:
        """Tokens of a text under the served model."""
        request = query_pb2.CountTokensRequest(text=text)
        return int(self._calls.call(self._calls.queries.CountTokens, request).token_count)

    def explain(
        self,
        corpus_id: str,
        question: str,
        route: str = "auto",
        *,
        timeout: float | None = CALL_SECONDS,
        **options: Unpack[AskOptions],
    ) -> Decision:
        """Which route the question would take and why; generates nothing."""
        request = query_pb2.ExplainRouteRequest(
            query=query_request(corpus_name(corpus_id), question, route, options)
        )
        return wire.decision(self._calls.call(self._calls.queries.ExplainRoute, request, timeout))
