"""What a job's two kinds do with a loaded model: index a corpus, train a cartridge."""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from engine.config import EngineConfig
from engine.embedding import Embedder
from engine.errors import EngineError
from engine.fail_point import fail_point
from engine.model import LanguageModel
from retrieval.crag import Condense
from retrieval.heads import retrieval_heads
from retrieval.window_index import WindowReader, WindowShelf
from service.config import Layout
from service.errors import Code, ServiceError
from service.first_cartridge import INSTANT, FirstCartridges
from service.indexing import Indexer
from service.lease import Lease
from service.library import Library, Memory
from service.queues import Queue
from service.rehearsing import Rehearser
from service.removal import remove_tree
from service.routing.rehearsal import Rehearsal
from service.state.catalog import Catalog
from service.state.catalogs import Catalogs
from service.state.content import ContentStore
from service.state.corpus import Corpus
from service.state.job import Job, JobKind
from service.training import Trainer, TrainRequest

_log = structlog.stdlib.get_logger("longmemory.worker")


@dataclass(frozen=True, slots=True, eq=False)
class Tools:
    """What every job is done with, whosever it is."""

    model: LanguageModel
    embedder: Embedder
    reader: WindowReader

    @classmethod
    def load(cls, engine: EngineConfig, layout: Layout) -> "Tools":
        """Loads the models, and what was measured of their heads."""
        model = LanguageModel.load(engine)
        embedder = Embedder.load(device=model.device.type)
        heads = retrieval_heads(model, layout.calibrations, layout.data)
        return cls(model, embedder, WindowReader(model, embedder, heads))


