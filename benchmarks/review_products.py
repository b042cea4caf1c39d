"""Products with what people marked in their reviews, and ways to choose sentences for a budget."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.review_corpora import Remark, read_products
from engine.embedding import Embedder
from engine.prompts import Prompter
from retrieval.clusters import cluster, condense
from retrieval.digest import Digest, make_digest
from retrieval.extract import TermCoverage, choose, extract


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A product's sentences, their unit vectors [n, dimension] and tokens [n]."""

    name: str
    remarks: tuple[Remark, ...]
    vectors: NDArray[np.float32]
    costs: NDArray[np.int32]

    @property
    def reviews(self) -> int:
        return len({remark.review for remark in self.remarks})

    def cost(self, row: int) -> int:
        """Tokens of a sentence."""
        return int(self.costs[row])

    @property
    def evenly(self) -> NDArray[np.float32]:
        return np.ones(len(self.remarks), np.float32)


Selection = Callable[[Product, int], Sequence[int]]


def fill(product: Product, order: Sequence[int], budget: int) -> list[int]:
    """Rows in an order as long as they fit."""
    chosen, left = [], budget
    for row in order:
        if product.costs[row] <= left:
            chosen.append(row)
            left -= int(product.costs[row])
    return chosen


def at_random(product: Product, budget: int) -> list[int]:
    return fill(
        product, np.random.default_rng(budget).permutation(len(product.costs)).tolist(), budget
    )


def nearest_to_mean(product: Product, budget: int) -> list[int]:
    """Dense top-k for a question about the whole: its vector is the text's own mean."""
    return fill(
        product, np.argsort(-(product.vectors @ product.vectors.mean(axis=0))).tolist(), budget
    )


def medoids(product: Product, budget: int) -> list[int]:
    """One sentence a cluster, as many clusters as the budget has room for sentences."""
    count = max(1, round(budget / float(product.costs.mean())))
    return fill(product, _by_centroid(product, count, 1), budget)


def four_clusters(product: Product, budget: int) -> list[int]:
    """The paper's k = 4, every cluster told by the sentences nearest to its centre, in turns."""
    return fill(product, _by_centroid(product, 4, len(product.costs)), budget)


def _by_centroid(product: Product, count: int, most: int) -> list[int]:
    labels = cluster(product.vectors, count)
    queues = []
    for label in np.argsort(-np.bincount(labels), kind="stable"):
        members = np.flatnonzero(labels == label)
        nearness = product.vectors[members] @ product.vectors[members].mean(axis=0)
        queues.append([int(row) for row in members[np.argsort(-nearness)][:most]])
    longest = max(map(len, queues))
    return [queue[i] for i in range(longest) for queue in queues if i < len(queue)]


def near(product: Product, budget: int) -> Sequence[int]:
    return condense(product.vectors, product.evenly, product.costs, budget)


def terms(product: Product, budget: int) -> list[int]:
    return choose(TermCoverage([x.text for x in product.remarks]), product.costs, budget)


def both(product: Product, budget: int) -> list[int]:
    return extract(product.vectors, [x.text for x in product.remarks], product.costs, budget)


def as_printed(product: Product, budget: int) -> Sequence[int]:
    """What the route's overview tells, whose lines say for how many sentences they speak."""
    return digest_of(product, budget).sentences


def digest_of(product: Product, budget: int) -> Digest:
    """The route's own."""
    texts = [x.text for x in product.remarks]
    return make_digest(product.vectors, texts, product.cost, budget)


SELECTIONS: dict[str, Selection] = {
    "random sentences": at_random,
    "nearest to the mean": nearest_to_mean,
    "k-means, one sentence a cluster": medoids,
    "k-means, k = 4 (the paper's), extractive": four_clusters,
    "facility location": near,
    "terms": terms,
    "facility location and terms": both,
    "facility location and terms, sizes printed": as_printed,
}


def judge(remarks: Sequence[Remark], rows: Sequence[int]) -> dict[str, float]:
    """Shares of what there is to tell."""
    mentions = Counter(name for remark in remarks for name, _ in remark.aspects)
    told = [pair for row in rows for pair in remarks[row].aspects]
    names, stances = {name for name, _ in told}, set(told)
    every = {pair for remark in remarks for pair in remark.aspects}
    disputed = [n for n in mentions if {(n, "+"), (n, "-")} <= every]
    common = [name for name, count in mentions.items() if count >= 3]
    return {
        "weighted": sum(mentions[name] for name in names) / mentions.total(),
        "frequent": sum(name in names for name in common) / max(1, len(common)),
        "both_stances": sum({(n, "+"), (n, "-")} <= stances for n in disputed)
        / max(1, len(disputed)),
        "reviews": len({remarks[row].review for row in rows}) / len({x.review for x in remarks}),
    }


def read_reviews(path: Path, prompter: Prompter, embedder: Embedder) -> Iterator[Product]:
    """Every product of the archive, with vectors and costs of its sentences."""
    for name, remarks in track(list(read_products(path)), "products"):
        costs = [len(prompter.line_ids(remark.text)) for remark in remarks]
        vectors = embedder.embed([remark.text for remark in remarks])
        yield Product(name, tuple(remarks), vectors, np.array(costs, np.int32))
