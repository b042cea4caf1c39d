"""Freed memory leaves the process."""

import platform
from pathlib import Path

import numpy as np
import pytest

from engine.heap import give_back


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_what_was_freed_between_what_is_kept_is_given_back() -> None:
    pieces = [np.ones(12_000, np.float64) for _ in range(2000)]  # 94 KiB each: from the heap
    kept = pieces[::50]
    del pieces
    before = resident_mib()

    assert give_back()
    assert resident_mib() < before - 100
    assert all(piece.sum() == 12_000 for piece in kept)
