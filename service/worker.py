"""The process that indexes and trains: claims jobs until none comes, then ends.

Started by the server (`python -m service.worker`), never forked: torch and gRPC threads do not
survive a fork. Whatever happens to it, the job's row and the work folder tell where it was.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

import structlog

from engine.config import EngineConfig
from engine.embedding import Embedder
from engine.model import LanguageModel
from retrieval.heads import retrieval_heads
from retrieval.window_index import WindowReader, WindowShelf
from service.config import Layout
from service.cores import CoreShare
from service.errors import ServiceError, fail
from service.first_cartridge import INSTANT, FirstCartridges
from service.indexing import Indexer
from service.lease import JobCancelledError, JobLostError, Lease
from service.library import Library
from service.state.cartridge_shelf import CartridgeShelf
from service.state.content import ContentStore
from service.state.corpora import Corpora
from service.state.database import Database
from service.state.index_catalog import Catalog, Catalogs
from service.state.job import Job, JobKind
from service.state.jobs import Jobs
from service.state.outcomes import tell_unmade
from service.telemetry.logs import LogSettings, configure_logs
from service.training import Trainer, TrainRequest

IDLE_SECONDS = 60.0
_POLL_SECONDS = 0.2
_log = structlog.stdlib.get_logger("longmemory.worker")


class Worker:
    """One loaded model working through the queue."""

    def __init__(
        self, layout: Layout, engine: EngineConfig, name: str, parent: int, instant_tokens: int
    ) -> None:
        database = Database(layout.database)
        self._layout, self._name, self._parent = layout, name, parent
        self._content = ContentStore(layout.data)
        self._corpora = Corpora(database, self._content)
        self._shelf = CartridgeShelf(database)
        self._jobs = Jobs(database, on_unmade=tell_unmade(self._corpora, self._shelf))
        self._model = LanguageModel.load(engine)
        self._first = FirstCartridges(
            self._shelf, self._jobs, layout, self._model.fingerprint, instant_tokens
        )
        self._embedder = Embedder.load(device=self._model.device.type)
        self._cores = CoreShare(layout.work, "worker", "server", engine.threads)
        heads = retrieval_heads(self._model, layout.calibrations)
        self._reader = WindowReader(self._model, self._embedder, heads)
        self._windows = WindowShelf(layout.windows, self._reader.recipe)

    def run(self) -> None:
        """Works until no job has come for a while or the server is gone."""
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < IDLE_SECONDS and os.getppid() == self._parent:
            job = self._jobs.claim(self._name)
            if job is None:
                time.sleep(_POLL_SECONDS)
                continue
            self._work(job)
            idle_since = time.monotonic()

    def _work(self, job: Job) -> None:
        _log.info("job started", job=job.id, kind=str(job.kind), attempt=job.attempt)
        try:
            with Lease(self._jobs, job, self._parent, self._cores.take) as lease:
                work = self._index if job.kind is JobKind.INDEX else self._train
                result = work(job, lease)
            is_mine = self._jobs.finish(job.id, job.token, result)
        except JobLostError:
            is_mine = False
        except JobCancelledError:
            is_mine = self._jobs.cancelled(job.id, job.token)
        except ServiceError as error:
            is_mine = self._jobs.fail(job.id, job.token, error.record)
        except Exception:
            _log.exception("job failed", job=job.id)
            record = fail("INTERNAL", "the worker failed; its log says why").record
            is_mine = self._jobs.fail(job.id, job.token, record)
        if is_mine:
            self._clear(job)
            _log.info("job ended", job=job.id)
        else:  # another worker has the job now, and goes on in its work folder
            _log.warning("job lost", job=job.id)

    def _index(self, job: Job, lease: Lease) -> dict[str, object]:
        catalogs = Catalogs(self._layout.catalogs)
        indexer = Indexer(self._reader, self._windows, catalogs, self._corpora, self._content)
        self._corpora.mark_indexing(job.corpus_id)
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
        self._corpora.mark_ready(
            job.corpus_id, catalog.corpus_digest, catalog.token_count, catalog.sentence_count
        )
        catalogs.keep_only(job.corpus_id, catalog)
        self._first.order(self._corpora.get(job.corpus_id))
        return {"corpus": job.corpus_id}

    def _train(self, job: Job, lease: Lease) -> dict[str, object]:
        corpus = self._corpora.get(job.corpus_id)
        library = Library(
            self._layout,
            self._content,
            self._windows,
            self._reader.recipe.digest,
            self._model,
            1,
            0,
        )
        request = TrainRequest.of(job.request)
        trainer = Trainer(self._model, self._embedder, self._layout, self._shelf)
        steps = trainer.train(job.id, corpus, library.corpus(corpus), request)
        metrics: dict[str, float] = {}
        for report in steps:
            if (
                report.stage == "study"
            ):  # of the next part: what the last one measured is not its own
                metrics.clear()
            metrics |= report.metrics
            lease.report(report.share, report.message, metrics)
        if request.cartridge_id != INSTANT:
            self._first.retire(job.corpus_id)
        return {"corpus": job.corpus_id, "cartridge": request.cartridge_id}

    def _clear(self, job: Job) -> None:
        """Removes the work folder, and what was made for a corpus or cartridge deleted meanwhile."""
        shutil.rmtree(self._layout.work / job.id, ignore_errors=True)
        made = self._layout.catalogs / job.corpus_id
        try:
            self._corpora.require(job.corpus_id)
            if job.kind is JobKind.TRAIN:
                cartridge_id = str(job.request["cartridge_id"])
                made = self._layout.cartridge(job.corpus_id, cartridge_id)
                self._shelf.get(job.corpus_id, cartridge_id)
        except ServiceError as gone:
            _log.info("nothing left to keep it for", job=job.id, reason=gone.reason)
            shutil.rmtree(made, ignore_errors=True)


def main() -> None:
    """Reads the arguments that the supervisor writes."""
    parser = argparse.ArgumentParser(prog="longmemory-worker")
    for name in (
        "--data",
        "--model",
        "--device",
        "--dtype",
        "--name",
        "--log-format",
        "--log-level",
    ):
        parser.add_argument(name, required=True)
    for name in ("--threads", "--parent", "--instant-tokens"):
        parser.add_argument(name, required=True, type=int)
    given = parser.parse_args()
    configure_logs(LogSettings(given.log_format, given.log_level))
    engine = EngineConfig(Path(given.data), given.model, given.device, given.dtype, given.threads)
    layout = Layout(Path(given.data))
    Worker(layout, engine, given.name, given.parent, given.instant_tokens).run()


if __name__ == "__main__":
    main()
