"""Every route has one verb: prepare a prompt from a corpus and a question. Generation never asks
which route made it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cartridges.store import Cartridge
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from retrieval import crag, infini_retri
from retrieval.attention_index import AttentionScorer
from retrieval.corpus_index import Evidence
from retrieval.crag import CragSettings
from retrieval.infini_retri import AttentionReader, ReadingSettings
from retrieval.packing import Candidate
from service.answers import Route
from service.library import ResidentCorpus


@dataclass(frozen=True, slots=True, eq=False)
class PreparedContext:
    """What generation continues: an optional prefix, the prompt behind it, and the evidence in it.

    `lead` are words of the answer that stand in the prompt already.
    """

    prefix: KVPrefix | None
    prompt: tuple[int, ...]
    evidence: tuple[Evidence, ...]
    lead: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens that the evidence of one prompt may have."""

    evidence: int


class Preparer(Protocol):
    """A route's verb."""

    def __call__(
        self, corpus: ResidentCorpus, question: str, budget: Budget
    ) -> PreparedContext: ...


class Routes:
    """The routes over one model and one embedder."""

    def __init__(
        self,
        model: LanguageModel,
        embedder: Embedder,
        reader: AttentionReader,
        scorer: AttentionScorer,
        reading: ReadingSettings,
        clustering: CragSettings,
    ) -> None:
        self._embedder, self._reader, self._scorer = embedder, reader, scorer
        self._reading, self._clustering = reading, clustering
        self.prompter = Prompter(model)

    def preparer(self, route: Route, cartridge: Cartridge | None = None) -> Preparer:
        """The verb of a route; the cartridge is needed by its own route alone."""
        if route is Route.CARTRIDGE:
            assert cartridge is not None, "the cartridge route was taken without a cartridge"
            return lambda corpus, question, budget: self._asked(question, prefix=cartridge.prefix)
        return {
            Route.INFINI_RETRI: self._infini_retri,
            Route.CRAG: self._crag,
            Route.FULL_CONTEXT: self._full_context,
            Route.NONE: self._none,
        }[route]

    def nearest(self, corpus: ResidentCorpus, question: str) -> float:
        """Cosine of the question and the corpus' nearest sentence; -1 where there is none."""
        _, cosines = corpus.index.search(self._embedder.embed([question])[0], 1)
        return float(cosines[0]) if len(cosines) else -1.0

    def _infini_retri(
        self, corpus: ResidentCorpus, question: str, budget: Budget
    ) -> PreparedContext:
        settings = ReadingSettings(self._reading.window, budget.evidence, self._reading.share)
        found = infini_retri.retrieve(self._reader, self._scorer, corpus.index, question, settings)
        return self._with_evidence(corpus, found, question)

    def _crag(self, corpus: ResidentCorpus, question: str, budget: Budget) -> PreparedContext:
        plain = self._clustering
        settings = CragSettings(
            plain.found, plain.clusters, plain.margin, plain.sharpness, budget.evidence, plain.seed
        )
        found = crag.retrieve(
            self._embedder,
            corpus.index,
            question,
            settings,
            lambda sentence: len(self.prompter.line_ids(corpus.index.text(sentence))),
        )
        return self._with_evidence(corpus, found, question)

    def _full_context(
        self, corpus: ResidentCorpus, question: str, budget: Budget
    ) -> PreparedContext:
        context = self.prompter.context_ids(corpus.sentences())
        return self._asked(question, context)

    def _none(self, corpus: ResidentCorpus, question: str, budget: Budget) -> PreparedContext:
        return PreparedContext(None, tuple(self.prompter.bare_ids(question)), (), "")

    def _with_evidence(
        self, corpus: ResidentCorpus, found: list[Candidate], question: str
    ) -> PreparedContext:
        evidence = tuple(corpus.index.evidence(c.sentence, c.score) for c in found)
        context = self.prompter.context_ids([piece.text for piece in evidence])
        return self._asked(question, context, evidence)

    def _asked(
        self,
        question: str,
        context: Sequence[int] = (),
        evidence: tuple[Evidence, ...] = (),
        prefix: KVPrefix | None = None,
    ) -> PreparedContext:
        """The question behind a text, be it in the prompt or in a prefix."""
        prompt = (*context, *self.prompter.question_ids(question))
        return PreparedContext(prefix, prompt, evidence, self.prompter.lead)
