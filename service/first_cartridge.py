"""The cartridge that a corpus gets by itself once it is indexed, until a better one is there."""

from cartridges.effort import Effort
from engine.fail_point import fail_point
from service import ids
from service.config import Layout
from service.errors import Code, ServiceError
from service.removal import remove_tree
from service.state.cartridge_shelf import CartridgeShelf, CartridgeState
from service.state.corpus import Corpus
from service.state.job import JobKind
from service.state.jobs import Jobs

INSTANT = "instant"  # its id, in every corpus


class FirstCartridges:
    """Orders the instant cartridge of corpora of at most `most_tokens`; 0 orders none."""

    def __init__(
        self, shelf: CartridgeShelf, jobs: Jobs, layout: Layout, fingerprint: str, most_tokens: int
    ) -> None:
        self._shelf, self._jobs, self._layout = shelf, jobs, layout
        self._fingerprint, self._most_tokens = fingerprint, most_tokens

    def order(self, corpus: Corpus) -> None:
        """After indexing; does nothing where the content has a cartridge or one is being made."""
        if not 0 < corpus.token_count <= self._most_tokens:
            return
        if self._shelf.newest_ready(corpus.id, self._fingerprint) or self._is_in_training(
            corpus.id
        ):
            return
        self.retire(corpus.id)
        target = ids.cartridge_name(corpus.id, INSTANT)
        wanted = {"cartridge_id": INSTANT, "effort": Effort.INSTANT.value}
        with self._jobs.transaction():  # no record without the job that ends it
            self._shelf.create(
                corpus.id, INSTANT, prefix_tokens=0, query_offset=0,
                model_fingerprint=self._fingerprint, corpus_digest=corpus.content_digest,
            )  # fmt: skip
            fail_point("instant.promised")
            self._jobs.enqueue(JobKind.TRAIN, corpus.id, target, wanted)

    def retire(self, corpus_id: str) -> None:
        """Removes it, once a better one is ready or the text has changed."""
        try:
            self._shelf.delete(corpus_id, INSTANT)
            fail_point("instant.deleted")
        except ServiceError as error:
            if error.code is not Code.NOT_FOUND:
                return  # the record stands, and so must the files
        layout = self._layout
        remove_tree(layout.cartridge(corpus_id, INSTANT), layout.data, layout.elsewhere)
        self._shelf.end_deletion(corpus_id, INSTANT)

    def _is_in_training(self, corpus_id: str) -> bool:
        found, _ = self._shelf.list(corpus_id)
        return any(one.state is CartridgeState.TRAINING for one in found)
