"""Two processes share the cores: alone each takes all, beside the other each takes half."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from service.cores import CoreShare


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leaves torch's threads as they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)


def pair(folder: Path) -> tuple[CoreShare, CoreShare]:
    return CoreShare(folder, "server", "worker"), CoreShare(folder, "worker", "server")


@pytest.mark.usefixtures("four_cores")
def test_who_works_alone_takes_all_cores(tmp_path: Path) -> None:
    server, _ = pair(tmp_path / "work")
    assert server.take() == torch.get_num_threads() == 4
    assert server.take() == 4


@pytest.mark.usefixtures("four_cores")
def test_who_works_beside_the_other_takes_half(tmp_path: Path) -> None:
    server, worker = pair(tmp_path)
    server.take()
    assert worker.take() == torch.get_num_threads() == 2
    assert server.take() == torch.get_num_threads() == 2


@pytest.mark.usefixtures("four_cores")
def test_the_cores_of_one_who_has_stopped_are_taken_back(tmp_path: Path) -> None:
    server, worker = pair(tmp_path)
    worker.take()
    assert server.take() == 2
    long_ago = time.time() - 60
    os.utime(tmp_path / "worker.busy", (long_ago, long_ago))
    assert server.take() == torch.get_num_threads() == 4


def test_one_core_is_the_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    server, worker = pair(tmp_path)
    worker.take()
    assert server.take() == torch.get_num_threads() == 1


@pytest.mark.usefixtures("four_cores")
def test_a_count_set_by_the_caller_never_changes_and_is_still_announced(tmp_path: Path) -> None:
    fixed = CoreShare(tmp_path, "server", "worker", fixed=3)
    worker = CoreShare(tmp_path, "worker", "server")
    assert fixed.take() == torch.get_num_threads() == 3
    assert worker.take() == 2
    assert fixed.take() == 3
