"""Prompt tokens against plain RAG as reviews grow from 4 to 75, as the paper counts them, with what the
tokens tell beside them.

Plain RAG pastes all reviews. What it can tell with as few tokens as CRAG is what its nearest sentences
tell. The paper reports 46 % fewer tokens at least and 90.9 % fewer at 75 reviews (5,165 to 468).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from benchmarks.review_products import Product, digest_of, judge, nearest_to_mean

SIZES = (4, 10, 20, 40, 75)
CEILING = 468  # tokens: the paper's at 75 reviews
SHARE = 0.54  # of few reviews: the paper's 46 % less


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the products that have so many reviews."""

    reviews: int
    products: int
    plain_tokens: float
    crag_tokens: float
    reduction: float
    crag_coverage: float
    plain_coverage_at_as_many_tokens: float


def token_table(products: Sequence[Product]) -> list[Row]:
    """One row a number of reviews."""
    rows = []
    for size in SIZES:
        firsts = [first_reviews(p, size) for p in products if p.reviews >= size]
        if firsts:
            rows.append(_row(size, firsts))
    return rows


def first_reviews(product: Product, most: int) -> Product:
    """The product with its first reviews alone."""
    names = list(dict.fromkeys(remark.review for remark in product.remarks))[:most]
    kept = np.array([remark.review in names for remark in product.remarks])
    return replace(
        product,
        remarks=tuple(r for r, keep in zip(product.remarks, kept, strict=True) if keep),
        vectors=product.vectors[kept],
        costs=product.costs[kept],
    )


def _row(size: int, products: Sequence[Product]) -> Row:
    plain, ours, crag, cut = [], [], [], []
    for product in products:
        whole = int(product.costs.sum())
        budget = min(CEILING, int(SHARE * whole))
        digest = digest_of(product, budget)
        plain.append(whole)
        ours.append(digest.tokens(product.cost))
        crag.append(judge(product.remarks, digest.sentences)["weighted"])
        cut.append(judge(product.remarks, nearest_to_mean(product, budget))["weighted"])
    reduction = fmean(1 - own / whole for own, whole in zip(ours, plain, strict=True))
    return Row(size, len(products), fmean(plain), fmean(ours), reduction, fmean(crag), fmean(cut))
