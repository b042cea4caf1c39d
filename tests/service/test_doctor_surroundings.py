"""The doctor looks around: ports, device, a real Redis with good and bad settings, and the clocks."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from process_room import until
from typer.testing import CliRunner

from service.cli import doctor_surroundings
from service.cli.doctor import FAIL, OK, WARN, Check
from service.cli.doctor_surroundings import check_device, check_port, check_store, checks_of_state
from service.cli.main import app


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts real redis servers; gives their URLs."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*settings: str) -> str:
        command = shutil.which("redis-server")
        assert command, "install redis-server"
        place = tmp_path / f"{len(started)}.sock"
        flags = ["--port", "0", "--unixsocket", str(place), "--dir", str(tmp_path), "--save", ""]
        started.append(subprocess.Popen([command, *flags, *settings], stdout=subprocess.DEVNULL))
        until(place.exists, "redis")
        return f"unix://{place}"

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def checked(state: str) -> dict[str, Check]:
    return {name: check() for name, check in checks_of_state(state)}


def test_a_good_redis_is_well(start_redis: Callable[..., str]) -> None:
    found = checked(start_redis("--appendonly", "yes"))
    assert {name: check.status for name, check in found.items()} == {
        "redis": OK,
        "redis settings": OK,
        "clock": OK,
    }


def test_settings_that_lose_data_are_told_with_their_mend(start_redis: Callable[..., str]) -> None:
    evicting = checked(start_redis("--maxmemory-policy", "allkeys-lru"))["redis settings"]
    assert (evicting.status, "noeviction" in evicting.mend) == (FAIL, True)
    forgetful = checked(start_redis())["redis settings"]
    assert (forgetful.status, "appendonly yes" in forgetful.mend) == (WARN, True)


@pytest.mark.parametrize(("off", "status"), [(-2.5, WARN), (5.0, WARN), (3600.0, FAIL)])
def test_clocks_that_are_apart_are_told(
    start_redis: Callable[..., str], monkeypatch: pytest.MonkeyPatch, off: float, status: str
) -> None:
    state, now = start_redis(), time.time
    monkeypatch.setattr(doctor_surroundings.time, "time", lambda: now() + off)
    clock = checked(state)["clock"]
    assert (clock.status, "NTP" in clock.mend) == (status, True)
    assert ("ahead of" if off > 0 else "behind") in clock.detail


def test_a_redis_that_is_too_old_or_away_fails(
    start_redis: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = checked("redis://:secret@127.0.0.1:1/0")
    assert {check.status for check in away.values()} == {FAIL}
    assert all("start redis-server" in check.mend for check in away.values())
    assert "secret" not in str(away)
    monkeypatch.setattr(redis.Redis, "info", lambda self, section: {"redis_version": "6.2.14"})
    assert checked(start_redis())["redis"].status == FAIL


def test_sqlite_needs_no_redis() -> None:
    assert checked("") == {"state": Check("state", OK, "SQLite in the data folder")}


def test_a_port_is_free_taken_or_no_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = check_port("metrics port", address)
        assert (found.status, "another address" in found.mend) == (WARN, True)
    assert check_port("metrics port", address).status == OK
    assert check_port("metrics port", "7421").status == FAIL


def test_a_device_that_is_not_there_is_told() -> None:
    assert check_device("cpu").status == OK
    for wrong in ("cuda:77", "abacus"):
        found = check_device(wrong)
        assert (found.status, "--device cpu" in found.mend) == (FAIL, True)


def test_a_store_that_keeps_files_is_well_and_left_as_it_was(tmp_path: Path) -> None:
    assert check_store(f"file://{tmp_path}/store").status == OK
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_store_that_cannot_be_used_is_told_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for wrong in (f"file://{tmp_path}/file/below", "https://example.com/x", "gs://bucket/x"):
        found = check_store(wrong)
        assert (found.status, bool(found.mend)) == (FAIL, True)


def test_the_command_runs_them_all(tmp_path: Path, start_redis: Callable[..., str]) -> None:
    flags = ["--store", f"file://{tmp_path}/store"]
    flags += ["--state", start_redis(), "--metrics", "127.0.0.1:0", "--http", "nowhere"]
    command = ["doctor", "--json", "--data", str(tmp_path), "--server", "127.0.0.1:1", *flags]
    result = CliRunner().invoke(app, command)
    found: dict[str, Any] = {one["name"]: one for one in json.loads(result.stdout)["checks"]}
    assert found.keys() >= {
        "disk",
        "device",
        "metrics port",
        "http port",
        "redis",
        "clock",
        "store",
    }
    assert found["http port"]["status"] == FAIL
    assert result.exit_code == 1
    assert all(one["mend"] for one in found.values() if one["status"] != OK)
