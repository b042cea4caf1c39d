"""A benchmark's result as it is committed: command, machine, versions, rows and a flat headline."""

import importlib.metadata
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("longmemory", "torch", "transformers", "faiss-cpu", "numpy", "bm25s")


def write_result(
    name: str, rows: Sequence[Mapping[str, object]], headline: Mapping[str, float | None]
) -> Path:
    """Writes `results/NAME.json`; a figure of the headline that was not measured is null."""
    result = {
        "benchmark": name,
        "command": shlex.join(["python", "-m", *_module(), *map(_told, sys.argv[1:])]),
        "when": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions(),
        "headline": {key: _rounded(value) for key, value in headline.items()},
        "rows": [{key: _rounded(value) for key, value in row.items()} for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    path = _path(name)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def recorded(name: str, figure: str) -> float | None:
    """A figure of another benchmark's headline as it was written last; None where it has none."""
    if not _path(name).exists():
        return None
    value = _written(name)["headline"].get(figure)
    return None if value is None else float(value)


def recorded_rows(name: str) -> list[dict[str, object]]:
    """The rows of a benchmark as they were written last."""
    found: list[dict[str, object]] = _written(name)["rows"]
    return found


def _written(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_path(name).read_text(encoding="utf-8"))
    return found


def _path(name: str) -> Path:
    return RESULTS / f"{name}.json"


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _module() -> list[str]:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return [spec.name] if spec else [str(getattr(main, "__file__", "?"))]


def _told(argument: str) -> str:
    """An argument without this machine's folders: a path from the checkout on, else its last name."""
    path = Path(argument)
    if not path.is_absolute():
        return argument
    root = Path(__file__).parents[1]
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def _rounded(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value
