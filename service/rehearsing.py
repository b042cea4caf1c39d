"""A corpus asks itself: questions whose answers are known, and how well each route tells them.

Nothing is decoded but the questions. A route's text is judged by what it takes off the model's loss on
the known answer, which is a small part of what answering by every route would take.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cartridges.conversations import Conversation, distinct
from cartridges.self_study import StudySettings, converse, plan_study
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prompts import Prompter
from engine.scoring import Turn, answer_nll, pack_by_tokens
from retrieval.crag import CragSettings
from retrieval.infini_retri import ReadingSettings
from retrieval.leg_weights import Known, fit_lexical
from retrieval.readers import Readers
from retrieval.window_index import WindowReader
from service.answers import Route
from service.library import ResidentCorpus
from service.routes import Budget, Routes
from service.routing.rehearsal import Rehearsal, Tried

MOST_CONTEXT = 4096  # tokens of a corpus, up to which its whole text is tried too
PACK_TOKENS = 1024  # scored in one pass
GAIN = 0.25  # nats a token that the very sentence takes off an answer's loss, else it is no answer
TOLD = 0.5  # recovered share from which a route counts as telling an answer


@dataclass(frozen=True, slots=True)
class _Losses:
    """Of one question's answer, in nats a token: without a text, behind its sentence, by each route."""

    without: float
    source: float
    routes: Mapping[Route, float]

    def recovered(self, route: Route) -> float:
        share = (self.without - self.routes[route]) / (self.without - self.source)
        return min(1.0, max(0.0, share))


class Rehearser:
    """Used by one thread, with the models that indexed the corpus."""

    def __init__(
        self,
        reader: WindowReader,
        reading: ReadingSettings | None = None,
        clustering: CragSettings | None = None,
    ) -> None:
        self._model: LanguageModel = reader.model
        self._embedder: Embedder = reader.embedder
        self._reading, self._clustering = reading or ReadingSettings(), clustering or CragSettings()
        readers = Readers(reader.model, reader.heads, reader.embedder, reader.size)
        self._routes = Routes(
            reader.model, reader.embedder, readers, self._reading, self._clustering
        )
        self._prompter = Prompter(reader.model)

    def rehearse(self, corpus: ResidentCorpus, wanted: int) -> Generator[float, None, Rehearsal]:
        """Yields the share done; the same corpus and model give the same rehearsal."""
        asked = yield from self._questions(corpus, wanted)
        whole = self._whole(corpus, asked)
        kept: list[tuple[Conversation, _Losses]] = []
        for number, one in enumerate(asked):
            losses = self._losses(
                corpus, one, {} if not whole else {Route.FULL_CONTEXT: whole[number]}
            )
            if losses.without - losses.source >= GAIN:
                kept.append((one, losses))
            yield 0.5 + 0.5 * (number + 1) / len(asked)
        known = [
            Known(one.question, corpus.index.vector_of(one.question, self._embedder), one.sentence)
            for one, _ in kept
        ]
        fitted = fit_lexical(corpus.index, known, self._clustering.search)
        tried = _tried([losses for _, losses in kept])
        if fitted is None:
            return Rehearsal(wanted)
        is_another = fitted.lexical != self._clustering.search.lexical
        return Rehearsal(
            wanted, len(kept), tried, fitted.lexical if is_another else None, fitted.rank,
            fitted.shipped_rank,
        )  # fmt: skip

    def _questions(
        self, corpus: ResidentCorpus, wanted: int
    ) -> Generator[float, None, list[Conversation]]:
        sentences = corpus.sentences()
        settings = StudySettings(conversations=max(2, wanted), batch=8)
        batches = plan_study(sentences, settings, range(len(sentences)))
        made: list[Conversation] = []
        for number, batch in enumerate(converse(self._model, sentences, batches, settings)):
            made += batch
            yield 0.5 * (number + 1) / len(batches)
        return distinct(made)

    def _whole(self, corpus: ResidentCorpus, asked: Sequence[Conversation]) -> list[float]:
        """The losses behind the whole text, which is read once; none where it is too long."""
        if not asked or corpus.context_tokens > min(MOST_CONTEXT, self._model.geometry.window // 2):
            return []
        prefix = self._model.prefill(self._prompter.context_ids(corpus.sentences()))
        turns = [one.turn(self._prompter) for one in asked]
        packs = pack_by_tokens(turns, PACK_TOKENS)
        return [loss for pack in packs for loss in answer_nll(self._model, pack, prefix)]

    def _losses(
        self, corpus: ResidentCorpus, asked: Conversation, known: Mapping[Route, float]
    ) -> _Losses:
        budget, index = Budget(self._reading.evidence), corpus.index
        crag = self._routes.preparer(Route.CRAG)(corpus, asked.question, budget).evidence
        settings = self._routes.reading_settings(budget)
        read = self._routes.readers.indexed.read(index, asked.question, settings)
        texts = [
            [],
            [index.text(asked.sentence)],
            [one.text for one in crag],
            [line.text for line in read.told()],
        ]
        turn = asked.turn(self._prompter)
        turns = [
            Turn((*self._prompter.context_ids(text), *turn.question), turn.answer) for text in texts
        ]
        packs = pack_by_tokens(turns, PACK_TOKENS)
        without, source, found, attended = (
            loss for pack in packs for loss in answer_nll(self._model, pack, None)
        )
        return _Losses(without, source, {Route.CRAG: found, Route.INFINI_RETRI: attended, **known})


def _tried(losses: Sequence[_Losses]) -> tuple[Tried, ...]:
    if not losses:
        return ()
    tried = []
    for route in losses[0].routes:
        shares = [one.recovered(route) for one in losses]
        tried.append(Tried(route.value, sum(share >= TOLD for share in shares), fmean(shares)))
    return tuple(tried)
