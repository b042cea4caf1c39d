"""How the hybrid search grows: build time, memory and query times from 1,000 to 1,000,000 sentences.

Sentences are synthetic: words of Zipf's frequencies, vectors around as many centres as topics.
`python -m benchmarks.scale` writes `results/scale.json`; every size runs in a process of its own.
"""

import argparse
import json
import multiprocessing
import resource
import time
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_result
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.hybrid import HybridSettings, search
from retrieval.survey import Background, survey

SIZES = (1_000, 10_000, 100_000, 1_000_000)
DIMENSION, WORDS, A_SENTENCE, A_WINDOW, A_DOCUMENT = 384, 50_000, 16, 20, 2_000
QUERIES = 50


def vectors_of(count: int, chance: np.random.Generator) -> NDArray[np.float32]:
    """Unit rows around sqrt(n) centres."""
    centres = chance.standard_normal((max(8, int(count**0.5)), DIMENSION), dtype=np.float32)
    rows = centres[chance.integers(0, len(centres), count)]
    rows += 1.2 * chance.standard_normal((count, DIMENSION), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def corpus_of(count: int, chance: np.random.Generator) -> CorpusIndex:
    """So many sentences in documents of 2,000."""
    vectors = vectors_of(count, chance)
    documents, placements = [], []
    for number, first in enumerate(range(0, count, A_DOCUMENT)):
        size = min(A_DOCUMENT, count - first)
        ids = np.minimum(chance.zipf(1.2, (size, A_SENTENCE)), WORDS)
        sentences = [" ".join(f"w{word}" for word in row) + "." for row in ids]
        documents.append(Document(str(number), " ".join(sentences)))
        at = 0
        for start in range(0, size, A_WINDOW):
            own = sentences[start : start + A_WINDOW]
            spans = []
            for sentence in own:
                spans.append((at, at + len(sentence)))
                at += len(sentence) + 1
            rows = vectors[first + start : first + start + len(own)]
            record: Any = SimpleNamespace(
                spans=np.array(spans, np.int64),
                token_counts=np.full(len(own), A_SENTENCE, np.int32),
                vectors=rows,
                keys=None,
            )
            placements.append(Placement(number, 0, record))
    return CorpusIndex(documents, placements)


def measure(count: int) -> dict[str, object]:
    """One size."""
    chance = np.random.default_rng(count)
    index = corpus_of(count, chance)
    before = resident_mib()
    began = time.perf_counter()
    lexical = index.lexical
    words_seconds = time.perf_counter() - began
    times: dict[str, list[float]] = {"search": [], "survey": [], "faiss_flat": []}
    for _ in range(QUERIES):
        vector = index.vectors[int(chance.integers(count))]
        question = " ".join(f"w{word}" for word in np.minimum(chance.zipf(1.2, 8), WORDS))
        timed(times["search"], lambda v=vector, q=question: search(index, q, v, HybridSettings()))
        timed(times["survey"], lambda v=vector, q=question: survey(index, q, v, Background()))
        timed(times["faiss_flat"], lambda v=vector: index.search(v, 50))
    row: dict[str, object] = {
        "sentences": count,
        "words_build_seconds": words_seconds,
        "words_known": len(lexical.vocabulary),
        "mib_of_words": resident_mib() - before,
        "mib_at_most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    for name, took in times.items():
        row |= {f"{name}_p50_ms": quantile(took, 0.5), f"{name}_p99_ms": quantile(took, 0.99)}
    return row | approximate(index.vectors, chance)


def approximate(vectors: NDArray[np.float32], chance: np.random.Generator) -> dict[str, object]:
    """An inverted file beside the exact search: what it would cost and find."""
    count = len(vectors)
    if count < 100_000:
        return {}
    lists = int(4 * count**0.5)
    began = time.perf_counter()
    index = faiss.index_factory(DIMENSION, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[chance.choice(count, min(count, 40 * lists), replace=False)])
    index.add(vectors)
    built = time.perf_counter() - began
    faiss.extract_index_ivf(index).nprobe = 16
    asked = vectors[chance.choice(count, QUERIES, replace=False)]
    took: list[float] = []
    hits = 0
    for vector in asked:
        exact = set(np.argsort(-(vectors @ vector))[:10].tolist())
        began = time.perf_counter()
        _, found = index.search(vector[None], 10)
        took.append(1000 * (time.perf_counter() - began))
        hits += len(exact & set(found[0].tolist()))
    return {
        "ivf_build_seconds": built,
        "ivf_p50_ms": quantile(took, 0.5),
        "ivf_recall_10": hits / (10 * QUERIES),
    }


def timed(into: list[float], call: Any) -> None:
    began = time.perf_counter()
    call()
    into.append(1000 * (time.perf_counter() - began))


def quantile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share))


def resident_mib() -> float:
    """Memory of this process now, of which mapped files are a part."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1024**2


def _apart(count: int, out: Any) -> None:
    faiss.omp_set_num_threads(1)
    out.put(json.dumps(measure(count)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.add_argument("--data", help="not needed; for `make bench`")
    parser.add_argument("--most", type=int, default=SIZES[-1])
    given = parser.parse_args()
    rows = []
    context = multiprocessing.get_context("spawn")
    for count in (size for size in SIZES if size <= given.most):
        out = context.Queue()
        process = context.Process(target=_apart, args=(count, out))
        process.start()
        rows.append(json.loads(out.get()))
        process.join()
        print(rows[-1], flush=True)
    last = rows[-1]
    headline = {
        name: float(last[name])
        for name in ("sentences", "search_p50_ms", "search_p99_ms", "mib_at_most")
    }
    print(write_result("scale", rows, headline))


if __name__ == "__main__":
    main()
