"""What the service needs around it: a device, free ports, a Redis that loses nothing, one time."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from service.cli.doctor import FAIL, OK, WARN, Check
from service.listen_address import split_address

PROBE_SECONDS = 3.0
REDIS = (7, 0)
CLOCK_WARN_SECONDS = 1.0
CLOCK_FAIL_SECONDS = 10.0  # leases last thirty


def check_port(name: str, address: str) -> Check:
    """Nothing else listens at an address that a server is to have."""
    try:
        host, port = split_address(address)
    except ValueError:
        return Check(name, FAIL, f"{address} is not HOST:PORT", "write it as 127.0.0.1:7421")
    try:
        family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return Check(
            name,
            WARN,
            f"{address} cannot be listened at ({error.strerror or error})",
            "if that is not a longmemory that runs already, choose another address or end what "
            "has it",
        )
    return Check(name, OK, f"{address} is free")


def check_device(wanted: str) -> Check:
    """The device that was named is there and computes."""
    import torch

    from engine.config import resolve_device

    try:
        device = resolve_device(wanted)
        value = float(torch.ones(2, device=device).sum())
    except (RuntimeError, AssertionError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        return Check("device", FAIL, f"{wanted}: {first}", "use --device cpu, or mend its driver")
    if value != 2.0:
        return Check("device", FAIL, f"{device} computes 1 + 1 = {value}", "use --device cpu")
    return Check("device", OK, _described(device))


def check_store(url: str) -> Check:
    """The store of files can be written to, read and tidied."""
    from service.errors import ServiceError
    from service.state.artifact_store import open_artifacts, told_of

    with TemporaryDirectory() as folder:
        probe = Path(folder) / f"doctor-{secrets.token_hex(8)}"
        probe.write_bytes(secrets.token_bytes(64))
        try:
            store = open_artifacts(url, Path(folder))
            store.keep(probe)
            is_there = store.bring(probe)
            store.remove(probe)
        except (ServiceError, ValueError) as error:
            return Check("store", FAIL, str(error), "check --store and its driver's credentials")
    if not is_there:
        return Check("store", FAIL, f"{told_of(url)} did not keep what it was given", "use another")
    return Check("store", OK, f"{told_of(url)} keeps files")


def surroundings(
    state: str, device: str, ports: Mapping[str, str], store: str = ""
) -> list[tuple[str, Callable[[], Check]]]:
    """The checks by name; `ports` are addresses by what is to listen there, "" where nothing is."""
    wanted = {f"{name} port": address for name, address in ports.items() if address}
    return [
        ("device", lambda: check_device(device)),
        *((name, partial(check_port, name, address)) for name, address in wanted.items()),
        *checks_of_state(state),
        *([("store", partial(check_store, store))] if store else []),
    ]


def checks_of_state(state: str) -> list[tuple[str, Callable[[], Check]]]:
    """The checks of where the state is kept; of a Redis three, each on a connection of its own."""
    if not state.startswith(("redis://", "rediss://", "unix://")):
        return [("state", lambda: Check("state", OK, "SQLite in the data folder"))]
    return [
        ("redis", lambda: _with_redis("redis", state, _check_version)),
        ("redis settings", lambda: _with_redis("redis settings", state, _check_settings)),
        ("clock", lambda: _with_redis("clock", state, _check_clock)),
    ]


def _described(device: Any) -> str:
    import torch

    if str(device).startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        return f"{name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    return str(device)


def _with_redis(name: str, state: str, check: Callable[[Any], Check]) -> Check:
    import redis

    try:
        client = redis.Redis.from_url(
            state, socket_timeout=PROBE_SECONDS, socket_connect_timeout=PROBE_SECONDS
        )
    except ValueError as error:
        return Check(name, FAIL, str(error), "write --state as redis://host:port/0")
    try:
        with client:
            return check(client)
    except redis.RedisError as error:  # its words name host and port, never a password
        mend = "start redis-server there, or check --state, its password and the network"
        return Check(name, FAIL, f"no answer ({type(error).__name__}: {error})", mend)


def _check_version(client: Any) -> Check:
    found = client.info("server")["redis_version"]
    if tuple(int(part) for part in found.split(".")[:2]) >= REDIS:
        return Check("redis", OK, f"{found} answers")
    return Check("redis", FAIL, found, f"install Redis {REDIS[0]} or newer")


def _check_settings(client: Any) -> Check:
    """Settings are read from INFO, which also servers answer that hide CONFIG."""
    memory, persistence = client.info("memory"), client.info("persistence")
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return Check(
            "redis settings",
            FAIL,
            f"maxmemory-policy is {policy}: it would drop jobs and corpora where memory runs out",
            "CONFIG SET maxmemory-policy noeviction, and in redis.conf",
        )
    if not persistence.get("aof_enabled"):
        return Check(
            "redis settings",
            WARN,
            "there is no append-only file: what came since the last snapshot is lost in a crash",
            "CONFIG SET appendonly yes, and in redis.conf",
        )
    return Check("redis settings", OK, "noeviction, append-only file")


def _check_clock(client: Any) -> Check:
    """How far this clock is off, by the time between asking and hearing at most."""
    asked = time.time()
    seconds, microseconds = client.time()
    heard = time.time()
    off = (asked + heard) / 2 - (seconds + microseconds / 1e6)
    shown = f"{abs(off):.2f} s {'ahead of' if off > 0 else 'behind'} Redis"
    far = abs(off) - (heard - asked) / 2
    if far < CLOCK_WARN_SECONDS:
        return Check("clock", OK, shown)
    status = FAIL if far >= CLOCK_FAIL_SECONDS else WARN
    return Check("clock", status, shown, "run NTP (chrony, systemd-timesyncd) on both machines")
