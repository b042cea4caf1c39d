"""What Redis can do to a service: be away, full, read-only, badly set; and what cannot happen then."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from process_room import until
from redis_room import RedisServer, serving_redis

from service.errors import ServiceError
from service.state import redis_errors, redis_store
from service.state.open_store import agree_on_model, open_store
from service.state.redis_store import RedisStore
from service.state.remembering_store import RememberingStore
from service.state.store import Store
from service.state.tables import SETTINGS

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(redis_store, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(redis_errors, "RETRY_SECONDS", 0.1)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with serving_redis(tmp_path / "redis", *DURABLE) as running:
        yield running


@pytest.fixture
def own_store(own_redis: RedisServer, impatient: None) -> Iterator[Store]:
    store = RedisStore(own_redis.url)
    yield store
    store.close()


def reason_of(act: Callable[[], object]) -> str:
    with pytest.raises(ServiceError) as caught:
        act()
    return caught.value.reason


def put(store: Store, name: str) -> None:
    store.put("things", (name,), {"name": name})


def names(store: Store) -> list[object]:
    return [key[0] for key, _ in store.range("things")]


def is_there(store: Store) -> bool:
    try:
        store.check()
    except ServiceError as error:
        return error.reason != "STATE_UNAVAILABLE"
    return True


def until_back(store: Store) -> None:
    """Waits until the store is asked again, which it is not for a while after it was away."""
    until(lambda: is_there(store), "the store")


def test_a_killed_and_restarted_server_has_every_commit(
    own_store: Store, own_redis: RedisServer
) -> None:
    put(own_store, "before")
    own_redis.kill()
    for act in (lambda: put(own_store, "lost"), lambda: names(own_store), own_store.now):
        assert reason_of(act) == "STATE_UNAVAILABLE"
    own_redis.start()
    until_back(own_store)
    put(own_store, "after")
    assert names(own_store) == ["after", "before"]


def test_a_server_that_is_paused_fails_calls_in_bounded_time_and_at_once_from_then_on(
    own_store: Store, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(own_store, "before")
    monkeypatch.setattr(redis_errors, "RETRY_SECONDS", 60.0)
    with own_redis.paused():
        assert reason_of(lambda: put(own_store, "lost")) == "STATE_UNAVAILABLE"
        monkeypatch.setattr(redis_store.redis.Redis, "hmget", lambda *_: pytest.fail("asked"))
        assert reason_of(lambda: names(own_store)) == "STATE_UNAVAILABLE"
        assert reason_of(lambda: own_store.get("things", ("before",))) == "STATE_UNAVAILABLE"


def test_a_broken_connection_is_mended_amid_a_transaction(
    own_store: Store, own_redis: RedisServer
) -> None:
    with own_store.transaction():
        put(own_store, "sent")
        own_redis.client.client_kill_filter(_type="normal")
    assert names(own_store) == ["sent"]


def test_a_commit_that_is_sent_again_because_its_answer_was_lost_is_made_once(
    fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = RedisStore(fresh_redis.url), RedisStore(fresh_redis.url)
    commit = store._commit

    def commit_again(**given: object) -> object:
        assert commit(**given) == 1
        other.put("things", ("one",), {"name": "newer"})
        return commit(**given)

    monkeypatch.setattr(store, "_commit", commit_again)
    put(store, "one")
    assert store.get("things", ("one",)) == {"name": "newer"}
    for opened in (store, other):
        opened.close()


def test_a_transaction_that_meets_an_absent_server_writes_nothing_or_says_so(
    own_store: Store, own_redis: RedisServer
) -> None:
    def commit_while_paused() -> None:
        with own_store.transaction():
            put(own_store, "late")
            own_redis.signal(signal.SIGSTOP)

    assert reason_of(commit_while_paused) == "STATE_UNAVAILABLE"
    own_redis.signal(signal.SIGCONT)
    until_back(own_store)
    put(own_store, "after")
    assert names(own_store)[0] == "after"


def test_a_writer_that_was_stopped_for_longer_than_its_turn_writes_nothing(
    fresh_redis: RedisServer,
) -> None:
    slow, other = RedisStore(fresh_redis.url, lock_seconds=0.3), RedisStore(fresh_redis.url)

    def write_late() -> None:
        with slow.transaction():
            put(slow, "slow")
            put(other, "other")  # waits until the turn of the slow one is over

    assert reason_of(write_late) == "STATE_CONFLICT"
    assert names(other) == ["other"]
    put(slow, "again")
    assert names(other) == ["again", "other"]
    for store in (slow, other):
        store.close()


def test_a_writer_that_reads_for_long_keeps_its_turn(fresh_redis: RedisServer) -> None:
    long, other = RedisStore(fresh_redis.url, lock_seconds=0.3), RedisStore(fresh_redis.url)
    writer = threading.Thread(target=put, args=(other, "other"))
    with long.transaction():
        writer.start()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert names(long) == []
        put(long, "long")
    writer.join()
    assert names(long) == ["long", "other"]
    for store in (long, other):
        store.close()


def test_a_read_only_replica_is_said_so(
    own_store: Store, own_redis: RedisServer, fresh_redis: RedisServer
) -> None:
    put(own_store, "before")
    own_redis.client.replicaof("127.0.0.1", fresh_redis.port)
    for act in (lambda: put(own_store, "lost"), own_store.check):
        assert reason_of(act) == "STATE_READ_ONLY"
    own_redis.client.replicaof("NO", "ONE")
    put(own_store, "after")
    assert names(own_store)[0] == "after"


def test_a_full_server_refuses_whole_transactions_and_takes_deletions(
    own_store: Store, own_redis: RedisServer
) -> None:
    def fill() -> None:
        with own_store.transaction():
            own_store.delete("things", ("first",))
            put(own_store, "more")

    put(own_store, "first")
    own_redis.client.config_set("maxmemory", "1mb")
    for act in (fill, own_store.check):
        assert reason_of(act) == "STATE_FULL"
    assert names(own_store) == ["first"], "reading goes on, and no half was written"
    own_store.delete("things", ("first",))
    assert names(own_store) == []
    own_redis.client.config_set("maxmemory", "0")
    fill()
    assert names(own_store) == ["more"]


def test_a_server_that_drops_records_is_refused(own_redis: RedisServer, tmp_path: Path) -> None:
    own_redis.client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ServiceError, match="noeviction") as caught:
        open_store(own_redis.url, tmp_path / "unused")
    assert caught.value.reason == "STATE_EVICTS"
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("keeps", ["yes", "no"])
def test_a_server_without_an_append_only_file_is_warned_about(
    own_redis: RedisServer, tmp_path: Path, keeps: str
) -> None:
    own_redis.client.config_set("appendonly", keeps)
    with structlog.testing.capture_logs() as logs:
        open_store(own_redis.url, tmp_path).close()
    warned = [entry for entry in logs if "appendonly" in entry["event"]]
    assert len(warned) == (keeps == "no")


def test_a_replica_is_refused_at_the_start(
    own_redis: RedisServer, fresh_redis: RedisServer, tmp_path: Path
) -> None:
    own_redis.client.replicaof("127.0.0.1", fresh_redis.port)
    assert reason_of(lambda: open_store(own_redis.url, tmp_path)) == "STATE_READ_ONLY"


def test_a_state_of_another_release_or_model_is_refused(
    fresh_redis: RedisServer, tmp_path: Path
) -> None:
    store = open_store(fresh_redis.url, tmp_path)
    for _ in range(2):
        agree_on_model(store, "m1")
    assert reason_of(lambda: agree_on_model(store, "m2")) == "STATE_MODEL_MISMATCH"
    SETTINGS.put(store, ("format",), {"value": 99})
    assert reason_of(lambda: open_store(fresh_redis.url, tmp_path)) == "STATE_VERSION"
    store.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "memory", "redis"])
def test_what_is_no_url_of_a_state_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="state"):
        open_store(url, tmp_path)


def test_a_password_is_in_no_message(tmp_path: Path, impatient: None) -> None:
    with pytest.raises(ServiceError) as caught:
        open_store("redis://:secret-word@127.0.0.1:1/0", tmp_path)
    assert caught.value.reason == "STATE_UNAVAILABLE"
    assert "secret-word" not in str(caught.value)


def test_what_was_read_is_repeated_while_the_store_is_away_and_not_for_ever(
    own_store: Store, own_redis: RedisServer
) -> None:
    put(own_store, "one")
    lasting, brief = RememberingStore(own_store), RememberingStore(own_store, seconds=0.0)
    for store in (lasting, brief):
        assert store.get("things", ("one",)) == {"name": "one"}
        assert store.get("things", ("two",)) is None
        assert names(store) == ["one"]
    own_redis.kill()
    assert lasting.get("things", ("one",)) == {"name": "one"}
    assert lasting.get("things", ("two",)) is None
    assert names(lasting) == ["one"]
    assert reason_of(lambda: lasting.get("things", ("never asked",))) == "STATE_UNAVAILABLE"
    assert reason_of(lambda: brief.get("things", ("one",))) == "STATE_UNAVAILABLE"
    own_redis.start()
    until_back(own_store)
    own_store.delete("things", ("one",))
    assert lasting.get("things", ("one",)) is None
