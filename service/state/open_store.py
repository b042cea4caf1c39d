"""From what stands behind `--state` to an open store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog

from service.errors import fail
from service.state.redis_store import RedisStore
from service.state.sqlite_store import SCHEMA_VERSION, SqliteStore
from service.state.store import Store
from service.state.tables import SETTINGS

_SQLITE = ("", "sqlite")
_REDIS = ("redis://", "rediss://", "unix://")
_LEAST_REDIS = 7

_log = structlog.stdlib.get_logger("longmemory.state")


def is_shared(url: str) -> bool:
    """Whether other servers and workers may use the same state. Raises ValueError for no URL."""
    if url in _SQLITE:
        return False
    if not url.startswith(_REDIS):
        raise ValueError("state: it is no URL of Redis; use redis://host:port/0, or sqlite")
    return True


def open_store(url: str, file: Path) -> Store:
    """The SQLite file, or the Redis server that the URL names.

    Raises:
        ValueError: the URL is none.
        ServiceError: STATE_UNAVAILABLE, STATE_READ_ONLY, STATE_EVICTS where Redis would drop records,
            STATE_VERSION or DATA_FOLDER_VERSION where another release wrote the state.
    """
    if not is_shared(url):
        return SqliteStore(file)
    store = RedisStore(url)
    try:
        _check_server(store.server_facts())
        store.check()
        _agree(store, "format", SCHEMA_VERSION, "STATE_VERSION", _OTHER_RELEASE)
    except BaseException:
        store.close()
        raise
    return store


def agree_on_model(store: Store, fingerprint: str) -> None:
    """All who share a state serve one model: the first says which.

    Raises STATE_MODEL_MISMATCH.
    """
    _agree(store, "model", fingerprint, "STATE_MODEL_MISMATCH", _OTHER_MODEL)


_OTHER_RELEASE = "another release wrote this state; start that one, or name another Redis database"
_OTHER_MODEL = (
    "this state's corpora and cartridges are another model's; start with that --model, or name "
    "another Redis database and another data folder"
)


def _agree(store: Store, name: str, value: str | int, reason: str, otherwise: str) -> None:
    with store.transaction():
        known = SETTINGS.get(store, (name,))
        if known is None:
            SETTINGS.put(store, (name,), {"value": value})
        elif known["value"] != value:
            raise fail(reason, otherwise, known=known["value"], given=value)


def _check_server(facts: dict[str, Any]) -> None:
    version = str(facts["redis_version"])
    if int(version.partition(".")[0]) < _LEAST_REDIS:
        raise fail(
            "STATE_VERSION",
            f"the state store is Redis {version}; use {_LEAST_REDIS}.0 or newer",
            version=version,
        )
    policy = str(facts.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        raise fail(
            "STATE_EVICTS",
            f"Redis drops records when its memory is full (maxmemory-policy {policy}); run `redis-cli "
            "config set maxmemory-policy noeviction`, and set it in redis.conf",
            policy=policy,
        )
    if not facts.get("aof_enabled"):
        _log.warning(
            "Redis keeps no append-only file: what was written since its last snapshot is lost when it "
            "ends; run `redis-cli config set appendonly yes`, and set it in redis.conf"
        )
