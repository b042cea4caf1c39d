"""Clustered retrieval: what a token budget keeps of a whole, tokens against plain RAG, recall, answers.

Selections of 5, 10 and 20 % of a product's reviews are judged by the aspects that people marked: the
share of their mentions whose aspect is told, aspects of three mentions and more, aspects of which both
stances are told, and reviews that have a say. The headline's coverage is the route's: every line is
charged with the size that an overview prints before it. `python -m benchmarks.crag --data .work/data
--questions FOLDER` writes `results/crag.json`; `--coverage` measures this part alone and leaves the
rows of recall and answers as they were.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from rich.progress import track

from benchmarks.bench_corpora import Bench, read_musique, read_nq
from benchmarks.crag_recall import accepted, answer_rows, recall_rows
from benchmarks.crag_tokens import token_table
from benchmarks.record import recorded_rows, write_result
from benchmarks.review_products import SELECTIONS, Product, judge, read_reviews
from engine.prompts import Prompter

SHARES = (0.05, 0.1, 0.2)


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


def headline(rows: Sequence[dict[str, object]]) -> dict[str, float]:
    """The figures that people ask for."""
    ours = {r["share"]: r["weighted"] for r in rows if r.get("selection") == list(SELECTIONS)[-1]}
    largest = max(int(str(row["reviews_read"])) for row in rows if "reviews_read" in row)
    reduced = next(row for row in rows if row.get("reviews_read") == largest)
    found = {(r["set"], r["leg"]): r["recall@5"] for r in rows if "leg" in r}
    figures: dict[str, object] = {f"coverage_{share * 100:.0f}": ours[share] for share in SHARES}
    figures[f"token_reduction_{largest}"] = reduced["reduction"]
    for name in ("musique", "nq"):
        figures[f"recall5_{name}"] = found[name, "fused, two hops"]
        with_attention = found.get((name, "fused, two hops + attention"))
        if with_attention is not None:
            figures[f"recall5_{name}_with_attention"] = with_attention
    return {name: float(str(value)) for name, value in figures.items()}


def search_rows(bench: Bench, given: argparse.Namespace) -> list[dict[str, object]]:
    """What searches find of the gold passages, and what is answered from it."""
    rows: list[dict[str, object]] = []
    for gold in (read_nq(given.questions), read_musique(given.questions)):
        make = bench.index if given.attention else bench.index_without_keys
        index = make(gold.passages)
        rows += recall_rows(bench, gold, index, given.attention)
        accept = accepted(given.questions, gold.name)
        rows += answer_rows(bench, gold, index, accept, given.answers, given.attention)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.crag", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="folder of the question sets")
    parser.add_argument("--answers", type=int, default=60, help="questions of each set answered")
    parser.add_argument("--attention", action="store_true", help="beside it, the stored keys")
    parser.add_argument("--coverage", action="store_true", help="what budgets keep, alone")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    bench = Bench.load(given.data, given.threads)
    archive = given.questions / "product_reviews_1.zip"
    products = list(read_reviews(archive, Prompter(bench.model), bench.embedder))
    rows = measure(products)
    for row in map(asdict, token_table(products)):
        rows.append({"reviews_read": row.pop("reviews"), **row})
    if given.coverage:
        rows += [row for row in recorded_rows("crag") if "set" in row]
    else:
        rows += search_rows(bench, given)
    print(write_result("crag", rows, headline(rows)))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
