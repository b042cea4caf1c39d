"""Vectors searched by inner product: exactly while they are few, above by an inverted file.

An inverted file (IVF; Sivic & Zisserman 2003, FAISS' `IVF{K},Flat`) looks only into the lists whose
centres lie nearest. Its rows keep their own numbers and none is ever removed: an `IDMap` over one gives
wrong numbers after a removal (faiss issue 4535).
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import structlog
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_HELD, _NEAREST = 200, 10  # rows that recall is measured at, and how many neighbours of each
_SAMPLE, _FEWEST = 40, 39  # rows a list that it is trained on; faiss wants no fewer
_PROBES = (16, 32, 64, 128)  # lists looked into
_ALIKE = 1e-5  # cosines of equal sentences differ by rounding
_MOST_ON_GPU = 2048  # rows that faiss' GPU indexes return at most
_GPU_WORKSPACE = 256 * 1024**2  # bytes; faiss takes 1.5 GiB otherwise, beside the language model
_log = structlog.stdlib.get_logger("longmemory.index")


class DenseIndexError(Exception):
    """A file that holds no inverted file of this many rows."""


@dataclass(frozen=True, slots=True)
class DenseSettings:
    """When an inverted file takes the place of the exact search.

    An exact search of 100,000 rows takes 13.5 ms on one core and of 1,000,000 106 ms, an inverted file
    0.3 and 1.2 ms once it was built in 11 and 174 s (benchmarks/results/scale.json).
    """

    begin: int = 100_000  # rows
    floor: float = 0.98  # recall@10 below which the search stays exact
    seed: int = 0

    def __post_init__(self) -> None:
        if self.begin < 1000:
            raise ValueError(
                f"begin is {self.begin}; recall needs 1000 rows and more to be measured"
            )
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor is {self.floor}; give a share of 0 to 1")


class DenseIndex:
    """Immutable; rows are numbered in order. One thread searches it: copies on a GPU allow no more."""

    def __init__(self, index: Any, recall: float = 1.0) -> None:
        self._index = index
        self.recall = recall  # @10, measured when it was built

    @classmethod
    def exact(cls, vectors: Vectors) -> "DenseIndex":
        """Looks at all of [rows, dimension]."""
        index = faiss.IndexFlatIP(max(1, vectors.shape[-1]))
        if len(vectors):
            index.add(vectors)
        return cls(index)

    @classmethod
    def build(cls, vectors: Vectors, settings: DenseSettings | None = None) -> "DenseIndex":
        """What fits this many unit rows; the same for the same rows, seed and processor."""
        settings = settings or DenseSettings()
        if len(vectors) < settings.begin:
            return cls.exact(vectors)
        faiss.omp_set_num_threads(1)
        order = np.random.default_rng(settings.seed).permutation(len(vectors))
        held, rest = order[:_HELD], order[_HELD:]
        lists = min(int(4 * len(vectors) ** 0.5), len(rest) // _FEWEST)
        name, metric = f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT
        index: Any = faiss.index_factory(vectors.shape[1], name, metric)
        index.cp.seed = settings.seed
        index.train(vectors[np.sort(rest[: _SAMPLE * lists])])
        index.add(vectors)
        least = _least_cosines(vectors, held)
        for index.nprobe in _PROBES:
            recall = _recall(index, vectors, held, least)
            if recall >= settings.floor:
                return cls(index, recall)
        _log.warning(
            "an inverted file finds too little of these vectors; they are searched exactly",
            rows=len(vectors),
            recall=round(recall, 3),
            floor=settings.floor,
        )
        return cls.exact(vectors)

    @classmethod
    def load(cls, path: Path, rows: int, recall: float) -> "DenseIndex":
        """What `save` wrote of so many rows.

        Raises:
            DenseIndexError: the file is no such inverted file.
        """
        try:
            index = faiss.read_index(str(path))
        except (RuntimeError, MemoryError) as error:  # also where there is none
            raise DenseIndexError("it is no index of faiss, or not whole") from error
        if not isinstance(index, faiss.IndexIVFFlat) or index.ntotal != rows:
            raise DenseIndexError(f"it is no inverted file of {rows} rows")
        return cls(index, recall)

    def save(self, path: Path) -> None:
        """Writes an inverted file; an exact index is made of its vectors when it is needed."""
        if not self.lists:
            raise ValueError("an exact index needs no file")
        faiss.write_index(self._index, str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """Of the inverted file; 0 where the search is exact."""
        return int(getattr(self._index, "nlist", 0))

    @property
    def probes(self) -> int:
        """How many of its lists a search looks into; 0 where the search is exact."""
        return int(getattr(self._index, "nprobe", 0))

    def search(self, vector: Vectors, most: int) -> tuple[NDArray[np.int64], Vectors]:
        """Numbers and inner products of the `most` nearest rows, or of all there are, best first."""
        most = min(most, len(self))
        if most <= 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        # Holds for the calling thread alone. On cores that others use too, two threads take four times
        # as long as one.
        faiss.omp_set_num_threads(1)
        index = self._index if most > _MOST_ON_GPU else self._nearest
        scores, rows = index.search(vector[None], most)
        if self.lists and rows[0, -1] < 0:  # the lists looked into hold fewer
            all_lists = faiss.SearchParametersIVF(nprobe=self.lists)  # type: ignore[call-arg]
            scores, rows = self._index.search(vector[None], most, params=all_lists)
        return rows[0], scores[0]

    @cached_property
    def _nearest(self) -> Any:
        """The index, or its copy on the first GPU where faiss sees one."""
        if not faiss.get_num_gpus():
            return self._index
        try:
            return faiss.index_cpu_to_gpu(_gpu(), 0, self._index)
        except (RuntimeError, MemoryError) as error:
            _log.warning("vectors are searched on the CPU: the GPU takes none", reason=str(error))
            return self._index


@cache
def _gpu() -> Any:
    """What faiss keeps on the first GPU, once a process."""
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_GPU_WORKSPACE)
    return resources


def _least_cosines(vectors: Vectors, held: NDArray[np.int64]) -> Vectors:
    """Cosine of each held-out row's tenth nearest other, by exact search."""
    metric = faiss.METRIC_INNER_PRODUCT
    scores, rows = faiss.knn(vectors[held], vectors, _NEAREST + 1, metric=metric)
    scores[rows == held[:, None]] = -np.inf
    least: Vectors = np.sort(scores, axis=1)[:, 1]  # behind the row itself, or the eleventh other
    return least


def _recall(index: Any, vectors: Vectors, held: NDArray[np.int64], least: Vectors) -> float:
    """Which share of the ten nearest others of the held-out rows an index finds; one that is just as
    near counts as one of them.
    """
    scores, rows = index.search(vectors[held], _NEAREST + 1)
    found = (scores >= least[:, None] - _ALIKE) & (rows != held[:, None]) & (rows >= 0)
    return float(np.minimum(found.sum(axis=1), _NEAREST).mean() / _NEAREST)
