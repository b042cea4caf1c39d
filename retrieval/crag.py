"""CRAG: Clustered Retrieval Augmented Generation (Akesson & Santos 2024, arXiv 2406.00029).

Not "corrective RAG". What a hybrid search finds is clustered by k-means and condensed under a token
budget, so that the prompt stays short when the evidence grows. The paper condenses each cluster by an
LLM summary, which `summarised` does for overviews. Else sentences are chosen that cover what was found,
weighted by how well they answer, a cluster that has a say already adding less, so that every line keeps
its span. A share of the budget for every cluster, as the paper has it, loses a third of the answers to
lookups (benchmarks/crag).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.embedding import Embedder
from retrieval.clusters import cluster
from retrieval.corpus_index import CorpusIndex
from retrieval.digest import size_label, size_tokens
from retrieval.extract import Diversity, FacilityLocation, Together, choose
from retrieval.hybrid import HybridSettings, search
from retrieval.lines import Findings, Line
from retrieval.packing import Candidate, in_document_order
from retrieval.ranking import rank


class Condense(StrEnum):
    """How a whole corpus is condensed: to some of its sentences, or a summary of each cluster."""

    EXTRACTS = "extracts"
    SUMMARIES = "summaries"

    @classmethod
    def _missing_(cls, value: object) -> "Condense":
        raise ValueError(f"condense is {value!r}; give {' or '.join(cls)}")


@dataclass(frozen=True, slots=True)
class CragSettings:
    """The best `found` sentences of a hybrid search are clustered into `clusters` (the paper's 4), and
    `evidence` is the token budget of the packed prompt.
    """

    found: int = 100
    clusters: int = 4
    sharpness: float = 2.0  # how strongly a deviation more of score weighs
    diversity: float = 0.8  # power of what a cluster has a say of: at 1 clusters mean nothing
    share: float = 0.5  # of the best score, below which nothing is evidence
    evidence: int = 256
    condense: Condense = Condense.EXTRACTS  # what an overview is told
    seed: int = 0
    search: HybridSettings = field(default_factory=HybridSettings)

    def __post_init__(self) -> None:
        if min(self.found, self.clusters, self.evidence) < 1:
            raise ValueError("found, clusters and evidence must be at least 1")


def retrieve(
    embedder: Embedder,
    index: CorpusIndex,
    question: str,
    settings: CragSettings,
    cost: Callable[[int], int],
) -> Findings:
    """Evidence for a question, and all that the search found, best first.

    `cost` gives a sentence's tokens in the prompt.
    """
    if not len(index):
        return Findings()
    scores = search(index, question, index.vector_of(question, embedder), settings.search)
    numbers = np.array(rank(scores, settings.found))
    scores = scores[numbers]
    ranking = [Candidate(int(n), float(s), 0) for n, s in zip(numbers, scores, strict=True)]
    lines = {one.sentence: index.line(one.sentence) for one in ranking}
    near = scores >= min(settings.share * scores[0], scores[0])  # a best below 0 is near itself
    near &= _firsts([lines[int(number)].text for number in numbers])
    numbers, scores = numbers[near], scores[near]
    vectors = index.vectors[numbers]
    weights = np.exp(settings.sharpness * (scores - scores[0])).astype(np.float32)
    costs = np.array([cost(int(number)) for number in numbers], dtype=np.int32)
    labels = cluster(vectors, settings.clusters, settings.seed)
    worth = Together(
        FacilityLocation(vectors, weights), Diversity(labels, weights, settings.diversity)
    )
    rows = choose(worth, costs, settings.evidence)
    evidence = [Candidate(int(numbers[i]), float(scores[i]), int(costs[i])) for i in rows]
    return Findings(in_document_order(evidence), ranking, lines)


def _firsts(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the texts did not stand before: said twice, a thing is told once."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(text, i) == i for i, text in enumerate(texts)], dtype=np.bool_)


def overview(
    embedder: Embedder,
    index: CorpusIndex,
    question: str,
    settings: CragSettings,
    cost: Callable[[int], int],
) -> Findings:
    """Evidence for a question about the whole: a digest of the corpus, whatever the question says. Each
    sentence is told with how many it speaks for, if for more than itself, so that what most say and what
    one says are told apart.
    """
    digest = index.digest(settings.evidence, cost)
    told = [
        _Told(index.line(row), count, cost(row) + size_tokens(count))
        for row, count in zip(digest.sentences, digest.speaks_for, strict=True)
    ]
    return _of_the_whole(index, index.vector_of(question, embedder), told)


def summarised(
    embedder: Embedder,
    index: CorpusIndex,
    question: str,
    settings: CragSettings,
    count: Callable[[str], int],
) -> Findings:
    """An overview from the summaries that were made when the corpus was indexed, the largest clusters
    first, each told in place of its cluster's most central sentence, whose span it has. `count` gives a
    line's tokens.
    """
    told: list[_Told] = []
    left = settings.evidence
    for summary in index.summaries:
        tokens = count(summary.text) + size_tokens(summary.speaks_for)
        if tokens <= left:
            left -= tokens
            line = replace(index.line(summary.sentence), text=summary.text)
            told.append(_Told(line, summary.speaks_for, tokens))
    return _of_the_whole(index, index.vector_of(question, embedder), told)


class _Told(NamedTuple):
    """A line of an overview, for how many sentences it speaks, and its tokens with its label."""

    line: Line
    speaks_for: int
    tokens: int


def _of_the_whole(
    index: CorpusIndex, asked: NDArray[np.float32], told: Sequence[_Told]
) -> Findings:
    rows = [one.line.sentence for one in told]
    cosines = index.vectors[rows] @ asked
    evidence = [
        Candidate(row, float(cosine), one.tokens)
        for row, cosine, one in zip(rows, cosines, told, strict=True)
    ]
    ranking = sorted(evidence, key=lambda one: -one.score)
    lines = {
        one.line.sentence: replace(one.line, text=size_label(one.speaks_for) + one.line.text)
        for one in told
    }
    return Findings(in_document_order(evidence), ranking, lines)
