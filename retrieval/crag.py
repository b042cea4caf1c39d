"""CRAG: Clustered Retrieval Augmented Generation (Akesson & Santos 2024, arXiv 2406.00029).

Not "corrective RAG". What a dense search finds is clustered by k-means, each cluster is condensed, and
the condensed clusters are packed under a token budget, so that the prompt stays short when the
evidence grows. The paper condenses by LLM summaries; here a cluster is condensed to the sentences that
cover it best, weighted by how near they are to the question, so that every line keeps its span.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.embedding import Embedder
from retrieval.clusters import cluster, condense
from retrieval.corpus_index import CorpusIndex
from retrieval.lines import Findings
from retrieval.packing import Candidate, in_document_order


@dataclass(frozen=True, slots=True)
class CragSettings:
    """`found` sentences are retrieved, those within `margin` of the best are clustered into
    `clusters` (the paper's 4), and `evidence` is the token budget of the packed prompt.
    """

    found: int = 100
    clusters: int = 4
    margin: float = 0.2
    sharpness: float = 12.0  # how strongly nearness to the question weighs
    evidence: int = 256
    seed: int = 0

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
    """Evidence for a question, and all that the dense search found, nearest first.

    `cost` gives a sentence's tokens in the prompt.
    """
    numbers, cosines = index.search(embedder.embed_question(question), settings.found)
    ranking = [Candidate(int(n), float(c), 0) for n, c in zip(numbers, cosines, strict=True)]
    lines = {one.sentence: index.line(one.sentence) for one in ranking}
    near = cosines >= cosines.max(initial=0.0) - settings.margin
    numbers, cosines = numbers[near], cosines[near]
    if not len(numbers):
        return Findings()
    vectors = index.vectors[numbers]
    weights = np.exp(settings.sharpness * (cosines - cosines.max())).astype(np.float32)
    costs = np.array([cost(int(number)) for number in numbers], dtype=np.int32)
    labels = cluster(vectors, settings.clusters, settings.seed)
    rows: list[int] = []
    for label, share in _shares(labels, weights, settings.evidence):
        members = np.flatnonzero(labels == label)
        rows.extend(
            int(members[i])
            for i in condense(vectors[members], weights[members], costs[members], share)
        )
    rows = _filled(rows, cosines, costs, settings.evidence)
    evidence = in_document_order(
        [Candidate(int(numbers[i]), float(cosines[i]), int(costs[i])) for i in rows]
    )
    return Findings(evidence, ranking, lines)


def overview(
    embedder: Embedder,
    index: CorpusIndex,
    question: str,
    settings: CragSettings,
    cost: Callable[[int], int],
) -> Findings:
    """Evidence for a question about the whole: an extract of the corpus, whatever the question says."""
    rows = index.extract(settings.evidence, cost)
    cosines = index.vectors[list(rows)] @ embedder.embed_question(question)
    evidence = [Candidate(r, float(c), cost(r)) for r, c in zip(rows, cosines, strict=True)]
    ranking = sorted(evidence, key=lambda one: -one.score)
    lines = {one.sentence: index.line(one.sentence) for one in evidence}
    return Findings(in_document_order(evidence), ranking, lines)


def _shares(
    labels: NDArray[np.int64], weights: NDArray[np.float32], budget: int
) -> list[tuple[int, int]]:
    """Each cluster's part of the budget, by the weight that it holds; heaviest first."""
    masses = np.bincount(labels, weights=weights)
    parts = np.floor(budget * masses / masses.sum()).astype(int)
    return [(int(label), int(parts[label])) for label in np.argsort(-masses, kind="stable")]


def _filled(
    rows: list[int], cosines: NDArray[np.float32], costs: NDArray[np.int32], budget: int
) -> list[int]:
    """What rounding and unspent shares leave is given to the nearest sentences not yet chosen."""
    left = budget - int(costs[rows].sum()) if rows else budget
    for row in np.argsort(-cosines, kind="stable"):
        if int(row) not in rows and costs[row] <= left:
            rows.append(int(row))
            left -= int(costs[row])
    return rows