class JobWork:
    """The work on one tenant's jobs: the tools, and the records and folders that it ends in."""

    def __init__(
        self,
        tools: Tools,
        queue: Queue,
        instant_tokens: int,
        condense: Condense = Condense.EXTRACTS,
        rehearse: int = 0,
    ) -> None:
        layout, self._condense = queue.tenant.layout, condense
        self._rehearse = rehearse
        self._layout, self._jobs = layout, queue.jobs
        self._corpora, self._shelf = queue.corpora, queue.shelf
        self._content = ContentStore(layout.data, layout.elsewhere)
        self._model, self._embedder, self._reader = tools.model, tools.embedder, tools.reader
        fingerprint = self._model.fingerprint
        self._first = FirstCartridges(self._shelf, self._jobs, layout, fingerprint, instant_tokens)
        self._windows = WindowShelf(
            layout.windows, self._reader.recipe, layout.data, elsewhere=layout.elsewhere
        )

    def do(self, job: Job, lease: Lease, work: Path) -> dict[str, object]:
        """Does a job; `work` is the folder of this claim. Its result, as JSON values."""
        do = self._index if job.kind is JobKind.INDEX else self._train
        return do(job, lease, work)

    def forget(self, job: Job) -> None:
        """Removes what was made for a corpus or cartridge that was deleted meanwhile."""
        made = self._layout.catalogs / job.corpus_id
        try:
            self._corpora.require(job.corpus_id)
            if job.kind is JobKind.TRAIN:
                cartridge_id = str(job.request["cartridge_id"])
                made = self._layout.cartridge(job.corpus_id, cartridge_id)
                self._shelf.get(job.corpus_id, cartridge_id)
        except ServiceError as gone:
            if gone.code is not Code.NOT_FOUND:
                raise
            _log.info("nothing left to keep it for", job=job.id, reason=gone.reason)
            remove_tree(made, self._layout.data, self._layout.elsewhere)

    def _index(self, job: Job, lease: Lease, work: Path) -> dict[str, object]:
        layout = self._layout
        catalogs = Catalogs.of(layout, work)
        windows = WindowShelf(
            layout.windows, self._reader.recipe, layout.data, work, layout.elsewhere
        )
        indexer = Indexer(
            self._reader, windows, catalogs, self._corpora, self._content, condense=self._condense
        )
        self._corpora.mark_indexing(job.corpus_id)
        fail_point("index.begun")
        lease.report(0.0, "cutting the text into windows")
        began = time.monotonic()
        catalog: Catalog | None = None
        for step in indexer.index(job.corpus_id):
            if isinstance(step, Catalog):
                catalog = step
                break
            rest = (time.monotonic() - began) / step.done * (step.total - step.done)
            metrics = {
                "windows": float(step.total),
                "windows_read": float(step.read),
                "seconds_left": rest,
            }
            lease.report(step.done / step.total, "reading windows", metrics)
        lease.check()
        assert catalog is not None, "indexing ends with its catalog"
        path = catalogs.path(job.corpus_id, catalog.recipe, catalog.corpus_digest)
        with lease.committing():
            path.stat()  # raises where another worker's newer index has swept it away
            self._corpora.mark_ready(
                job.corpus_id, catalog.corpus_digest, catalog.token_count, catalog.sentence_count
            )
            fail_point("index.recorded")
        fail_point("index.committed")
        with self._jobs.transaction():  # no index is recorded while others are removed
            if self._corpora.get(job.corpus_id).indexed_digest == catalog.corpus_digest:
                catalogs.keep_only(job.corpus_id, catalog)
        fail_point("catalogs.dropped")
        self._first.order(self._corpora.get(job.corpus_id))
        if self._rehearse and not _is_rehearsed(catalog, self._rehearse):
            self._note_rehearsal(job, lease, catalogs, catalog)
        return {"corpus": job.corpus_id}

    def _note_rehearsal(self, job: Job, lease: Lease, catalogs: Catalogs, catalog: Catalog) -> None:
        """Of a corpus that answers by now: nothing waits for it, and nothing fails by it."""
        corpus = self._corpora.get(job.corpus_id)
        if corpus.indexed_digest != catalog.corpus_digest:
            return
        try:
            rehearsal = self._rehearsed(corpus, lease)
        except (EngineError, ServiceError) as error:
            _log.warning("a corpus was not rehearsed", job=job.id, reason=str(error))
            return
        path = catalogs.path(job.corpus_id, catalog.recipe, catalog.corpus_digest)
        with lease.committing(), suppress(FileNotFoundError):
            path.stat()  # raises where a newer index has swept it away
            catalogs.put(job.corpus_id, replace(catalog, rehearsal=rehearsal))

    def _rehearsed(self, corpus: Corpus, lease: Lease) -> Rehearsal:
        steps = Rehearser(self._reader).rehearse(self._library().corpus(corpus), self._rehearse)
        while True:
            try:
                lease.report(next(steps), "rehearsing questions of its own")
            except StopIteration as end:
                rehearsal: Rehearsal = end.value
                return rehearsal

    def _library(self) -> Library:
        return Library(
            self._layout,
            self._content,
            self._windows,
            self._reader.recipe.digest,
            self._model,
            Memory(1, 0),
        )

    def _train(self, job: Job, lease: Lease, work: Path) -> dict[str, object]:
        corpus = self._corpora.get(job.corpus_id)
        request = TrainRequest.of(job.request)
        trainer = Trainer(self._model, self._embedder, self._layout, self._shelf)
        library = self._library()
        library.fetch(corpus)
        resident = library.corpus(corpus)
        steps = trainer.train(work, corpus, resident, request, lease.committing)
        metrics: dict[str, float] = {}
        for report in steps:
            if report.stage == "study":  # of the next part, whose measures are its own
                metrics.clear()
            metrics |= report.metrics
            lease.report(report.share, report.message, metrics)
        if request.cartridge_id != INSTANT:
            self._first.retire(job.corpus_id)
        return {"corpus": job.corpus_id, "cartridge": request.cartridge_id}


def _is_rehearsed(catalog: Catalog, wanted: int) -> bool:
    return catalog.rehearsal is not None and catalog.rehearsal.wanted == wanted
