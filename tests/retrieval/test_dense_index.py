"""Few vectors are searched exactly, many by an inverted file that is as good as it says."""

import threading
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from retrieval import dense_index
from retrieval.dense_index import DenseIndex, DenseIndexError, DenseSettings

ROWS, WIDTH = 6_000, 32
MANY = DenseSettings(begin=ROWS)
Vectors = NDArray[np.float32]


def unit_rows(count: int, centres: int, seed: int = 0) -> Vectors:
    """Unit rows around centres; without centres, even over all directions."""
    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((count, WIDTH), dtype=np.float32)
    if centres:
        middles = chance.standard_normal((centres, WIDTH), dtype=np.float32)
        rows = 0.5 * rows + middles[chance.integers(0, centres, count)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return unit_rows(ROWS, 70)


@pytest.fixture(scope="module")
def spread() -> Vectors:
    """So even and so many that no lists hold all neighbours of a row."""
    return unit_rows(20_000, 0)


@pytest.fixture(scope="module")
def inverted(vectors: Vectors) -> DenseIndex:
    return DenseIndex.build(vectors, MANY)


def test_few_vectors_are_searched_exactly_and_many_by_an_inverted_file(
    vectors: Vectors, inverted: DenseIndex
) -> None:
    few = DenseIndex.build(vectors[:-1], MANY)
    assert (few.lists, few.probes, few.recall, len(few)) == (0, 0, 1.0, ROWS - 1)
    assert (inverted.lists, inverted.probes, len(inverted)) == (148, 16, ROWS)


def test_an_exact_search_finds_what_a_whole_sort_finds(vectors: Vectors) -> None:
    index = DenseIndex.exact(vectors)
    for asked in unit_rows(20, 0, seed=1):
        rows, cosines = index.search(asked, 50)
        whole = vectors @ asked
        assert rows.tolist() == np.argsort(-whole, kind="stable")[:50].tolist()
        np.testing.assert_allclose(cosines, whole[rows], atol=1e-5)


@pytest.mark.parametrize("kind", ["vectors", "spread"])
def test_the_recall_that_is_told_is_the_recall_that_is_found(
    kind: str, request: pytest.FixtureRequest
) -> None:
    rows: Vectors = request.getfixturevalue(kind)
    floor = 0.3 if kind == "spread" else 0.98
    index = DenseIndex.build(rows, DenseSettings(begin=ROWS, floor=floor))
    exact, asked, hits = DenseIndex.exact(rows), range(0, len(rows), 10), 0
    for row in asked:
        wanted = [i for i in exact.search(rows[row], 11)[0].tolist() if i != row][:10]
        hits += len(set(wanted) & set(index.search(rows[row], 11)[0].tolist()))
    assert index.recall >= floor
    assert hits / (10 * len(asked)) == pytest.approx(index.recall, abs=0.04)


def test_numbers_are_those_of_the_rows(vectors: Vectors, inverted: DenseIndex) -> None:
    for row in (0, 1, ROWS // 2, ROWS - 1):
        rows, cosines = inverted.search(vectors[row], 3)
        assert rows[0] == row
        np.testing.assert_allclose(cosines, vectors[rows] @ vectors[row], atol=1e-5)


def test_as_many_are_found_as_are_asked_for(vectors: Vectors, inverted: DenseIndex) -> None:
    """Beyond what the nearest lists hold, all of them are looked into."""
    rows, cosines = inverted.search(vectors[0], 3_000)
    assert rows.tolist() == DenseIndex.exact(vectors).search(vectors[0], 3_000)[0].tolist()
    assert sorted(inverted.search(vectors[0], 10 * ROWS)[0].tolist()) == list(range(ROWS))
    assert list(cosines) == sorted(cosines, reverse=True)


def test_equal_seeds_build_equal_files(
    vectors: Vectors, inverted: DenseIndex, tmp_path: Path
) -> None:
    again, other = (
        DenseIndex.build(vectors, DenseSettings(begin=ROWS, seed=seed)) for seed in (0, 1)
    )
    files = []
    for name, index in (("a", inverted), ("b", again), ("c", other)):
        index.save(tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1] != files[2]


def test_vectors_that_an_inverted_file_finds_too_little_of_are_searched_exactly(
    spread: Vectors,
) -> None:
    with capture_logs() as logs:
        index = DenseIndex.build(spread, DenseSettings(begin=len(spread), floor=1.0))
    assert (index.lists, index.recall) == (0, 1.0)
    assert [line["log_level"] for line in logs] == ["warning"]
    assert 0.5 < logs[0]["recall"] < logs[0]["floor"] == 1.0


def test_more_lists_are_looked_into_where_fewer_find_too_little(spread: Vectors) -> None:
    built = [
        DenseIndex.build(spread, DenseSettings(begin=len(spread), floor=floor))
        for floor in (0.3, 0.8)
    ]
    assert 16 == built[0].probes < built[1].probes <= 128
    assert 0.3 <= built[0].recall < 0.8 <= built[1].recall


def test_equal_vectors_cost_no_recall() -> None:
    """A sentence that stands forty times in a corpus has no ten nearest others of its own."""
    repeated = np.repeat(unit_rows(ROWS // 40, 0), 40, axis=0)
    assert DenseIndex.build(repeated, DenseSettings(begin=len(repeated))).recall == 1.0


def test_a_saved_index_searches_as_before(
    vectors: Vectors, inverted: DenseIndex, tmp_path: Path
) -> None:
    inverted.save(tmp_path / "vectors.faiss")
    loaded = DenseIndex.load(tmp_path / "vectors.faiss", ROWS, inverted.recall)
    assert (loaded.lists, loaded.probes, loaded.recall) == (
        inverted.lists,
        inverted.probes,
        inverted.recall,
    )
    for asked in unit_rows(20, 0, seed=1):
        assert loaded.search(asked, 20)[0].tolist() == inverted.search(asked, 20)[0].tolist()


def test_an_exact_index_is_not_saved(vectors: Vectors, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exact"):
        DenseIndex.exact(vectors).save(tmp_path / "vectors.faiss")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_such_index_is_refused(
    vectors: Vectors, inverted: DenseIndex, tmp_path: Path
) -> None:
    path = tmp_path / "vectors.faiss"
    with pytest.raises(DenseIndexError, match="no index of faiss"):
        DenseIndex.load(path, ROWS, 1.0)
    inverted.save(path)
    with pytest.raises(DenseIndexError, match="5999 rows"):
        DenseIndex.load(path, ROWS - 1, 1.0)
    whole = path.read_bytes()
    for torn in (b"", whole[:3], whole[:1000], whole[:-1], b"not faiss" * 100):
        path.write_bytes(torn)
        with pytest.raises(DenseIndexError):
            DenseIndex.load(path, ROWS, 1.0)
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(vectors)
    faiss.write_index(flat, str(path))
    with pytest.raises(DenseIndexError, match="inverted file"):
        DenseIndex.load(path, ROWS, 1.0)


def test_nothing_is_found_among_no_vectors() -> None:
    for empty in (np.empty((0, WIDTH), np.float32), np.empty((0, 1), np.float32)):
        rows, cosines = DenseIndex.build(empty).search(np.ones(WIDTH, np.float32), 5)
        assert (len(rows), len(cosines)) == (0, 0)


def test_a_search_takes_one_thread_whichever_thread_asks(
    vectors: Vectors, inverted: DenseIndex
) -> None:
    """How many threads faiss takes is a setting of the thread that calls it."""
    taken: list[int] = []

    def ask() -> None:
        faiss.omp_set_num_threads(2)
        inverted.search(vectors[0], 3)
        taken.append(faiss.omp_get_max_threads())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert taken == [1]


@pytest.mark.parametrize(("field", "value"), [("begin", 999), ("floor", 1.1), ("floor", -0.1)])
def test_settings_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        DenseSettings(**{field: value})  # type: ignore[arg-type]


def test_a_gpu_that_takes_no_copy_leaves_the_search_to_the_cpu(
    vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a full GPU: what faiss-gpu itself does has to be seen on one."""

    def refuse(*_: object) -> None:
        raise RuntimeError("cudaMalloc error out of memory")

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuse, raising=False)
    monkeypatch.setattr(dense_index, "_gpu", lambda: None)
    index = DenseIndex.exact(vectors)
    with capture_logs() as logs:
        assert [int(index.search(vectors[row], 1)[0][0]) for row in (3, 4)] == [3, 4]
    assert [(line["log_level"], line["reason"]) for line in logs] == [
        ("warning", "cudaMalloc error out of memory")
    ]


@pytest.mark.skipif(not faiss.get_num_gpus(), reason="faiss sees no GPU")
def test_a_gpu_finds_what_the_cpu_finds(vectors: Vectors, inverted: DenseIndex) -> None:
    for index in (DenseIndex.exact(vectors), inverted):
        assert type(index._nearest).__name__.startswith("GpuIndex")
        for asked in unit_rows(20, 0, seed=1):
            for most in (1, 20, 3_000):
                found, wanted = index.search(asked, most)[0], index._index.search(asked[None], most)
                assert len(set(found.tolist()) ^ set(wanted[1][0].tolist()) - {-1}) <= 2
