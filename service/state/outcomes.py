"""What a job that fails or is cancelled means for the corpus or the cartridge it was to make."""

from __future__ import annotations

from collections.abc import Callable

from service import ids
from service.errors import Code, ServiceError
from service.state.cartridge_shelf import CartridgeShelf
from service.state.corpora import Corpora
from service.state.job import Job, JobKind


def tell_unmade(corpora: Corpora, shelf: CartridgeShelf) -> Callable[[Job], None]:
    """For `Jobs`: the corpus or the cartridge learns why it was not made; either may be gone."""

    def tell(job: Job) -> None:
        assert job.error is not None, "a job ends without success for a reason"
        try:
            if job.kind is JobKind.INDEX:
                corpora.mark_failed(job.corpus_id, job.error)
            else:
                name = ids.parse_cartridge_name(job.target)
                shelf.mark_failed(name.corpus_id, name.cartridge_id, job.error)
        except ServiceError as gone:
            if gone.code is not Code.NOT_FOUND:
                raise

    return tell
