"""Imports point one way, each heavy library has one doorway, and packages come from this checkout."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "engine": set[str](),
    "cartridges": {"engine"},
    "retrieval": {"engine"},
    "service": {"engine", "cartridges", "retrieval", "longmemory"},
    "evaluation": {"service"},
    "benchmarks": {"engine", "cartridges", "retrieval", "evaluation", "service"},
}
COMMANDS = ROOT / "service" / "cli"  # what a person types may reach any room
DOORWAYS = {
    "transformers": {"engine", "benchmarks"},
    "sentence_transformers": {"engine"},
    "faiss": {"retrieval", "benchmarks"},
    "grpc": {"service"},
    "redis": {"service"},
    "fsspec": {"service"},
    "starlette": {"service"},
    "uvicorn": {"service"},
    "sqlite3": {"service"},
    "matplotlib": {"evaluation"},
    "bm25s": {"retrieval", "benchmarks"},
    "prometheus_client": {"service"},
    "opentelemetry": {"service"},
}
UNSAFE = ("pickle", "marshal", "shelve", "dill", "joblib")


def modules_imported_by(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room: str) -> None:
    ours = MAY_IMPORT.keys() | {"longmemory"}
    for path in sources(room):
        tops = {name.split(".")[0] for name in modules_imported_by(path)}
        allowed = MAY_IMPORT[room] | {room}
        if path.is_relative_to(COMMANDS):
            allowed |= {"evaluation"}
        assert tops & ours <= allowed, path


def test_evaluation_sees_the_service_through_its_client_alone() -> None:
    for path in sources("evaluation"):
        parts = {name for name in modules_imported_by(path) if name.split(".")[0] == "service"}
        assert all(name.startswith("service.client") for name in parts), path


@pytest.mark.parametrize("library", DOORWAYS)
def test_a_heavy_library_has_one_doorway(library: str) -> None:
    for room in MAY_IMPORT:
        for path in sources(room):
            tops = {name.split(".")[0] for name in modules_imported_by(path)}
            is_peer = path.parent == ROOT / "benchmarks" / "peers"  # runs in a world of its own
            assert library not in tops or room in DOORWAYS[library] or is_peer, path


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_nothing_that_unpickles_is_imported(room: str) -> None:
    for path in sources(room):
        tops = {name.split(".")[0] for name in modules_imported_by(path)}
        assert not tops & set(UNSAFE), path
        assert "torch.load(" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("room", [*MAY_IMPORT, "longmemory"])
def test_a_room_comes_from_this_checkout(room: str) -> None:
    origin = importlib.import_module(room).__file__
    assert origin is not None
    assert Path(origin).resolve().is_relative_to(ROOT)
