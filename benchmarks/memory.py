"""Resident memory of this process: now, and at its most since the last reset (Linux)."""

import contextlib
from pathlib import Path


def reset_peak() -> None:
    """Begins the peak anew, where the kernel allows it; else it counts from the process's start."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """The most that was resident since the last reset."""
    return _status("VmHWM")


def resident_mib() -> float:
    return _status("VmRSS")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
