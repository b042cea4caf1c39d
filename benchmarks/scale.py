"""How the hybrid search grows: build time, memory and query times from 1,000 to 1,000,000 sentences.

Sentences are synthetic: words of Zipf's frequencies, vectors around as many centres as topics.
`python -m benchmarks.scale` writes `results/scale.json`; every size runs in a process of its own.
"""

import argparse
import json
import multiprocessing
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_result
from cartridges.store import digest_of
from retrieval.corpus_index import CorpusIndex, Document, Placement
from retrieval.dense_index import DenseIndex
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
    index.search(index.vectors[0], 1)  # its vectors are no part of what the words take
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
    return row | approximate(index, chance)


def approximate(index: CorpusIndex, chance: np.random.Generator) -> dict[str, object]:
    """The inverted file that indexing would build, beside the exact search."""
    began = time.perf_counter()
    built = DenseIndex.build(index.vectors)
    build_seconds = time.perf_counter() - began
    if not built.lists:
        return {}
    took: list[float] = []
    hits = 0
    for vector in index.vectors[chance.choice(len(index), QUERIES, replace=False)]:
        exact = set(index.search(vector, 10)[0].tolist())
        timed(took, lambda v=vector: built.search(v, 50))
        hits += len(exact & set(built.search(vector, 10)[0].tolist()))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.faiss"
        built.save(path)
        began = time.perf_counter()
        digest_of(path)
        DenseIndex.load(path, len(built), built.recall)
        load_seconds = time.perf_counter() - began
        mib = path.stat().st_size / 1024**2
    return {
        "ivf_lists": built.lists,
        "ivf_probes": built.probes,
        "ivf_build_seconds": build_seconds,
        "ivf_load_seconds": load_seconds,
        "ivf_mib": mib,
        "ivf_p50_ms": quantile(took, 0.5),
        "ivf_p99_ms": quantile(took, 0.99),
        "ivf_recall_10": hits / (10 * QUERIES),
        "ivf_recall_10_at_build": built.recall,
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
