"""Every route has one verb: prepare a prompt from a corpus and a question. Generation never asks
which route made it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from cartridges.general import load_questions
from cartridges.store import Cartridge
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Lead, Prompter
from engine.quotation import QuotedLine
from retrieval import crag
from retrieval.corpus_index import CorpusIndex, Evidence
from retrieval.crag import Condense, CragSettings
from retrieval.infini_retri import ReadingSettings
from retrieval.lines import Effort, Findings, Line
from retrieval.packing import Candidate
from retrieval.question_kind import asks_for_overview
from retrieval.readers import Readers
from retrieval.survey import Background, Survey, survey
from service.answers import Route
from service.library import ResidentCorpus

DECLINED = "The corpus does not tell."
"""The answer to a question that the router declines."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedContext:
    """What generation continues: an optional prefix, the prompt behind it, and the evidence in it.

    `lead` is how the answer begins, which stands in the prompt already; `ranking` is what was ranked,
    best first, in the prompt or not, and `effort` how far the question was read for it. `said` is the
    whole answer where no model is asked; `quoted` are the lines that the answer is made of, if it is.
    """

    prefix: KVPrefix | None
    prompt: tuple[int, ...]
    evidence: tuple[Evidence, ...]
    lead: Lead
    ranking: tuple[Evidence, ...] = ()
    effort: Effort | None = None
    said: str = ""
    quoted: tuple[QuotedLine, ...] = ()


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
        readers: Readers,
        reading: ReadingSettings,
        clustering: CragSettings,
        verbatim: bool = True,
    ) -> None:
        self._embedder, self.readers = embedder, readers
        self._reading, self._clustering, self._verbatim = reading, clustering, verbatim
        self.prompter = Prompter(model)
        self._backgrounds: WeakKeyDictionary[CorpusIndex, Background] = WeakKeyDictionary()

    def preparer(
        self,
        route: Route,
        cartridge: Cartridge | None = None,
    ) -> Preparer:
        """The verb of a route that reads in one go; the cartridge is needed by its own route alone."""
        if route is Route.CARTRIDGE:
            assert cartridge is not None, "the cartridge route was taken without a cartridge"
            return lambda corpus, question, budget: self._asked(question, prefix=cartridge.prefix)
        return {
            Route.CRAG: self._crag,
            Route.FULL_CONTEXT: self._full_context,
            Route.NONE: self._none,
            Route.DECLINE: self._decline,
        }[route]

    def survey(self, corpus: ResidentCorpus, question: str) -> Survey:
        """What a cheap search tells about a question and a corpus."""
        vector = corpus.index.vector_of(question, self._embedder)
        return survey(corpus.index, question, vector, self._background(corpus.index))

    @cached_property
    def _unrelated(self) -> NDArray[np.float32]:
        return self._embedder.embed(load_questions())

    def _background(self, index: CorpusIndex) -> Background:
        if index not in self._backgrounds:
            self._backgrounds[index] = Background.of(index, self._unrelated)
        return self._backgrounds[index]

    def reading_settings(self, budget: Budget) -> ReadingSettings:
        """The settings of a reading whose evidence may have so many tokens."""
        return replace(self._reading, evidence=budget.evidence)

    def as_published(
        self, corpus: ResidentCorpus, question: str, budget: Budget
    ) -> PreparedContext:
        """What the published reader finds, and its prompt."""
        settings = self.reading_settings(budget)
        found = self.readers.published.read(corpus.index.lines(), question, settings)
        return self.with_evidence(corpus, found, question)

    def from_text(self, found: Findings, question: str) -> PreparedContext:
        """The prompt of a question about a text that was read and is not registered."""
        evidence = tuple(_of_text(found.lines, candidate) for candidate in found.evidence)
        return self._told(question, found, evidence)

    def _crag(self, corpus: ResidentCorpus, question: str, budget: Budget) -> PreparedContext:
        settings = replace(self._clustering, evidence=budget.evidence)
        rehearsal = corpus.catalog.rehearsal
        if rehearsal and rehearsal.lexical is not None:
            search = replace(settings.search, lexical=rehearsal.lexical)
            settings = replace(settings, search=search)
        index, is_overview = corpus.index, asks_for_overview(question)

        def count(text: str) -> int:
            return len(self.prompter.line_ids(text))

        if is_overview and index.summaries and settings.condense is Condense.SUMMARIES:
            found = crag.summarised(self._embedder, index, question, settings, count)
        else:
            find = crag.overview if is_overview else crag.retrieve
            found = find(
                self._embedder, index, question, settings, lambda row: count(index.text(row))
            )
        return self.with_evidence(corpus, found, question)

    def _full_context(
        self, corpus: ResidentCorpus, question: str, budget: Budget
    ) -> PreparedContext:
        context = self.prompter.context_ids(corpus.sentences())
        return self._asked(question, context)

    def _none(self, corpus: ResidentCorpus, question: str, budget: Budget) -> PreparedContext:
        return PreparedContext(None, tuple(self.prompter.bare_ids(question)), (), Lead())

    def _decline(self, corpus: ResidentCorpus, question: str, budget: Budget) -> PreparedContext:
        return PreparedContext(None, (), (), Lead(), said=DECLINED)

    def with_evidence(
        self, corpus: ResidentCorpus, found: Findings, question: str
    ) -> PreparedContext:
        """The prompt of a question with what was found for it in a corpus."""
        evidence = tuple(corpus.index.evidence(c.sentence, c.score) for c in found.evidence)
        ranking = tuple(corpus.index.evidence(c.sentence, c.score) for c in found.ranking)
        prepared = self._told(question, found, evidence)
        return replace(prepared, ranking=ranking, effort=found.effort)

    def _told(
        self, question: str, found: Findings, evidence: tuple[Evidence, ...]
    ) -> PreparedContext:
        told = [line.text for line in found.told()]
        prepared = self._asked(question, self.prompter.context_ids(told), evidence)
        return (
            replace(prepared, quoted=self.prompter.quotable(told)) if self._verbatim else prepared
        )

    def _asked(
        self,
        question: str,
        context: Sequence[int] = (),
        evidence: tuple[Evidence, ...] = (),
        prefix: KVPrefix | None = None,
    ) -> PreparedContext:
        """The question behind a text, be it in the prompt or in a prefix."""
        lead = self.prompter.quote if evidence else self.prompter.lead
        prompt = (*context, *self.prompter.question_ids(question, lead))
        return PreparedContext(prefix, prompt, evidence, lead)


def _of_text(lines: Mapping[int, Line], found: Candidate) -> Evidence:
    line = lines[found.sentence]
    return Evidence("", line.start, line.start + len(line.text), found.score, line.text)
