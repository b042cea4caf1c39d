"""What a token budget keeps of a text as a whole: aspects of products in hundreds of review sentences.

Selections of 5, 10 and 20 % of a product's tokens, judged by the aspects that people marked: the share
of their mentions whose aspect is told, aspects of three mentions and more, aspects of which both stances
are told, and reviews that have a say. `python -m benchmarks.crag --data .work/data --questions FOLDER`
writes `results/crag.json`.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from benchmarks.record import write_result
from benchmarks.review_corpora import Remark, read_products
from engine.config import EngineConfig
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prompts import Prompter
from retrieval.clusters import cluster, condense
from retrieval.extract import TermCoverage, choose, extract

SHARES = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A product's sentences, their unit vectors [n, dimension] and tokens [n]."""

    name: str
    remarks: tuple[Remark, ...]
    vectors: NDArray[np.float32]
    costs: NDArray[np.int32]

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


SELECTIONS: dict[str, Selection] = {
    "random sentences": at_random,
    "nearest to the mean": nearest_to_mean,
    "k-means, one sentence a cluster": medoids,
    "k-means, k = 4 (the paper's), extractive": four_clusters,
    "facility location": near,
    "terms": terms,
    "facility location and terms": both,
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
        "frequent": sum(name in names for name in common) / len(common),
        "both_stances": sum({(n, "+"), (n, "-")} <= stances for n in disputed) / len(disputed),
        "reviews": len({remarks[row].review for row in rows}) / len({x.review for x in remarks}),
    }


def measure(products: Sequence[Product]) -> list[dict[str, object]]:
    """A row a selection and share, means over the products."""
    rows: list[dict[str, object]] = []
    for name, select in track(SELECTIONS.items(), "selections"):
        for share in SHARES:
            began = time.perf_counter()
            budgets = [int(product.costs.sum() * share) for product in products]
            chosen = [select(p, budget) for p, budget in zip(products, budgets, strict=True)]
            took = (time.perf_counter() - began) / len(products)
            found = [judge(p.remarks, c) for p, c in zip(products, chosen, strict=True)]
            means = {key: fmean(one[key] for one in found) for key in found[0]}
            rows.append({"selection": name, "share": share, "seconds": took, **means})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.crag", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="folder of the reviews")
    given = parser.parse_args()
    prompter = Prompter(LanguageModel.load(EngineConfig(given.data, threads=1)))
    embedder = Embedder.load()
    products = []
    for name, remarks in track(list(read_products(given.questions / "product_reviews_1.zip"))):
        costs = [len(prompter.line_ids(remark.text)) for remark in remarks]
        vectors = embedder.embed([remark.text for remark in remarks])
        products.append(Product(name, tuple(remarks), vectors, np.array(costs, np.int32)))
    rows = measure(products)
    ours = {r["share"]: r["weighted"] for r in rows if r["selection"] == list(SELECTIONS)[-1]}
    headline = {f"coverage_{share * 100:.0f}": float(str(ours[share])) for share in SHARES}
    print(write_result("crag", rows, headline))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
